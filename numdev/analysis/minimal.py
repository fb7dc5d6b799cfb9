"""All minimal sets of factors of which the class is a function.

Two cells of different classes differ in some factors, one of which every sufficient set must have: the minimal sufficient
sets are the minimal hitting sets of these sets of differing factors. Only few of the pairs of cells are needed: a hitting set
of those known so far is either sufficient, or there is a set of factors that is insufficient and as large as it can be, whose
complement is another minimal set to hit (dualize and advance: Gunopulos et al. 2003). Every step costs one grouping of the
cells for each factor, so that a million cells are no obstacle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numdev.analysis.budget import spend
from numdev.analysis.design import Design
from numdev.analysis.lattice import squares_of, within

# How many sets are kept and how many groupings are tried before the search is given up.
MOST_SETS = 512
MOST_STEPS = 1 << 12


@dataclass(frozen=True)
class Minimal:
    """`sets`: all minimal sufficient sets, in the order of the factors; `core`: the factors that are in all of them, which
    are causes for certain. `hit`: the minimal sets of factors of which each sufficient set has one. `searched` is False
    where there were too many, and all else is then empty.
    """

    sets: tuple[tuple[str, ...], ...]
    core: tuple[str, ...]
    hit: tuple[tuple[str, ...], ...]
    searched: bool = True


def minimal(design: Design) -> Minimal:
    """The minimal sufficient sets of a design's factors; none where cells of equal levels are of different classes."""
    names, squares = design.names, squares_of(design)
    full = (1 << len(names)) - 1
    known: dict[int, bool] = {}

    def fixes(mask: int) -> bool:
        if mask not in known:
            known[mask] = not within(design, list(_named(names, mask)), squares)
        return known[mask]

    if not fixes(full):
        return Minimal((), (), ())
    found, hit = [0], []
    # Those that stand alone first: they are in every set, and the search is short where they are enough.
    alone = [1 << place for place in range(len(names)) if not fixes(full ^ 1 << place)]
    for mask in alone:
        hit.append(mask)
        found = _hitting(found, mask)
    while True:
        short = next((mask for mask in found if not fixes(mask)), None)
        if short is None:
            break
        for place in range(len(names)):
            if not short >> place & 1 and not fixes(short | 1 << place):
                short |= 1 << place
            if len(known) > MOST_STEPS:
                return Minimal((), (), (), searched=False)
        hit.append(full ^ short)
        found = _hitting(found, full ^ short)
        if len(found) > MOST_SETS or len(known) > MOST_STEPS:
            return Minimal((), (), (), searched=False)
    core = full
    for mask in found:
        core &= mask
    sets = sorted(found, key=lambda mask: (mask.bit_count(), _places(mask)))
    return Minimal(
        tuple(_named(names, mask) for mask in sets), _named(names, core), tuple(_named(names, mask) for mask in hit)
    )


def _hitting(sets: list[int], new: int) -> list[int]:
    """The minimal sets that also hit `new` (Berge's step)."""
    hitting = [mask for mask in sets if mask & new]
    grown = set()
    for mask in sets:
        if not mask & new:
            grown |= {mask | 1 << place for place in _places(new)}
    spend(len(grown) * (1 + len(hitting) // 4))
    return hitting + sorted(mask for mask in grown if not any(other & mask == other for other in hitting))


def _places(mask: int) -> tuple[int, ...]:
    return tuple(place for place in range(mask.bit_length()) if mask >> place & 1)


def _named(names: Sequence[str], mask: int) -> tuple[str, ...]:
    return tuple(names[place] for place in _places(mask))


def function_of(design: Design, factor: str) -> Design:
    """The design whose class is a factor's level, over the other factors: its sets fix that factor's level."""
    place = design.names.index(factor)
    rest = design.of_factors([name for name in design.names if name != factor])
    classes = design.columns[place].astype(np.int64)
    return Design(rest.names, rest.sizes, rest.columns, classes, design.sizes[place])
