"""Sums of deviations over pieces of two arrays."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from numdev.analysis import pairs as memory
from numdev.analysis.pairs import Pairs, widened
from numdev.analysis.ulp import distances

_LARGEST = sys.float_info.max
# Elements: small enough that their temporaries are taken from memory that is there already.
SPAN = 1 << 14


@dataclass(frozen=True)
class Piece:
    """One piece of two arrays. Only `changed` elements are looked at closely, for equal ones have no deviation.

    `changed`: a mask, all true where the types differ. `value`, `ref`: the changed elements; `rest`: the others, of
    which both sides have the same. `kept`: which changed ones are no mismatch of NaN and infinity; `apart`, `left`: |value - ref| and
    |ref| (and `size` |value|), of those that are finite on both sides. `relative`: their quotient, where ref is not zero.
    """

    span: tuple[int, int]
    changed: np.ndarray
    value: np.ndarray
    ref: np.ndarray
    rest: np.ndarray
    kept: np.ndarray
    apart: np.ndarray
    left: np.ndarray
    size: np.ndarray
    relative: np.ndarray

    def ulps(self, pairs: Pairs) -> np.ndarray:
        """The ULP distances of the changed elements, where both are finite."""
        assert pairs.format is not None
        if not self.value.size:
            return np.empty(0, np.uint64)
        one, other = pairs.bits(*self.span)
        if self.value.size != one.size:
            one, other = one[self.changed], other[self.changed]
        return distances(one, other, pairs.format).astype(np.uint64)


def pieces(pairs: Pairs) -> Iterator[Piece]:
    for start, stop in pairs.spans(min(SPAN, memory.PIECE)):
        one, other = pairs.at(start, stop)
        changed = unequal(one, other) if pairs.same_type else np.ones(one.size, bool)
        if changed.all():
            value, ref, rest = widened(one), widened(other), other[:0]
        else:
            value, ref, rest = widened(one[changed]), widened(other[changed]), widened(other[~changed])
        kept, apart, left, size = _distances(value, ref)
        if left.all():
            relative = apart / left
        else:
            some = left > 0
            relative = apart[some] / left[some]
        yield Piece((start, stop), changed, value, ref, rest, kept, apart, left, size, np.minimum(relative, _LARGEST))


class Moments:
    """Sum and sum of squares, in a unit of their own: the squares of large and small sizes leave float64's range."""

    def __init__(self) -> None:
        self.largest = 0.0
        self._sum = self._squares = 0.0

    def add(self, sizes: np.ndarray) -> None:
        if not sizes.size:
            return
        unit = max(self.largest, float(sizes.max()))
        if unit == 0:
            return
        scaled = sizes / unit
        self._sum = self._sum * (self.largest / unit) + float(scaled.sum())
        self._squares = self._squares * (self.largest / unit) ** 2 + float(np.square(scaled, out=scaled).sum())
        self.largest = unit

    def mean(self, count: int) -> float | None:
        return self.largest * (self._sum / count) if count else None

    def rms(self, count: int) -> float | None:
        return self.largest * (self._squares / count) ** 0.5 if count else None


