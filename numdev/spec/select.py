"""`-k`: choosing cells by an expression over their levels, as pytest chooses tests by their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from numdev.errors import InvalidInput, Problem
from numdev.spec.cell import Cell

_TOKEN = re.compile(r"\s*(?:(\(|\))|([^\s()]+))")


def selector(text: str) -> Callable[[Cell], bool]:
    """A predicate for e.g. `haswell and not torch`, `threads=2`, `(v2 or v3) and cnn`.

    A word matches a cell when it is contained in its workload or in one of its levels; `factor=level` must be
    equal. `and`, `or`, `not` and parentheses combine.

    Raises:
        InvalidInput: the expression does not parse.
    """
    tokens = [first or second for first, second in _TOKEN.findall(text)]
    if not tokens or len(tokens) > 200:
        raise _wrong(text, "is empty" if not tokens else "is too long")
    position = 0

    def peek() -> str | None:
        return tokens[position] if position < len(tokens) else None

    def take() -> str:
        nonlocal position
        if position >= len(tokens):
            raise _wrong(text, "ends too early")
        position += 1
        return tokens[position - 1]

    def either() -> Callable[[Cell], bool]:
        left = both()
        while peek() == "or":
            take()
            left = (lambda a, b: lambda cell: a(cell) or b(cell))(left, both())
        return left

    def both() -> Callable[[Cell], bool]:
        left = one()
        while peek() == "and":
            take()
            left = (lambda a, b: lambda cell: a(cell) and b(cell))(left, one())
        return left

    def one() -> Callable[[Cell], bool]:
        token = take()
        if token == "not":
            inner = one()
            return lambda cell: not inner(cell)
        if token == "(":
            inner = either()
            if peek() != ")":
                raise _wrong(text, "lacks a closing parenthesis")
            take()
            return inner
        if token in (")", "and", "or"):
            raise _wrong(text, f"has {token!r} where a word should be")
        return _word(token)

    result = either()
    if peek() is not None:
        raise _wrong(text, f"has {peek()!r} too much", "join words with `and` or `or`")
    return result


def _word(token: str) -> Callable[[Cell], bool]:
    if "=" in token:
        key, _, value = token.partition("=")
        # A cell without the factor has no level of it, not even "None".
        return lambda cell: value in (str(level) for name, level in _levels(cell) if name == key)
    return lambda cell: any(token in str(level) for _, level in _levels(cell))


def _levels(cell: Cell) -> list[tuple[str, Any]]:
    return [("workload", cell.workload), *cell.factors.items()]


def _wrong(text: str, what: str, remedy: str = "") -> InvalidInput:
    return InvalidInput("The selection cannot be read.", [Problem(f"-k {text!r}", what, remedy)])
