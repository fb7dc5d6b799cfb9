"""The table of classes over two factors, in as many blocks of columns as the width needs."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table as Grid
from rich.text import Text

from numdev.analysis.sentences import short_names, title
from numdev.analysis.table import Table

GAP = 2
# More classes than this in one place are counted.
MOST = 4


def class_tables(table: Table, width: int) -> Iterator[Grid]:
    """Grids of at most `width` columns of text; none where the table has a single entry."""
    if len(table.rows) * len(table.columns) < 2:
        return
    short = short_names(table.columns)
    entries = [[entry(found) for found in row] for row in table.entries]
    corner = _corner(table, short)
    first = max(len(corner), *map(len, table.rows)) + GAP
    widths = [
        max(len(short[column]), *(len(row[place]) for row in entries)) + GAP
        for place, column in enumerate(table.columns)
    ]
    place = 0
    while place < len(table.columns):
        end, used = place + 1, first + widths[place]
        while end < len(table.columns) and used + widths[end] <= width:
            used += widths[end]
            end += 1
        yield _grid(table, corner, short, entries, place, end)
        place = end


def _corner(table: Table, short: dict[str, str]) -> str:
    if not table.column_factor:
        return title(table.row_factor.split(" ")[0])
    column = table.columns[0]
    prefix = column[: -len(short[column])].rstrip("-")
    return prefix or title(table.column_factor)


def _grid(table: Table, corner: str, short: dict[str, str], entries: list[list[str]], start: int, end: int) -> Grid:
    grid = Grid(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column(Text(corner), no_wrap=True)
    for column in table.columns[start:end]:
        grid.add_column(Text(short[column]), no_wrap=True)
    for level, row in zip(table.rows, entries, strict=True):
        grid.add_row(Text(level), *(Text(text) for text in row[start:end]))
    return grid


def entry(found: tuple[str, ...]) -> str:
    """`A`, `A B`, `A..H (6)`, or nothing where no cell was asked for."""
    if len(found) > MOST:
        return f"{found[0]}..{found[-1]} ({len(found)})"
    return " ".join(found)
