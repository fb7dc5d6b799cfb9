"""The size of the deviation between two outputs, computed in pieces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

PIECE = 1 << 18
EXAMPLES = 3
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Deviation:
    """How far a value is from another one, `ref`. Elements are compared in the order they lie in.

    - `total`, `differ`: elements, and those whose bytes differ (of unequal dtypes: whose numbers differ).
    - `max_abs`, `rms`: largest and root mean square |value - ref|, over elements finite on both sides; exact
      below 2**53.
    - `max_rel`: largest |value - ref| / |ref| where ref is not zero; `from_zero` counts elements that left
      zero.
    - `max_ulp`: largest count of representable numbers between the two (-0 and +0 are one number), of unequal
      float dtypes after both are rounded to the narrower one; None unless both are float16, float32 or
      float64.
    - `nonfinite`: elements that are NaN or infinite on one side and not the same on the other.
    - `scale`: largest finite |ref|.
    - `changed_top1` of `samples`: rows whose largest entry is elsewhere (NaN counts as largest); None where
      the output is not one score a class. `examples`: the first few as (row, place in ref, place in value).
    - `incomparable`: why nothing was compared; all else is then empty.

    A quotient or difference beyond float64 is given as the largest float64.
    """

    total: int = 0
    differ: int = 0
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    rms: float | None = None
    nonfinite: int = 0
    from_zero: int = 0
    scale: float | None = None
    changed_top1: int | None = None
    samples: int | None = None
    examples: tuple[tuple[int, int, int], ...] = ()
    incomparable: str = ""


def compare(value: np.ndarray, ref: np.ndarray, classes: int = 0) -> Deviation:
    """The deviation of `value` from `ref`, both of one shape.

    `classes` is the length of the last axis of an output of class scores, 0 where unknown: then every
    two-dimensional float output is taken as such. Arrays of unequal shapes are `incomparable`, never an
    error.
    """
    if value.shape != ref.shape:
        return Deviation(incomparable=f"shape {_shape(value)} against {_shape(ref)}")
    differ = nonfinite = from_zero = finite = 0
    squares = (0.0, 0.0)
    size = rel = ulp = scale = None
    for one, other in _pieces(value, ref):
        differ += int(np.count_nonzero(_unequal(one, other)))
        if not (_numeric(one) and _numeric(other)):
            continue
        kept, apart, left = _distances(one, other)
        nonfinite += kept.size - int(np.count_nonzero(kept))
        finite += apart.size
        if left.size:
            scale = max(scale or 0.0, float(left.max()))
            size = max(size or 0.0, float(apart.max()))
            squares = _add_squares(squares, apart)
            from_zero += int(np.count_nonzero((left == 0) & (apart > 0)))
            rel = _largest(rel, _relative(apart, left))
        if _float(one) and _float(other):
            ulp = _largest(ulp, _ulps(one, other))
    rms = None if size is None else squares[0] * (squares[1] / finite) ** 0.5
    return Deviation(
        total=value.size,
        differ=differ,
        max_abs=size,
        max_rel=rel,
        max_ulp=ulp,
        rms=rms,
        nonfinite=nonfinite,
        from_zero=from_zero,
        scale=scale,
        **_top1(value, ref, classes),
    )


def combined(parts: list[Deviation]) -> Deviation:
    """One deviation over several outputs: largest sizes, summed counts."""
    if not parts:
        return Deviation()
    if len(parts) == 1:
        return parts[0]
    compared = [part for part in parts if not part.incomparable]
    rms = [(part.rms, part.total) for part in compared if part.rms is not None]
    weight = sum(count for _, count in rms)
    largest = max((size for size, _ in rms), default=0.0)
    mean = sum((size / largest) ** 2 * count for size, count in rms) / weight if weight and largest else 0.0
    ranked = [part for part in compared if part.changed_top1 is not None]
    return Deviation(
        total=sum(part.total for part in compared),
        differ=sum(part.differ for part in compared),
        max_abs=_most(part.max_abs for part in compared),
        max_rel=_most(part.max_rel for part in compared),
        max_ulp=_most(part.max_ulp for part in compared),
        rms=largest * mean**0.5 if rms else None,
        nonfinite=sum(part.nonfinite for part in compared),
        from_zero=sum(part.from_zero for part in compared),
        scale=_most(part.scale for part in compared),
        changed_top1=sum(part.changed_top1 for part in ranked) if ranked else None,
        samples=sum(part.samples for part in ranked) if ranked else None,
        examples=next((part.examples for part in ranked if part.examples), ()),
        incomparable="; ".join(part.incomparable for part in parts if part.incomparable),
    )


def _most(values):
    return max((value for value in values if value is not None), default=None)


def _largest(so_far, values):
    if not values.size:
        return so_far
    new = values.max()
    new = float(new) if values.dtype.kind == "f" else int(new)
    return new if so_far is None else max(so_far, new)


def _shape(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape)) or "scalar"


def _numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "biufc"


def _float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and array.dtype.itemsize in (2, 4, 8)


def _pieces(value: np.ndarray, ref: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    flat = [np.ascontiguousarray(array).reshape(-1) for array in (value, ref)]
    for start in range(0, value.size, PIECE):
        one, other = (array[start : start + PIECE] for array in flat)
        yield (
            one.astype(one.dtype.newbyteorder("="), copy=False),
            other.astype(other.dtype.newbyteorder("="), copy=False),
        )


def _unequal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if one.dtype == other.dtype and one.dtype.itemsize:
        first, second = (np.ascontiguousarray(array).view(np.uint8) for array in (one, other))
        return (first.reshape(one.size, -1) != second.reshape(one.size, -1)).any(axis=1)
    both_nan = (one != one) & (other != other)
    return (one != other) & ~both_nan


def _distances(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(not a non-finite mismatch, |one - other|, |other|): the last two over elements finite on both
    sides.
    """
    if one.dtype.kind in "biu" and other.dtype.kind in "biu":
        return np.ones(one.size, bool), _integer_distance(one, other), _magnitude(other)
    wide = np.result_type(one, other, np.float64)
    one, other = one.astype(wide), other.astype(wide)
    finite = np.isfinite(one) & np.isfinite(other)
    kept = finite | (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(over="ignore", invalid="ignore"):
        apart, left = np.abs(one[finite] - other[finite]), np.abs(other[finite])
    return kept, np.minimum(apart, _LARGEST), np.minimum(left, _LARGEST)


def _integer_distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Exact before the last step: int64 and uint64 differences wrap to the right uint64."""
    if one.dtype.kind != other.dtype.kind and np.dtype(np.uint64) in (one.dtype, other.dtype):
        return np.array([abs(int(a) - int(b)) for a, b in zip(one, other, strict=True)], np.float64)
    wide = np.uint64 if one.dtype.kind == other.dtype.kind == "u" else np.int64
    one, other = one.astype(wide), other.astype(wide)
    high, low = np.maximum(one, other), np.minimum(one, other)
    return (high.view(np.uint64) - low.view(np.uint64)).astype(np.float64)


def _magnitude(array: np.ndarray) -> np.ndarray:
    return np.abs(array.astype(np.float64))


def _add_squares(so_far: tuple[float, float], apart: np.ndarray) -> tuple[float, float]:
    """(unit, sum of squares in that unit): squares of large or small sizes leave float64's range."""
    unit = max(so_far[0], float(apart.max()))
    if unit == 0:
        return so_far
    return unit, so_far[1] * (so_far[0] / unit) ** 2 + float(np.square(apart / unit).sum())


def _relative(apart: np.ndarray, left: np.ndarray) -> np.ndarray:
    some = left > 0
    with np.errstate(over="ignore"):
        return np.minimum(apart[some] / left[some], _LARGEST)


def _ulps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    narrow = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
    with np.errstate(over="ignore"):
        one, other = one.astype(narrow), other.astype(narrow)
    finite = np.isfinite(one) & np.isfinite(other)
    first, second = _ordered(one[finite]), _ordered(other[finite])
    high, low = np.maximum(first, second), np.minimum(first, second)
    return high.view(np.uint64) - low.view(np.uint64)


def _ordered(array: np.ndarray) -> np.ndarray:
    """Integers (int64) that count through the floats in order, with -0 and +0 both at 0."""
    signed = array.view(f"i{array.dtype.itemsize}").astype(np.int64)
    magnitude = signed & np.int64((1 << (8 * array.dtype.itemsize - 1)) - 1)
    return np.where(signed < 0, -magnitude, magnitude)


def _top1(value: np.ndarray, ref: np.ndarray, classes: int) -> dict:
    if classes:
        scores = value.ndim >= 1 and value.shape[-1] == classes
    else:
        scores = value.ndim == 2 and value.dtype.kind == "f"
    if not scores or value.shape[-1] < 2 or not value.size or not _numeric(ref) or value.dtype.kind == "c":
        return {}
    chosen = value.reshape(-1, value.shape[-1]).argmax(axis=-1)
    before = ref.reshape(-1, ref.shape[-1]).argmax(axis=-1)
    changed = np.flatnonzero(chosen != before)
    examples = tuple((int(row), int(before[row]), int(chosen[row])) for row in changed[:EXAMPLES])
    return {"changed_top1": len(changed), "samples": len(chosen), "examples": examples}


def largest(parts: list[Deviation]) -> Deviation | None:
    """The largest of several deviations, field by field for the sizes; None of none."""
    if not parts:
        return None
    first = max(parts, key=lambda one: (one.nonfinite, one.max_abs or 0, one.differ / (one.total or 1)))
    top = max(parts, key=lambda one: one.changed_top1 or 0)
    return replace(
        first,
        max_rel=_most(one.max_rel for one in parts),
        max_ulp=_most(one.max_ulp for one in parts),
        rms=_most(one.rms for one in parts),
        changed_top1=top.changed_top1,
        samples=top.samples,
        examples=top.examples,
    )
