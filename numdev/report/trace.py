"""The trace on a terminal: readable at 80 columns and without colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from numdev.analysis.numbers import number, whole
from numdev.analysis.sentences import plural
from numdev.analysis.tracing import NOISY, SAME, LayerClasses, LayerStep, Pair, Trace, WorkloadTrace

INDENT = 2
PATHS = 8
CELLS = 12
# Rows of a table; the JSON has all.
ROWS = 60
NAME = 22


def print_trace(found: Trace, console: Console) -> None:
    """Prints, for each workload: classes of its layers, where cells part, and what becomes of the deviation."""
    for one in found.workloads:
        console.print(Rule(Text(one.workload, style="bold"), align="left"))
        _workload(one, console)
    if found.missing:
        console.print(Text(f"{plural(found.missing, 'run')} missing: run the matrix again"))


def _workload(one: WorkloadTrace, console: Console) -> None:
    lines = [
        f"{plural(len(one.taps), 'cell')}, {plural(len(one.paths), 'path')} through {plural(len(one.layers), 'layer')}"
    ]
    if one.first:
        lines.append(f"first layer with more than one class: {one.first}")
    elif one.layers:
        lines.append("no layer that was looked at has more than one class")
    states = Counter((tap.status, tap.reason) for tap in one.taps if tap.status != SAME)
    for (status, reason), count in states.items():
        lines.append(f"tap of {plural(count, 'cell')}: {status}" + (f" ({reason})" if reason else ""))
    if one.noisy:
        lines.append(f"noisy: {_few(one.noisy)}; nothing is said of what differs there")
    for path in one.paths[:PATHS]:
        lines.append(f"{path.name}: {_few(path.cells, CELLS)}")
    if len(one.paths) > PATHS:
        lines.append(f"and {plural(len(one.paths) - PATHS, 'path')} more: see the JSON")
    _print(lines, console)
    if one.first or one.noisy:
        _indented(_classes(one), console)
        if len(one.layers) > ROWS:
            _print([f"and {plural(len(one.layers) - ROWS, 'layer')} more: see the JSON"], console)
    for pair in one.pairs:
        console.print()
        _pair(pair, console)
    if one.left_out:
        _print([f"{plural(one.left_out, 'path')} more not compared with the first: use --between"], console)


def _classes(one: WorkloadTrace) -> Grid:
    grid = _grid("layer", "op")
    grid.add_column("mult.", justify="right", no_wrap=True)
    for path in one.paths[:PATHS]:
        grid.add_column(path.name, no_wrap=True)
    for row in one.layers[:ROWS]:
        classes = [name or "-" for name in row.classes[:PATHS]]
        grid.add_row(*map(Text, (_short(row.name, NAME), _short(row.op, 12), _count(row), *classes)))
    return grid


def _pair(pair: Pair, console: Console) -> None:
    _print([f"{pair.between[1]} against {pair.between[0]}"], console)
    steps = [step for step in pair.layers if step.effect != SAME]
    if pair.first:
        grid = _grid("layer")
        for header in ("mult.", "bound", "max abs", "max ulp", "of scale", "factor"):
            grid.add_column(header, justify="right", no_wrap=True)
        grid.add_column("effect", no_wrap=True)
        for step in steps[:ROWS]:
            grid.add_row(*map(Text, _row(step)))
        _indented(grid, console)
        if len(steps) > ROWS:
            _print([f"and {plural(len(steps) - ROWS, 'layer')} more: see the JSON"], console)
    for side, names in zip(pair.between, pair.only, strict=True):
        if names:
            _print([f"only in {side}: {_few(names)}"], console)
    _print(list(pair.said), console)


def _row(step: LayerStep) -> list[str]:
    size = step.size
    absolute = (
        "-"
        if size is None
        else "NaN/inf"
        if size.nonfinite
        else "other shape"
        if size.incomparable
        else number(size.max_abs)
    )
    ulp = size.max_ulp if size else None
    effect = "noisy" if step.effect == NOISY else step.effect
    return [
        _short(step.name, NAME),
        _count(step),
        number(step.bound),
        absolute,
        "-" if ulp is None else whole(ulp) if ulp < 10**6 else f"{ulp:.0e}",
        number(step.relative),
        number(step.factor),
        effect,
    ]


def _count(row: LayerClasses | LayerStep) -> str:
    return "-" if row.multiplications is None else whole(row.multiplications)


def _grid(*headers: str) -> Grid:
    grid = Grid(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for header in headers:
        grid.add_column(header, no_wrap=True)
    return grid


def _short(name: str, most: int) -> str:
    """The end of a name is what tells layers apart."""
    return name if len(name) <= most else "…" + name[1 - most :]


def _few(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _indented(what, console: Console) -> None:
    console.print(Padding(what, (0, 0, 0, INDENT)))


def _print(lines: list[str], console: Console) -> None:
    for line in lines:
        _indented(Text(line), console)
