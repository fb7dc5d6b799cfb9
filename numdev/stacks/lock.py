"""requirements.lock: every package with its exact version and the hashes its wheel may have.

A subset of pip's format, so that pip and uv can read it too: `name==version`, then one `--hash=sha256:...` a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from numdev.errors import InvalidInput, Problem
from numdev.files import read_bytes
from numdev.spec.architecture import X86
from numdev.spec.stack import Stack

LIMIT = 4 << 20

_PACKAGE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Locked:
    """One package: its normalised name, its version, and the SHA-256 of each file that it may come as."""

    name: str
    version: str
    hashes: tuple[str, ...]


def normal(name: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(stack: Stack) -> dict[str, Locked]:
    """The packages of a stack's lock by name.

    Raises:
        InvalidInput: it is missing or malformed, or does not fit the pins; all problems are listed.
    """
    remedy = f"Make it with: numdev images lock {called(stack)}"
    data = read_bytes(stack.lock, LIMIT, f"make it with: numdev images lock {called(stack)}")
    locked, problems = parse_lock(data, str(stack.lock))
    for name, version in stack.pins.items():
        if name not in locked:
            problems.append(Problem(str(stack.lock), f"{name} is pinned in stack.yaml but not locked"))
        elif locked[name].version != version:
            what = f"{name} is locked at {locked[name].version}, but stack.yaml pins {version}"
            problems.append(Problem(str(stack.lock), what))
    if problems:
        raise InvalidInput(f"The lock of the stack {stack.name!r} is not valid.", problems, remedy)
    return locked


def parse_lock(data: bytes, where: str) -> tuple[dict[str, Locked], list[Problem]]:
    """The packages in a lock's bytes, and all that is wrong with it."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        return {}, [Problem(where, f"not ASCII text at byte {error.start}")]
    locked: dict[str, Locked] = {}
    problems: list[Problem] = []
    for number, line in _logical_lines(text):
        first, *rest = line.split()
        place = f"{where}:{number}"
        package = _PACKAGE.fullmatch(first)
        hashes = [_HASH.fullmatch(word) for word in rest]
        if package is None or not all(hashes):
            wrong = first if package is None else rest[hashes.index(None)]
            problems.append(Problem(place, f"{wrong[:80]!r} is neither name==version nor --hash=sha256:..."))
            continue
        name = normal(package[1])
        if not hashes:
            problems.append(Problem(place, f"{name} has no hash"))
        if name in locked:
            problems.append(Problem(place, f"{name} stands twice"))
        locked[name] = Locked(name, package[2], tuple(sorted({match[1] for match in hashes if match})))
    if not locked and not problems:
        problems.append(Problem(where, "no package in it"))
    return dict(sorted(locked.items())), problems


def _logical_lines(text: str) -> list[tuple[int, str]]:
    lines: list[tuple[int, list[str]]] = []
    open_line = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        goes_on = line.endswith("\\")
        line = line.removesuffix("\\").strip()
        if line and open_line:
            lines[-1][1].append(line)
        elif line:
            lines.append((number, [line]))
        open_line = goes_on
    return [(number, " ".join(parts)) for number, parts in lines]


def called(stack: Stack) -> str:
    """What `numdev images` calls a stack for an architecture."""
    return stack.name if stack.architecture == X86 else f"{stack.name} --architecture {stack.architecture}"


def format_lock(locked: Mapping[str, Locked], stack: str) -> bytes:
    """The bytes of a lock, the same for the same packages."""
    lines = [f"# Made by: numdev images lock {stack}"]
    for _, package in sorted(locked.items()):
        lines.append(f"{package.name}=={package.version} \\")
        lines += [f"    --hash=sha256:{digest} \\" for digest in sorted(package.hashes)]
        lines[-1] = lines[-1].removesuffix(" \\")
    return "\n".join(lines).encode("ascii") + b"\n"
