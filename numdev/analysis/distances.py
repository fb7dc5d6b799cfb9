"""How far classes are from each other: the second of the two distances that attribution weighs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numdev.analysis.budget import spend
from numdev.analysis.classes import Class, Load, Outputs
from numdev.analysis.pairs import flat, stretches

PIECE = 1 << 14
# Up to so many bytes an array is copied: so many classes as there may be of small ones, not all are to be kept mapped.
SMALL = 1 << 16
# What a square is at most, so that sums over all cells stay in range.
LARGEST = 1e200
# Differences of elements, at most: some seconds.
MOST = 1 << 29
# Steps of a distance beside those of its elements.
_SQUARE = 1 << 7


@dataclass(frozen=True)
class Distances:
    """`squares[i, j]`: the sum over outputs of |a - b|^2 / |r|^2, for classes i and j of the partition and r the class that
    sizes are measured from: the squared relative L2 distance. Classes for which `measured` is not set have none: they
    failed, or their outputs have other shapes, NaN or infinity. `why` says what was left out.
    """

    squares: np.ndarray
    measured: np.ndarray
    why: str = ""


def distances(classes: Sequence[Class], against: Class | None, load: Load) -> Distances:
    """The distances of all classes of one task (batches of other sizes are not measured)."""
    count = len(classes)
    nothing = Distances(np.zeros((count, count)), np.zeros(count, bool))
    if against is None:
        return nothing
    task, base = next(iter(against.outputs.items()))
    places = [place for place, one in enumerate(classes) if _alike(one.outputs.get(task), base)]
    elements = sum(int(np.prod(ref.shape, dtype=object)) for ref in base)
    if elements * len(places) ** 2 > MOST:
        return Distances(nothing.squares, nothing.measured, "too many large classes to measure all their distances")

    def array(place: int, output: int) -> np.ndarray:
        found = load(classes[place].outputs[task][output].tensor)
        return np.array(found) if found.nbytes <= SMALL else found

    finite = [place for place in places if all(_finite(array(place, output)) for output in range(len(base)))]
    squares, measured = nothing.squares, nothing.measured
    measured[finite] = True
    start = next(place for place, one in enumerate(classes) if one is against)
    if start not in finite:
        return Distances(squares, np.zeros(count, bool), "the class that sizes are measured from has NaN or infinity")
    for output in range(len(base)):
        arrays = {place: array(place, output) for place in finite}
        unit = _square(arrays[start], None) or max((_square(arrays[place], None) for place in finite), default=0.0)
        for at, one in enumerate(finite):
            for other in finite[:at]:
                apart = _square(arrays[one], arrays[other])
                if apart:
                    squares[one, other] += min(apart / unit, LARGEST) if unit else LARGEST
                    squares[other, one] = squares[one, other]
    left = count - len(finite)
    return Distances(squares, measured, f"{left} of {count} classes have no distance" if left else "")


def _alike(outputs: Outputs | None, base: Outputs) -> bool:
    return outputs is not None and [(one.name, one.dtype, one.shape) for one in outputs] == [
        (one.name, one.dtype, one.shape) for one in base
    ]


def _finite(array: np.ndarray) -> bool:
    return array.dtype.kind in "biu" or all(bool(np.isfinite(piece).all()) for piece in stretches(array, PIECE))


def _square(one: np.ndarray, other: np.ndarray | None) -> float:
    """The sum of squares of an array, or of the difference of two.

    Without BLAS, which adds in another order on another CPU, and for pieces that fit a cache starts threads that cost more than they save.
    """
    spend(_SQUARE + one.size)
    total = 0.0
    wide = (
        np.result_type(one.dtype, np.float64) if other is None else np.result_type(one.dtype, other.dtype, np.float64)
    )
    left, right = flat(one), None if other is None else flat(other)
    rooms = np.empty((2, min(PIECE, max(one.size, 1))), wide)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, one.size, PIECE):
            first, second = (room[: min(PIECE, one.size - start)] for room in rooms)
            first[:] = left[start : start + PIECE]
            if right is not None:
                second[:] = right[start : start + PIECE]
                np.subtract(first, second, out=first)
            total += float(np.multiply(first, first.conj(), out=first).sum().real)
    # Also where it is no number, for squares of a wider type than float64 left their range.
    return total if total <= 1e300 else 1e300
