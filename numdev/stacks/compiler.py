"""Bytecode beside all sources of a folder: run as a program, with the CPython that the bytecode is for.

compileall's output depends on what else the process has compiled: references in it follow reference counts.
Version 2 of the marshal format has none, so the bytes follow from source, name and compiler alone.
"""

import importlib.util
import marshal
import os
import sys


def main(folder: str, shown: str) -> None:
    """Compiles `folder`'s sources, except those that do not parse; their code says that it lies in `shown`."""
    failed = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            if name.endswith(".py"):
                failed += not _compile(parent, name, folder, shown)
    print(failed)


def _compile(parent: str, name: str, folder: str, shown: str) -> bool:
    path = os.path.join(parent, name)
    with open(path, "rb") as file:
        source = file.read()
    inside = os.path.relpath(path, folder).replace(os.sep, "/")
    try:
        code = compile(source, f"{shown}/{inside}", "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError):
        return False
    # Flag 1: checked by hash and not by time, and not at all at run time ("unchecked-hash").
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    target = importlib.util.cache_from_source(path, optimization="")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(head + marshal.dumps(code, 2))
    return True


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
