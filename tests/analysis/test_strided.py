"""Arrays in another order than C's: element by element as numpy has them, from memory and from files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from numdev.analysis import strided
from numdev.analysis.deviation import compare
from numdev.analysis.pairs import flat, stretches
from numdev.analysis.strided import Strided


@given(array_shapes(min_dims=2, max_dims=5, max_side=6), st.integers(1, 50), st.data())
def test_slices_are_those_of_the_array_in_c_order(shape, block, data):
    array = np.asfortranarray(np.arange(np.prod(shape)).reshape(shape))
    if data.draw(st.booleans()):
        array = np.moveaxis(array, 0, -1)
    found = Strided(array, block)
    for _ in range(4):
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, array.size)] * 2)))
        assert found[start:stop].tolist() == list(array.flat)[start:stop]


@pytest.mark.parametrize("shape", [(40, 30), (3, 400), (400, 3), (2, 3, 5, 7)])
def test_from_a_file_of_which_little_is_mapped_at_a_time(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(strided, "_MAPPED", 64)
    monkeypatch.setattr(strided, "_AROUND", 1)
    array = np.asfortranarray(np.random.default_rng(0).normal(size=shape))
    np.save(tmp_path / "x.npy", array)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert mapped.flags.f_contiguous
    found = Strided(mapped, 50)
    assert [found[at : at + 7].tolist() for at in range(0, array.size, 7)] == [
        array.ravel()[at : at + 7].tolist() for at in range(0, array.size, 7)
    ]


def test_what_lies_in_order_is_a_view():
    array = np.arange(12).reshape(3, 4)
    assert np.shares_memory(flat(array), array)
    assert [piece.tolist() for piece in stretches(array, 5)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert list(stretches(np.zeros((0, 3)))) == []


def test_the_order_in_memory_changes_no_figure(monkeypatch):
    monkeypatch.setattr("numdev.analysis.pairs.PIECE", 64)
    rng = np.random.default_rng(0)
    one, other = (rng.normal(size=(37, 11)).astype(np.float32) for _ in range(2))
    wanted = compare(one, other)
    for pair in (
        (np.asfortranarray(one), other),
        (one, np.asfortranarray(other)),
        map(np.asfortranarray, (one, other)),
    ):
        assert compare(*pair) == wanted
