"""The size of the deviation between two outputs, computed in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from numdev.analysis.decisions import TOP_K, decisions
from numdev.analysis.pairs import BFLOAT16, Pairs, dtype_name
from numdev.analysis.pieces import Sums, pieces, unequal
from numdev.analysis.quantiles import Quantiles
from numdev.analysis.ulp import steps


@dataclass(frozen=True)
class Deviation:
    """How far a value is from another one, `ref`. Elements are compared in the order they lie in.

    - `total`, `differ`: elements, and those whose bytes differ (of unequal dtypes: whose numbers differ).
    - `max_abs`, `mean_abs`, `median_abs`, `p99_abs`, `rms`: of |value - ref| over the `finite` elements that are
      finite on both sides, in float64: of integers exact below 2**53. All but mean and rms, which are sums, do not
      depend on the order. A median or 99 % quantile is a number that occurs, the smallest that so many do not
      exceed.
    - `max_rel`, `mean_rel`, `median_rel`, `p99_rel`: of |value - ref| / |ref| where ref is not zero; `from_zero`
      counts elements that left zero.
    - `max_ulp`, `mean_ulp`, `median_ulp`, `p99_ulp`: of the count of representable numbers between the two (-0 and
      +0 are one number) over the same `finite` elements, of unequal float dtypes after both are rounded to the
      narrower one; None unless both are float16, float32 or float64, or both bfloat16.
    - `min_bits`, `mean_bits`: leading bits of the significand that match: its precision (11, 8, 24, 53) less the bits
      of the ULP distance.
    - `nonfinite`: elements that are NaN or infinite on one side and not the same on the other; `nan` of them are NaN
      on one side only. `payloads`: NaN on both sides, of other bytes. `signs`: finite numbers of opposite signs;
      `signed_zeros`: -0 against +0.
    - `nearer_zero`, `further_zero`: elements finite on both sides, with a deviation, whose magnitude is smaller, or is not.
    - `scale`: largest |ref| where both are finite.
    - `changed_top1` of `samples`: rows whose largest entry is elsewhere (NaN counts as largest); None where
      the output is not one score a class. `examples`: the first few as (row, place in ref, place in value).
      `changed_topk`: rows whose `top_k` largest are others, in whatever order; None where rows have no more.
    - `margin`: the smallest distance of a row's largest from its second largest entry in ref; `at_risk`: rows where it
      is at most twice `max_abs`, so that a deviation of that size could change the largest.
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
    finite: int = 0
    mean_abs: float | None = None
    median_abs: float | None = None
    p99_abs: float | None = None
    mean_rel: float | None = None
    median_rel: float | None = None
    p99_rel: float | None = None
    mean_ulp: float | None = None
    median_ulp: int | None = None
    p99_ulp: int | None = None
    min_bits: int | None = None
    mean_bits: float | None = None
    nan: int = 0
    payloads: int = 0
    signs: int = 0
    signed_zeros: int = 0
    top_k: int | None = None
    changed_topk: int | None = None
    margin: float | None = None
    at_risk: int | None = None
    nearer_zero: int = 0
    further_zero: int = 0


def compare(value: np.ndarray, ref: np.ndarray, classes: int = 0, top_k: int = TOP_K) -> Deviation:
    """The deviation of `value` from `ref`, both of one shape; two-byte raw elements are bfloat16.

    `classes` is the length of the last axis of an output of class scores, 0 where unknown: then every
    two-dimensional float output is taken as such. Arrays of unequal shapes are `incomparable`, never an
    error. Memory is taken for a few pieces, whatever the size of the arrays.
    """
    if value.shape != ref.shape:
        return Deviation(incomparable=f"shape {_shape(value)} against {_shape(ref)}")
    pairs = Pairs(value, ref)
    if not (_numeric(value) and _numeric(ref)):
        if value.dtype.kind != ref.dtype.kind:
            return Deviation(incomparable=f"{dtype_name(value.dtype)} against {dtype_name(ref.dtype)}")
        differ = sum(int(np.count_nonzero(unequal(*pairs.at(*span)))) for span in pairs.spans())
        return Deviation(total=value.size, differ=differ)
    # Whatever leaves a range or is no number is counted as such.
    with np.errstate(all="ignore"):
        found = _measured(pairs)
        return replace(found, **decisions(pairs, value.shape, (value.dtype, ref.dtype), classes, found.max_abs, top_k))


