"""Designs whose class is a known function of some factors: the analysis must name these and claim no more."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from numdev.analysis import Observation, OutputRef, answer

FACTORS = ["stack", "profile", "threads", "level"]


@st.composite
def designs(draw, gaps):
    names = FACTORS[: draw(st.integers(1, 4))]
    order = {name: [f"{name}{n}" for n in range(draw(st.integers(1, 3)))] for name in names}
    true = draw(st.sets(st.sampled_from(names)))
    cells = [dict(zip(order, at, strict=True)) for at in itertools.product(*order.values())]
    seen = sorted({tuple(cell[name] for name in sorted(true)) for cell in cells})
    value = {at: draw(st.integers(0, 3)) for at in seen}
    classes = [value[tuple(cell[name] for name in sorted(true))] for cell in cells]
    statuses = ["ok"] * len(cells)
    if gaps:
        status = st.sampled_from(["ok", "ok", "unsupported", "lost", "absent"])
        statuses = [draw(status) for _ in cells]
    runs = list(zip(cells, classes, statuses, strict=True))
    return order, [run for run in draw(st.permutations(runs)) if run[2] != "absent"]


def analysed(order, runs):
    observations = [
        Observation("net", cell, 0, status, "", outputs(kind) if status == "ok" else (), False, str(n))
        for n, (cell, kind, status) in enumerate(runs)
    ]
    baseline = {name: levels[0] for name, levels in order.items()}
    return answer(observations, load, baseline=baseline, order=order, labels={})


def outputs(kind):
    return (OutputRef("y", "float32", (2,), str(kind)),)


def load(address):
    return np.array([1, 1 + int(address) * 2**-20], np.float32)


def differing_pairs(order, runs, factor):
    """(matched pairs, those of different classes), straight from the definition."""
    good = [(cell, kind) for cell, kind, status in runs if status == "ok"]
    pairs = [
        (a, b)
        for a, b in itertools.combinations(good, 2)
        if a[0][factor] != b[0][factor] and all(a[0][name] == b[0][name] for name in order if name != factor)
    ]
    return len(pairs), sum(a[1] != b[1] for a, b in pairs)


def is_enough(runs, factors):
    seen = {}
    good = [(cell, kind) for cell, kind, status in runs if status == "ok"]
    return all(seen.setdefault(tuple(cell[f] for f in factors), kind) == kind for cell, kind in good)


@given(designs(gaps=False))
def test_complete_design_names_exactly_the_factors_that_matter(design):
    order, runs = design
    (one,) = analysed(order, runs).workloads
    true = tuple(name for name in order if differing_pairs(order, runs, name)[1])
    assert one.sufficient.sets == (true,)
    assert one.sufficient.identified
    assert tuple(effect.factor for effect in one.effects if effect.status == "depends") == true
    assert {c.status for c in one.effects if c.factor not in true} <= {"no effect", "not varied"}
    kinds = {}
    for each in one.classes:
        for levels in each.levels:
            kinds[tuple(levels.values())] = each.name
    planted = {tuple(cell.values()): kind for cell, kind, _ in runs}
    assert len({(kinds[at], planted[at]) for at in planted}) == len(set(planted.values())) == len(one.classes)


@given(designs(gaps=True))
def test_gaps_never_make_it_claim_more_than_the_pairs_show(design):
    order, runs = design
    result = analysed(order, runs)
    for one in result.workloads:
        for effect in one.effects:
            pairs, differ = differing_pairs(order, runs, effect.factor)
            assert (effect.pairs, effect.differ) == (pairs, differ)
            levels = {cell[effect.factor] for cell, _, _ in runs}
            if len(levels) == 1:
                assert effect.status == "not varied"
            elif not pairs:
                assert effect.status == "not identified"
            else:
                assert effect.status == ("depends" if differ else "no effect")
        subsets = [set(c) for n in range(len(order) + 1) for c in itertools.combinations(order, n)]
        varied = [s for s in subsets if all(len(one.levels[name]) > 1 for name in s)]
        enough = [s for s in varied if is_enough(runs, sorted(s))]
        minimal = [s for s in enough if not any(other < s for other in enough)]
        if one.classes:
            assert sorted(map(sorted, one.sufficient.sets)) == sorted(map(sorted, minimal))
        if one.sufficient.identified:
            (found,) = one.sufficient.sets
            for effect in one.effects:
                assert effect.status == ("depends" if effect.factor in found else effect.status)
                assert effect.factor in found or effect.status in ("no effect", "not varied")


@given(designs(gaps=True), st.randoms())
def test_the_order_of_observations_does_not_matter(design, random):
    order, runs = design
    shuffled = list(runs)
    random.shuffle(shuffled)
    first, second = (analysed(order, each).json() for each in (runs, shuffled))
    for data in (first, second):
        for one in data["workloads"]:
            for each in (*one["classes"], *one["without_class"]):
                each["records"] = []
    assert first == second


def test_factors_that_vary_together_are_not_identified():
    order = {"stack": ["a", "b"], "profile": ["x", "y"]}
    runs = [({"stack": "a", "profile": "x"}, 0, "ok"), ({"stack": "b", "profile": "y"}, 1, "ok")]
    (one,) = analysed(order, runs).workloads
    assert [effect.status for effect in one.effects] == ["not identified"] * 2
    assert one.effects[0].confounded_with == ("profile",)
    assert one.sufficient.sets == (("stack",), ("profile",))
    assert not one.sufficient.identified
    said = {sentence.about: sentence.text for sentence in one.sentences}
    assert said["stack"] == "not identified (varies only together with CPU)"
    assert "from software stack, or from CPU; this design does not tell which" in said["together"]


def test_levels_that_no_pair_connects_are_said():
    order = {"stack": ["a", "b", "c"], "profile": ["x", "y"]}
    at = [("a", "x"), ("b", "x"), ("c", "y")]
    (one,) = analysed(order, [({"stack": s, "profile": p}, 0, "ok") for s, p in at]).workloads
    assert one.effects[0].compared == (("a", "b"), ("c",))
    assert one.sentences[0].text == "no effect (1 pair); never compared: c"
    assert not one.sufficient.identified
