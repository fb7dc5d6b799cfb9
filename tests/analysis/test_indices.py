"""Indices, Shapley's shares and minimal sets against their definitions, on small designs of any kind."""

from __future__ import annotations

import itertools
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.analysis import lattice as lattices
from numdev.analysis.design import Design, coded, design
from numdev.analysis.indices import ROUNDING, indices
from numdev.analysis.lattice import lattice, within
from numdev.analysis.minimal import minimal
from numdev.analysis.squares import bent

EXACT = pytest.approx


@st.composite
def designs(draw):
    """Cells with levels and a class each, several of the same levels among them."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    rows = draw(st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), min_size=1, max_size=24))
    classes = draw(st.lists(st.integers(0, 4), min_size=len(rows), max_size=len(rows)))
    columns = {f"f{n}": [row[n] for row in rows] for n in range(len(sizes))}
    return design(columns, classes)


@st.composite
def functions(draw):
    """Complete designs, one cell for each combination, whose class is a table of their levels."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    rows = list(itertools.product(*map(range, sizes)))
    classes = draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    return design({f"f{n}": [row[n] for row in rows] for n in range(len(sizes))}, classes)


def distance(draw_from: int, kinds: int) -> np.ndarray:
    points = np.random.default_rng(draw_from).normal(size=(kinds, 2))
    return ((points[:, None] - points[None]) ** 2).sum(-1)


def spread(some: Design, names, squares) -> float:
    """The definition of `within`: squared distances over all pairs of every group, by its size."""
    groups = {}
    for cell in range(some.cells):
        key = tuple(int(some.columns[some.names.index(name)][cell]) for name in names)
        groups.setdefault(key, []).append(int(some.classes[cell]))
    return sum(
        sum(squares[a, b] for a, b in itertools.combinations(group, 2)) / len(group) for group in groups.values()
    )


def subsets(names):
    return [some for count in range(len(names) + 1) for some in itertools.combinations(names, count)]


@given(designs(), st.integers(0, 99), st.booleans())
def test_every_set_is_valued_as_defined(some, seed, sized):
    squares = distance(seed, some.kinds) if sized else 1.0 - np.eye(some.kinds)
    found = lattice(some, squares if sized else None)
    for names in subsets(some.names):
        mask = sum(1 << some.names.index(name) for name in names)
        expected = spread(some, names, squares)
        assert found.within[mask] == EXACT(expected, abs=1e-12, rel=1e-12)
        assert within(some, list(names), squares if sized else None) == EXACT(expected, abs=1e-12, rel=1e-12)
        assert sized or (found.within[mask] == 0) == (expected == 0)


@given(functions(), st.integers(0, 99))
def test_complete_designs_take_another_way_to_the_same_values(some, seed):
    for squares in (None, distance(seed, some.kinds)):
        for names in subsets(some.names):
            mask = sum(1 << some.names.index(name) for name in names)
            expected = spread(some, names, 1.0 - np.eye(some.kinds) if squares is None else squares)
            assert lattice(some, squares).within[mask] == EXACT(expected, abs=1e-12, rel=1e-12)


@given(designs())
def test_alone_is_goodman_and_kruskals_tau(some):
    """The published closed form, from the table of counts: (sum n_ij^2 / n_i. - sum n_.j^2 / n) / (n - sum n_.j^2 / n)."""
    found = indices(some)
    for name, column in zip(some.names, some.columns, strict=True):
        table = np.zeros((column.max() + 1, some.kinds))
        np.add.at(table, (column, some.classes), 1)
        table, n, overall = table[table.any(axis=1)], some.cells, np.square(table.sum(axis=0)).sum() / some.cells
        if n == overall:
            assert found.by[name].alone is None
        else:
            tau = ((np.square(table).sum(axis=1) / table.sum(axis=1)).sum() - overall) / (n - overall)
            assert found.by[name].alone == EXACT(tau, abs=1e-12)


@given(designs(), st.integers(0, 99), st.booleans())
def test_total_and_shapley_by_definition(some, seed, sized):
    squares = distance(seed, some.kinds) if sized else 1.0 - np.eye(some.kinds)
    found = indices(some, squares if sized else None)
    whole = spread(some, (), squares)
    if not whole > 0:
        assert all(one.alone is one.total is one.shapley is None for one in found.by.values())
        return
    value = {frozenset(names): 1 - spread(some, names, squares) / whole for names in subsets(some.names)}
    every = frozenset(some.names)
    for name in some.names:
        assert found.by[name].total == EXACT(value[every] - value[every - {name}], abs=1e-12)
        gains = 0.0
        for order in itertools.permutations(some.names):
            before = frozenset(order[: order.index(name)])
            gains += value[before | {name}] - value[before]
        assert found.by[name].shapley == EXACT(gains / factorial(len(some.names)), abs=1e-12)
    assert sum(one.shapley for one in found.by.values()) == EXACT(value[every], abs=1e-12)


