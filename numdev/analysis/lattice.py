"""What every set of factors explains of the differences between cells.

The value of a set S is PERMANOVA's R-squared (Anderson 2001) of the grouping of the cells by their levels in S:

    v(S) = 1 - within(S) / within({}),  within(S) = sum over groups g of S: sum over pairs in g of d2 / (cells in g)

where d2 is the squared distance of two cells' classes. With d2 = [the classes differ] v(S) is Goodman and Kruskal's tau
(1954; Light and Margolin 1971) of the class given the levels in S. Any other d2 takes the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from numdev.analysis.budget import spend
from numdev.analysis.design import Design, coded, dense

# All 2**k sets of at most so many factors are valued.
FACTORS = 10
# Numbers in a piece of work: what bounds its memory.
PIECE = 1 << 20
# Rows that all steps of a lattice together may look at: some tens of seconds.
ROWS = 1 << 29
_SPARSE = 1 << 14
# Bits of a code, and of a code with a weight.
WIDTH = 62
# Steps of one grouping beside those of its cells.
_GROUPING = 1 << 9
# Designs of so many rows are shared among threads, by the first few factors.
THREADS, _LARGE, _SPLIT = 2, 1 << 16, 3


@dataclass(frozen=True)
class Lattice:
    """`within[m]` of the set whose bits are m: the first factor is bit 0, and so on. `total` is that of the empty set."""

    factors: tuple[str, ...]
    within: np.ndarray

    @property
    def total(self) -> float:
        return float(self.within[0])

    @property
    def values(self) -> np.ndarray:
        """v of every set, by its bits; ValueError where no two cells differ."""
        if not self.total > 0:
            raise ValueError("no two cells differ: there is nothing to explain")
        return 1 - self.within / self.total


def squares_of(design: Design) -> np.ndarray | None:
    """The squared distance [the classes differ]; None is the same for classes that all differ."""
    return None if design.apart is None else design.apart.astype(float)


def lattice(design: Design, squares: np.ndarray | None = None) -> Lattice | None:
    """`within` of all sets of the design's factors; None where that is too much work: more than FACTORS factors, or a
    great many cells with classes that follow no few of them.

    Args:
        squares: d2 between classes, a symmetrical (kinds, kinds) array with a zero diagonal; None for [they differ].
    """
    count = len(design.names)
    if count > FACTORS:
        return None
    # By the classes themselves, whatever the distance: classes of distance zero must not stand for each other.
    still = [name for name in design.names if not within(design, _without(design, name))]
    moving = [name for name in design.names if name not in still]
    if still and design.complete:
        # Independent of all others and without effect: no set explains more or less for having them.
        times = design.cells
        for name in moving:
            times //= design.sizes[design.names.index(name)]
        small = lattice(_thinned(design, moving), squares)
        bits = [1 << moving.index(name) if name in moving else 0 for name in design.names]
        return small and Lattice(design.names, times * small.within[_mapped(bits)])
    # Factors without effect first: dropped, they leave the fewest rows to all that comes after them.
    order = sorted(range(count), key=lambda place: (design.names[place] in moving, -design.sizes[place]))
    return _Walk(design, squares, order).result()


def _without(design: Design, name: str) -> list[str]:
    return [other for other in design.names if other != name]


def _thinned(design: Design, names: list[str]) -> Design:
    """One cell of each combination of these factors' levels."""
    some = design.of_factors(names)
    codes, _ = coded(some.columns, some.sizes, design.cells)
    _, first = np.unique(codes, return_index=True)
    kept = tuple(column[first] for column in some.columns)
    return replace(some, columns=kept, classes=some.classes[first])


def _mapped(bits: list[int]) -> np.ndarray:
    """For every set of factors the sum of its members' bits."""
    found = np.zeros(1, np.int64)
    for bit in bits:
        found = np.concatenate((found, found + bit))
    return found


Part = tuple[int, int, np.ndarray, np.ndarray, int, int]


class _TooMuch(Exception):
    """More rows than there is time for."""


