"""Attribution of whole workloads: scenarios, groups, outputs apart, magnitudes, and designs that tell little or nothing."""

from __future__ import annotations

import io
import itertools
import json

import numpy as np
import pytest
from rich.console import Console

from numdev.analysis import Observation, OutputRef, answer, distances
from numdev.analysis.families import families, family
from numdev.digests import of_bytes
from numdev.report import print_answer, print_attribution


class Cells:
    """Observations of one workload, whose outputs are arrays by name."""

    def __init__(self, **order):
        self.order = {name.replace("__", "."): levels for name, levels in order.items()}
        self.store, self.found = {}, []

    def ref(self, name, array):
        array = np.asarray(array)
        address = of_bytes(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        self.store[address] = array
        return OutputRef(name, str(array.dtype), array.shape, address)

    def add(self, levels, outcome, replicate=0, rounds=()):
        """`outcome`: outputs by name, an array, or a status."""
        factors = dict(zip(self.order, levels, strict=True))
        status, outputs = ("ok", outcome) if not isinstance(outcome, str) else (outcome, {})
        outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
        refs = tuple(self.ref(name, array) for name, array in outputs.items())
        self.found.append(
            Observation("w", factors, replicate, status, "", refs, False, str(len(self.found)), rounds=rounds)
        )
        return self

    def fill(self, outcome):
        for levels in itertools.product(*self.order.values()):
            self.add(levels, outcome(**dict(zip(self.order, levels, strict=True))))
        return self

    def answer(self, **more):
        baseline = {name: levels[0] for name, levels in self.order.items()}
        return answer(self.found, self.store.__getitem__, baseline=baseline, order=self.order, labels={}, **more)

    def ask(self, **more):
        """The only workload's answer, which can be printed at 80 columns and is JSON."""
        whole = self.answer(**more)
        json.dumps(whole.json(), allow_nan=False)
        for show in (print_answer, print_attribution):
            console = Console(file=io.StringIO(), width=80)
            show(whole, console)
            assert max(map(len, console.file.getvalue().splitlines())) <= 80
        return whole.workloads[0]


def statuses(one):
    return {name: each.status for name, each in one.factors.items()}


X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def test_s3_quantised_convolution():
    """Version, CPU, optimisation, threads and batch: two classes, which CPU and optimisation level make together."""
    cells = Cells(
        stack=["ort-1.17", "ort-1.32"], profile=["avx2", "vnni"], optimization=["all", "off"], threads=["1", "4"],
        batch=["1", "4"],
    )  # fmt: skip
    one = cells.fill(
        lambda profile, optimization, batch, **_: (X + (profile == "avx2" and optimization == "all"))[: int(batch)]
    ).ask()
    assert [each.name for each in one.classes] == ["A", "B"]
    assert one.sufficient.sets == (("profile", "optimization"),)
    assert statuses(one) == {
        "stack": "no effect", "profile": "cause", "optimization": "cause", "threads": "no effect", "batch": "no effect",
    }  # fmt: skip
    assert one.sufficient.identified
    for name in ("stack", "threads", "batch"):
        each = one.factors[name]
        assert (each.alone, each.total, each.shapley) == (0, 0, 0)
    # One class has a quarter of the cells: tau of either factor is 1/3, and of the two together 1.
    assert one.factors["profile"].alone == one.factors["optimization"].alone == pytest.approx(1 / 3)
    assert [(each.factors, each.share) for each in one.interactions] == [
        (("profile", "optimization"), pytest.approx(1 / 3))
    ]
    assert one.group_sets == (("software", "dispatch"),)
    assert "the class follows from software and dispatch together" in one.verdict
    assert "no effect of threads and other factors" in one.verdict


def test_a_group_is_a_cause_where_its_members_cannot_be_told_apart():
    cells = Cells(stack=["a", "b"], env__FLAG=["0", "1"], threads=["1", "2"])
    for stack, flag in (("a", "0"), ("b", "1")):
        for threads in "12":
            cells.add((stack, flag, threads), X + (stack == "b"))
    one = cells.ask()
    assert statuses(one) == {"stack": "not identified", "env.FLAG": "not identified", "threads": "no effect"}
    assert one.groups["software"].status == "cause"
    assert one.groups["software"].alone == one.groups["software"].total == 1
    assert one.groups["threads"].status == "no effect"
    assert one.missing_cells == ({"stack": "a", "env.FLAG": "1", "threads": "1"},)
    assert any(text.startswith("software is a cause: alone 100 %") for text in one.verdict)


@pytest.mark.parametrize(
    ("factor", "group"),
    {
        "stack": "software", "precision": "software", "session.x64quantprecision": "software", "env.TF_ENABLE": "software",
        "profile": "dispatch", "vendor": "dispatch", "caches": "dispatch", "features": "dispatch", "model": "dispatch",
        "env.ATEN_CPU_CAPABILITY": "dispatch", "env.ONEDNN_MAX_CPU_ISA": "dispatch", "env.MKL_CBWR": "dispatch",
        "env.OPENBLAS_CORETYPE": "dispatch", "env.MKL_ENABLE_INSTRUCTIONS": "dispatch",
        "threads": "threads", "env.OMP_NUM_THREADS": "threads", "silicon": "silicon", "architecture": "silicon",
        "batch": "other", "color": "other",
    }.items(),
)  # fmt: skip
def test_groups(factor, group):
    assert family(factor) == group


def test_groups_are_in_order():
    assert families(["batch", "threads", "stack", "profile", "precision"]) == {
        "software": ("stack", "precision"), "dispatch": ("profile",), "threads": ("threads",), "other": ("batch",),
    }  # fmt: skip


def test_outputs_have_classes_of_their_own():
    cells = Cells(stack=["a", "b"], profile=["p", "q"])
    cells.fill(
        lambda stack, profile: {"logits": X + (stack == "b"), "conv1": X * (2 if profile == "q" else 1), "const": X}
    )
    one = cells.ask()
    assert len(one.classes) == 4
    found = {each.name: each for each in one.outputs}
    assert list(found) == ["const", "conv1", "logits"]
    assert [len(each.partition) for each in one.outputs] == [1, 2, 2]
    assert found["conv1"].sufficient == (("profile",),)
    assert found["logits"].sufficient == (("stack",),)
    assert found["const"].sufficient == ((),)


def test_size_weighs_another_than_class():
    """Two factors with as many classes each; one of them moves results a thousand times as far."""
    one = Cells(stack=["a", "b"], profile=["p", "q"]).fill(
        lambda stack, profile: X + np.float32(1e-1 * (stack == "b")) + np.float32(1e-4 * (profile == "q"))
    ).ask()  # fmt: skip
    stack, profile = one.factors["stack"], one.factors["profile"]
    assert stack.alone == profile.alone == pytest.approx(1 / 3)
    assert stack.magnitude.alone == pytest.approx(1, abs=1e-3)
    assert profile.magnitude.total == pytest.approx(1e-6, rel=1e-2)


def test_signed_zeros_and_nan_payloads_are_classes_without_size():
    odd = np.array([0x7FC00001], np.uint32).view(np.float32)
    zeros = {"a": np.float32([0.0]), "b": np.float32([-0.0]), "c": np.float32([np.nan]), "d": odd}
    one = Cells(stack=list("abcd")).fill(lambda stack: zeros[stack]).ask()
    assert len(one.classes) == 4
    assert one.factors["stack"].alone == 1
    assert one.factors["stack"].magnitude.alone is None
    assert one.attribution_notes == ("magnitudes: 2 of 4 classes have no distance",)


def test_failures_are_classes_of_their_own_and_attributed():
    one = (
        Cells(stack=["a", "b"], profile=["p", "q"])
        .fill(lambda stack, profile: "signal:6" if profile == "q" else X)
        .ask()
    )
    assert one.cells == {"ok": 2, "signal:6": 2}
    assert statuses(one) == {"stack": "no effect", "profile": "cause"}


BAD = {
    "one level": (Cells(stack=["a"]).fill(lambda stack: X), {"ok": 1}, {"stack": "not varied"}),
    "all failed alike": (Cells(stack=["a", "b"]).fill(lambda stack: "failed"), {"failed": 2}, {"stack": "no effect"}),
    "no result": (Cells(stack=["a", "b"]).fill(lambda stack: "lost"), {"lost": 2}, {"stack": "not identified"}),
    "NaN everywhere": (Cells(stack=["a", "b"]).fill(lambda stack: X * np.nan), {"ok": 2}, {"stack": "no effect"}),
    "empty tensors": (
        Cells(stack=["a", "b"]).fill(lambda stack: np.zeros((0, 3) if stack == "a" else (3, 0))), {"ok": 2}, {"stack": "cause"},
    ),
    "empty and equal": (Cells(stack=["a", "b"]).fill(lambda stack: np.zeros((0, 3))), {"ok": 2}, {"stack": "no effect"}),
    "no outputs": (Cells(stack=["a", "b"]).fill(lambda stack: {}), {"ok": 2}, {"stack": "no effect"}),
    "other shapes": (Cells(stack=["a", "b"]).fill(lambda stack: X if stack == "a" else X[:2]), {"ok": 2}, {"stack": "cause"}),
    "other dtypes": (
        Cells(stack=["a", "b"]).fill(lambda stack: X if stack == "a" else X.astype(np.float64)), {"ok": 2}, {"stack": "cause"},
    ),
    "other outputs": (
        Cells(stack=["a", "b"]).fill(lambda stack: {"y" if stack == "a" else "z": X}), {"ok": 2}, {"stack": "cause"},
    ),
    "the same cell twice": (
        Cells(stack=["a", "b"]).fill(lambda stack: X).add(("a",), X), {"ok": 2}, {"stack": "no effect"},
    ),
    "the same cell twice, with other bytes": (
        Cells(stack=["a", "b"]).fill(lambda stack: X).add(("a",), X + 1), {"noisy": 1, "ok": 1}, {"stack": "not identified"},
    ),
    "integers": (Cells(stack=["a", "b"]).fill(lambda stack: np.int8([stack == "a"])), {"ok": 2}, {"stack": "cause"}),
    "complex": (Cells(stack=["a", "b"]).fill(lambda stack: np.complex64([1j * (stack == "a")])), {"ok": 2}, {"stack": "cause"}),
    "all zero": (Cells(stack=["a", "b"]).fill(lambda stack: X * 0 + (stack == "a") * 0), {"ok": 2}, {"stack": "no effect"}),
    "huge": (Cells(stack=["a", "b"]).fill(lambda stack: np.float64([1e308, (stack == "a") * 1e308])), {"ok": 2}, {"stack": "cause"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_designs_that_tell_little(name):
    cells, counts, expected = BAD[name]
    one = cells.ask()
    assert one.cells == counts
    assert statuses(one) == expected
    assert one.verdict
    for each in one.factors.values():
        for share in (each.alone, each.total, each.shapley, each.magnitude.alone):
            assert share is None or 0 <= share <= 1


def test_no_cells_at_all():
    assert Cells(stack=["a"]).answer().workloads == ()


def test_no_class_at_all_is_said():
    assert BAD["no result"][0].ask().verdict == ("nothing can be said: no cell has a class",)


def test_a_level_without_a_class_is_no_claim():
    """All of one level are noisy: what the rest shows is not told of it."""
    cells = Cells(stack=["a", "b"], profile=["p", "q"])
    for n in range(3):
        for stack, profile in itertools.product("ab", "pq"):
            cells.add((stack, profile), X + (n if stack == "b" else 0) + 9 * (profile == "q"), n)
    one = cells.ask()
    assert statuses(one) == {"stack": "not identified", "profile": "cause"}
    assert not one.complete
    assert one.missing_cells == ()
    assert any(text == "not identified: software stack" for text in one.verdict)


def test_bounds_of_unseen_noise_for_both_kinds():
    cells = Cells(stack=["a", "b"])
    for stack in "ab":
        for n in range(31):
            cells.add((stack,), X, n, rounds=("0" * 64,) * 11)
    one = cells.ask()
    assert (one.repeats.comparisons, one.repeats.inside) == (60, 620)
    assert one.repeats.bound == pytest.approx(3 / 60)
    assert one.repeats.inside_bound == pytest.approx(3 / 620)
    told = "unseen there could be at most 5 % of runs and at most 0.48 % of inferences in a process"
    assert any(told in text for text in one.verdict)


def test_factors_not_asked_for_are_one():
    cells = Cells(stack=["a", "b"], profile=["p", "q"], threads=["1", "2"])
    cells.fill(lambda stack, profile, threads: X + (stack == "a") + 2 * (profile == "p"))
    one = cells.ask(factors=["profile"])
    assert statuses(one) == {"profile": "cause", "(others)": "cause"}
    every = cells.ask()
    assert one.factors["profile"].shapley == every.factors["profile"].shapley
    assert one.groups["software"] == every.groups["software"]


@pytest.mark.parametrize("seed", range(6))
def test_magnitude_by_definition(seed):
    """R-squared of squared relative L2 distances between all pairs of cells, summed over outputs."""
    rng = np.random.default_rng(seed)
    base = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5).astype(np.float32)}
    made = {}
    cells = Cells(stack=["s", "t", "u"], profile=["p", "q"])

    def outcome(stack, profile):
        shift = made.setdefault((stack, profile), rng.integers(0, 3) * 10.0 ** -rng.integers(0, 3))
        return {name: array + array.dtype.type(shift) for name, array in base.items()}

    one = cells.fill(outcome).ask()
    arrays = {levels: outcome(*levels) for levels in made}
    first = arrays["s", "p"]
    square = {
        (x, y): sum(
            np.square(np.float64(arrays[x][name]) - np.float64(arrays[y][name])).sum()
            / np.square(np.float64(first[name])).sum()
            for name in base
        )
        for x, y in itertools.combinations(arrays, 2)
    }

    def spread(groups):
        return sum(square.get((x, y), 0) / len(group) for group in groups for x, y in itertools.combinations(group, 2))

    whole = spread([list(arrays)])
    for place, name in enumerate(("stack", "profile")):
        groups = [[at for at in arrays if at[place] == level] for level in cells.order[name]]
        rest = [[at for at in arrays if at[1 - place] == level] for level in cells.order[("profile", "stack")[place]]]
        size = one.factors[name].magnitude
        if whole:
            assert size.alone == pytest.approx(1 - spread(groups) / whole, abs=1e-12)
            assert size.total == pytest.approx(spread(rest) / whole, abs=1e-12)
        else:
            assert size.alone is None


def test_classes_too_large_to_measure_are_said(monkeypatch):
    monkeypatch.setattr(distances, "MOST", 10)
    one = Cells(stack=["a", "b"]).fill(lambda stack: X + (stack == "a")).ask()
    assert one.factors["stack"].magnitude.alone is None
    assert one.factors["stack"].alone == 1
    assert one.attribution_notes == ("magnitudes: too many large classes to measure all their distances",)


def test_more_than_ten_factors_have_no_fair_shares_and_that_is_said():
    cells = Cells(**{f"env__F{n}": ["0", "1"] for n in range(11)})
    rows = [tuple("1" if n == m else "0" for n in range(11)) for m in range(-1, 11)]
    for row in rows:
        cells.add(row, X + (row[4] == "1"))
    one = cells.ask()
    assert {name for name, each in one.factors.items() if each.status == "cause"} == {"env.F4"}
    assert all(each.shapley is None for each in one.factors.values())
    assert one.factors["env.F4"].total > 0
    assert one.attribution_notes == ("Shapley's shares: not computed, more than 10 factors",)
    named = cells.ask(factors=["env.F4", "env.F5"])
    assert set(named.factors) == {"env.F4", "env.F5", "(others)"}
    assert named.factors["env.F4"].shapley is not None


def test_a_cell_that_is_there_and_noisy_is_not_asked_for():
    """Of the two cells that would tell stack from threads, one has been run."""
    cells = Cells(stack=["a", "b"], threads=["1", "2"])
    cells.add("a1", X).add("b2", X + 1).add("a2", X + 2).add("a2", X + 3, 1)
    one = cells.ask()
    assert one.missing_cells == ({"stack": "b", "threads": "1"},)
    assert one.cells == {"noisy": 1, "ok": 2}
