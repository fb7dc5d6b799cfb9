"""Cells as whole numbers: what all that counts cells works on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from numdev.analysis.classes import Partition

# Mixed-radix codes stay below this, so that they are whole int64.
CODES = 1 << 62


@dataclass(frozen=True)
class Design:
    """The cells that have a class, as arrays of one row a cell.

    - `names`, `sizes`: the factors and how many levels each has; `columns`: the level of each cell by factor, int64
      from 0.
    - `classes`: the class of each cell, int64 from 0; `kinds` of them.
    - `apart`: which classes count as different, a symmetrical (kinds, kinds) array of booleans; None where all do. It is
      not None where batches make classes that are equal as far as they can be compared.
    - `labels`: the names of the levels by factor, in the order of their numbers; empty where they have none.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    columns: tuple[np.ndarray, ...]
    classes: np.ndarray
    kinds: int
    apart: np.ndarray | None = None
    labels: tuple[tuple[str, ...], ...] = ()

    @property
    def cells(self) -> int:
        return len(self.classes)

    @property
    def complete(self) -> bool:
        """Whether every combination of the levels is there, and as often as every other one."""
        combinations = 1
        for size in self.sizes:
            combinations *= size
        if not self.cells or combinations > self.cells or self.cells % combinations:
            return False
        codes, space = coded(self.columns, self.sizes, self.cells)
        return space == combinations and bool((np.bincount(codes, minlength=space) == self.cells // space).all())

    def varied(self) -> Design:
        """Without the factors that have one level only."""
        kept = [place for place, size in enumerate(self.sizes) if size > 1]
        return self.of_factors([self.names[place] for place in kept])

    def of_factors(self, names: Iterable[str]) -> Design:
        """With these factors only, in this order; cells that then have the same levels stay apart."""
        places = [self.names.index(name) for name in names]
        return replace(
            self,
            names=tuple(self.names[place] for place in places),
            sizes=tuple(self.sizes[place] for place in places),
            columns=tuple(self.columns[place] for place in places),
            labels=tuple(self.labels[place] for place in places) if self.labels else (),
        )

    def joint(self, blocks: Mapping[str, Sequence[str]]) -> Design:
        """With blocks of factors as its factors: a block's level is the combination of its factors' levels."""
        sizes, columns = [], []
        for names in blocks.values():
            some = self.of_factors(names)
            codes, space = coded(some.columns, some.sizes, self.cells)
            known, codes = np.unique(codes, return_inverse=True) if space > 1 else (codes[:1], codes)
            sizes.append(max(1, len(known)))
            columns.append(codes.reshape(-1))
        return replace(self, names=tuple(blocks), sizes=tuple(sizes), columns=tuple(columns), labels=())


def design(columns: Mapping[str, Sequence[object]], outcomes: Sequence[object]) -> Design:
    """A design from each factor's level in each cell and each cell's outcome: equal outcomes are one class.

    Raises:
        ValueError: a factor has another number of cells than there are outcomes.
    """
    coded_columns, sizes, labels = [], [], []
    for name, levels in columns.items():
        if len(levels) != len(outcomes):
            raise ValueError(f"{name} has {len(levels)} cells, not {len(outcomes)}")
        codes, known = _numbered(levels)
        coded_columns.append(codes)
        sizes.append(len(known))
        labels.append(tuple(map(str, known)))
    classes, known = _numbered(outcomes)
    return Design(tuple(columns), tuple(sizes), tuple(coded_columns), classes, len(known), labels=tuple(labels))


def _numbered(values: Sequence[object]) -> tuple[np.ndarray, list[object]]:
    """Numbers in the place of values, int64 in the order of the values, and the values."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biu":
        known, codes = np.unique(values, return_inverse=True)
        return codes.reshape(-1).astype(np.int64), known.tolist()
    # Of texts and digests sorting a million is slow, and looking them up is not.
    values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    number = {value: place for place, value in enumerate(sorted(set(values)))}
    return np.fromiter(map(number.__getitem__, values), np.int64, len(values)), list(number)


def design_of(part: Partition) -> Design:
    """A workload's cells; noisy ones and those without a result are not among them."""
    cells = [cell for cell in part.cells if cell.comparable]
    place_of = {each.name: place for place, each in enumerate(part.classes)}
    classes = np.array([place_of[part.name(cell)] for cell in cells], np.int64)
    columns, labels = [], []
    for name, levels in part.levels.items():
        alive = {cell.levels[name] for cell in cells}
        number = {level: place for place, level in enumerate(level for level in levels if level in alive)}
        columns.append(np.array([number[cell.levels[name]] for cell in cells], np.int64))
        labels.append(tuple(number))
    apart = None
    if any(each.alike or each.reshaped for each in part.classes):
        apart = np.array(
            [[part.differ(one.cells[0], other.cells[0]) for other in part.classes] for one in part.classes], bool
        )
    sizes = tuple(map(len, labels))
    return Design(tuple(part.levels), sizes, tuple(columns), classes, len(part.classes), apart, tuple(labels))


def coded(columns: Sequence[np.ndarray], sizes: Sequence[int], cells: int) -> tuple[np.ndarray, int]:
    """One number a cell that tells its levels in these columns apart, and how many such numbers there could be."""
    codes, space = np.zeros(cells, np.int64), 1
    for column, size in zip(columns, sizes, strict=True):
        if space * size >= CODES:
            # Only what occurs is counted on; there are never more than cells of these.
            known, codes = np.unique(codes, return_inverse=True)
            codes, space = codes.reshape(-1), len(known)
        codes, space = codes * size + column, space * size
    return codes, space


def dense(codes: np.ndarray, space: int) -> tuple[np.ndarray, int]:
    """Codes of which few more are possible than there are cells."""
    if space <= 4 * len(codes) + 1024:
        return codes, space
    known, codes = np.unique(codes, return_inverse=True)
    return codes.reshape(-1), len(known)
