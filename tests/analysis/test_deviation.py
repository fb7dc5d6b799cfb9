"""Sizes against a slow count, element by element."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from numdev.analysis import deviation
from numdev.analysis.deviation import combined, compare

FLOATS = [np.float16, np.float32, np.float64]
LARGEST = np.finfo(np.float64).max


def slow(value, ref):
    """The definition, over Python numbers."""
    sizes, rels, nonfinite, from_zero = [], [], 0, 0
    differ = sum(a.tobytes() != b.tobytes() for a, b in zip(value.flat, ref.flat, strict=True))
    for a, b in zip(value.ravel().tolist(), ref.ravel().tolist(), strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            nonfinite += not (a == b or (math.isnan(a) and math.isnan(b)))
            continue
        size = min(abs(a - b), LARGEST)
        sizes.append(size)
        if b:
            rels.append(min(size / abs(b) if abs(b) > 1e-300 or size < 1 else LARGEST, LARGEST))
        else:
            from_zero += size > 0
    return differ, max(sizes, default=None), max(rels, default=None), nonfinite, from_zero


@st.composite
def float_pairs(draw):
    dtype = draw(st.sampled_from(FLOATS))
    shape = draw(array_shapes(max_dims=3, max_side=4))
    return draw(arrays(dtype, shape)), draw(arrays(dtype, shape))


@given(float_pairs())
def test_floats_as_by_hand(pair):
    found = compare(*pair)
    assert (found.differ, found.max_abs, found.max_rel, found.nonfinite, found.from_zero) == slow(*pair)


@given(float_pairs(), st.integers(1, 5))
def test_pieces_do_not_matter(pair, piece):
    whole = compare(*pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deviation, "PIECE", piece)
        small = compare(*pair)
    assert replace(small, rms=None) == replace(whole, rms=None)
    assert whole.rms is None or small.rms == pytest.approx(whole.rms)


@given(st.sampled_from(FLOATS).flatmap(lambda d: arrays(d, 3)), st.integers(0, 40), st.booleans())
def test_ulp_counts_steps_of_nextafter(ref, steps, up):
    ref = np.where(np.isfinite(ref) & (np.abs(ref) < np.finfo(ref.dtype).max / 4), ref, ref.dtype.type(0))
    value = ref.copy()
    for _ in range(steps):
        value = np.nextafter(value, value.dtype.type(math.inf if up else -math.inf))
    assert compare(value, ref).max_ulp == steps


@given(float_pairs())
def test_ulp_is_symmetric(pair):
    assert compare(*pair).max_ulp == compare(*reversed(pair)).max_ulp


def test_extremes_of_the_float_line():
    big = np.finfo(np.float64).max
    found = compare(np.array([big]), np.array([-big]))
    assert found.max_ulp == 2 * 0x7FEFFFFFFFFFFFFF
    assert found.max_abs == big


def test_signed_zeros_differ_in_bytes_only():
    found = compare(np.array([-0.0, 1]), np.array([0.0, 1]))
    assert (found.differ, found.max_abs, found.max_ulp, found.from_zero) == (1, 0, 0, 0)


def test_zero_reference_is_counted_apart():
    found = compare(np.float32([1e-9, 2]), np.float32([0, 1]))
    assert (found.max_rel, found.from_zero) == (1, 1)


def test_nan_and_infinity():
    nan, inf = math.nan, math.inf
    found = compare(np.float32([nan, nan, inf, inf, 1]), np.float32([nan, 1, inf, -inf, 1.5]))
    assert (found.nonfinite, found.max_abs, found.differ) == (2, 0.5, 3)


def test_nan_payloads_are_other_bytes():
    payload = np.array([0x7FC00001], np.uint32).view(np.float32)
    found = compare(payload, np.float32([math.nan]))
    assert (found.differ, found.nonfinite, found.max_abs) == (1, 0, None)


@given(
    st.sampled_from([np.int8, np.uint8, np.int32, np.int64, np.uint64]).flatmap(
        lambda d: st.tuples(arrays(d, 4), arrays(d, 4))
    )
)
def test_integers_are_exact_before_rounding(pair):
    found = compare(*pair)
    apart = [abs(int(a) - int(b)) for a, b in zip(*pair, strict=True)]
    assert found.max_abs == float(max(apart))
    assert found.max_ulp is None
    assert found.differ == sum(a > 0 for a in apart)


def test_mixed_types():
    assert compare(np.int32([3]), np.float64([2.5])).max_abs == 0.5
    assert compare(np.uint64([2**63]), np.int8([-1])).max_abs == float(2**63 + 1)
    assert compare(np.array([True]), np.array([False])).max_abs == 1


def test_ulp_against_a_wider_reference_is_rounded_first():
    ref = np.float64([1 / 3])
    assert compare(ref.astype(np.float32), ref).max_ulp == 0
    assert compare(np.nextafter(np.float32(1 / 3), np.float32(1)).reshape(1), ref).max_ulp == 1


def test_top1():
    ref, value = np.float32([[1, 2], [2, 1], [1, 0]]), np.float32([[3, 2], [2, 1], [0, 1]])
    found = compare(value, ref)
    assert (found.changed_top1, found.samples, found.examples) == (2, 3, ((0, 1, 0), (2, 0, 1)))
    assert compare(value, ref, classes=5).changed_top1 is None
    assert compare(value[None], ref[None], classes=2).changed_top1 == 2
    assert compare(value[None], ref[None]).changed_top1 is None


def test_shapes_and_strings():
    assert compare(np.zeros(2), np.zeros((2, 1))).incomparable == "shape 2 against 2x1"
    found = compare(np.array(["a", "b"]), np.array(["a", "c"]))
    assert (found.differ, found.max_abs) == (1, None)
    assert compare(np.zeros((0, 4)), np.zeros((0, 4))).max_abs is None


def test_combined():
    one = compare(np.float32([1, 2]), np.float32([1, 1]))
    other = compare(np.int32([7]), np.int32([3]))
    both = combined([one, other])
    assert (both.total, both.differ, both.max_abs, both.max_ulp) == (3, 2, 4, one.max_ulp)
    assert both.rms == pytest.approx(math.sqrt((1 + 16) / 3))
    assert combined([one, compare(np.zeros(1), np.zeros(2))]).incomparable
