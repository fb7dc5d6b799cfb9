"""Noise: what equal repeats show, in fresh processes and inside one, and how little few of them show."""

from __future__ import annotations

from dataclasses import dataclass

from numdev.analysis.classes import Cell, Partition
from numdev.analysis.observation import outcome_digest

# The rule of three: no event in n independent trials bounds its probability by 3 / n with 95 % confidence (Hanley and
# Lippman-Hand 1983).
THREE = 3


@dataclass(frozen=True)
class Repeats:
    """Repeats of the same cell in fresh processes, and of the inference inside a process.

    `least`, `most`: runs of a cell; `cells`: cells that ran more than once, `noisy` of those with different outcomes.
    `comparisons`: repeats beyond the first, pooled over cells. Where none differed, `bound` is the rule of three: with 95 %
    confidence at most this share of runs differs (3 / comparisons, None where that says nothing). `inside`: inferences beyond
    the first of their process; `unsteady`: cells in which these differ; `inside_bound` as `bound`.
    """

    least: int
    most: int
    cells: int
    noisy: int
    comparisons: int
    bound: float | None
    inside: int = 0
    unsteady: int = 0
    inside_bound: float | None = None


def repeats(part: Partition) -> Repeats:
    runs = [cell.runs for cell in part.cells if cell.runs]
    noisy = sum(cell.kind == "noisy" for cell in part.cells)
    between = sum(len(cell.spread) > 1 for cell in part.cells)
    unsteady = sum(cell.unsteady > 0 for cell in part.cells)
    comparisons, inside = sum(count - 1 for count in runs), sum(cell.rounds for cell in part.cells)
    several = sum(cell.runs > 1 or cell.rounds > 0 for cell in part.cells)
    return Repeats(
        min(runs, default=0),
        max(runs, default=0),
        several,
        noisy,
        comparisons,
        None if between else at_most(comparisons),
        inside,
        unsteady,
        None if unsteady else at_most(inside),
    )


def at_most(trials: int) -> float | None:
    """The probability that so many trials without an event leave possible, at 95 % confidence; None where it is any."""
    return THREE / trials if trials > THREE else None


def outcomes(cell: Cell, part: Partition) -> dict[str, int]:
    """How many runs of a cell had which outcome: the class that has these bytes, a status, or `~1`, `~2`, ... for others."""
    known = {outputs: each.name for each in part.classes for outputs in each.outputs.values()}
    found: dict[str, int] = {}
    for outcome, count in cell.spread:
        if isinstance(outcome, str):
            found[outcome] = count
        else:
            found[known.get(outcome) or _next(found)] = count
    return found


def outcomes_inside(cell: Cell, part: Partition) -> dict[str, int]:
    """The same of the inferences inside processes."""
    known = {outcome_digest(outputs): each.name for each in part.classes for outputs in each.outputs.values()}
    found: dict[str, int] = {}
    for digest, count in cell.inside:
        found[known.get(digest) or _next(found)] = count
    return found


def _next(found: dict[str, int]) -> str:
    return f"~{sum(name.startswith('~') for name in found) + 1}"
