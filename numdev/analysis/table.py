"""The classes over two factors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from numdev.analysis.classes import NOISY, Partition
from numdev.analysis.dispatch import PARTS, shown
from numdev.analysis.effects import NO_EFFECT, Effect

ROWS, COLUMNS = "profile", "stack"


@dataclass(frozen=True)
class Table:
    """`entries[row][column]` has the classes there, one for every level of the other factors they depend on.

    `~` is a noisy cell; a gap's status is in brackets; nothing at all means that no cell was asked for.
    `row_factor` is empty for a single row, `column_factor` for a single column. Where parts of the CPU are factors of
    their own, `row_factor` names several, with spaces, and a row is a CPU.
    """

    row_factor: str
    column_factor: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    entries: tuple[tuple[tuple[str, ...], ...], ...]


def table(part: Partition, effects: Iterable[Effect] = ()) -> Table:
    """Profile by stack where both are factors, else the factors with the most levels in their place.

    Parts of the profile that have no effect here have no rows of their own.
    """
    left = sorted(
        (name for name in part.levels if name not in (ROWS, COLUMNS)),
        key=lambda name: -len(part.levels[name]),
    )
    rows = ROWS if ROWS in part.levels else (left.pop(0) if left else "")
    columns = COLUMNS if COLUMNS in part.levels else (left.pop(0) if left else "")
    factors = [rows]
    if rows == ROWS:
        still = {one.factor for one in effects if one.status == NO_EFFECT and len(one.compared) == 1}
        factors += [
            name for name in PARTS if len(part.levels.get(name, ())) > 1 and name not in still and name != columns
        ]
    names = [one.name for one in part.classes]
    found: dict[tuple[str, str], set[str]] = {}
    at: dict[tuple[int, ...], str] = {}
    for cell in part.cells:
        levels = {name: cell.levels.get(name, "") for name in factors}
        row = shown(levels) if rows == ROWS else levels[rows]
        at[tuple(part.levels[name].index(level) for name, level in levels.items() if name in part.levels)] = row
        found.setdefault((row, cell.levels.get(columns, "")), set()).add(part.name(cell) or f"({cell.status})")
    order = {name: place for place, name in enumerate([*names, NOISY])}
    row_levels = tuple(at[places] for places in sorted(at))
    column_levels = tuple(part.levels.get(columns, [""]))
    entries = tuple(
        tuple(
            tuple(sorted(found.get((row, column), ()), key=lambda name: (order.get(name, len(order)), name)))
            for column in column_levels
        )
        for row in row_levels
    )
    return Table(" ".join(factors), columns, row_levels, column_levels, entries)
