"""How many representable numbers lie between floats: by integers, for the bits of floats count in their order.

A distance is between two finite numbers. -0 and +0 are one number, so from -0 to the smallest positive number is
one step, and a change of sign counts all numbers on the way through zero. Below the smallest normal number the
steps are those of the fixed grid there. A NaN or an infinity on either side has no distance, equal or not.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from numdev.analysis.pairs import PIECE, Format, Pairs

# Below this many elements a thread costs more than it gives.
_PER_THREAD = 1 << 22
_MOST_THREADS = 8
# Up to this many bits it is quicker to count what reaches each power of two than to look at exponents.
_FEW_BITS = 8
# What differs does so early, as a rule: then the whole piece need not be looked at for that.
_PREFIX = 256
# Shorter sums are not worth their own loop.
_TOGETHER = 64


@dataclass(frozen=True)
class Steps:
    """ULP distances of two arrays: all figures are exact.

    `pairs`: elements finite on both sides. `differ`: elements of other bits. `largest`, `total`: over pairs.
    `histogram[k]`: pairs whose distance has k bits: 0, 1, 2 to 3, 4 to 7, ...
    """

    pairs: int
    differ: int
    largest: int
    total: int
    histogram: tuple[int, ...]

    def matching_bits(self, precision: int) -> tuple[int, float] | None:
        """The fewest and the mean leading significand bits that match: `precision` less the bits of the distance."""
        if not self.pairs:
            return None
        matching = [max(0, precision - bits) for bits in range(len(self.histogram))]
        fewest = min(bits for bits, count in zip(matching, self.histogram, strict=True) if count)
        return fewest, sum(bits * count for bits, count in zip(matching, self.histogram, strict=True)) / self.pairs


def steps(pairs: Pairs, histogram: bool = True) -> Steps:
    """The distances of all elements, in memory for a few pieces, on all processors that this process may use.

    Without the histogram, which is then empty, it takes about half the time.

    Raises:
        ValueError: the two arrays have no floating-point format in common.
    """
    if pairs.format is None:
        raise ValueError("there is no floating-point format in common")
    format = pairs.format
    threads = max(1, min(len(os.sched_getaffinity(0)), _MOST_THREADS, pairs.size // _PER_THREAD))

    def share(number: int) -> _Counter:
        counter = _Counter(format, histogram)
        for start in range(number * PIECE, pairs.size, threads * PIECE):
            counter.add(*pairs.bits(start, min(start + PIECE, pairs.size)))
        return counter

    if threads == 1:
        counters = [share(0)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            counters = list(pool.map(share, range(threads)))
    return Steps(
        pairs=sum(each.pairs for each in counters),
        differ=sum(each.differ for each in counters),
        largest=max(each.largest for each in counters),
        total=sum(each.total for each in counters),
        histogram=tuple(map(sum, zip(*(each.histogram for each in counters), strict=True))),
    )


def distances(one: np.ndarray, other: np.ndarray, format: Format) -> np.ndarray:
    """The distances of the pairs that are finite on both sides, unsigned.

    `one` and `other` hold the floats' bits as signed integers.
    """
    finite = _finite(one, format) & _finite(other, format)
    if not finite.all():
        one, other = one[finite], other[finite]
    high, low, signs = one & _magnitudes(format), other & _magnitudes(format), one ^ other
    high, low = np.maximum(high, low), np.minimum(high, low)
    return _apart(high, low, signs, format)


def _magnitudes(format: Format) -> int:
    return (1 << (format.width - 1)) - 1


def _finite(bits: np.ndarray, format: Format) -> np.ndarray:
    return (bits & _magnitudes(format)) < format.infinity


def _apart(high: np.ndarray, low: np.ndarray, signs: np.ndarray, format: Format) -> np.ndarray:
    """The distances of finite pairs by their magnitudes, in the memory of `high`; the other two are overwritten.

    The difference of the magnitudes or, where a pair has two signs (`signs` is negative), their sum, which may
    need the top bit.
    """
    np.right_shift(signs, format.width - 1, out=signs)
    np.bitwise_xor(low, signs, out=low)
    np.subtract(low, signs, out=low)
    found = high.view(format.unsigned)
    return np.subtract(found, low.view(format.unsigned), out=found)


class _Counter:
    """Sums over pieces, with room of its own: to take it anew for each piece would cost more than the arithmetic."""

    def __init__(self, format: Format, histogram: bool = True) -> None:
        self._format = format
        self._wanted = histogram
        self._rooms = tuple(np.empty(PIECE, format.signed) for _ in range(4))
        self._mask = np.empty(PIECE, bool)
        self._floats = np.empty(PIECE, np.float64 if format.width == 64 else np.float32)
        self._lengths = np.empty(PIECE + PIECE % 2, np.uint8)
        self.pairs = self.differ = self.largest = self.total = 0
        self.histogram = [0] * (format.width + 1) if histogram else []

    def add(self, one: np.ndarray, other: np.ndarray) -> None:
        format, size = self._format, one.size
        if (one[:_PREFIX] == other[:_PREFIX]).all() and np.equal(one, other, out=self._mask[:size]).all():
            finite = size
            if _largest_magnitude(one, format) >= format.infinity:
                finite = int(np.count_nonzero(_finite(one, format)))
            self.pairs += finite
            if self._wanted:
                self.histogram[0] += finite
            return
        signs, first, second, third = (room[:size] for room in self._rooms)
        if int(np.bitwise_xor(one, other, out=signs).min()) >= 0:
            # No pair has two signs: then the bits themselves are in order, and their difference fits.
            found = np.absolute(np.subtract(one, other, out=first), out=first).view(format.unsigned)
            largest = int(found.max())
            if _largest_magnitude(one, format) + largest < format.infinity:
                self.differ += self._count(found, largest, second)
                return
        self.differ += int(np.count_nonzero(signs))
        np.bitwise_and(one, _magnitudes(format), out=first)
        np.bitwise_and(other, _magnitudes(format), out=second)
        high = np.maximum(first, second, out=third)
        low = np.minimum(first, second, out=first)
        if int(high.max()) < format.infinity:
            found = _apart(high, low, signs, format)
        else:
            found = distances(one, other, format)
        if found.size:
            self._count(found, int(found.max()), second[: found.size])

    def _count(self, found: np.ndarray, largest: int, room: np.ndarray) -> int:
        """Adds distances; how many are not zero. `room` is as large, and overwritten."""
        self.pairs += found.size
        self.largest = max(self.largest, largest)
        self.total += _sum(found, largest)
        if not self._wanted:
            return int(np.count_nonzero(found))
        counts = (
            self._few(found, largest)
            if largest.bit_length() <= _FEW_BITS
            else self._many(found, largest, room.view(found.dtype))
        )
        for length, count in enumerate(counts):
            self.histogram[length] += int(count)
        return found.size - int(counts[0])

    def _few(self, found: np.ndarray, largest: int) -> list[int]:
        """How many have 0, 1, ... bits: from how many reach each power of two."""
        small = self._lengths[: found.size]
        small[:] = found
        reached = [found.size, int(np.count_nonzero(small))]
        for power in range(1, largest.bit_length()):
            at_least = np.greater_equal(small, np.uint8(1 << power), out=self._mask[: found.size])
            reached.append(int(np.count_nonzero(at_least)))
        return [more - fewer for more, fewer in zip(reached, [*reached[1:], 0], strict=True)]

    def _many(self, found: np.ndarray, largest: int, room: np.ndarray) -> np.ndarray:
        """The same from the exponents of the distances as floats."""
        size = found.size
        floats, lengths = self._floats[:size], self._lengths[: size + size % 2]
        mantissa, bias = (52, 1023) if floats.itemsize == 8 else (23, 127)
        if largest >> mantissa:
            # Without its second bit no distance is rounded up to the next power of two.
            np.right_shift(found, 1, out=room)
            np.invert(room, out=room)
            found = np.bitwise_and(found, room, out=room)
        floats[:] = found
        exponents = floats.view(f"i{floats.itemsize}")
        np.right_shift(exponents, mantissa, out=exponents)
        if floats.itemsize == 8:
            # The exponents of float32 fit into a byte, these only when their bias has gone.
            np.maximum(exponents, bias - 1, out=exponents)
            np.subtract(exponents, bias - 1, out=exponents)
            bias = 1
        lengths[size:] = 0
        lengths[:size] = exponents
        np.maximum(lengths, bias - 1, out=lengths)
        np.subtract(lengths, bias - 1, out=lengths)
        # Two at a time, which is twice as fast.
        rows = self._format.width + 1
        both = np.bincount(lengths.view(np.uint16), minlength=rows << 8).reshape(rows, 256)
        counts = both.sum(axis=1) + both[:, :rows].sum(axis=0)
        counts[0] -= size % 2
        return counts


def _largest_magnitude(bits: np.ndarray, format: Format) -> int:
    """The largest magnitude as an integer; of NaN it is beyond infinity's."""
    positive = int(bits.max())
    negative = int(bits.view(format.unsigned).max()) - (1 << (format.width - 1))
    return max(positive, negative)


def _sum(found: np.ndarray, largest: int) -> int:
    if found.dtype.itemsize == 8:
        # Two halves: 2**32 of them cannot leave the range.
        return (int((found >> np.uint64(32)).sum()) << 32) + int((found & np.uint64(0xFFFFFFFF)).sum())
    # So many at a time that their sum cannot leave the type: conversion takes four times as long.
    together = 1 << max(0, 32 - largest.bit_length())
    if found.dtype.itemsize == 4 and together >= _TOGETHER and not found.size % _TOGETHER:
        groups = found.reshape(-1, min(together, found.size & -found.size))
        return int(groups.sum(axis=1, dtype=np.uint32).sum(dtype=np.uint64))
    return int(found.sum(dtype=np.uint64))
