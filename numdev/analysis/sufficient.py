"""Minimal sets of factors of which the class is a function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from numdev.analysis.classes import Partition
from numdev.analysis.effects import DEPENDS, NO_EFFECT, NOT_VARIED, Effect

# Beyond this many undecided factors the subsets are too many to try.
UNDECIDED = 14


@dataclass(frozen=True)
class Sufficient:
    """All minimal sets of factors that fix the class of every cell that has one.

    `identified`: there is one set, and matched pairs connect all levels of every other factor without an
    effect. `untested` names the factors for which they do not. `searched` is False where there were too many
    candidates.
    """

    sets: tuple[tuple[str, ...], ...]
    identified: bool
    untested: tuple[str, ...] = ()
    searched: bool = True


def sufficient(part: Partition, effects: Iterable[Effect]) -> Sufficient:
    """From the effects of all factors. A factor with a differing matched pair is in every set."""
    effects = list(effects)
    needed = [one.factor for one in effects if one.status == DEPENDS]
    undecided = [one.factor for one in effects if one.status not in (DEPENDS, NOT_VARIED)]
    if not any(cell.comparable for cell in part.cells):
        return Sufficient((), False, tuple(undecided))
    if len(undecided) > UNDECIDED and not fixes(part, needed):
        return Sufficient((), False, tuple(undecided), searched=False)
    sets: list[frozenset[str]] = []
    for count in range(len(undecided) + 1):
        for added in combinations(undecided, count):
            if any(known <= set(added) for known in sets):
                continue
            if fixes(part, [*needed, *added]):
                sets.append(frozenset(added))
        if frozenset() in sets:
            break
    named = tuple(tuple(name for name in part.levels if name in needed or name in added) for added in sets)
    untested = tuple(
        one.factor
        for one in effects
        if one.factor in undecided
        and not (one.status == NO_EFFECT and len(one.compared) == 1)
        and not (len(sets) == 1 and one.factor in sets[0])
    )
    return Sufficient(named, len(named) == 1 and not untested and not sets[0], untested)


def fixes(part: Partition, factors: Iterable[str]) -> bool:
    """Whether no two cells agree in all of `factors` and differ in their class."""
    factors = list(factors)
    strata: dict[tuple[str, ...], dict[str, object]] = {}
    for cell in part.cells:
        if cell.comparable:
            stratum = strata.setdefault(tuple(cell.levels[name] for name in factors), {})
            stratum.setdefault(part.name(cell), cell)
    return not any(
        part.differ(one, other) for found in strata.values() for one, other in combinations(found.values(), 2)
    )
