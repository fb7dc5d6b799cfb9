"""How much each factor explains: alone, with all others, and its fair share.

All are made of v(S), the share of the differences between cells that the levels of the factors S explain (lattice.py), and
describe the cells that have a class, a census and no sample. F is the set of all factors.

- alone: v({f}), the first-order index. With the distance [the classes differ] it is Goodman and Kruskal's tau (1954).
- total: v(F) - v(F without f), the total index: what is left to f where all others are fixed. In a complete design it is
  Homma and Saltelli's (1996); in any design it is zero if and only if no two cells differ in f alone and in the class.
- shapley: f's mean gain in v over all orders in which factors are added (Owen 2014), by enumeration of all sets. The
  shares of all factors sum to v(F), which is 1.
- interaction of U, in complete designs: the sum over S in U of (-1)**(|U| - |S|) v(S), which is the variance component of
  U (Hoeffding 1948, Sobol 1993): what only all of U together explain. In incomplete designs components are no shares of
  anything, and pairs of factors are named for which four cells show it (squares.py).

In an incomplete design `alone` and `shapley` also count what a factor only borrows from factors that vary together with
it; which factors these are is identify.py's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np

from numdev.analysis.design import Design
from numdev.analysis.lattice import FACTORS, Lattice, lattice, within
from numdev.analysis.squares import bent

# Shares below this are the rounding of sums that are zero.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Index:
    """What a factor explains, as shares from 0 to 1; None where no two cells differ. `shapley` is also None where there
    are too many factors or cells for it.
    """

    alone: float | None = None
    total: float | None = None
    shapley: float | None = None


@dataclass(frozen=True)
class Interaction:
    """Factors that explain something only together, and which share of the differences: None in incomplete designs."""

    factors: tuple[str, ...]
    share: float | None = None


@dataclass(frozen=True)
class Indices:
    """`by` has an index for each factor of the design; `why` says what is missing, or is empty."""

    by: dict[str, Index]
    interactions: tuple[Interaction, ...] = ()
    why: str = ""


def indices(design: Design, squares: np.ndarray | None = None) -> Indices:
    """The indices of all factors of a design.

    Args:
        squares: the squared distances between classes, a (kinds, kinds) array; None for [the classes differ].
    """
    total = within(design, [], squares)
    if not total > 0:
        return Indices({name: Index() for name in design.names}, why="no two cells differ")
    found = lattice(design, squares)
    if found is None:
        return _few(design, squares, total)
    values, full = found.values, len(found.within) - 1
    shares = shapley(values)
    by = {
        name: Index(_share(values[1 << place]), _share(values[full] - values[full ^ 1 << place]), shares[place])
        for place, name in enumerate(design.names)
    }
    return Indices(by, interactions(found) if design.complete else pairs(design, by))


def _few(design: Design, squares: np.ndarray | None, total: float) -> Indices:
    every = within(design, list(design.names), squares)
    by = {}
    for name in design.names:
        rest = within(design, [other for other in design.names if other != name], squares)
        by[name] = Index(_share(1 - within(design, [name], squares) / total), _share((rest - every) / total))
    many = len(design.names) > FACTORS
    return Indices(by, why=f"more than {FACTORS} factors" if many else "too many cells for all sets of factors")


def shapley(values: np.ndarray) -> list[float]:
    """Shapley's shares from the values of all sets, indexed by their bits."""
    count = len(values).bit_length() - 1
    masks = np.arange(len(values))
    members = np.array([bin(mask).count("1") for mask in masks])
    weights = np.array([factorial(size) * factorial(count - size - 1) for size in range(count)], float)
    weights /= factorial(count)
    shares = []
    for place in range(count):
        without = masks[masks >> place & 1 == 0]
        gains = values[without | 1 << place] - values[without]
        shares.append(_share((weights[members[without]] * gains).sum()))
    return shares


def interactions(found: Lattice) -> tuple[Interaction, ...]:
    """The sets of two or more factors that explain something only together, the largest share first."""
    parts = found.values.copy()
    for place in range(len(found.factors)):
        above = np.arange(len(parts))
        above = above[above >> place & 1 == 1]
        parts[above] -= parts[above ^ 1 << place]
    named = [
        Interaction(_names(found.factors, mask), float(parts[mask]))
        for mask in range(len(parts))
        if mask & (mask - 1) and parts[mask] > ROUNDING
    ]
    return tuple(sorted(named, key=lambda one: (-round(one.share or 0, 9), len(one.factors), one.factors)))


def pairs(design: Design, by: Mapping[str, Index]) -> tuple[Interaction, ...]:
    """The pairs of factors that some four cells show to act together."""
    moving = [name for name in design.names if by[name].total]
    return tuple(Interaction(pair) for pair in combinations(moving, 2) if bent(design, *pair))


def _names(factors: Sequence[str], mask: int) -> tuple[str, ...]:
    return tuple(name for place, name in enumerate(factors) if mask >> place & 1)


def _share(value: float) -> float:
    """Without what rounding adds to zero and to one."""
    for whole in (0.0, 1.0):
        if abs(value - whole) < 1e-14:
            return whole
    return float(value)
