"""The adjusted Rand index against its definition: pairs, and their mean over all permutations."""

from fractions import Fraction
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.analysis.agreement import adjusted_rand, agreement

labels = st.lists(st.sampled_from("abc"), min_size=6, max_size=6)


@given(labels, labels)
def test_against_all_permutations(one, other):
    pairs = list(combinations(range(6), 2))

    def together(a, b):
        return sum(a[i] == a[j] and b[i] == b[j] for i, j in pairs)

    orders = list(permutations(other))
    mean = Fraction(sum(together(one, order) for order in orders), len(orders))
    most = Fraction(together(one, one) + together(other, other), 2)
    found = adjusted_rand(one, other)
    assert found == (1 if most == mean else float((together(one, other) - mean) / (most - mean)))


@given(labels, st.permutations("abc"))
def test_names_do_not_matter(one, names):
    renamed = [names["abc".index(each)] for each in one]
    assert adjusted_rand(one, renamed) == 1


def test_known_values():
    assert adjusted_rand(list("aabb"), list("aabb")) == 1
    assert adjusted_rand(list("aaaa"), list("abcd")) == 0
    assert adjusted_rand(list("aabb"), list("abab")) == -0.5
    assert adjusted_rand(list("aaabbb"), list("aabbcc")) == pytest.approx(0.24242424242424243)
    assert adjusted_rand(["a"], ["b"]) is None


def test_pairs_by_name():
    found = agreement({"x": "A", "y": "A", "z": "B", "only": "C"}, {"x": "A", "y": "B", "z": "B"})
    assert (found.cells, found.agree) == (3, False)
    assert (found.together, found.apart) == ((("x", "y"),), (("y", "z"),))
    assert agreement({"x": "A", "y": "B"}, {"x": "q", "y": "p"}).agree
