"""Sizes against a slow count, element by element."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from numdev.analysis import pairs, quantiles
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
        patch.setattr(pairs, "PIECE", piece)
        small = compare(*pair)
    sums = {name: getattr(whole, name) for name in ("rms", "mean_abs", "mean_rel")}
    assert replace(small, **sums) == whole
    for name, mean in sums.items():
        assert mean is None or getattr(small, name) == pytest.approx(mean)


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


def middle(sizes, percent):
    """The smallest that at least so many per cent do not exceed."""
    ordered = sorted(sizes)
    return next((one for place, one in enumerate(ordered, 1) if 100 * place >= percent * len(ordered)), None)


# The tables of a search are large for so few elements.
@settings(deadline=None, max_examples=60)
@given(float_pairs(), st.sampled_from([0, 3, 1 << 20]), st.integers(5, 40))
def test_quantiles_are_exact_whatever_is_kept(pair, kept, piece):
    value, ref = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiles, "KEPT", kept)
        patch.setattr(pairs, "PIECE", piece)
        found = compare(value, ref)
    apart, rels, ulps = [], [], []
    for a, b in zip(value.ravel(), ref.ravel(), strict=True):
        one = compare(a.reshape(1), b.reshape(1))
        if one.max_abs is not None:
            apart.append(one.max_abs)
            ulps.append(one.max_ulp)
            rels += [] if one.max_rel is None else [one.max_rel]
    assert (found.median_abs, found.p99_abs) == (middle(apart, 50), middle(apart, 99))
    assert (found.median_rel, found.p99_rel) == (middle(rels, 50), middle(rels, 99))
    assert (found.median_ulp, found.p99_ulp) == (middle(ulps, 50), middle(ulps, 99))
    assert found.finite == len(apart)
    if ulps:
        assert found.mean_ulp == pytest.approx(sum(ulps) / len(ulps), rel=1e-15)


@pytest.mark.parametrize("kept", [1000, 1 << 20])
def test_means_and_quantiles_as_numpy_has_them(monkeypatch, kept):
    monkeypatch.setattr(quantiles, "KEPT", kept)
    rng = np.random.default_rng(1)
    ref = rng.standard_normal(300_001).astype(np.float32)
    value = np.where(rng.random(ref.size) < 0.7, ref + rng.standard_normal(ref.size) * 1e-6, ref).astype(np.float32)
    found = compare(value, ref)
    apart = np.abs(value.astype(float) - ref)
    rel = apart / np.abs(ref.astype(float))
    for sizes, ours in (
        (apart, (found.max_abs, found.mean_abs, found.median_abs, found.p99_abs)),
        (rel, (found.max_rel, found.mean_rel, found.median_rel, found.p99_rel)),
    ):
        assert ours[0] == sizes.max()
        assert ours[1] == pytest.approx(sizes.mean(), rel=1e-12)
        assert ours[2:] == tuple(np.quantile(sizes, [0.5, 0.99], method="inverted_cdf"))
    ulps = np.abs(value.view(np.int32).astype(np.int64) - ref.view(np.int32))
    ulps = ulps[np.signbit(value) == np.signbit(ref)]
    assert found.signs == ref.size - ulps.size
    assert found.p99_ulp >= np.quantile(ulps, 0.99, method="inverted_cdf")


def test_integers_have_quantiles_and_no_ulp():
    found = compare(np.int8([1, 2, 3, 4]), np.int8([1, 2, 3, -4]))
    assert (found.mean_abs, found.median_abs, found.p99_abs, found.median_ulp) == (2, 0, 8, None)


@pytest.mark.parametrize("wide", [np.float32, np.float64])
def test_bfloat16_is_raw_elements(wide):
    bits = np.uint16([0x3F80, 0x3F81, 0x8000, 0x7FC0, 0x7F80])
    value, ref = bits.view("V2"), np.uint16([0x3F80, 0x3F80, 0x0000, 0x7FC1, 0xFF80]).view("V2")
    found = compare(value, ref)
    assert (found.differ, found.max_ulp, found.max_abs, found.min_bits) == (4, 1, 2**-7, 7)
    assert (found.payloads, found.signed_zeros, found.nonfinite) == (1, 1, 1)
    against = compare(value[:2], wide([1, 1]))
    assert (against.max_abs, against.max_ulp) == (2**-7, None)


def test_what_is_no_number_is_told_apart():
    nan, inf = math.nan, math.inf
    payload = np.uint32([0x7FC00001]).view(np.float32)[0]
    value = np.float32([nan, payload, -0.0, -1, inf, 1])
    ref = np.float32([1, nan, 0.0, 1, -inf, 1])
    found = compare(value, ref)
    assert (found.total, found.finite, found.differ) == (6, 3, 5)
    assert (found.nonfinite, found.nan, found.payloads, found.signed_zeros, found.signs) == (2, 1, 1, 1, 1)


def test_nan_everywhere_and_nothing():
    nothing = np.full(3, math.nan, np.float32)
    found = compare(nothing, nothing)
    assert (found.total, found.finite, found.differ, found.max_abs, found.max_ulp) == (3, 0, 0, None, None)
    assert compare(nothing, np.float32([1, 2, 3])).nan == 3
    for shape in ((0,), (0, 4), (3, 0)):
        found = compare(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        assert (found.total, found.max_abs, found.median_abs, found.changed_top1) == (0, None, None, None)


@given(
    st.tuples(st.integers(1, 6), st.integers(2, 9)).flatmap(
        lambda shape: st.tuples(*[arrays(np.float32, shape, elements=st.sampled_from([0, 1, 2, 3, math.nan]))] * 2)
    ),
    st.integers(1, 10),
    st.integers(1, 20),
)
def test_top_k_by_hand(pair, k, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "PIECE", piece)
        found = compare(*pair, top_k=k)

    def top(row):
        return sorted(range(len(row)), key=lambda place: (not math.isnan(row[place]), -row[place], place))[:k]

    value, ref = (array.tolist() for array in pair)
    if k >= pair[0].shape[1]:
        assert (found.top_k, found.changed_topk) == (None, None)
    else:
        assert found.changed_topk == sum(set(top(a)) != set(top(b)) for a, b in zip(value, ref, strict=True))
    margins = [sorted(row)[-1] - sorted(row)[-2] for row in ref if not any(map(math.isnan, row))]
    assert found.margin == min(margins, default=None)
    if margins:
        assert found.at_risk == (sum(m <= 2 * found.max_abs for m in margins) if found.max_abs else 0)


def test_the_margin_says_whether_a_decision_could_change():
    ref = np.float32([[0.5, 0.75], [0, 1]])
    found = compare(ref + np.float32([[0.125, 0], [0, 0]]), ref)
    assert (found.margin, found.at_risk, found.changed_top1) == (0.25, 1, 0)


def test_fortran_order_and_other_byte_orders():
    ref = np.arange(40, dtype=np.float32).reshape(5, 8)
    value = ref.copy()
    value[2, 3] += 1
    for one in (np.asfortranarray(value), value.astype(">f4"), np.repeat(value, 2, axis=0)[::2]):
        found = compare(one, ref)
        assert (found.differ, found.max_abs, found.from_zero) == (1, 1, 0)
        assert found.max_ulp == compare(value, ref).max_ulp
