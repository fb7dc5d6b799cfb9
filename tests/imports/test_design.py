"""What a design separates, against a direct look at all pairs."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from numdev.imports.design import separations
from numdev.imports.runs import levels_of

LEVELS = {"a": ["0", "1", "2"], "b": ["0", "1"], "c": ["0", "1"]}


def test_a_factorial_separates_all_and_a_census_little():
    full = [{"a": a, "b": b} for a in "012" for b in "01"]
    assert all(one.complete and not one.follows for one in separations(full, LEVELS))
    nested = [{"a": a, "b": "0" if a == "0" else "1"} for a in "012"]
    first, second = separations(nested, LEVELS)
    assert (first.alone, first.follows) == ((("1", "2"),), ())
    assert (second.alone, second.follows) == ((), ("a",))


def test_what_does_not_vary_is_not_asked():
    assert separations([{"a": "0", "b": "1"}], LEVELS) == []
    assert separations([], LEVELS) == []


@given(st.lists(st.fixed_dictionaries({name: st.sampled_from(found) for name, found in LEVELS.items()}), max_size=9))
def test_against_all_pairs(platforms):
    for one in separations(platforms, LEVELS):
        pairs = {
            frozenset((x[one.factor], y[one.factor]))
            for x, y in combinations(platforms, 2)
            if [name for name in LEVELS if x[name] != y[name]] == [one.factor]
        }
        assert {frozenset(pair) for group in one.alone for pair in combinations(group, 2)} >= pairs
        assert {level for group in one.alone for level in group} == {level for pair in pairs for level in pair}
        for group in one.alone:
            reached = {group[0]}
            while more := {level for pair in pairs if pair & reached for level in pair} - reached:
                reached |= more
            assert reached == set(group)
        for other in one.follows:
            assert len({(x[other], x[one.factor]) for x in platforms}) == len({x[other] for x in platforms})


def test_levels_have_an_order_of_sense():
    cells = [
        {"cores": "16", "SIMD": "AVX-512", "L1d": "48 KiB", "microarchitecture": "unknown"},
        {"cores": "2", "SIMD": "AVX", "L1d": "32 KiB", "microarchitecture": "AMD Rome"},
        {"cores": "4", "SIMD": "AVX2", "L1d": "unknown", "microarchitecture": "Sandy Bridge"},
    ]
    assert levels_of(cells) == {
        "microarchitecture": ["Sandy Bridge", "AMD Rome", "unknown"],
        "cores": ["2", "4", "16"],
        "SIMD": ["AVX", "AVX2", "AVX-512"],
        "L1d": ["32 KiB", "48 KiB", "unknown"],
    }