@given(functions())
def test_interactions_are_the_components_of_the_variance(some):
    """Of the indicators of the classes, one after the other: what their mean over the others leaves to each set."""
    found = indices(some)
    shape = some.sizes
    effects = {}
    for kind in range(some.kinds):
        y = np.zeros(shape)
        y[some.columns] = some.classes == kind
        means = {}
        for kept in subsets(range(len(shape))):
            away = tuple(axis for axis in range(len(shape)) if axis not in kept)
            means[kept] = y.mean(axis=away, keepdims=True) - sum(
                (means[less] for less in subsets(kept) if less != kept), start=np.zeros((1,) * len(shape))
            )
            size = float(np.broadcast_to(np.square(means[kept]), shape).mean())
            effects[kept] = effects.get(kept, 0.0) + size
    whole = sum(size for kept, size in effects.items() if kept)
    expected = {
        tuple(some.names[n] for n in kept): size / whole
        for kept, size in effects.items()
        if len(kept) > 1 and whole > 1e-12 and size / whole > ROUNDING
    }
    assert {one.factors: one.share for one in found.interactions} == EXACT(expected, abs=1e-12)
    together = {pair for factors in expected for pair in itertools.combinations(factors, 2)}
    assert {pair for pair in itertools.combinations(some.names, 2) if bent(some, *pair)} == together


@given(designs())
def test_minimal_sets_by_definition(some):
    enough = [set(names) for names in subsets(some.names) if not spread(some, names, 1.0 - np.eye(some.kinds))]
    expected = [names for names in enough if not any(less < names for less in enough)]
    found = minimal(some)
    assert sorted(map(sorted, found.sets)) == sorted(map(sorted, expected))
    core = set.intersection(*expected) if expected else set()
    assert set(found.core) == core


def test_two_names_for_one_thing_share_what_it_explains():
    some = design({"a": [0, 0, 1, 1], "b": [0, 0, 1, 1], "c": [0, 1, 0, 1]}, [0, 0, 1, 1])
    found = indices(some).by
    assert [(one.alone, one.total, one.shapley) for one in found.values()] == [(1, 0, 0.5), (1, 0, 0.5), (0, 0, 0)]
    assert minimal(some).sets == (("a",), ("b",))


def test_xor_is_an_interaction_and_nothing_else():
    some = design({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}, [0, 1, 1, 0])
    found = indices(some)
    assert [(one.alone, one.total, one.shapley) for one in found.by.values()] == [(0, 1, 0.5)] * 2
    assert [(one.factors, one.share) for one in found.interactions] == [(("a", "b"), 1.0)]


def test_more_factors_than_there_are_sets_for():
    levels = np.array(list(itertools.product((0, 1), repeat=11)))
    columns = {f"f{n}": levels[:, n] for n in range(11)}
    found = indices(design(columns, levels[:, 3] ^ levels[:, 7]))
    assert found.why == "more than 10 factors"
    assert {name for name, one in found.by.items() if one.total} == {"f3", "f7"}
    assert all(one.shapley is None for one in found.by.values())
    assert minimal(design(columns, levels[:, 3] ^ levels[:, 7])).sets == (("f3", "f7"),)


def test_too_many_rows_are_given_up_and_said(monkeypatch):
    monkeypatch.setattr(lattices, "ROWS", 100)
    rng = np.random.default_rng(0)
    columns = {f"f{n}": rng.integers(0, 9, 300) for n in range(4)}
    found = indices(design(columns, rng.integers(0, 9, 300)))
    assert found.why == "too many cells for all sets of factors"
    assert all(one.alone is not None and one.shapley is None for one in found.by.values())


def test_many_cells_leave_out_what_is_pure_and_lose_nothing(monkeypatch):
    """The ways that only large designs take."""
    monkeypatch.setattr(lattices, "_SPARSE", 1)
    monkeypatch.setattr(lattices, "_LARGE", 1)
    rng = np.random.default_rng(1)
    levels = rng.integers(0, 4, (4, 400))
    for classes in (levels[0] * 4 + levels[2], rng.integers(0, 300, 400), np.arange(400)):
        some = design({f"f{n}": column for n, column in enumerate(levels)}, classes)
        found = lattice(some)
        for names in subsets(some.names):
            mask = sum(1 << some.names.index(name) for name in names)
            assert found.within[mask] == EXACT(within(some, list(names)), abs=1e-9)


def test_levels_beyond_what_a_number_holds():
    columns = [np.arange(5) for _ in range(12)]
    codes, space = coded(columns, [10**6] * 12, 5)
    assert len(set(codes.tolist())) == 5
    assert space < 1 << 62
    some = design({f"f{n}": np.arange(5) for n in range(3)}, [0, 1, 1, 0, 1])
    wide = Design(some.names, (1 << 21,) * 3, some.columns, some.classes, 2)
    assert lattice(wide) is None
    assert minimal(wide).sets == (("f0",), ("f1",), ("f2",))


def test_a_factor_of_another_length_is_refused():
    with pytest.raises(ValueError, match="b has 1 cells, not 2"):
        design({"a": [1, 2], "b": [1]}, [0, 0])
