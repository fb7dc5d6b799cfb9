"""Attribution on a terminal: what each factor and each group explains, what is open, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from numdev.analysis.attribution import FactorShare, GroupShare
from numdev.analysis.blame import TITLES, share
from numdev.analysis.indices import Interaction
from numdev.analysis.result import Answer, WorkloadAnswer
from numdev.analysis.sentences import listed, plural, spread_sentence, title

INDENT = 2
# More lines of one kind than this are in the JSON.
MOST = 12


def print_attribution(answer: Answer, console: Console) -> None:
    """Prints every workload's attribution."""
    for one in answer.workloads:
        _workload(one, console)
    if not answer.workloads:
        console.print("There are no results.")


def _workload(one: WorkloadAnswer, console: Console) -> None:
    console.print(Rule(Text(one.workload, style="bold"), align="left"))
    statuses = ", ".join(f"{count} {status}" for status, count in one.cells.items())
    complete = "every combination of levels has a class" if one.complete else "not every combination has a class"
    classes = plural(len(one.classes), "class")
    heading = f"{plural(one.cell_count, 'cell')}: {statuses}; {classes}; {complete}"
    console.print(Padding(Text(heading), (0, 0, 1, INDENT)))
    rows = [(title(name), each) for name, each in one.factors.items()]
    console.print(Padding(_shares("factor", rows), (0, 0, 1, INDENT)))
    groups = [(TITLES[name], each) for name, each in one.groups.items() if each.factors]
    console.print(Padding(_shares("group", groups), (0, 0, 1, INDENT)))
    console.print(Padding(_lines(one), (0, 0, 1, INDENT)))


def _shares(what: str, rows: Iterable[tuple[str, FactorShare | GroupShare]]) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column(what, overflow="fold")
    grid.add_column("", no_wrap=True)
    # The first three weigh that a class is another one, the others by how much.
    for header in ("alone", "total", "fair", "by size", "total", "fair"):
        grid.add_column(header, justify="right", no_wrap=True)
    for name, one in rows:
        size = one.magnitude
        values = (one.alone, one.total, one.shapley, size.alone, size.total, size.shapley)
        style = "bold" if one.status == "cause" else "green" if one.status == "no effect" else ""
        grid.add_row(Text(name), Text(one.status, style=style), *(Text(share(value)) for value in values))
    return grid


def _lines(one: WorkloadAnswer) -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for about, texts in (
        ("sufficient", _sets(one)),
        ("outputs", _outputs(one)),
        ("combined", [_combined(each) for each in one.interactions]),
        ("not identified", _open(one)),
        ("cells to add", [_levels(cell, one.levels) for cell in one.missing_cells]),
        ("noisy", _noisy(one)),
        ("note", one.attribution_notes),
        ("verdict", one.verdict),
    ):
        kept = list(texts)[:MOST]
        for text in kept:
            grid.add_row(about, Text(text))
        if len(texts) > len(kept):
            grid.add_row(about, Text(f"and {len(texts) - len(kept)} more: see the JSON"))
    return grid


def _named(factors: Sequence[str]) -> str:
    return " and ".join(map(title, factors)) or "nothing"


def _combined(each: Interaction) -> str:
    return _named(each.factors) + ("" if each.share is None else f": {share(each.share)}")


def _sets(one: WorkloadAnswer) -> list[str]:
    return [_named(each) for each in one.sufficient.sets] if one.sufficient.searched else ["too many sets to list"]


def _outputs(one: WorkloadAnswer) -> list[str]:
    if len(one.outputs) < 2:
        return []
    lines = []
    for each in one.outputs:
        classes = " | ".join(" ".join(group) for group in each.partition)
        sets = ", or ".join(map(_named, each.sufficient))
        lines.append(f"{each.name}: {classes}" + (f"; from {sets}" if len(each.partition) > 1 else ""))
    return lines


def _open(one: WorkloadAnswer) -> list[str]:
    lines = []
    for name, each in one.factors.items():
        if each.not_identified is not None:
            with_ = listed(map(_named, each.not_identified.varies_with))
            text = f"{title(name)} cannot be told from {with_}" if with_ else f"{title(name)} was never set alone"
            cells = plural(len(each.not_identified.cells), "cell")
            lines.append(text + (f"; {cells} would tell" if each.not_identified.cells else ""))
    return lines


def _levels(cell: Mapping[str, str], levels: Mapping[str, Sequence[str]]) -> str:
    return " ".join(f"{name}={level}" for name, level in cell.items() if len(levels[name]) > 1)


def _noisy(one: WorkloadAnswer) -> list[str]:
    lines = []
    for each in one.noise:
        text = f"{_levels(each.levels, one.levels) or 'the only cell'}: {spread_sentence(each.runs)} in processes"
        lines.append(text + (f"; {spread_sentence(each.inferences)} inside" if each.inferences else ""))
    return lines
