"""matrices/programs/convolutions.py: four algorithms for one convolution, against exact sums."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PROGRAM = Path(__file__).resolve().parents[2] / "matrices" / "programs" / "convolutions.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("convolutions_program", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def outputs(program):
    """By choice, the outputs of the smallest three cases."""
    return {
        one: [program.convolve(*program.case(channels), *one) for channels in program.CHANNELS[:3]]
        for one in program.choices()
    }


def test_the_exact_sums_are_exact(program):
    image, weight = program.case(4)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    found = program.exact(image, weight)
    for filters, y, x in ((0, 0, 0), (1, 3, 7), (3, 11, 11)):
        terms = zip(padded[:, y : y + 3, x : x + 3].ravel(), weight[filters].ravel(), strict=True)
        assert found[filters, y, x] == float(sum(Fraction(float(a)) * Fraction(float(b)) for a, b in terms))


def test_every_choice_is_near_the_exact_sums(program, outputs):
    right = [program.exact(*program.case(channels)) for channels in program.CHANNELS[:3]]
    for one, found in outputs.items():
        for array, expected in zip(found, right, strict=True):
            assert array.dtype == np.float32
            assert np.abs(array - expected).max() < 1e-5 * np.abs(expected).max(), one


def test_in_float64_all_algorithms_are_one_class_and_the_rounded_exact_sums(program, outputs):
    right = [program.exact(*program.case(channels)).astype(np.float32) for channels in program.CHANNELS[:3]]
    wide = [found for one, found in outputs.items() if one[2] == "float64"]
    assert len(wide) == 13
    for found in wide:
        assert all(array.tobytes() == expected.tobytes() for array, expected in zip(found, right, strict=True))


def test_in_float32_every_choice_is_a_class(program, outputs):
    """Algorithm, order and fused rounding each split: nothing of these is a knob without an effect."""
    narrow = [b"".join(array.tobytes() for array in found) for one, found in outputs.items() if one[2] == "float32"]
    assert len(narrow) == len(set(narrow)) == 17


def test_errors_grow_as_sums_do(program):
    """A running sum of n roundings of random sign: n ** 0.5 (Higham, "Accuracy and Stability", section 4.2); pairwise: log n."""
    running = program.growth(program.errors("direct", seeds=1))
    pairwise = program.growth(program.errors("direct", "pairwise", seeds=1))
    wide = program.growth(program.errors("direct", width="float64", seeds=1))
    assert 0.4 < running < 0.6
    assert 0 < pairwise < 0.15
    assert abs(wide) < 0.05


floats = st.floats(-(2.0**20), 2.0**20, width=32, allow_subnormal=False)
normal = floats.filter(lambda value: value == 0 or abs(value) > 2.0**-20)


@settings(max_examples=300, deadline=None)
@given(normal, normal, normal)
def test_one_rounding(program, a, b, c):
    found = program.fma(*(np.float32([value]) for value in (a, b, c)))[0]
    right = Fraction(a) * Fraction(b) + Fraction(c)
    around = [found, np.nextafter(found, np.float32(np.inf)), np.nextafter(found, np.float32(-np.inf))]
    distances = [abs(Fraction(float(value)) - right) for value in around]
    assert distances[0] == min(distances)
    # Half way between two, the even one.
    if distances.count(distances[0]) > 1 and found != 0:
        assert int(np.float32(found).view(np.int32)) % 2 == 0


def test_a_tie_that_two_roundings_get_wrong(program):
    a, b = np.float32([1 + 2**-12]), np.float32([1 + 2**-12])
    # The product is 1 + 2**-11 + 2**-24, half way; what float64 cannot hold beside it decides.
    c = np.float32([2.0**-60])
    twice = np.float32(a.astype(np.float64) * b.astype(np.float64) + c)
    assert twice[0] == np.float32(1 + 2**-11)
    assert program.fma(a, b, c)[0] == np.float32(1 + 2**-11 + 2**-23)
    assert program.fma(a, b, -c)[0] == np.float32(1 + 2**-11)


def test_what_an_algorithm_cannot_do(program):
    image, weight = program.case(4)
    with pytest.raises(ValueError, match="3 x 3"):
        program.convolve(image, np.zeros((2, 4, 5, 5), np.float32), "winograd")
    with pytest.raises(ValueError, match="fused"):
        program.convolve(image, weight, "fft", fused=True)
    with pytest.raises(ValueError, match="unknown"):
        program.convolve(image, weight, "strassen")


@pytest.mark.parametrize("kernel", [1, 5])
def test_other_kernels(program, kernel):
    bits = np.random.default_rng(1)
    image = bits.standard_normal((3, 12, 12)).astype(np.float32)
    weight = bits.standard_normal((2, 3, kernel, kernel)).astype(np.float32)
    right = program.exact(image, weight)
    for algorithm in ("direct", "im2col", "fft", "blas"):
        assert np.abs(program.convolve(image, weight, algorithm) - right).max() < 1e-5 * np.abs(right).max()


def test_choices_come_from_the_environment(program, monkeypatch):
    monkeypatch.setenv("ALGORITHM", "winograd")
    monkeypatch.setenv("ORDER", "pairwise")
    monkeypatch.setattr(program, "CHANNELS", (4,))
    found = program.run({})
    assert list(found) == ["channels_4"]
    assert found["channels_4"].tobytes() == program.convolve(*program.case(4), "winograd", "pairwise").tobytes()
