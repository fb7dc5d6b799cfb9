"""Mitigations on a terminal: readable at 80 columns and without colour."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from numdev.analysis.mitigated import Mitigations, Row, Solution, Subject
from numdev.analysis.mitigation import Measured
from numdev.analysis.numbers import number
from numdev.analysis.sentences import plural
from numdev.report.frame import INDENT, print_in, print_notes, print_short, print_title

# What a person wants to compare; the steps of the search between these are in the JSON.
SHOWN = ("alone", "all")
# A longer set is told by its place in the search.
LONG = 2


def print_mitigations(answer: Mitigations, console: Console) -> None:
    """Prints what each set of pins leaves and costs, what to paste, and what it comes to in short."""
    for one in answer.subjects:
        _subject(one, console)
    print_short(console, answer.short)


def _subject(one: Subject, console: Console) -> None:
    print_title(console, one.title)
    if one.base is not None:
        print_in(console, Text(_heading(one, one.base)), below=1)
        print_in(console, _grid(one, one.base), below=1)
    print_notes(console, _notes(one))
    if one.solutions:
        print_in(console, Text(f"\n# {_name(one.solutions[0])}", style="bold"))
        for line in (*one.solutions[0].snippet.shell, *one.solutions[0].snippet.python):
            # To be pasted: never wrapped.
            console.print(f"{' ' * INDENT}{line}", markup=False, soft_wrap=True)
    console.print()


def _name(one: Solution) -> str:
    parts = [*one.pins, *([f"rounded to {plural(one.decimals, 'decimal')}"] if one.decimals is not None else [])]
    return " + ".join(parts)


def _heading(one: Subject, base: Measured) -> str:
    profiles = list(dict.fromkeys(cell["profile"] for cell in one.cells))
    odd = f" and {plural(len(base.odd), 'odd cell')}" if base.odd else ""
    return f"{plural(base.cells, 'cell')} ({', '.join(profiles)}); {plural(base.classes, 'class')}{odd}"


def _grid(one: Subject, base: Measured) -> Grid:
    grid = Grid(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    judged = base.reference is not None
    grid.add_column("with", overflow="fold")
    for header in ("classes", "apart", "dec", "time", "moves", "top-1"):
        grid.add_column(header, justify="right", no_wrap=True)
    grid.add_column("set", no_wrap=True)
    if judged:
        grid.add_column("error", justify="right", no_wrap=True)
    grid.add_row("nothing", *_left(base), "1", "-", "-", "", *([_error(base)] if judged else []))
    found = {solution.pins for solution in one.solutions}
    for row in _rows(one):
        style = "green" if row.measured.score.holds else ""
        name = _set(row, found)
        if row.unsupported:
            cells = [name, "not here"]
        else:
            cells = [name, *_left(row.measured), _time(row.measured), *_moves(row.measured), _took(row)]
            cells += [_error(row.measured)] if judged else []
        grid.add_row(*(Text(cell, style=style) for cell in cells))
    return grid


def _set(row: Row, found: set[tuple[str, ...]]) -> str:
    few = len(row.pins) <= LONG or row.pins in found
    return " + ".join(row.pins) if few else f"{row.why} ({len(row.pins)})"


def _rows(one: Subject) -> list[Row]:
    found = {solution.pins for solution in one.solutions if solution.pins}
    return [row for row in one.rows if row.why.startswith(SHOWN) or row.pins in found]


def _left(measured: Measured) -> list[str]:
    odd = f"+{len(measured.odd)} odd" if measured.odd else ""
    apart = measured.left
    size = "-" if apart is None else "NaN/inf" if apart.nonfinite else number(apart.max_abs)
    rounded = "-" if measured.decimals is None or measured.odd else f"{measured.decimals}"
    return [f"{measured.classes}{odd}", size, rounded]


def _time(measured: Measured) -> str:
    if measured.slower is None or measured.slowest is None:
        return "-"
    middle, most = f"{measured.slower:.1f}", f"{measured.slowest:.1f}"
    return middle if middle == most else f"{middle}-{most}"


def _moves(measured: Measured) -> list[str]:
    change = measured.change
    if change is None:
        return ["-", "-"]
    top = "-" if change.changed_top1 is None else f"{change.changed_top1}/{change.samples}"
    return [number(change.max_abs), top]


def _took(row: Row) -> str:
    said = set(row.took.values())
    return "no" if "no" in said else "yes" if said == {"yes"} else "?"


def _error(measured: Measured) -> str:
    if measured.reference is None:
        return "-"
    return (
        number(measured.reference.relative) if measured.reference.relative is not None else measured.reference.verdict
    )


def _notes(one: Subject) -> list[str]:
    notes = [f"Without a result before any pin, and left out: {line}" for line in one.without]
    if one.already:
        notes.append(f"Every cell has these as it is: {', '.join(one.already)}.")
    found = {solution.pins for solution in one.solutions}
    for row in _rows(one):
        if row.unsupported:
            notes.append(f"{_set(row, found)} cannot be set: {row.unsupported}")
        else:
            notes += [f"{_set(row, found)}: {line}" for line in row.measured.odd[:3]]
    hidden = len(one.rows) - len(_rows(one))
    if hidden:
        notes.append(f"{plural(hidden, 'set')} more on the way: see the JSON.")
    return notes
