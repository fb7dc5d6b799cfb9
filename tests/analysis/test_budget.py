"""What an analysis takes is counted where somebody asks for it, and only there."""

import numpy as np
import pytest

from numdev.analysis import Observation, OutputRef, answer
from numdev.analysis.budget import OverBudget, bounded, counted, spend
from numdev.analysis.design import design
from numdev.analysis.minimal import minimal


def test_steps_are_counted_inside_of_the_block():
    spend(1 << 62)
    assert not counted()
    with bounded(10):
        assert counted()
        spend(10)
        with pytest.raises(OverBudget):
            spend(1)
    assert not counted()


def test_an_inner_budget_is_one_of_its_own():
    with bounded(10):
        with bounded(3), pytest.raises(OverBudget):
            spend(4)
        spend(10)


def cells(levels: int):
    """One factor, of which every level is a class."""
    store = {str(level): np.full((1, 3), level, np.float32) for level in range(levels)}
    seen = [
        Observation("w", {"stack": name}, 1, "ok", "", (OutputRef("y", "float32", (1, 3), name),), False, name)
        for name in store
    ]
    order = {"stack": list(store)}
    return lambda: answer(seen, store.__getitem__, baseline={"stack": "0"}, order=order, labels={}).json()


def test_the_answer_is_the_same_with_a_budget():
    asked = cells(12)
    with bounded(1 << 24):
        found = asked()
    assert found == asked()


def test_more_classes_take_more_than_as_many_times_as_much():
    with bounded(1 << 22):
        cells(30)()
        with pytest.raises(OverBudget):
            cells(90)()


def test_groupings_of_many_factors_are_counted():
    rng = np.random.default_rng(0)
    columns = {f"f{place}": rng.integers(0, 2, 60) for place in range(30)}
    found = design(columns, rng.integers(0, 3, 60))
    assert not minimal(found).searched
    with bounded(1 << 16), pytest.raises(OverBudget):
        minimal(found)
