"""Partitions of two runs whose cells have other names."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from numdev.analysis import Observation, OutputRef
from numdev.analysis.agreement import adjusted_rand
from numdev.analysis.matched import compare_matched

ROWS, COLUMNS = ("haswell", "zen2"), ("2", "4")
LEVELS = {"profile": {"Haswell": "haswell", "Broadwell": "haswell", "Rome": "zen2"}}
BY = ({"ours": "theirs"}, {"profile": "cpu", "threads": "cores"}, LEVELS)


def seen(workload, outcome, status="ok", **factors):
    outputs = () if status != "ok" else (OutputRef("y", "float32", (1,), f"{workload}-{outcome}"),)
    return Observation(workload, factors, 1, status, "", outputs, False, f"{workload}{factors}", vouched=True)


def ours(letters, **more):
    places = itertools.product(ROWS, COLUMNS)
    return [
        seen("ours", letter, profile=row, threads=column, **more)
        for (row, column), letter in zip(places, letters, strict=True)
    ]


def theirs(letters, names=("Haswell", "Rome")):
    places = itertools.product(names, COLUMNS)
    return [
        seen("theirs", letter, cpu=row, cores=column, age="old")
        for (row, column), letter in zip(places, letters, strict=True)
    ]


def compare(one, other, by=BY):
    return compare_matched(one, other, lambda tensor: np.zeros(1, np.float32), ({}, {}), *by)


def test_the_same_partition_under_other_names():
    (found,) = compare(ours("XYYZ"), theirs("QPPR"))
    assert (found.workloads, found.cells, found.index) == (("ours", "theirs"), 4, 1.0)
    assert found.complete
    assert found.partitions.agree
    assert found.columns == COLUMNS
    # A's classes have the names of B's, so the two tables read the same.
    assert [row.one for row in found.table] == [row.other for row in found.table]


def test_what_differs_is_named():
    (found,) = compare(ours("XYXY"), theirs("QPRS"))
    assert not found.partitions.agree
    assert found.partitions.together == (("haswell 2", "zen2 2"), ("haswell 4", "zen2 4"))
    assert found.partitions.apart == ()
    assert found.index == adjusted_rand(list("XYXY"), list("QPRS")) == 0.0


def test_classes_beyond_b_s_have_small_letters():
    (found,) = compare(ours("XYZZ"), theirs("QQQQ"))
    assert {entry for row in found.table for entry in row.one} == {("A",), ("a",), ("b",)}
    assert len(found.partitions.apart) == 5


def test_several_cells_of_b_have_one_of_a():
    both = theirs("QPRR") + theirs("QP", ("Broadwell",))
    (found,) = compare(ours("XYZZ"), both)
    assert (found.cells, found.index) == (6, 1.0)
    # Broadwell 2 is another class than Haswell 2: no partition of ours can have both.
    (found,) = compare(ours("XYZZ"), theirs("QPRR") + theirs("TP", ("Broadwell",)))
    (pair,) = found.partitions.together
    assert all(name.startswith("haswell 2 [") for name in pair)
    assert found.table[0].other[0] == tuple(sorted(found.table[0].other[0]))
    assert len(found.table[0].other[0]) == 2


def test_what_only_one_side_has():
    more = [seen("ours", "X", profile="zen2", threads="64")]
    (found,) = compare(ours("XYYZ") + more, theirs("QPPR") + theirs("VV", ("Alpha",)))
    assert found.only == (("zen2 64",), ("Alpha 2", "Alpha 4"))
    assert not found.complete
    assert found.index == 1.0


def test_cells_without_a_class():
    some = ours("XYYZ")
    some[3] = seen("ours", "", "unsupported", profile="zen2", threads="4")
    (found,) = compare(some, theirs("QPPR"))
    assert found.without == ({"unsupported": ("zen2 4",)}, {})
    assert found.cells == 3
    assert found.table[1].one == (found.table[0].other[1], ("-",))


def test_how_a_cell_ends_is_no_class():
    """Two time-outs say nothing about bytes."""
    some = ours("XYYZ")
    some[2:] = [seen("ours", "", "timeout", profile="zen2", threads=threads) for threads in COLUMNS]
    (found,) = compare(some, theirs("QPRR"))
    assert found.without == ({"timeout": ("zen2 2", "zen2 4")}, {})
    assert (found.cells, found.index) == (2, 1.0)
    assert found.table[1].one == (("-",), ("-",))


def test_columns_of_numbers_are_in_their_order():
    one = [seen("ours", letter, profile="zen2", threads=column) for letter, column in zip("XYZ", ("4", "16", "12"), strict=True)]  # fmt: skip
    (found,) = compare(one, theirs("QP", ("Rome",)))
    assert found.columns == ("4", "12", "16")


def test_each_level_of_what_only_a_varies_is_compared():
    some = ours("XYYZ", stack="old") + ours("XXXX", stack="new")
    found = compare(some, theirs("QPPR"))
    assert [one.levels for one in found] == [{"stack": "new"}, {"stack": "old"}]
    assert [one.index for one in found] == [0.0, 1.0]


def test_one_factor_makes_a_single_row():
    one = [seen("ours", letter, threads=column) for letter, column in zip("XY", COLUMNS, strict=True)]
    other = [seen("theirs", letter, cores=column) for letter, column in zip("PQ", COLUMNS, strict=True)]
    (found,) = compare(one, other, ({"ours": "theirs"}, {"threads": "cores"}, {}))
    assert [row.name for row in found.table] == ["ours"]
    assert found.index == 1.0


def test_a_suspect_has_no_class():
    arrays = {"theirs-Q": np.float32([1]), "theirs-P": np.float32([1.0001]), "theirs-S": np.float32([9])}
    other = [
        Observation(one.workload, one.factors, 1, "ok", "", one.outputs, False, one.cell, vouched=False)
        for one in theirs("QPPS")
    ]
    (found,) = compare_matched(ours("XYYZ"), other, lambda tensor: arrays[tensor], ({}, {}), *BY)
    assert found.without == ({}, {"suspect": ("zen2 4",)})


@settings(deadline=None, max_examples=80)
@given(st.lists(st.sampled_from("WXYZ"), min_size=4, max_size=4), st.lists(st.sampled_from("PQRS"), min_size=4, max_size=4))  # fmt: skip
def test_the_index_and_the_pairs_follow_from_the_letters_alone(one, other):
    (found,) = compare(ours(one), theirs(other))
    assert found.index == adjusted_rand(one, other)
    differ = [(a, b) for a, b in itertools.combinations(range(4), 2) if (one[a] == one[b]) != (other[a] == other[b])]
    assert len(found.partitions.together) + len(found.partitions.apart) == len(differ)
    assert (found.index == 1.0) == (not differ)
