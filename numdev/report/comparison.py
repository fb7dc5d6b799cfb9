"""A comparison on a terminal: readable at 80 columns and without colour."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from numdev.analysis.comparison import DIFFERS, NO_RESULT, SAME, ArrayComparison, CellComparison, Comparison, Side
from numdev.analysis.deviation import Deviation
from numdev.analysis.matched import Matched
from numdev.analysis.numbers import number, whole
from numdev.analysis.sentences import plural
from numdev.report.classes import entry

INDENT = 2
# Of each kind; the JSON has all.
MOST = 12


def print_comparison(found: Comparison, console: Console) -> None:
    """Prints sides, sizes, what only one side has, and what it comes to."""
    for letter, side in zip("AB", found.sides, strict=True):
        console.print(Text(f"{letter}: {side.kind} {side.name}{_facts(side)}"))
    for each in found.arrays[:MOST]:
        _array(each, console)
    _more(len(found.arrays), "array", console)
    if found.cells:
        _cells(found.cells, console)
    for letter, names in zip("AB", found.missing if not found.cells else found.only, strict=True):
        if names:
            console.print(Text(f"Only in {letter}: {_some(names)}"))
    for each in found.agreements:
        _agreement(each.workload, each.partitions, console)
    for each in found.matched:
        _matched(each, console)
    if found.unused:
        console.print(Text(f"Named and not there: {_some(found.unused)}"))
    console.print(Rule("In short", align="left", style="bold"))
    for line in in_short(found):
        console.print(Padding(Text(line), (0, 0, 0, INDENT)))


def in_short(found: Comparison) -> list[str]:
    if found.matched:
        said = [_index(each) for each in found.matched]
    elif found.cells or any(found.only):
        counts = [(sum(each.outcome == kind for each in found.cells), kind) for kind in (SAME, DIFFERS, NO_RESULT)]
        words = {SAME: "the same bytes", DIFFERS: "differ", NO_RESULT: "without a result"}
        said = [
            f"{plural(len(found.cells), 'cell')} in both runs: "
            + (", ".join(f"{n} {words[kind]}" for n, kind in counts if n) or "nothing to compare")
        ]
    elif not found.arrays:
        said = ["nothing was compared: the two have no array in common"]
    elif not found.deviates:
        said = ["the same: types, shapes and all bytes"]
    else:
        differ = sum(each.outcome == DIFFERS for each in found.arrays)
        said = [
            f"{differ} of {plural(len(found.arrays), 'array')} differ"
            if len(found.arrays) > 1
            else "they differ"
            if differ
            else "the arrays in common are the same"
        ]
    if found.limited:
        said += [f"beyond the limits: {what}" for what in found.exceeded[:MOST]] or ["within the limits"]
    return said


def _facts(side: Side) -> str:
    if side.kind == "cell":
        rest = [
            level if key in ("workload", "stack", "profile") else f"{key} {level}"
            for key, level in side.facts.items()
            if key != "record"
        ]
        return f" ({', '.join(rest)})"
    return f" ({side.facts['cells']} cells)" if side.kind == "run" else ""


def _more(count: int, word: str, console: Console) -> None:
    if count > MOST:
        console.print(Text(f"and {plural(count - MOST, word)} more: see the JSON", style="dim"))


def _array(each: ArrayComparison, console: Console) -> None:
    console.print(Rule(Text(each.name, style="bold"), align="left"))
    console.print(Padding(Text("\n".join(array_lines(each))), (0, 0, 0, INDENT)))
    if each.size.differ and each.size.max_abs is not None:
        console.print(Padding(_grid(each.size), (0, 0, 0, INDENT)))
    if notes := _notes(each.size) if each.outcome == DIFFERS else []:
        console.print(Padding(Text("\n".join(notes)), (0, 0, 0, INDENT)))


def array_lines(each: ArrayComparison) -> list[str]:
    """What was compared, and whether it differs."""
    size = each.size
    types = each.types[0] if each.types[0] == each.types[1] else f"{each.types[0]} against {each.types[1]}"
    shape = "x".join(map(str, each.shapes[0])) or "scalar"
    if size.incomparable:
        return [f"{types}; not comparable: {size.incomparable}"]
    if not size.total:
        return [f"{types}, {shape}: both are empty"]
    what = "differ in their bytes" if each.types[0] == each.types[1] else "are other numbers"
    lines = [f"{types}, {shape}: {whole(size.differ)} of {whole(size.total)} elements {what}"]
    if not size.finite:
        lines.append("no element is finite on both sides: there is no size")
    return lines


def _grid(size: Deviation) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column("", no_wrap=True)
    for header in ("max", "mean", "median", "99 %"):
        grid.add_column(header, justify="right", no_wrap=True)
    grid.add_row("abs", *map(number, (size.max_abs, size.mean_abs, size.median_abs, size.p99_abs)))
    if size.max_rel is not None:
        grid.add_row("rel", *map(number, (size.max_rel, size.mean_rel, size.median_rel, size.p99_rel)))
    if size.max_ulp is not None:
        grid.add_row("ulp", *map(number, (size.max_ulp, size.mean_ulp, size.median_ulp, size.p99_ulp)))
    return grid


def _notes(size: Deviation) -> list[str]:
    notes = []
    if size.min_bits is not None:
        notes.append(f"matching significand bits: {size.min_bits} at least, {size.mean_bits:.1f} on average")
    counts = [
        (size.nan, "NaN on one side only"),
        (size.nonfinite - size.nan, "infinite on one side only, or of the other sign"),
        (size.payloads, "NaN on both sides with other bytes"),
        (size.signs, "of the other sign"),
        (size.signed_zeros, "-0 against +0"),
        (size.from_zero, "left zero"),
    ]
    notes += [f"{whole(count)} {what}" for count, what in counts if count]
    if size.changed_top1 is not None:
        top = f"top-1 changed in {size.changed_top1} of {plural(size.samples, 'row')}"
        top += "" if size.changed_topk is None else f", top-{size.top_k} in {size.changed_topk}"
        notes.append(top)
        notes += [f"row {row}: {before} -> {after}" for row, before, after in size.examples]
    if size.margin is not None:
        reach = "no row is" if not size.at_risk else "1 row is" if size.at_risk == 1 else f"{size.at_risk} rows are"
        notes.append(f"smallest top-1 margin {number(size.margin)}; {reach} within twice the largest deviation")
    return notes


def _cells(cells: tuple[CellComparison, ...], console: Console) -> None:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column("cell", overflow="fold")
    for header in ("classes", "max abs", "max rel", "max ulp", "top-1"):
        grid.add_column(header, justify="right", no_wrap=True)
    odd = [each for each in cells if each.outcome != SAME]
    for each in odd[:MOST]:
        grid.add_row(Text(each.name), Text(" ".join(name or "-" for name in each.classes)), *map(Text, _sizes(each)))
    if odd:
        console.print()
        console.print(Padding(grid, (0, 0, 0, INDENT)))
        _more(len(odd), "cell", console)
    for each in odd[:MOST]:
        if each.reason:
            console.print(Padding(Text(f"{each.name}: {each.reason}"), (0, 0, 0, INDENT)))


def _sizes(each: CellComparison) -> list[str]:
    size = each.size
    if size is None:
        return ["-"] * 4
    if size.incomparable and not size.total:
        return ["other", "shape", "-", "-"]
    top = "-" if size.changed_top1 is None else f"{size.changed_top1}/{size.samples}"
    ulp = "-" if size.max_ulp is None else whole(size.max_ulp) if size.max_ulp < 10**6 else f"{size.max_ulp:.0e}"
    return ["NaN/inf" if size.nonfinite else number(size.max_abs), number(size.max_rel), ulp, top]


def _matched(each: Matched, console: Console) -> None:
    console.print(Rule(Text(_title(each), style="bold"), align="left"))
    grid = Grid(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for header in ("A", *each.columns, "  B", *each.columns):
        grid.add_column(header, no_wrap=True)
    for row in each.table:
        grid.add_row(Text(row.name), *map(Text, map(entry, row.one)), "", *map(Text, map(entry, row.other)))
    console.print(Padding(grid, (0, 0, 0, INDENT)))
    lines = []
    for letter, pairs in (("A", each.partitions.together), ("B", each.partitions.apart)):
        lines += [f"one class only in {letter}: {one} and {other}" for one, other in pairs[:MOST]]
        if len(pairs) > MOST:
            lines.append(f"and {len(pairs) - MOST} more pairs: see the JSON")
    for letter, names, gaps in zip("AB", each.only, each.without, strict=True):
        lines += [f"Only in {letter}: {_some(names)}"] if names else []
        lines += [f"- in {letter}, {len(some)} {state}: {_some(some)}" for state, some in gaps.items()]
    if lines:
        console.print(Padding(Text("\n".join(lines)), (0, 0, 0, INDENT)))


def _title(each: Matched) -> str:
    rest = ", ".join(each.levels.values())
    return " = ".join(each.workloads) + (f" ({rest})" if rest else "")


def _index(each: Matched) -> str:
    out = sum(map(len, each.only)) + sum(len(some) for side in each.without for some in side.values())
    left = f"; {plural(out, 'place')} could not be compared" if out else ""
    if each.index is None:
        return f"{_title(each)}: too few cells with a class in both runs{left}"
    how = "the same partition" if each.partitions.agree else "not the same partition"
    return f"{_title(each)}: {how} of {each.cells} cells of B (adjusted Rand index {each.index:.3f}){left}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def _agreement(workload: str, found, console: Console) -> None:
    if found.index is None:
        console.print(Text(f"{workload}: too few cells with a class in both runs to compare their partitions"))
        return
    how = "agree" if found.agree else "do not agree"
    console.print(Text(f"{workload}: the classes of {found.cells} cells {how} (adjusted Rand index {found.index:.3f})"))
    for letter, pairs in (("A", found.together), ("B", found.apart)):
        lines = [f"one class only in {letter}: {one} and {other}" for one, other in pairs[:MOST]]
        if len(pairs) > MOST:
            lines.append(f"and {len(pairs) - MOST} more pairs: see the JSON")
        if lines:
            console.print(Padding(Text("\n".join(lines)), (0, 0, 0, INDENT)))
