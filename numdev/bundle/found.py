"""What a look at a bundle has found: checks, each with what it looked at and what is not as it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from numdev.bundle import printed
from numdev.errors import BundleFailed, InvalidInput, NumdevError, Problem

# Problems of one check that are told; the others are counted.
TOLD = 100
_LONG = 400


@dataclass
class Check:
    """name: in a word. what: what was looked at. more: problems beyond those that are told.

    notes: what could not be checked, or is no fault and worth a word. unreadable: whether something could not even be parsed.
    """

    name: str
    what: str = ""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more: int = 0
    unreadable: bool = False

    def wrong(self, where: str, what: str) -> None:
        problem = Problem(plain(where), plain(what))
        if problem in self.problems:
            return
        if len(self.problems) < TOLD:
            self.problems.append(problem)
        else:
            self.more += 1

    def note(self, text: str) -> None:
        if plain(text) not in self.notes and len(self.notes) < TOLD:
            self.notes.append(plain(text))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What cannot be read inside of the block is a problem of this check, and ends the block."""
        try:
            yield
        except InvalidInput as error:
            self.unreadable |= not isinstance(error, BundleFailed)
            for problem in error.problems or [Problem("", error.what)]:
                self.wrong(problem.where, problem.what)
        except NumdevError as error:
            self.wrong("", f"{error.what} {error.why}".strip())

    def printed(self) -> printed.Check:
        return printed.Check(
            check=self.name,
            what=self.what,
            ok=not self.problems,
            problems=[printed.Found(where=one.where, what=one.what) for one in self.problems],
            more=self.more,
            notes=self.notes,
        )


def plain(text: str) -> str:
    """A stranger's text as a terminal may be shown it: printable ASCII, and not too much."""
    shown = text if len(text) <= _LONG else f"{text[:_LONG]}..."
    return "".join(letter if " " <= letter <= "~" else "?" for letter in shown)


def some(count: int, what: str) -> str:
    """So many of them: "1 file", "2 files"."""
    return f"{count:,} {what}" + ("" if count == 1 else "es" if what.endswith("s") else "s")