class _Walk:
    """Decides on one factor after the other: a kept one is a higher digit of the codes, a dropped one is none any more.

    Digits are whole bits, the class the lowest one. Where a factor is dropped, equal rows become one with the sum of their
    weights, so that most sets see few rows.
    """

    def __init__(self, design: Design, squares: np.ndarray | None, order: list[int]) -> None:
        self.names = design.names
        self.order = order
        self.bits = [(design.sizes[place] - 1).bit_length() for place in order]
        self.found = np.zeros(1 << len(order))
        self.left = ROWS
        classes, kinds, own = _classes(design, squares)
        self.low = (kinds - 1).bit_length()
        self.kernel = _Kernel(kinds, own, squares)
        self.width = sum(self.bits) + self.low
        self.codes = np.zeros(design.cells, np.int64)
        if self.width <= WIDTH:
            for place, bits in zip(order, self.bits, strict=True):
                self.codes = self.codes << bits | design.columns[place]
            self.codes = self.codes << self.low | classes

    def result(self) -> Lattice | None:
        if self.width > WIDTH:
            return None
        codes, weights = _summed(self.codes, np.ones(len(self.codes), np.int64), self.width)
        parts = [(0, 0, codes, weights, self.width, self.width)]
        try:
            if len(codes) < _LARGE or len(self.order) < _SPLIT:
                self.walk(*parts[0])
            else:
                for _ in range(_SPLIT):
                    parts = [part for whole in parts for part in self.step(*whole)]
                # numpy lets other threads run while it sorts and sums.
                with ThreadPoolExecutor(THREADS) as pool:
                    list(pool.map(lambda part: self.walk(*part), parts))
        except _TooMuch:
            return None
        finally:
            # Where it is walked by threads, these have no budget.
            spend(max(0, ROWS - self.left) // 4)
        return Lattice(self.names, self.found)

    def step(
        self, depth: int, mask: int, codes: np.ndarray, weights: np.ndarray, undecided: int, width: int
    ) -> Iterator[Part]:
        """Keeps the next factor, and drops it."""
        below, less = undecided - self.bits[depth], width - self.bits[depth]
        kept = _impure(codes, weights, below, self.low, self.kernel.own)
        yield depth + 1, mask | 1 << self.order[depth], *kept, below, width
        rest = codes >> undecided << below | codes & (1 << below) - 1
        yield depth + 1, mask, *_summed(rest, weights, less), below, less

    def walk(self, depth: int, mask: int, codes: np.ndarray, weights: np.ndarray, undecided: int, width: int) -> None:
        self.left -= len(codes)
        if self.left < 0:
            raise _TooMuch
        if not len(codes):
            return
        if depth == len(self.order):
            self.found[mask] = self.kernel(codes >> self.low, codes & (1 << self.low) - 1, weights)
            return
        for part in self.step(depth, mask, codes, weights, undecided, width):
            self.walk(*part)


def within(design: Design, factors: list[str], squares: np.ndarray | None = None) -> float:
    """`within` of one set of factors, of any number; see `lattice`."""
    spend(_GROUPING + design.cells * (1 + len(factors) // 16))
    some = design.of_factors(factors)
    classes, kinds, own = _classes(design, squares)
    groups, number = dense(*coded(some.columns, some.sizes, design.cells))
    low = (kinds - 1).bit_length()
    width = (number - 1).bit_length() + low if number else low
    codes, weights = _summed(groups << low | classes, np.ones(design.cells, np.int64), width)
    return _Kernel(kinds, own, squares)(codes >> low, codes & (1 << low) - 1, weights)


def _classes(design: Design, squares: np.ndarray | None) -> tuple[np.ndarray, int, int]:
    """The classes by number, how many numbers, and the number of all classes of one cell each (-1 for none of these).

    These are all alike to what is counted here, and many of them are much work.
    """
    if squares is not None:
        return design.classes, max(1, design.kinds), -1
    alone = np.bincount(design.classes, minlength=design.kinds) == 1
    if int(alone.sum()) < 2:
        return design.classes, max(1, design.kinds), -1
    number = np.cumsum(~alone) - 1
    own = int(number[-1]) + 1
    return np.where(alone, own, number)[design.classes], own + 1, own


def _summed(codes: np.ndarray, weights: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The codes that occur, of `width` bits, in order and once each, and the sums of their weights."""
    if 1 << width <= 8 * len(codes) + 4096:
        counted = np.bincount(codes, weights, 1 << width)
        codes = np.flatnonzero(counted)
        return codes, counted[codes].astype(np.int64)
    bits = int(weights.max()).bit_length()
    if width + bits <= WIDTH:
        # One number for both: sorting these is much faster than sorting by one and taking the other along.
        packed = codes << bits | weights
        packed.sort()
        codes, weights = packed >> bits, packed & (1 << bits) - 1
    else:
        order = np.argsort(codes, kind="stable")
        codes, weights = codes[order], weights[order]
    starts = _starts(codes)
    return (codes, weights) if len(starts) == len(codes) else (codes[starts], np.add.reduceat(weights, starts))


def _starts(groups: np.ndarray) -> np.ndarray:
    """Where each group begins, of numbers in order."""
    first = np.empty(len(groups), bool)
    first[:1] = True
    np.not_equal(groups[1:], groups[:-1], out=first[1:])
    return np.flatnonzero(first)


def _impure(
    codes: np.ndarray, weights: np.ndarray, undecided: int, low: int, own: int
) -> tuple[np.ndarray, np.ndarray]:
    """Without groups of a single class, which add nothing, nor ever will as more factors are kept."""
    if len(codes) < _SPARSE:
        return codes, weights
    classes = codes & (1 << low) - 1
    starts = _starts(codes >> undecided)
    counts = np.diff(np.append(starts, len(codes)))
    differs = classes != np.repeat(classes[starts], counts)
    if own >= 0:
        differs |= (classes == own) & (np.repeat(np.add.reduceat(weights, starts), counts) > 1)
    kept = np.repeat(np.logical_or.reduceat(differs, starts), counts)
    return (codes, weights) if kept.all() else (codes[kept], weights[kept])


@dataclass(frozen=True)
class _Kernel:
    """`within` of groups in order whose classes stand once each, with the number of cells as weight."""

    kinds: int
    own: int
    squares: np.ndarray | None

    def __call__(self, groups: np.ndarray, classes: np.ndarray, weights: np.ndarray) -> float:
        if not len(groups):
            return 0.0
        starts = _starts(groups)
        sizes = np.add.reduceat(weights, starts)
        if self.squares is None:
            # Whole numbers up to here: what is zero is exactly zero.
            same = np.add.reduceat(np.where(classes == self.own, weights, weights * weights), starts)
            return float(((sizes * sizes - same) / (2 * sizes)).sum())
        rows = np.diff(np.append(starts, len(groups)))
        # A product of matrices does many at once; where groups have few classes, most of these would be zeros.
        few = float(np.square(rows).sum()) * 4 < len(starts) * self.kinds**2
        return self._few(classes, weights, rows, sizes) if few else self._dense(classes, weights, starts, rows, sizes)

    def _few(self, classes: np.ndarray, weights: np.ndarray, rows: np.ndarray, sizes: np.ndarray) -> float:
        """Pairs of rows one after the other: the first with the next, with the one after that, and so on."""
        assert self.squares is not None
        left = np.repeat(rows, rows) - (np.arange(len(classes)) - np.repeat(np.cumsum(rows) - rows, rows)) - 1
        share = weights / np.repeat(sizes, rows)
        result, step = 0.0, 1
        at = np.flatnonzero(left >= step)
        while len(at):
            pairs = self.squares[classes[at], classes[at + step]]
            result += float((share[at] * weights[at + step] * pairs).sum())
            step += 1
            at = at[left[at] >= step]
        return result

    def _dense(
        self, classes: np.ndarray, weights: np.ndarray, starts: np.ndarray, rows: np.ndarray, sizes: np.ndarray
    ) -> float:
        assert self.squares is not None
        numbers = np.repeat(np.arange(len(starts)), rows)
        step = max(1, PIECE // self.kinds)
        result = 0.0
        for first in range(0, len(starts), step):
            some = slice(starts[first], starts[first + step] if first + step < len(starts) else None)
            counts = np.zeros((min(step, len(starts) - first), self.kinds))
            counts[numbers[some] - first, classes[some]] = weights[some]
            pairs = np.einsum("gk,gk->g", counts @ self.squares, counts)
            result += float((pairs / (2 * sizes[first : first + step])).sum())
        return result
