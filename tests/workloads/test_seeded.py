"""Numbers from a seed: their bytes are pinned, and they look as they should."""

import hashlib

import numpy as np
import pytest

from numdev.workloads.seeded import Seeded


def sha(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def test_the_bytes_never_change():
    """Another digest here would change every seeded workload: then their versions must change too."""
    assert sha(Seeded(1).normal((10, 100))) == "3017390a77e71e53a2f466034f8fc3df17f1ff239e984ad29c7abebc3df47e82"
    assert sha(Seeded(1).normal((1000,), -3)) == "e175988a8ecd44502a7102440bb6e652aba490321457743c3ebffcbb5c1c5f9e"
    assert (
        sha(Seeded(2).integers(-128, 127, (1000,)))
        == "ef8bcce3478fbc99b55002eaf3b543dbbbe676d3b0a23cb6b561f084e30969f5"
    )
    assert (
        sha(Seeded(3).scaled((16, 3, 3, 3), 27)) == "62ed21d5fb430cf277b49a8d3590ca25f4b8b51859ce1969b173bcba8f7e8d06"
    )


def test_the_definition_of_normal():
    """Twelve 12-bit numbers of three words each, their mean taken off."""
    words = [int(word) for word in np.random.PCG64(7).random_raw(30)]
    expected = []
    for index in range(10):
        parts = [word >> shift & 0xFFF for word in words[index * 3 : index * 3 + 3] for shift in (8, 20, 32, 44)]
        expected.append((2 * sum(parts) - 12 * 4095) / 8192)
    assert Seeded(7).normal((10,)).tolist() == expected


def test_normal_is_nearly_normal():
    values = Seeded(11).normal((100_000,)).astype(np.float64)
    assert abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(1, abs=0.01)
    for size, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert (np.abs(values) < size).mean() == pytest.approx(share, abs=0.006)
    assert abs((values**3).mean()) < 0.03
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01


@pytest.mark.parametrize("exponent", [-8, -1, 0, 3])
def test_the_exponent_scales_exactly(exponent):
    found = Seeded(5).normal((50,), exponent)
    assert found.dtype == np.float32
    assert np.array_equal(found, Seeded(5).normal((50,)) * np.float32(2.0**exponent))


def test_integers_have_both_ends():
    found = Seeded(4).integers(-3, 3, (10_000,))
    assert sorted(set(found.tolist())) == [-3, -2, -1, 0, 1, 2, 3]
    assert np.bincount(found + 3).min() > 1200


def test_streams():
    one = Seeded(1)
    first, second = one.normal((5,)), one.normal((5,))
    assert not np.array_equal(first, second)
    assert np.array_equal(np.concatenate([first, second]), Seeded(1).normal((10,)))
    assert not np.array_equal(first, Seeded(2).normal((5,)))


@pytest.mark.parametrize("fan_in", [1, 9, 27, 64, 576, 4608])
def test_weights_keep_the_size_of_what_they_multiply(fan_in):
    found = Seeded(1).scaled((20_000,), fan_in).astype(np.float64)
    assert 0.65 < found.std() / (2 / fan_in) ** 0.5 < 1.45