class Sums:
    """Counts and largest sizes over pieces: see Deviation for what each is.

    `given`, `divided`: changed elements with a deviation, and with a relative one; `nonzero`: all with a relative one.
    """

    def __init__(self) -> None:
        self.differ = self.finite = self.nonzero = self.given = self.divided = 0
        self.nonfinite = self.from_zero = self.nan = self.payloads = self.signs = self.signed_zeros = 0
        self.off = self.nearer_zero = 0
        self.absolute, self.relative = Moments(), Moments()
        self.scale: float | None = None

    def add(self, piece: Piece, same_type: bool) -> None:
        self.given += piece.apart.size
        self.divided += piece.relative.size
        self.finite += piece.apart.size
        self.nonzero += piece.relative.size
        self.differ += piece.value.size if same_type else int(np.count_nonzero(unequal(piece.value, piece.ref)))
        if piece.rest.size:
            self._rest(_magnitude(piece.rest))
        if not piece.value.size:
            return
        if piece.left.size:
            self.scale = max(self.scale or 0.0, float(piece.left.max()))
        self.absolute.add(piece.apart)
        self.off += int(np.count_nonzero(piece.apart))
        self.nearer_zero += int(np.count_nonzero(piece.size < piece.left))
        self.relative.add(piece.relative)
        if piece.relative.size != piece.left.size:
            self.from_zero += int(np.count_nonzero((piece.left == 0) & (piece.apart > 0)))
        self.nonfinite += piece.kept.size - int(np.count_nonzero(piece.kept))
        if piece.value.dtype.kind == piece.ref.dtype.kind == "f":
            self._floats(piece, same_type)

    def _rest(self, magnitude: np.ndarray) -> None:
        finite = np.isfinite(magnitude)
        if not finite.all():
            magnitude = magnitude[finite]
        if magnitude.size:
            self.scale = max(self.scale or 0.0, float(magnitude.max()))
        self.finite += magnitude.size
        self.nonzero += int(np.count_nonzero(magnitude))

    def _floats(self, piece: Piece, same_type: bool) -> None:
        value, ref = piece.value, piece.ref
        if piece.apart.size != value.size:
            strange, other = np.isnan(value), np.isnan(ref)
            self.nan += int(np.count_nonzero(strange != other))
            if same_type:
                self.payloads += int(np.count_nonzero(strange & other))
            finite = np.isfinite(value) & np.isfinite(ref)
            value, ref = value[finite], ref[finite]
        if same_type:
            # No other numbers of one type have other bytes and no distance.
            self.signed_zeros += piece.apart.size - int(np.count_nonzero(piece.apart))
        if ((value < 0) != (ref < 0)).any():
            self.signs += int(np.count_nonzero(((value < 0) & (ref > 0)) | ((value > 0) & (ref < 0))))


def unequal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which elements have other bytes; of unequal types, which are other numbers."""
    if one.dtype == other.dtype and one.dtype.itemsize:
        if one.dtype.itemsize in (1, 2, 4, 8):
            bits = f"u{one.dtype.itemsize}"
            return np.ascontiguousarray(one).view(bits) != np.ascontiguousarray(other).view(bits)
        first, second = (np.ascontiguousarray(array).view(np.uint8) for array in (one, other))
        return (first.reshape(one.size, -1) != second.reshape(one.size, -1)).any(axis=1)
    both_nan = (one != one) & (other != other)
    return (one != other) & ~both_nan


def _distances(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(not a non-finite mismatch, |one - other|, |other|, |one|): all but the first over elements finite on both
    sides.
    """
    if one.dtype.kind in "biu" and other.dtype.kind in "biu":
        return np.ones(one.size, bool), _integer_distance(one, other), _magnitude(other), _magnitude(one)
    wide = np.result_type(one, other, np.float64)
    one, other = one.astype(wide), other.astype(wide)
    apart, left, size = np.abs(one - other), np.abs(other), np.abs(one)
    # Beyond the largest float64 a difference of finite numbers is infinite, and so looked at again.
    finite = np.isfinite(apart) & np.isfinite(left)
    if finite.all():
        return finite, _double(apart), _double(left), _double(size)
    finite = np.isfinite(one) & np.isfinite(other)
    kept = finite | (one == other) | (np.isnan(one) & np.isnan(other))
    apart, left, size = (np.minimum(each[finite], _LARGEST) for each in (apart, left, size))
    return kept, _double(apart), _double(left), _double(size)


def _double(sizes: np.ndarray) -> np.ndarray:
    """Sizes of a wider type, as no framework gives it, in float64; the largest of that where they are beyond it."""
    return sizes if sizes.dtype == np.float64 else np.minimum(sizes, _LARGEST).astype(np.float64)


def _integer_distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Exact before the last step: int64 and uint64 differences wrap to the right uint64."""
    if one.dtype.kind != other.dtype.kind and np.dtype(np.uint64) in (one.dtype, other.dtype):
        return np.array([abs(int(a) - int(b)) for a, b in zip(one, other, strict=True)], np.float64)
    wide = np.uint64 if one.dtype.kind == other.dtype.kind == "u" else np.int64
    one, other = one.astype(wide), other.astype(wide)
    high, low = np.maximum(one, other), np.minimum(one, other)
    return (high.view(np.uint64) - low.view(np.uint64)).astype(np.float64)


def _magnitude(array: np.ndarray) -> np.ndarray:
    """|array| in float64; of a finite complex number beyond it the largest float64."""
    if array.dtype.kind != "c":
        return np.abs(array.astype(np.float64))
    size = np.abs(array.astype(np.complex128))
    return np.where(np.isfinite(array), np.minimum(size, _LARGEST), size)
