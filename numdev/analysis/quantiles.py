"""Quantiles of more numbers than memory is taken for: exact, for whatever is not kept is found by its bits.

The quantile is a number that occurs: the smallest that at least so many per cent do not exceed (numpy's
`inverted_cdf`), so that a median of whole numbers is a whole number.
"""

from __future__ import annotations

import numpy as np

# Up to so many numbers other than zero are kept, 8 MiB; of more, those near a quantile in a further pass, or two or
# three where many are near.
KEPT = 1 << 20
PERCENT = (50, 99)
_DIGIT = 16
_VALUES = 1 << _DIGIT


def rank(count: int, percent: int) -> int:
    """The place of a quantile among `count` sorted numbers, from 0."""
    return max(0, (count * percent + 99) // 100 - 1)


class Quantiles:
    """Numbers from 0 upwards, given as uint64 that are in the same order: of float64 the bits.

    None has more than `width` bits, 16, 32 or 64. `add` all of them, then `turn`; while `unfinished`, `again` all of them, then `turn`. Zeros may be given as
    a mere count, the first time.
    """

    def __init__(self, width: int = 64) -> None:
        self._width = width
        self._kept: list[np.ndarray] = []
        self._table: np.ndarray | None = None
        self._searches: dict[int, _Search] = {}
        self._zeros = self._others = 0
        self._found: dict[int, int] = {}

    def add(self, keys: np.ndarray) -> None:
        some = keys if keys.all() else keys[keys != 0]
        self._zeros += keys.size - some.size
        self._others += some.size
        if self._table is None:
            self._kept.append(some)
            if self._others <= KEPT:
                return
            self._table = np.zeros(_VALUES, np.int64)
            some = np.concatenate(self._kept)
            self._kept = []
        _count(some, self._width, self._table)

    def add_zeros(self, count: int) -> None:
        self._zeros += count

    @property
    def unfinished(self) -> bool:
        return any(search.found is None for search in self._searches.values())

    def again(self, keys: np.ndarray) -> None:
        keys = keys if keys.all() else keys[keys != 0]
        for search in self._searches.values():
            if search.found is None:
                search.see(keys)

    def turn(self) -> None:
        """Ends a pass."""
        if self._searches:
            for search in self._searches.values():
                if search.found is None:
                    search.turn()
            return
        total = self._zeros + self._others
        for percent in PERCENT if total else ():
            place = rank(total, percent) - self._zeros
            if place < 0:
                self._found[percent] = 0
            elif self._table is not None:
                self._searches[percent] = _Search(place, self._table, self._width)
            else:
                self._found[percent] = int(np.partition(np.concatenate(self._kept), place)[place])

    def found(self) -> dict[int, int]:
        """The key of each of PERCENT; empty where there were no numbers."""
        return self._found | {percent: search.found for percent, search in self._searches.items()}


class _Search:
    """The number at one place. `prefix` are its bits as far as they are known, `shift` says how many are not.

    Each pass finds 16 more, or keeps all numbers of the prefix, where they are few.
    """

    def __init__(self, place: int, table: np.ndarray, width: int) -> None:
        self._place = place
        self._prefix = 0
        self._shift = width
        self.found: int | None = None
        self._descend(table)

    def see(self, keys: np.ndarray) -> None:
        some = keys[keys >> np.uint64(self._shift) == self._prefix]
        self._kept.append(some)
        self._held += some.size
        # A table is as long whether few are counted or many.
        if self._table is not None and self._held > _VALUES:
            self._flush()

    def turn(self) -> None:
        if self._table is None:
            self.found = int(np.partition(np.concatenate(self._kept), self._place)[self._place])
            self._kept = []
        else:
            self._flush()
            self._descend(self._table)

    def _flush(self) -> None:
        if self._kept:
            _count(np.concatenate(self._kept), self._shift, self._table)
        self._kept, self._held = [], 0

    def _descend(self, table: np.ndarray) -> None:
        before = np.cumsum(table)
        digit = int(np.searchsorted(before, self._place, side="right"))
        self._place -= int(before[digit] - table[digit])
        self._prefix = self._prefix << _DIGIT | digit
        self._shift -= _DIGIT
        self._kept: list[np.ndarray] = []
        self._held = 0
        self._table = np.zeros(_VALUES, np.int64) if table[digit] > KEPT else None
        if not self._shift:
            self.found = self._prefix


def _count(keys: np.ndarray, shift: int, table: np.ndarray) -> None:
    """Adds to a table how many have each value of the 16 bits below `shift`."""
    if not keys.size:
        return
    digits = ((keys >> np.uint64(shift - _DIGIT)) & np.uint64(_VALUES - 1)).view(np.int64)
    low = int(digits.min())
    counts = np.bincount(digits - low)
    table[low : low + counts.size] += counts