def _measured(pairs: Pairs) -> Deviation:
    """All but the decisions."""
    sums = Sums()
    absolute, relative, ulps = Quantiles(), Quantiles(), Quantiles(pairs.format.width if pairs.format else 64)
    given = 0
    for piece in pieces(pairs):
        sums.add(piece, pairs.same_type)
        absolute.add(piece.apart.view(np.uint64))
        relative.add(piece.relative.view(np.uint64))
        if pairs.format is not None:
            found = piece.ulps(pairs)
            ulps.add(found)
            given += found.size
    absolute.add_zeros(sums.finite - sums.given)
    relative.add_zeros(sums.nonzero - sums.divided)
    counted = steps(pairs) if pairs.format is not None else None
    if counted:
        ulps.add_zeros(counted.pairs - given)
    every = (absolute, relative, ulps)
    for one in every:
        one.turn()
    while any(one.unfinished for one in every):
        for piece in pieces(pairs):
            absolute.again(piece.apart.view(np.uint64))
            relative.again(piece.relative.view(np.uint64))
            if ulps.unfinished:
                ulps.again(piece.ulps(pairs))
        for one in every:
            one.turn()
    some = counted is not None and counted.pairs > 0
    bits = counted.matching_bits(pairs.format.precision) if some else (None, None)
    return Deviation(
        total=pairs.size,
        differ=sums.differ,
        max_abs=sums.absolute.largest if sums.finite else None,
        max_rel=sums.relative.largest if sums.nonzero else None,
        max_ulp=counted.largest if some else None,
        rms=sums.absolute.rms(sums.finite),
        nonfinite=sums.nonfinite,
        from_zero=sums.from_zero,
        scale=sums.scale,
        finite=sums.finite,
        mean_abs=sums.absolute.mean(sums.finite),
        median_abs=_float(absolute, 50),
        p99_abs=_float(absolute, 99),
        mean_rel=sums.relative.mean(sums.nonzero),
        median_rel=_float(relative, 50),
        p99_rel=_float(relative, 99),
        mean_ulp=counted.total / counted.pairs if some else None,
        median_ulp=ulps.found().get(50),
        p99_ulp=ulps.found().get(99),
        min_bits=bits[0],
        mean_bits=bits[1],
        nan=sums.nan,
        payloads=sums.payloads,
        signs=sums.signs,
        signed_zeros=sums.signed_zeros,
        nearer_zero=sums.nearer_zero,
        further_zero=sums.off - sums.nearer_zero,
    )


def combined(parts: list[Deviation]) -> Deviation:
    """One deviation over several outputs: largest sizes, summed counts.

    Means but rms, medians and quantiles are None: they are those of one output, not of several with scales of their
    own.
    """
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
        finite=sum(part.finite for part in compared),
        min_bits=_least(part.min_bits for part in compared),
        nan=sum(part.nan for part in compared),
        payloads=sum(part.payloads for part in compared),
        signs=sum(part.signs for part in compared),
        signed_zeros=sum(part.signed_zeros for part in compared),
        nearer_zero=sum(part.nearer_zero for part in compared),
        further_zero=sum(part.further_zero for part in compared),
        top_k=_most(part.top_k for part in ranked),
        changed_topk=_total(part.changed_topk for part in ranked),
        margin=_least(part.margin for part in ranked),
        at_risk=_total(part.at_risk for part in ranked),
        incomparable="; ".join(part.incomparable for part in parts if part.incomparable),
    )


def _most(values):
    return max((value for value in values if value is not None), default=None)


def _least(values):
    return min((value for value in values if value is not None), default=None)


def _total(values):
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _float(quantiles: Quantiles, percent: int) -> float | None:
    key = quantiles.found().get(percent)
    return None if key is None else float(np.uint64(key).view(np.float64))


def _shape(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape)) or "scalar"


def _numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "biufc" or array.dtype == BFLOAT16


def largest(parts: Iterable[Deviation]) -> Deviation | None:
    """The largest of several deviations, field by field for the largest sizes; None of none. They are looked at one by one."""
    first = top = None
    size: tuple[float, ...] = ()
    rel = ulp = rms = bits = None
    for one in parts:
        mine = one.nonfinite, one.max_abs or 0, one.differ / (one.total or 1)
        if first is None or mine > size:
            first, size = one, mine
        if top is None or (one.changed_top1 or 0) > (top.changed_top1 or 0):
            top = one
        rel, ulp, rms = _most((rel, one.max_rel)), _most((ulp, one.max_ulp)), _most((rms, one.rms))
        bits = _least((bits, one.min_bits))
    if first is None or top is None:
        return None
    return replace(
        first,
        max_rel=rel,
        max_ulp=ulp,
        rms=rms,
        min_bits=bits,
        changed_top1=top.changed_top1,
        samples=top.samples,
        examples=top.examples,
    )
