"""The fewest pins: planted rules over sets of pins, and the search that knows nothing of them."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.analysis.fewest import Score, fewest

BASE = Score(0, 3)


class Planted:
    """An oracle that counts what it is asked."""

    def __init__(self, rule) -> None:
        self.rule, self.asked = rule, []

    def __call__(self, sets):
        self.asked += sets
        return [one if isinstance(one := self.rule(set(pins)), Score) else Score(0, one) for pins in sets]


def search(rule, pins="abcd"):
    oracle = Planted(rule)
    found = fewest([[one] if isinstance(one, str) else one for one in pins], BASE, oracle)
    assert len(oracle.asked) == len(set(oracle.asked)), "nothing is run twice"
    assert [step.pins for step in found.steps] == oracle.asked
    return found


def test_one_pin_that_is_enough_and_those_that_are_too():
    found = search(lambda pins: 1 if pins & {"b", "d"} else 3)
    assert found.pins == ("b",)
    assert found.single == ("b", "d")


def test_two_pins_that_are_needed():
    found = search(lambda pins: 1 if {"b", "d"} <= pins else 3)
    assert found.pins == ("b", "d")
    assert found.single == ()


def test_none_suffices_and_every_set_that_says_so_is_there():
    found = search(lambda pins: 2 if "a" in pins else 3)
    assert found.pins == ()
    tried = {step.pins for step in found.steps}
    assert {("a",), ("b",), ("c",), ("d",), ("a", "b", "c", "d")} <= tried
    assert set(combinations("abcd", 2)) <= tried
    assert all(not step.score.holds for step in found.steps)


def test_a_pin_that_makes_things_worse_is_left_out():
    found = search(lambda pins: 5 if "c" in pins else 1 if {"a", "d"} <= pins else 3)
    assert found.pins == ("a", "d")


def test_a_pin_that_does_harm_only_beside_others():
    found = search(lambda pins: 3 if len(pins) > 1 and "c" in pins else 1 if {"a", "d"} <= pins else 3)
    assert found.pins == ("a", "d")


def test_ties_go_to_the_pin_that_comes_first():
    found = search(lambda pins: 1 if len(pins) >= 2 else 3)
    assert found.pins == ("a", "b")
    assert search(lambda pins: 1 if "c" in pins and pins & {"b", "d"} else 3).pins == ("b", "c")


def test_pins_are_put_to_the_fastest_level_that_holds():
    levels = [["a=low", "a=middle", "a=high"], ["b=low", "b=high"], ["c"]]

    def rule(pins):
        return 1 if pins & {"a=low", "a=middle"} and pins & {"b=low", "b=high"} else 3

    found = search(rule, levels)
    assert found.pins == ("a=middle", "b=high")


def test_a_level_that_gives_no_result_is_passed_over():
    def rule(pins):
        return Score(2, 1) if "a=low" in pins else 1 if "a=high" in pins else 3

    found = search(rule, [["a=low", "a=high"], ["b"]])
    assert found.pins == ("a=high",)


def test_a_pin_whose_cells_are_lost_is_no_answer():
    assert search(lambda pins: Score(1, 1)).pins == ()


def test_nothing_to_try():
    assert search(lambda pins: 1, []).pins == ()


@given(st.sets(st.frozensets(st.sampled_from("abcdef"), min_size=1, max_size=4), max_size=4))
def test_what_is_found_holds_and_nothing_of_it_can_be_left_out(enough):
    """Where more pins never hurt, a set is found if there is any; and it was measured to be minimal."""

    def holds(pins):
        return any(one <= set(pins) for one in enough)

    found = search(lambda pins: 1 if holds(pins) else 3, "abcdef")
    assert bool(found.pins) is bool(enough)
    if found.pins:
        known = {step.pins: step.score for step in found.steps}
        assert known[found.pins].holds
        for name in found.pins:
            rest = tuple(one for one in found.pins if one != name)
            assert not rest or not known[rest].holds


@given(st.dictionaries(st.frozensets(st.sampled_from("abcd"), min_size=1), st.integers(1, 4)))
def test_under_any_rule_what_is_claimed_was_measured(classes):
    found = search(lambda pins: classes.get(frozenset(pins), 3))
    known = {step.pins: step.score for step in found.steps}
    if found.pins:
        assert known[found.pins].holds
    assert all(known[(name,)].holds for name in found.single)


@pytest.mark.parametrize("count", [2, 5, 8])
def test_needed_pins_are_found_in_few_steps(count):
    names = [f"p{index}" for index in range(count)]
    oracle = Planted(lambda pins: 1 if {names[0], names[-1]} <= pins else 3)
    fewest([[name] for name in names], BASE, oracle)
    assert len(oracle.asked) <= 2 * count + 3


def test_what_changes_nothing_is_left_out_first():
    def rule(pins):
        return Score(0, 1 if {"a", "b"} <= pins else 3, moved=bool(pins & {"a", "b"}))

    found = search(rule, "abcdefgh")
    assert found.pins == ("a", "b")
    assert len(found.steps) == 9, "each alone, and the two"


def test_what_changes_nothing_alone_may_still_be_needed():
    def rule(pins):
        return Score(0, 1 if {"a", "b", "h"} <= pins else 3, moved=bool(pins & {"a", "b"}))

    assert search(rule, "abcdefgh").pins == ("a", "b", "h")
