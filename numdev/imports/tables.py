"""Tables in Feather files, read by pyarrow in a process of its own: it is C++, and the files are somebody else's."""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys
from typing import Any

MEMORY = 8 << 30
SECONDS = 60
MOST_ROWS = 1_000_000
MOST_COLUMNS = 50


class NoTable(Exception):
    """A table cannot be read; the message says why."""


def read_table(data: bytes) -> dict[str, list[float]]:
    """The columns of numbers of a Feather file; raises NoTable for anything else, or without pyarrow."""
    if importlib.util.find_spec("pyarrow") is None:
        raise NoTable("pyarrow is needed to read it: pip install 'numdev[feather]'")
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], input=data, capture_output=True, timeout=2 * SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoTable(f"reading it took longer than {2 * SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        why = "".join(letter for letter in "".join(said) if letter.isprintable())[:200]
        raise NoTable(f"it is no Feather file that can be read: {why or f'its reader ended with {done.returncode}'}")
    return json.loads(done.stdout)


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import pyarrow
    from pyarrow import feather

    data = sys.stdin.buffer.read()
    if data[:6] != b"ARROW1":
        raise ValueError("it does not begin as one")
    table: Any = feather.read_table(pyarrow.BufferReader(data), use_threads=False)
    if table.num_rows > MOST_ROWS or table.num_columns > MOST_COLUMNS:
        raise ValueError(f"it has {table.num_rows} rows of {table.num_columns} columns")
    table.validate(full=True)
    kinds = pyarrow.types
    numbers = [one.name for one in table.schema if kinds.is_integer(one.type) or kinds.is_floating(one.type)]
    columns = {name: table[name].to_pylist() for name in numbers}
    json.dump(columns, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    _main()
