"""What became of the cells of two sides, as text: for `bundle rerun` and `bundle diff`."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from numdev.bundle import compared
from numdev.bundle.compared import CellCompared, Compared
from numdev.bundle.found import some
from numdev.bundle.stranger import plain
from numdev.cli.lines import wrapped

# Cells that are named in one line; all are in the JSON.
_NAMED = 12


def tell(console: Console, found: Compared, words: Mapping[str, str]) -> None:
    """Prints counts, classes, and every cell that is not the same, those alike together.

    words: what `there` and `here` are called.
    """
    counts = ", ".join(f"{count} {_said(outcome, words)}" for outcome, count in found.counts.items())
    wrapped(console, f"{some(len(found.cells), 'cell')}: {counts or 'none'}.")
    for one in found.classes:
        many = f"{some(one.one, 'class')} {words['there']}, {one.other} {words['here']}, of {some(one.cells, 'cell')}"
        index = "" if one.index is None else f" (adjusted Rand index {one.index:.3g})"
        same = "the same partition" if one.alike else "another partition"
        wrapped(console, f"{plain(one.workload, 64)}: {many}: {same}{index}.")
    groups: dict[tuple[str, ...], list[CellCompared]] = {}
    for cell in found.cells:
        if cell.outcome == compared.SAME and not cell.reason:
            continue
        told = cell.verdict
        key = (told.first, told.cause, told.why, told.layer) if told else ()
        groups.setdefault((cell.outcome, cell.reason, *key), []).append(cell)
    for (outcome, reason, *_), cells in groups.items():
        names = [plain(cell.pair.name) for cell in cells[:_NAMED]]
        more = f" and {len(cells) - _NAMED} more (--json has all)" if len(cells) > _NAMED else ""
        console.print()
        wrapped(console, f"{_said(outcome, words)}: {', '.join(names)}{more}")
        if reason:
            wrapped(console, reason, "  ")
        if told := cells[0].verdict:
            wrapped(console, f"first differing factor: {told.first or 'none that is recorded'}", "  ")
            wrapped(console, f"layer: {told.layer}", "  ")
            wrapped(console, f"likely cause: {told.cause}: {told.why}", "  ")


def _said(outcome: str, words: Mapping[str, str]) -> str:
    first, _, last = outcome.rpartition(" ")
    return f"{first} {words[last]}" if last in words else outcome
