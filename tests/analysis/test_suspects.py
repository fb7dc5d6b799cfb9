"""Suspects: what rounding cannot explain is set apart where a majority says so, and visibly; else nothing is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numdev.analysis import Observation, OutputRef, answer
from numdev.analysis.observation import SUSPECT
from numdev.analysis.suspects import LIMIT, between, set_apart, suspects
from numdev.digests import of_bytes

MODEL = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
OTHER = np.roll(MODEL, 5)


def rounded(seed, size=1e-5, base=MODEL):
    noise = np.random.default_rng(seed).uniform(-size, size, base.shape)
    return (base * (1 + noise)).astype(base.dtype)


def found(*groups):
    """Suspects among groups of outputs; ids are letters of the group and a number."""
    return suspects(
        {
            f"{letter}{n}": (array,)
            for letter, group in zip("abcdefghijk", groups, strict=False)
            for n, array in enumerate(group)
        }
    )


def test_rounding_is_not_suspect():
    assert found([rounded(seed) for seed in range(9)]) == found([])


@pytest.mark.parametrize("size", [1e-7, 1e-5, 2e-3])
def test_a_minority_of_another_model_is(size):
    result = found([rounded(seed, size) for seed in range(6)], [rounded(seed, size, OTHER) for seed in range(5)])
    assert sorted(result.suspects) == [f"b{n}" for n in range(5)]
    assert not result.groups
    for one in result.suspects.values():
        assert one.distance == pytest.approx(np.abs(MODEL - OTHER).max(), rel=0.02)
        assert "other weights or another input" in one.reason


def test_two_halves_are_two_groups_and_nobody_is_suspect():
    result = found([rounded(seed) for seed in range(4)], [rounded(seed, base=OTHER) for seed in range(4)])
    assert result.suspects == {}
    assert result.groups == (("a0", "a1", "a2", "a3"), ("b0", "b1", "b2", "b3"))


def test_three_thirds_are_three_groups():
    third = [rounded(seed, base=MODEL[::-1]) for seed in range(3)]
    result = found([rounded(0)] * 3, [rounded(0, base=OTHER)] * 2, third)
    assert [len(group) for group in result.groups] == [3, 3, 2]


def test_many_models_end_in_a_last_group():
    everyone = [[np.float32([1, 3**n])] for n in range(20)]
    result = suspects({f"{n:02}": (one[0],) for n, one in enumerate(everyone)})
    assert not result.suspects
    assert len(result.groups) == 8
    assert sorted(name for group in result.groups for name in group) == [f"{n:02}" for n in range(20)]


def test_votes_count_and_not_runs():
    outputs = {"cpu1": (MODEL,), "cpu2": (MODEL,), **{f"gpu{n}": (rounded(n, base=OTHER),) for n in range(9)}}
    votes = {"cpu1": 1.0, "cpu2": 1.0, **{f"gpu{n}": 1 / 9 for n in range(9)}}
    assert set(suspects(outputs, votes).suspects) == {f"gpu{n}" for n in range(9)}
    assert set(suspects(outputs).suspects) == {"cpu1", "cpu2"}


def test_nan_where_others_have_numbers_is_infinitely_far_and_among_nan_is_none():
    with_nan = np.float32([1, np.nan])
    assert found([np.float32([1, 2])] * 2, [with_nan]).suspects["b0"].distance == np.inf
    assert found([with_nan] * 3) == found([])
    assert found([np.float32([1, np.inf])] * 2, [np.float32([1, -np.inf])]).suspects["b0"].distance == np.inf


def test_integers_are_not_judged_and_nothing_is_said_without_a_scale():
    assert found([np.int32([1, 2])] * 5, [np.int32([255822, 0])]) == found([])
    assert found([np.zeros(3, np.float32)] * 5, [np.float32([0, 1e-30, 0])]) == found([])
    assert found([np.zeros((0, 3), np.float32)] * 2) == found([])


def test_complex_outputs_are_judged_by_their_parts():
    one, other = np.complex64([1 + 1j, 2]), np.complex64([1 - 1j, 2])
    assert set(found([one] * 3, [other]).suspects) == {"b0"}


def test_the_worst_output_counts():
    assert set(suspects({**{f"a{n}": (MODEL, MODEL) for n in range(3)}, "b": (MODEL, OTHER)}).suspects) == {"b"}


FLOATS = st.floats(-100, 100, width=32)


@given(
    base=hnp.arrays(np.float32, (6,), elements=FLOATS),
    good=st.integers(1, 12),
    data=st.data(),
)
def test_a_majority_of_roundings_is_never_suspect_whatever_the_others_are(base, good, data):
    bad = data.draw(st.integers(0, good - 1))
    wild = hnp.arrays(np.float32, (6,), elements=st.floats(width=32))
    scale = np.abs(base).max()
    outputs = {}
    for n in range(good):
        noise = data.draw(hnp.arrays(np.float32, (6,), elements=st.floats(-0.25, 0.25, width=32)))
        outputs[f"good{n}"] = (base + noise * np.float32(LIMIT) * scale,)
    for n in range(bad):
        outputs[f"bad{n}"] = (data.draw(wild),)
    result = suspects(outputs)
    assert not result.groups
    assert not [name for name in result.suspects if name.startswith("good")]
    for name in result.suspects:
        # What is far from the median is far from each of the good ones.
        assert scale == 0 or all(
            np.abs(outputs[name][0].astype(float) - outputs[f"good{n}"][0]).max() > LIMIT / 4 * scale
            or not np.isfinite(outputs[name][0]).all()
            for n in range(good)
        )


@given(st.lists(hnp.arrays(np.float64, (4,), elements=st.floats()), max_size=9), st.randoms())
def test_order_and_names_do_not_matter(arrays, random):
    names = [f"{n}" for n in range(len(arrays))]
    outputs = dict(zip(names, [(array,) for array in arrays], strict=True))
    random.shuffle(names)
    result = suspects(outputs)
    assert result == suspects({name: outputs[name] for name in names})
    assert not (result.suspects and result.groups)
    assert len(result.suspects) * 2 < max(1, len(arrays))


@given(hnp.arrays(np.float32, (5,), elements=FLOATS), hnp.arrays(np.float32, (5,), elements=FLOATS))
def test_between_is_symmetric_and_zero_for_itself(one, other):
    assert between([one], [other]) == between([other], [one])
    assert between([one], [one]) == 0


class Cells:
    """Observations of a workload measured elsewhere."""

    def __init__(self):
        self.store, self.observations = {}, []

    def add(self, host, array, replicate=0, vouched=False, cores="2"):
        address = of_bytes(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        self.store[address] = array
        outputs = (OutputRef("y", str(array.dtype), array.shape, address),)
        number = len(self.observations)
        self.observations.append(
            Observation(
                "net",
                {"host": host, "cores": cores},
                replicate,
                "ok",
                "",
                outputs,
                False,
                f"r{number}",
                vouched=vouched,
            )
        )

    def answer(self):
        return answer(self.observations, self.store.__getitem__, baseline={}, order={}, labels={})


def one_of(cells):
    result = cells.answer()
    (one,) = result.workloads
    return result, one, {sentence.about: sentence.text for sentence in one.sentences}


def test_suspects_are_no_class_and_are_seen():
    cells = Cells()
    for n in range(4):
        cells.add(f"h{n}", rounded(n // 2))
    cells.add("odd", OTHER)
    result, one, said = one_of(cells)
    assert len(one.classes) == 2
    assert one.cells == {"ok": 4, "suspect": 1}
    (suspect,) = one.suspects
    assert suspect.levels == {"host": "odd", "cores": "2"}
    assert suspect.records == ("r4",)
    assert [(cell.kind, cell.status, cell.levels["host"]) for cell in one.without_class] == [("gap", SUSPECT, "odd")]
    assert said["suspects"].startswith("1 of 5 cells set apart, in no class")
    assert any("1 cell is suspect" in line and "1 of net" in line for line in result.short)
    assert ("(suspect)",) in [entry for row in one.table.entries for entry in row]
    assert one.deviates


def test_a_suspect_with_the_bytes_of_nobody_else_makes_a_census_deviate():
    cells = Cells()
    for n in range(3):
        cells.add(f"h{n}", MODEL)
    cells.add("odd", OTHER)
    assert one_of(cells)[1].deviates


def test_halves_stay_classes_and_are_told():
    cells = Cells()
    for n in range(2):
        cells.add(f"h{n}", MODEL)
        cells.add(f"o{n}", OTHER)
    _, one, said = one_of(cells)
    assert len(one.classes) == 2
    assert not one.suspects
    assert said["suspects"].startswith("2 groups that rounding does not connect, of 2, 2 cells")
    assert "cannot be told which" in said["suspects"]


def test_runs_of_one_cell_have_one_vote_together():
    cells = Cells()
    for n in range(3):
        cells.add(f"h{n}", MODEL)
    for n in range(20):
        cells.add("gpu", rounded(n, base=OTHER), replicate=n)
    _, one, _ = one_of(cells)
    (suspect,) = one.suspects
    assert suspect.levels["host"] == "gpu"
    assert len(suspect.records) == 20


def test_what_a_digest_vouches_for_is_never_set_apart():
    cells = Cells()
    for n in range(4):
        cells.add(f"h{n}", MODEL, vouched=True)
    cells.add("odd", OTHER, vouched=True)
    _, one, said = one_of(cells)
    assert not one.suspects
    assert "suspects" not in said
    assert len(one.classes) == 2


def test_other_shapes_are_another_task():
    cells = Cells()
    for n in range(3):
        cells.add(f"h{n}", MODEL)
    cells.add("short", OTHER[:2])
    kept, apart, told = set_apart(cells.observations, cells.store.__getitem__)
    assert kept == cells.observations
    assert (apart, told) == ((), ())
