"""ULP distances against counting by hand: every float16, steps of nextafter, and Python's own struct."""

import itertools
import math
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from numdev.analysis import pairs as pairs_module
from numdev.analysis import ulp
from numdev.analysis.pairs import BFLOAT16, Pairs
from numdev.analysis.ulp import steps

FLOATS = [np.float16, np.float32, np.float64]
CODES = {"float16": "<e", "float32": "<f", "float64": "<d", "bfloat16": "<f"}
HALVES = np.arange(1 << 16, dtype=np.uint16)


def by_hand(number: float, name: str) -> int:
    """The place of a finite number among all of its format, counted from zero."""
    packed = struct.pack(CODES[name], number)
    magnitude = int.from_bytes(packed, "little") & ((1 << (8 * len(packed) - 1)) - 1)
    if name == "bfloat16":
        magnitude >>= 16
    return -magnitude if math.copysign(1, number) < 0 else magnitude


def values(array: np.ndarray) -> list[float]:
    return pairs_module.widened(array).ravel().tolist()


def slow(one: np.ndarray, other: np.ndarray, name: str) -> tuple:
    found = [
        abs(by_hand(a, name) - by_hand(b, name))
        for a, b in zip(values(one), values(other), strict=True)
        if math.isfinite(a) and math.isfinite(b)
    ]
    histogram = [sum(each.bit_length() == bits for each in found) for bits in range(8 * one.itemsize + 1)]
    differ = sum(a.tobytes() != b.tobytes() for a, b in zip(one.ravel(), other.ravel(), strict=True))
    return len(found), differ, max(found, default=0), sum(found), tuple(histogram)


def told(one: np.ndarray, other: np.ndarray) -> tuple:
    found = steps(Pairs(one, other))
    return found.pairs, found.differ, found.largest, found.total, found.histogram


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16], ids=["float16", "bfloat16"])
def test_every_number_of_16_bits_against_its_neighbour(dtype):
    """In the order of their values, neighbours are one step apart; the two zeros are none."""
    name = "bfloat16" if dtype == BFLOAT16 else "float16"
    numbers = sorted(
        (value, -bool(bits >> 15), bits)
        for value, bits in zip(values(HALVES.view(dtype)), HALVES.tolist(), strict=True)
        if math.isfinite(value)
    )
    ordered = np.array([bits for _, _, bits in numbers], np.uint16).view(dtype)
    zeros = 1
    found = steps(Pairs(ordered[1:], ordered[:-1]))
    assert found.largest == 1
    assert found.histogram[:2] == (zeros, len(numbers) - 2)
    apart = ulp.distances(ordered[1:].view(np.int16), ordered[:-1].view(np.int16), pairs_module.format_of(dtype))
    assert apart.tolist() == [int(a[0] != b[0]) for a, b in itertools.pairwise(numbers)]
    assert slow(ordered[1:], ordered[:-1], name) == told(ordered[1:], ordered[:-1])


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("turned", [1, 12345, 1 << 15])
def test_all_numbers_of_16_bits_against_others(dtype, turned):
    name = "bfloat16" if dtype == BFLOAT16 else "float16"
    one, other = HALVES.view(dtype), np.roll(HALVES, turned).view(dtype)
    assert told(one, other) == slow(one, other, name)


def test_float16_counts_steps_of_nextafter():
    finite = HALVES.view(np.float16)
    finite = finite[np.isfinite(finite) & (finite < np.finfo(np.float16).max)]
    above = np.nextafter(finite, np.float16(math.inf))
    found = steps(Pairs(above, finite))
    # From -0 to the first above it is one step, as from +0.
    assert (found.pairs, found.largest, found.total) == (finite.size, 1, finite.size)


@st.composite
def bit_patterns(draw):
    """Two arrays of one format whose bits are near to each other, far, or equal."""
    width = draw(st.sampled_from([2, 4, 8]))
    size = draw(st.integers(0, 40))
    unsigned = np.dtype(f"u{width}")
    one = draw(arrays(unsigned, size))
    near = draw(arrays(unsigned, size, elements=st.sampled_from([0, 0, 1, 2, 3, 200, 5000])))
    other = one + near if draw(st.booleans()) else draw(arrays(unsigned, size))
    dtype = BFLOAT16 if width == 2 and draw(st.booleans()) else np.dtype(f"f{width}")
    return one.view(dtype), other.view(dtype)


@given(bit_patterns(), st.integers(1, 9))
def test_as_by_hand_in_pieces_of_any_size(pair, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ulp, "PIECE", piece)
        assert told(*pair) == slow(*pair, pairs_module.format_of(pair[0].dtype).name)


@given(bit_patterns())
def test_without_the_histogram_all_else_is_the_same(pair):
    whole, bare = steps(Pairs(*pair)), steps(Pairs(*pair), histogram=False)
    assert replace(whole, histogram=()) == bare


def test_threads_share_the_work(monkeypatch):
    monkeypatch.setattr(ulp, "_PER_THREAD", 10)
    monkeypatch.setattr(ulp, "PIECE", 7)
    monkeypatch.setattr(ulp.os, "sched_getaffinity", lambda _: set(range(3)))
    one = np.arange(100, dtype=np.float32)
    other = np.nextafter(one, np.float32(math.inf))
    assert told(one, other) == slow(one, other, "float32")


def test_nan_and_infinity_have_no_distance():
    nan, inf = math.nan, math.inf
    found = steps(Pairs(np.float32([nan, inf, -inf, 1, nan, 2]), np.float32([nan, inf, inf, inf, 1, 2])))
    assert (found.pairs, found.differ, found.largest) == (1, 3, 0)
    assert steps(Pairs(np.float32([nan]), np.float32([nan]))).matching_bits(24) is None


def test_signs():
    tiny = np.float32(2**-149)
    found = told(np.float32([-0.0, tiny, -tiny]), np.float32([0.0, -tiny, -0.0]))
    assert found[:4] == (3, 3, 2, 3)


def test_a_distance_over_the_whole_line_needs_the_top_bit():
    for dtype, code in ((np.float16, 0x7BFF), (np.float32, 0x7F7FFFFF), (np.float64, 0x7FEFFFFFFFFFFFFF)):
        big = np.array([np.finfo(dtype).max] * 3)
        found = steps(Pairs(big, -big))
        assert (found.largest, found.total) == (2 * code, 6 * code)


def test_matching_bits():
    one = np.float32([1, 1, 1, 1])
    other = np.float32([1, np.nextafter(np.float32(1), np.float32(2)), 1 + 2**-22, -1])
    fewest, mean = steps(Pairs(one, other)).matching_bits(24)
    assert (fewest, mean) == (0, (24 + 23 + 22 + 0) / 4)


def test_without_a_format_in_common_there_is_no_distance():
    for one, other in ((np.int32([1]), np.int32([1])), (np.float32([1]), np.zeros(1, BFLOAT16))):
        with pytest.raises(ValueError, match="no floating-point format"):
            steps(Pairs(one, other))


def test_any_order_in_memory():
    one = np.asfortranarray(np.arange(12, dtype=">f4").reshape(3, 4))
    other = np.nextafter(np.ascontiguousarray(one).astype("f4"), np.float32(99))[:, ::1]
    assert told(one, other)[:4] == (12, 12, 1, 12)
