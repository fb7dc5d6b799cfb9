"""The answer on a terminal: readable at 80 columns and without colour."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from numdev.analysis.numbers import number, whole
from numdev.analysis.reference import CHECK, EXACT, SAME, STEP, UNKNOWN, WRONG
from numdev.analysis.result import Answer, ClassAnswer, WorkloadAnswer
from numdev.analysis.sentences import TITLES, plural, title
from numdev.report.classes import class_tables
from numdev.report.frame import INDENT, print_in, print_notes, print_short, print_title

# Beyond this many classes the sizes fill the screen; the JSON has them all.
MOST_CLASSES = 12
SHOWN = {WRONG: "WRONG", CHECK: "check!", EXACT: "exact", SAME: "same", STEP: "1 step", UNKNOWN: "?"}
COLOURS = {
    "WRONG": "bold red",
    "not rounding": "bold yellow",
    "noisy": "yellow",
    "none": "green",
    "no effect": "green",
}


def print_answer(answer: Answer, console: Console) -> None:
    """Prints every workload's classes, sizes and sentences, and what they come to in short."""
    for one in answer.workloads:
        _workload(one, console)
    print_short(console, answer.short)


def _workload(one: WorkloadAnswer, console: Console) -> None:
    print_title(console, one.workload)
    print_in(console, Text(_heading(one)), below=1)
    for grid in class_tables(one.table, console.width - INDENT):
        print_in(console, grid, below=1)
    print_in(console, _sizes(one))
    if (middle := _middle(one)).row_count:
        print_in(console, middle, above=1)
    print_notes(console, _notes(one))
    console.print()
    print_in(console, _sentences(one), below=1)


def _heading(one: WorkloadAnswer) -> str:
    letters = sum(not each.failed for each in one.classes)
    failed = [each.name for each in one.classes if each.failed]
    if not one.classes:
        text = "no classes: no cell has a result that can be compared"
    elif letters == 1 and not failed:
        text = "one class: the same bytes in every cell that has one"
    else:
        text = plural(letters, "class") + "".join(f" and {name}" for name in failed)
    return f"{plural(one.cell_count, 'cell')}, {plural(one.runs, 'run')}; {text}"


def _sizes(one: WorkloadAnswer) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    judged = any(each.reference for each in one.classes)
    grid.add_column("class", no_wrap=True)
    for header in ("cells", "max abs", "max rel", "max ulp", "top-1"):
        grid.add_column(header, justify="right", no_wrap=True)
    if judged:
        grid.add_column("from reference", no_wrap=True)
    for each in one.classes[:MOST_CLASSES]:
        row = [each.name, str(each.cells), *_size(each, one)]
        if judged:
            row.append(_reference(each))
        grid.add_row(*(Text(text, style=COLOURS.get(text.split(" ")[0], "")) for text in row))
    return grid


def _middle(one: WorkloadAnswer) -> Grid:
    """What most elements have, where the sizes above are the largest: of each output, for these have their own scales."""
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    rows = [(each.name, name, size) for each in one.classes for name, size in each.outputs.items() if size.differ]
    several = any(len(each.outputs) > 1 for each in one.classes)
    ranked = next((size.top_k for _, _, size in rows if size.top_k), None)
    grid.add_column("class", overflow="fold")
    for header in ("mean abs", "median", "99 %", "99 % ulp", "bits", f"top-{ranked}" if ranked else "top-k", "margin"):
        grid.add_column(header, justify="right", no_wrap=True)
    for letter, name, size in rows[:MOST_CLASSES]:
        bits = "-" if size.min_bits is None else f"{size.min_bits}/{size.mean_bits:.1f}"
        top = "-" if size.changed_topk is None else f"{size.changed_topk}/{size.samples}"
        margin = number(size.margin) + ("!" if size.at_risk else "")
        sizes = [number(value) for value in (size.mean_abs, size.median_abs, size.p99_abs)]
        ulp = "-" if size.p99_ulp is None else whole(size.p99_ulp) if size.p99_ulp < 10**6 else f"{size.p99_ulp:.0e}"
        grid.add_row(*map(Text, (f"{letter} {name}" if several else letter, *sizes, ulp, bits, top, margin)))
    return grid


def _size(each: ClassAnswer, one: WorkloadAnswer) -> list[str]:
    size = each.size
    if each.name == one.against:
        return ["baseline" if one.against_is_baseline else "compared", "", "", ""]
    if size is None:
        return ["-", "-", "-", "-"]
    if size.incomparable and not size.total:
        return ["other", "shape", "-", "-"]
    rel = "from 0" if size.max_rel in (None, 0) and size.from_zero else number(size.max_rel)
    ulp = "-" if size.max_ulp is None else whole(size.max_ulp) if size.max_ulp < 10**6 else f"{size.max_ulp:.0e}"
    top = "-" if size.changed_top1 is None else f"{size.changed_top1}/{size.samples}"
    return ["NaN/inf" if size.nonfinite else number(size.max_abs), rel, ulp, top]


def _reference(each: ClassAnswer) -> str:
    if each.reference is None:
        return "-"
    verdict = each.reference.verdict
    if verdict == WRONG:
        return f"WRONG by {number(each.reference.deviation.max_abs)}"
    text = SHOWN.get(verdict) or number(each.reference.relative)
    return f"{text} {each.closer}".strip() if each.closer in ("closer", "further") else text


def _notes(one: WorkloadAnswer) -> list[str]:
    notes = []
    hidden = len(one.classes) - MOST_CLASSES
    if hidden > 0:
        notes.append(f"and {plural(hidden, 'class')} more: see the JSON")
    over = set(one.table.row_factor.split()) | set(one.table.column_factor.split())
    shown = any(set(found) <= over for found in one.sufficient.sets)
    if not shown:
        notes += [f"{each.name}: {each.where}" for each in one.classes[:MOST_CLASSES]]
    if one.against and not one.against_is_baseline:
        notes.append(f"The baseline has no result here: sizes are measured from class {one.against}.")
    for each in one.classes:
        if each.alike:
            notes.append(f"{each.name} equals {', '.join(each.alike)} in the samples they have in common.")
        notes += [f"{each.name}, top-1 of {text}" for text in each.changed_labels]
        if each.size is not None and each.size.incomparable:
            notes.append(f"{each.name}: {each.size.incomparable}")
    if one.short:
        notes.append(f"{plural(one.short, 'repeat')} gave nothing in cells that have a class nevertheless.")
    return notes


def _sentences(one: WorkloadAnswer) -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    sizes = {effect.factor: effect.size for effect in one.effects}
    for sentence in one.sentences:
        text = sentence.text
        # A factor may have more to say after its effect, whose size is told once.
        size = sizes.pop(sentence.about, None)
        if size is not None:
            parts = [] if size.max_abs is None else [f"{number(size.max_abs)} abs"]
            parts += [] if size.max_ulp is None else [f"{number(size.max_ulp)} ulp"]
            text += f"; up to {', '.join(parts)}" if parts else ""
        style = next((colour for start, colour in COLOURS.items() if text.startswith(start)), "")
        grid.add_row(TITLES.get(sentence.about, title(sentence.about)), Text(text, style=style))
    return grid
