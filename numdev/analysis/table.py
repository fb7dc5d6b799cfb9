"""The classes over two factors."""

from __future__ import annotations

from dataclasses import dataclass

from numdev.analysis.classes import NOISY, Partition

ROWS, COLUMNS = "profile", "stack"


@dataclass(frozen=True)
class Table:
    """`entries[row][column]` has the classes there, one for every level of the other factors they depend on.

    `~` is a noisy cell; a gap's status is in brackets; nothing at all means that no cell was asked for.
    `row_factor` is empty for a single row, `column_factor` for a single column.
    """

    row_factor: str
    column_factor: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    entries: tuple[tuple[tuple[str, ...], ...], ...]


def table(part: Partition) -> Table:
    """Profile by stack where both are factors, else the factors with the most levels in their place."""
    left = sorted(
        (name for name in part.levels if name not in (ROWS, COLUMNS)),
        key=lambda name: -len(part.levels[name]),
    )
    rows = ROWS if ROWS in part.levels else (left.pop(0) if left else "")
    columns = COLUMNS if COLUMNS in part.levels else (left.pop(0) if left else "")
    names = [one.name for one in part.classes]
    found: dict[tuple[str, str], set[str]] = {}
    for cell in part.cells:
        at = cell.levels.get(rows, ""), cell.levels.get(columns, "")
        found.setdefault(at, set()).add(part.name(cell) or f"({cell.status})")
    order = {name: place for place, name in enumerate([*names, NOISY])}
    row_levels, column_levels = (tuple(part.levels.get(name, [""])) for name in (rows, columns))
    entries = tuple(
        tuple(
            tuple(sorted(found.get((row, column), ()), key=lambda name: (order.get(name, len(order)), name)))
            for column in column_levels
        )
        for row in row_levels
    )
    return Table(rows, columns, row_levels, column_levels, entries)
