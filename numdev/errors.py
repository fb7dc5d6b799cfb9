"""Every error a user can cause, with an exit code of its own.

Each says what happened, why, and what to do. The tree (exit code in brackets):

    NumdevError [1]
    ├── InvalidInput [3]         a file or an argument is not what it should be; lists all problems
    ├── EngineUnavailable [6]    no engine can run the cells
    ├── ProfileRefused [7]       this host cannot show the requested CPU
    ├── StackFailed [8]          an image or an environment cannot be made
    ├── HashMismatch [9]         a file is not the one that was pinned
    ├── StoreFailed [10]         a store is damaged, or from a newer numdev
    ├── StorageFailed [11]       the disk is full or may not be written
    ├── DownloadFailed [12]      something pinned cannot be fetched
    └── BundleFailed [15]        a bundle, or its signature, is not what it says; lists all that is missing or changed

Not errors, but exit codes too: 0 complete, 2 wrong usage (from the command line parser), 4 some cells have no
result, 5 a deviation was found and `--fail-on-deviation` was given, 13 recorded bits are not given here, 14 an
import had to leave something out, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

INCOMPLETE = 4
DEVIATION = 5
OTHER_BITS = 13
LEFT_OUT = 14
INTERRUPTED = 130


class NumdevError(Exception):
    """What happened, why, and what to do about it."""

    code = 1

    def __init__(self, what: str, why: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"Why: {self.why}")
        if self.remedy:
            parts.append(f"What to do: {self.remedy}")
        return "\n".join(parts)


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong in a file: where (file and key), what, and how to mend it."""

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.remedy})" if self.remedy else "")


class InvalidInput(NumdevError):
    """Something the user wrote is wrong; all its problems are listed at once."""

    code = 3

    def __init__(self, what: str, problems: Iterable[Problem] = (), remedy: str = "") -> None:
        self.problems = list(problems)
        super().__init__(what, remedy=remedy)

    def __str__(self) -> str:
        lines = [self.what, *(f"  - {problem}" for problem in self.problems)]
        if self.remedy:
            lines.append(f"What to do: {self.remedy}")
        return "\n".join(lines)


class EngineUnavailable(NumdevError):
    code = 6


class ProfileRefused(NumdevError):
    code = 7


class StackFailed(NumdevError):
    code = 8


class NoBase(StackFailed):
    """There is no base system to build images on: nothing is wrong with the stack itself."""


class HashMismatch(NumdevError):
    code = 9


class StoreFailed(NumdevError):
    code = 10


class StorageFailed(NumdevError):
    code = 11


class DownloadFailed(NumdevError):
    code = 12


class BundleFailed(InvalidInput):
    """A bundle can be read, and is not whole, or not what it says of itself."""

    code = 15
