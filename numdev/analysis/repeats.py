"""Run-to-run noise: what equal repeats show, and how little few of them show."""

from __future__ import annotations

from dataclasses import dataclass

from numdev.analysis.classes import Partition


@dataclass(frozen=True)
class Repeats:
    """Repeats of the same cell in fresh processes.

    `least`, `most`: runs of a cell; `cells`: cells that ran more than once, `noisy` of them with different
    outcomes. `comparisons`: repeats beyond the first, pooled over cells. Where none differed, `bound` is the
    rule of three: with 95 % confidence at most this share of runs differs (3 / comparisons, None where that
    says nothing).
    """

    least: int
    most: int
    cells: int
    noisy: int
    comparisons: int
    bound: float | None


def repeats(part: Partition) -> Repeats:
    runs = [cell.runs for cell in part.cells if cell.runs]
    noisy = sum(cell.kind == "noisy" for cell in part.cells)
    comparisons = sum(count - 1 for count in runs)
    bound = 3 / comparisons if comparisons > 3 and not noisy else None
    return Repeats(min(runs, default=0), max(runs, default=0), sum(r > 1 for r in runs), noisy, comparisons, bound)
