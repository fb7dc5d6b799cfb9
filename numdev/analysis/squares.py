"""Interactions that an incomplete design shows: four cells that differ in two factors and in nothing else."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from numdev.analysis.design import Design, coded, dense

# Entries of a table of classes, and pairs of levels by pairs of levels, at most.
MOST = 1 << 23
MOST_SQUARES = 4096


def bent(design: Design, one: str, other: str) -> bool:
    """Whether there is a square of cells, at two levels of each factor, in which both matter together.

    With a, b levels of one and c, d of the other, the classes of ac, ad, bc, bd are additive if and only if no factor matters
    in the square or just one does: ac = bc and ad = bd, or ac = ad and bc = bd. A complete design has such a square if and
    only if some interaction of both has a share. False where no square is there, or where there are too many.
    """
    places = [design.names.index(one), design.names.index(other)]
    first, second = (design.sizes[place] for place in places)
    rest = design.of_factors([name for name in design.names if name not in (one, other)])
    strata, number = dense(*coded(rest.columns, rest.sizes, design.cells))
    if number * first * second > MOST or first**2 * second**2 > 4 * MOST_SQUARES:
        return False
    table = np.full((number, first, second), -1, np.int64)
    table[strata, design.columns[places[0]], design.columns[places[1]]] = design.classes
    for a, b in combinations(range(first), 2):
        for c, d in combinations(range(second), 2):
            corners = table[:, [a, a, b, b], [c, d, c, d]]
            ac, ad, bc, bd = corners[(corners >= 0).all(axis=1)].T
            additive = (_same(design, ac, bc) & _same(design, ad, bd)) | (_same(design, ac, ad) & _same(design, bc, bd))
            if not additive.all():
                return True
    return False


def _same(design: Design, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one == other if design.apart is None else ~design.apart[one, other]
