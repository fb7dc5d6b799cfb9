"""Rounding until several outputs are one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.analysis import rounding

FLOATS = st.floats(-1e6, 1e6, width=32)


def sets(*values, dtype=np.float32):
    return [[np.array(one, dtype)] for one in values]


def test_the_most_decimals():
    assert rounding.decimals_for(sets([0.12341, 5], [0.12343, 5])) == 4
    assert rounding.bits_for(sets([1.0], [1.0 + 2**-10])) == 10


def test_a_border_between_two_values_that_are_very_near():
    near, far = np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(1))
    assert rounding.decimals_for(sets([near], [far])) == 6
    # 0.05 is a border of one decimal.
    assert rounding.decimals_for(sets([0.0499999], [0.0500001])) == 6


def test_zeros_of_both_signs_are_one():
    assert rounding.decimals_for(sets([-1e-9], [1e-9])) == 8
    assert rounding.to_decimals(np.array([-0.001]), 1).tobytes() == np.zeros(1).tobytes()


@pytest.mark.parametrize(
    "other", [np.zeros((2, 1), np.float32), np.zeros(2, np.float64), np.full(2, np.nan, np.float32)]
)
def test_what_no_rounding_makes_the_same(other):
    assert rounding.decimals_for([[np.zeros(2, np.float32)], [other]]) is None


def test_whole_numbers_are_not_rounded():
    assert rounding.decimals_for(sets([1, 2], [1, 3], dtype=np.int32)) is None


@given(st.lists(st.tuples(FLOATS, st.integers(-4, 4)), min_size=1, max_size=8))
def test_what_is_said_is_so(pairs):
    one = np.array([value for value, _ in pairs], np.float32)
    other = one.copy()
    for index, (_, steps) in enumerate(pairs):
        for _ in range(abs(steps)):
            other[index] = np.nextafter(other[index], np.float32(np.inf if steps > 0 else -np.inf))
    found = rounding.decimals_for([[one], [other]])
    if found is not None:
        assert rounding.to_decimals(one, found).tobytes() == rounding.to_decimals(other, found).tobytes()
        finer = found + 1
        if finer in rounding.DECIMALS:
            assert rounding.to_decimals(one, finer).tobytes() != rounding.to_decimals(other, finer).tobytes()
    bits = rounding.bits_for([[one], [other]])
    if bits is not None:
        assert rounding.to_bits(one, bits).tobytes() == rounding.to_bits(other, bits).tobytes()


def test_expected_crossings_are_distances_in_steps():
    assert rounding.crossings([np.array([0.0, 1.0])], [np.array([0.01, 1.02])], 1) == pytest.approx(0.3)
    assert rounding.crossings([np.array([0.0])], [np.array([9.0])], 1) == 1.0
