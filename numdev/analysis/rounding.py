"""How coarse outputs have to be made until those of several cells are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# From the finest that a float64 can tell at the scale of 1 to hundreds.
DECIMALS = range(15, -3, -1)
BITS = range(52, 0, -1)


def to_decimals(array: np.ndarray, decimals: int) -> np.ndarray:
    """Rounded as numpy does in float64, half to even, with zeros of one sign; what is not floating point is as it was."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(all="ignore"):
        # Adding zero makes +0 of -0: which side of zero a small number was on is what rounding shall hide.
        return (np.round(array.astype(np.float64), decimals) + 0.0).astype(array.dtype)


def to_bits(array: np.ndarray, bits: int) -> np.ndarray:
    """With so many significant bits, half to even; what is not floating point is as it was."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(all="ignore"):
        fraction, exponent = np.frexp(array)
        return np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits).astype(array.dtype) + array.dtype.type(0)


def decimals_for(sets: Sequence[Sequence[np.ndarray]]) -> int | None:
    """The most decimals with which all sets have equal bytes; None where even hundreds differ, or shapes or types do.

    Args:
        sets: one list of outputs a class, each in the same order.
    """
    return _most(sets, to_decimals, DECIMALS)


def bits_for(sets: Sequence[Sequence[np.ndarray]]) -> int | None:
    """The same in significant bits."""
    return _most(sets, to_bits, BITS)


def _most(sets: Sequence[Sequence[np.ndarray]], coarser, grades: range) -> int | None:
    first = sets[0]
    for other in sets[1:]:
        if [(each.shape, each.dtype) for each in other] != [(each.shape, each.dtype) for each in first]:
            return None
        if any(
            one.dtype.kind != "f" and one.tobytes() != each.tobytes() for one, each in zip(first, other, strict=True)
        ):
            return None
    # Only what differs anywhere has to be looked at again and again.
    moved = [np.zeros(each.shape, bool) for each in first]
    for other in sets[1:]:
        for mask, one, each in zip(moved, first, other, strict=True):
            if one.dtype.kind == "f":
                bits = f"u{one.dtype.itemsize}"
                mask |= np.ascontiguousarray(one).view(bits) != np.ascontiguousarray(each).view(bits)
    cut = [[each[mask] for each, mask in zip(one, moved, strict=True)] for one in sets]
    for grade in grades:
        wanted = [coarser(each, grade).tobytes() for each in cut[0]]
        if all([coarser(each, grade).tobytes() for each in one] == wanted for one in cut[1:]):
            return grade
    return None


def crossings(one: Sequence[np.ndarray], other: Sequence[np.ndarray], decimals: int) -> float:
    """How many elements are expected to fall on two sides of a border of rounding, were the borders anywhere.

    The distance of two values in units of the step is the probability that a border lies between them: below it is how
    lucky it was that none does.
    """
    total = 0.0
    for first, second in zip(one, other, strict=True):
        if first.dtype.kind == "f":
            with np.errstate(all="ignore"):
                apart = np.abs(first.astype(np.float64) - second.astype(np.float64)) * 10.0**decimals
            total += float(np.minimum(apart[np.isfinite(apart)], 1.0).sum())
    return total
