"""Quantiles of more numbers than memory is taken for: exact, for whatever is not kept is found by its bits.

The quantile is a number that occurs: the smallest that at least so many per cent do not exceed (numpy's
`inverted_cdf`), so that a median of whole numbers is a whole number.
"""

from __future__ import annotations

import numpy as np

# Up to so many numbers other than zero are kept, 8 MiB; more need three further passes and 1 MiB.
KEPT = 1 << 20
PERCENT = (50, 99)
_DIGIT = 16
_VALUES = 1 << _DIGIT


def rank(count: int, percent: int) -> int:
    """The place of a quantile among `count` sorted numbers, from 0."""
    return max(0, (count * percent + 99) // 100 - 1)


class Quantiles:
    """Numbers from 0 upwards, given as uint64 that are in the same order: of float64 the bits.

    `add` all of them, then `turn`; while `unfinished`, `again` all of them, then `turn`. Zeros may be given as
    a mere count, the first time.
    """

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []
        self._table: np.ndarray | None = None
        self._searches: dict[int, _Search] = {}
        self._zeros = self._others = 0
        self._found: dict[int, int] = {}

    def add(self, keys: np.ndarray) -> None:
        some = keys[keys != 0]
        self._zeros += keys.size - some.size
        self._others += some.size
        if self._table is None:
            self._kept.append(some)
            if self._others <= KEPT:
                return
            self._table = np.zeros(_VALUES, np.int64)
            some = np.concatenate(self._kept)
            self._kept = []
        self._table += _counts(some, 64)

    def add_zeros(self, count: int) -> None:
        self._zeros += count

    @property
    def unfinished(self) -> bool:
        return any(search.shift for search in self._searches.values())

    def again(self, keys: np.ndarray) -> None:
        for search in self._searches.values():
            if search.shift:
                search.see(keys)

    def turn(self) -> None:
        """Ends a pass."""
        if self._searches:
            for search in self._searches.values():
                if search.shift:
                    search.descend(search.table)
            self._found = {percent: search.prefix for percent, search in self._searches.items()}
            return
        total = self._zeros + self._others
        wanted = {percent: rank(total, percent) - self._zeros for percent in PERCENT} if total else {}
        self._found = {percent: 0 for percent, place in wanted.items() if place < 0}
        wanted = {percent: place for percent, place in wanted.items() if place >= 0}
        if self._table is not None:
            for percent, place in wanted.items():
                self._searches[percent] = _Search(place)
                self._searches[percent].descend(self._table)
        elif wanted:
            kept = np.partition(np.concatenate(self._kept), sorted(set(wanted.values())))
            self._found |= {percent: int(kept[place]) for percent, place in wanted.items()}

    def found(self) -> dict[int, int]:
        """The key of each of PERCENT; empty where there were no numbers."""
        zero = dict.fromkeys(PERCENT, 0) if self._searches else {}
        return zero | self._found


class _Search:
    """The number at one place, found 16 bits a pass: `prefix` are its bits so far, `shift` says how many lack."""

    def __init__(self, place: int) -> None:
        self._place = place
        self.prefix = 0
        self.shift = 64
        self.table = np.zeros(_VALUES, np.int64)

    def see(self, keys: np.ndarray) -> None:
        self.table += _counts(keys[keys >> np.uint64(self.shift) == self.prefix], self.shift)

    def descend(self, table: np.ndarray) -> None:
        before = np.cumsum(table)
        digit = int(np.searchsorted(before, self._place, side="right"))
        self._place -= int(before[digit] - table[digit])
        self.prefix = self.prefix << _DIGIT | digit
        self.shift -= _DIGIT
        self.table = np.zeros(_VALUES, np.int64)


def _counts(keys: np.ndarray, shift: int) -> np.ndarray:
    """How many have each value of the 16 bits below `shift`."""
    digits = (keys >> np.uint64(shift - _DIGIT)) & np.uint64(_VALUES - 1)
    return np.bincount(digits.astype(np.intp), minlength=_VALUES)
