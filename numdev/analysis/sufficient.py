"""Minimal sets of factors of which the class is a function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from numdev.analysis.classes import Partition
from numdev.analysis.design import design_of
from numdev.analysis.effects import NO_EFFECT, NOT_VARIED, Effect
from numdev.analysis.minimal import minimal


@dataclass(frozen=True)
class Sufficient:
    """All minimal sets of factors that fix the class of every cell that has one.

    `identified`: there is one set, every factor of it is a cause, and matched pairs connect all levels of every other factor
    without an effect. `untested` names the factors for which they do not. `searched` is False where there were too many sets.
    """

    sets: tuple[tuple[str, ...], ...]
    identified: bool
    untested: tuple[str, ...] = ()
    searched: bool = True


def sufficient(part: Partition, effects: Iterable[Effect]) -> Sufficient:
    """From all cells that have a class; the effects of all factors say what was compared."""
    effects = [one for one in effects if one.status != NOT_VARIED]
    if not part.classes:
        return Sufficient((), False, tuple(one.factor for one in effects))
    found = minimal(design_of(part).varied())
    untested = tuple(
        one.factor
        for one in effects
        if one.factor not in found.core and not (one.status == NO_EFFECT and len(one.compared) == 1)
    )
    return Sufficient(found.sets, len(found.sets) == 1 and not untested, untested, found.searched)
