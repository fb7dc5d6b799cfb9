"""Errors: what they say, and the exit codes that the docs list."""

from __future__ import annotations

import re
from pathlib import Path

from numdev import errors
from numdev.errors import InvalidInput, NumdevError, Problem

DOCS = Path(__file__).resolve().parents[1] / "docs" / "exit-codes.md"


def classes(root: type[NumdevError]) -> list[type[NumdevError]]:
    return [root, *(found for child in root.__subclasses__() for found in classes(child))]


def test_every_exit_code_is_in_the_docs_and_no_other():
    used = {found.code for found in classes(NumdevError) if found.__module__ == errors.__name__}
    used |= {0, 2, errors.INCOMPLETE, errors.DEVIATION, errors.OTHER_BITS, errors.LEFT_OUT, errors.INTERRUPTED}
    listed = {int(code) for code in re.findall(r"^\| ([0-9]+) \|", DOCS.read_text(), re.M)}
    assert listed == used


def test_each_kind_of_error_has_a_code_of_its_own():
    direct = [found.code for found in NumdevError.__subclasses__() if found.__module__ == errors.__name__]
    assert len(direct) == len(set(direct))


def test_an_error_says_what_why_and_what_to_do():
    assert str(NumdevError("It broke.", "it was old", "Mend it.")) == "It broke.\nWhy: it was old\nWhat to do: Mend it."
    assert str(NumdevError("It broke.")) == "It broke."


def test_all_problems_are_listed():
    error = InvalidInput("Two are wrong.", [Problem("a", "first", "mend it"), Problem("b", "second")], "Try again.")
    assert str(error).splitlines() == [
        "Two are wrong.",
        "  - a: first (mend it)",
        "  - b: second",
        "What to do: Try again.",
    ]
