"""Noise, failures, references, batches, facts: one small planted case each."""

import itertools
import json

import numpy as np
import pytest

from numdev.analysis import Observation, OutputRef, answer
from numdev.digests import of_bytes

BASE = np.float32([[1, 2, 3], [3, 2, 1], [1, 3, 2], [2, 1, 3]])
PROFILES = {"v2": "SSE4", "haswell": "AVX2", "zen2": "AVX2", "skx": "AVX-512"}


class Bench:
    """A store in memory, and cells whose outcome is planted."""

    def __init__(self, order, workload="net"):
        self.order, self.workload = order, workload
        self.store, self.observations = {}, []

    def put(self, array, name="y"):
        array = np.asarray(array)
        address = of_bytes(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        self.store[address] = array
        return OutputRef(name, str(array.dtype), array.shape, address)

    def add(self, factors, outcome, replicate=0, reference=False, reason="", exact=True):
        """`outcome` is an array or a status."""
        status, outputs = (outcome, ()) if isinstance(outcome, str) else ("ok", (self.put(outcome),))
        cell = f"{self.workload}-{len(self.observations)}"
        self.observations.append(
            Observation(self.workload, dict(factors), replicate, status, reason, outputs, reference, cell, exact=exact)
        )

    def cells(self):
        for levels in itertools.product(*self.order.values()):
            yield dict(zip(self.order, levels, strict=True))

    def answer(self, **more):
        baseline = {name: levels[0] for name, levels in self.order.items()}
        given = {"baseline": baseline, "order": self.order, "labels": {}, **more}
        return answer(self.observations, self.store.__getitem__, **given)

    def workload_answer(self, **more):
        (one,) = self.answer(**more).workloads
        return one


def said(one):
    return {sentence.about: sentence.text for sentence in one.sentences}


def cpus(value, order=None, repeats=1):
    """A bench over stacks and profiles; `value(cell, replicate)` is the outcome."""
    bench = Bench(order or {"stack": ["ort-1.17", "ort-1.20", "ort-1.26", "ort-1.32"], "profile": list(PROFILES)})
    for cell in bench.cells():
        for replicate in range(repeats):
            bench.add(cell, value(cell, replicate), replicate)
    return bench


def by_simd(cell, _replicate=0):
    tier = sorted(set(PROFILES.values())).index(PROFILES[cell["profile"]])
    return BASE + np.float32(tier * 2**-20) + np.float32(cell["stack"] == "ort-1.17") * np.float32(2**-12)


def facts():
    return {name: {"simd": tier, "vendor": "Intel"} for name, tier in PROFILES.items()}


def test_sentences_of_a_clean_design():
    one = cpus(by_simd, repeats=3).workload_answer(profile_facts=facts())
    text = said(one)
    assert text["stack"] == "3 of 4 versions agree (1.17 differs); 12 of 24 pairs differ"
    assert text["profile"] == "3 classes, split by SIMD level; 20 of 24 pairs differ"
    assert text["run-to-run"] == "none in 3 repeats (at most 9.4 % of runs deviate, at 95 % confidence)"
    assert text["together"] == "the class follows from software stack and CPU together"
    assert [each.name for each in one.classes] == list("ABCDEF")
    assert one.effects[0].size.max_abs == pytest.approx(2**-12, rel=1e-3)
    assert one.deviates


def test_classes_coarser_than_simd_name_the_levels_that_agree():
    bench = cpus(lambda cell, _: BASE + (cell["profile"] == "v2"))
    text = said(bench.workload_answer(profile_facts=facts()))["profile"]
    assert text == "2 classes, split by SIMD level (AVX2 = AVX-512); 12 of 24 pairs differ"


def test_classes_across_simd_levels_are_not_explained_by_them():
    bench = cpus(lambda cell, _: BASE + (cell["profile"] == "zen2"))
    text = said(bench.workload_answer(profile_facts=facts()))["profile"]
    assert text.startswith("2 classes: v2 haswell skx | zen2")


def test_one_class_does_not_deviate():
    result = cpus(lambda *_: BASE).answer()
    assert not result.deviates
    assert result.complete
    assert said(result.workloads[0])["run-to-run"] == "not measured (one run of each cell)"
    assert said(result.workloads[0])["profile"] == "no effect (24 pairs)"


def test_noise_is_flagged_and_never_attributed():
    bench = cpus(lambda cell, n: BASE + n * (cell["profile"] == "zen2"), repeats=2)
    one = bench.workload_answer()
    assert {cell.kind for cell in one.without_class} == {"noisy"}
    assert len(one.without_class) == 4
    assert one.effects[1].status == "no effect"
    assert one.effects[1].left_out == 12
    assert "zen2" in str(one.effects[1].levels)
    assert one.effects[1].compared == (("v2", "haswell", "skx"), ("zen2",))
    assert one.table.entries[2][0] == ("~",)
    assert said(one)["run-to-run"] == "4 noisy cells of 16 in 2 repeats; never attributed"
    assert one.deviates


def test_a_status_that_changes_from_run_to_run_is_noise():
    one = cpus(lambda cell, n: "signal:11" if n and cell["profile"] == "v2" else BASE, repeats=2).workload_answer()
    assert [cell.reason for cell in one.without_class][:1] == ["2 different outcomes in 2 runs (ok, signal:11)"]


def test_signed_zero_and_nan_payload_are_classes():
    values = [np.float32([0.0]), np.float32([-0.0])]
    bench = cpus(lambda cell, _: values[cell["profile"] == "v2"], {"profile": ["host", "v2"]})
    one = bench.workload_answer()
    assert len(one.classes) == 2
    assert one.classes[1].size.max_abs == 0


def test_failures_are_classes_and_gaps_are_not():
    outcome = {"host": BASE, "haswell": "signal:6", "zen2": "signal:6", "v2": "unsupported", "skx": "oom"}
    bench = cpus(lambda cell, _: outcome[cell["profile"]], {"profile": list(outcome)})
    result = bench.answer()
    (one,) = result.workloads
    assert [(each.name, each.cells, each.failed) for each in one.classes] == [
        ("A", 1, False),
        ("signal:6", 2, True),
        ("oom", 1, True),
    ]
    assert [(cell.kind, cell.status) for cell in one.without_class] == [("gap", "unsupported")]
    assert one.effects[0].pairs == 6
    assert one.effects[0].left_out == 4
    assert result.missing == {"oom": 1, "signal:6": 2, "unsupported": 1}
    assert not result.complete


def test_unsupported_alone_is_complete_and_refused_is_not():
    bench = cpus(lambda cell, _: "unsupported" if cell["profile"] == "v2" else BASE, {"profile": ["host", "v2"]})
    assert bench.answer().complete
    bench = cpus(lambda *_: BASE, {"profile": ["host"]})
    result = bench.answer(refused={"haswell": "no CPUID faulting"})
    assert not result.complete
    text = said(result.workloads[0])["profile"]
    assert text == "not varied (only host); this host cannot show haswell"
    assert any("no CPUID faulting" in line for line in result.short)


def test_wrong_against_exact_integers():
    exact = np.arange(64, dtype=np.int64).reshape(4, 16)
    off = {"haswell", "zen2"}
    bench = cpus(lambda cell, _: (exact + 255822 * (cell["profile"] in off)).astype(np.int32))
    bench.add({}, exact, reference=True)
    one = bench.workload_answer()
    assert one.wrong == ("B",)
    assert one.closest == ("A",)
    assert [s.text for s in one.sentences if s.about == "reference"] == [
        "WRONG against the exact integer reference on haswell, zen2: 64 of 64 outputs off, max error 255,822",
        "exact on v2, skx",
    ]


def test_everything_wrong_deviates_though_it_is_one_class():
    bench = cpus(lambda *_: np.int32([3]))
    bench.add({}, np.int64([2]), reference=True)
    result = bench.answer()
    assert len(result.workloads[0].classes) == 1
    assert result.deviates
    assert "in every cell: 1 of 1 outputs off" in said(result.workloads[0])["reference"]


def test_quantised_outputs_may_be_one_step_from_a_rounded_float():
    bench = cpus(lambda cell, _: np.uint8([3 + (cell["profile"] == "v2")]), {"profile": ["host", "v2"]})
    bench.add({}, np.float64([3.5]), reference=True)
    assert [each.reference.verdict for each in bench.workload_answer().classes] == ["within one step"] * 2


def test_closer_further_and_not_rounding():
    shift = {"host": 2**-20, "v2": 2**-22, "haswell": 2**-18, "zen2": 0.5}
    bench = cpus(lambda cell, _: BASE + np.float32(shift[cell["profile"]]), {"profile": list(shift)})
    bench.add({}, BASE.astype(np.float64), reference=True)
    one = bench.workload_answer()
    assert [each.closer for each in one.classes] == ["", "closer", "further", "further"]
    assert [each.reference.verdict for each in one.classes] == ["rounding"] * 3 + ["not rounding"]
    assert one.closest == ("B",)
    assert one.suspect == ("D",)
    texts = [s.text for s in one.sentences if s.about == "reference"]
    assert texts[0] == "not rounding: check the model on zen2 (off by 0.17 of the reference's scale)"


def test_a_cell_as_reference_is_no_judge_of_right_and_wrong():
    values = {"host": BASE, "v2": BASE + np.float32(2**-20), "haswell": BASE + np.float32(0.5)}
    bench = cpus(lambda cell, _: values[cell["profile"]], {"profile": list(values)})
    bench.add({}, values["v2"], reference=True, exact=False)
    one = bench.workload_answer()
    assert [each.reference.verdict for each in one.classes] == ["rounding", "the same", "not rounding"]
    assert [each.closer for each in one.classes] == ["", "closer", "further"]
    assert one.wrong == ()
    texts = [s.text for s in one.sentences if s.about == "reference"]
    assert "the reference's bytes on v2" in texts
    whole = cpus(lambda cell, _: np.int8([1, 2, 3]) + np.int8(cell["profile"] == "v2"), {"profile": ["host", "v2"]})
    whole.add({}, np.int8([1, 2, 3]), reference=True, exact=False)
    assert [each.reference.verdict for each in whole.workload_answer().classes] == ["the same", "within one step"]
    far = cpus(lambda cell, _: np.int8([1, 2, 3]) + np.int8(2 * (cell["profile"] == "v2")), {"profile": ["host", "v2"]})
    far.add({}, np.int8([1, 2, 3]), reference=True, exact=False)
    assert [each.reference.verdict for each in far.workload_answer().classes] == ["the same", "not rounding"]


def saturating(left, right):
    """u8 x s8 as AVX2 has it without VNNI: pairs of products are added in int16, and clipped to it."""
    products = left[:, None, :].astype(np.int64) * right.T[None].astype(np.int64)
    return np.clip(products[..., 0::2] + products[..., 1::2], -(2**15), 2**15 - 1).sum(-1).astype(np.int32)


def test_a_saturated_kernel_is_told_from_others():
    rng = np.random.default_rng(0)
    left, right = rng.integers(128, 256, (8, 64)), rng.integers(-128, -60, (64, 32))
    exact = (left @ right).astype(np.int64)
    values = {"host": exact, "haswell": saturating(left, right), "zen2": exact + rng.integers(-9999, 9999, exact.shape)}
    bench = cpus(lambda cell, _: values[cell["profile"]].astype(np.int32), {"profile": list(values)})
    bench.add({}, exact, reference=True)
    one = bench.workload_answer()
    assert [each.reference.looks for each in one.classes] == ["", "a saturated kernel", "a part of the outputs"]
    assert one.wrong == ("B", "C")
    other = cpus(lambda *_: rng.standard_normal((2, 50)).astype(np.float32), {"profile": ["host"]})
    other.add({}, rng.standard_normal((2, 50)), reference=True)
    assert other.workload_answer().classes[0].reference.looks == "most outputs"


def test_saturation_is_said():
    exact = np.arange(100, 164, dtype=np.int64)
    bench = cpus(lambda *_: (exact - 50).astype(np.int32), {"profile": ["host"]})
    bench.add({}, exact, reference=True)
    text = said(bench.workload_answer())["reference"]
    assert text.endswith("64 of 64 outputs off, max error 50; nearer to zero, as where a kernel saturates")


def test_a_reference_without_result_is_said():
    bench = cpus(lambda *_: BASE)
    bench.add({}, "failed", reference=True, reason="no such operator")
    assert said(bench.workload_answer())["reference"] == "the reference has no result: failed no such operator"


def batches(value):
    bench = Bench({"profile": ["host", "v2"], "batch": ["1", "4"]})
    for cell in bench.cells():
        bench.add(cell, value(cell)[: int(cell["batch"])])
    return bench


def test_batches_with_equal_samples_in_common_are_one_class():
    bench = batches(lambda cell: BASE + (cell["profile"] == "v2"))
    for batch in (1, 4):
        bench.add({"batch": str(batch)}, BASE[:batch].astype(np.float64), reference=True)
    one = bench.workload_answer()
    assert [(each.name, each.cells, each.spans) for each in one.classes] == [("A", 2, True), ("B", 2, True)]
    assert said(one)["batch"] == "no effect (2 pairs)"
    assert one.classes[1].size.total == BASE.size
    assert one.classes[0].reference.verdict == "exact"


def test_batch_with_an_effect():
    one = batches(lambda cell: BASE + (cell["batch"] == "4")).workload_answer()
    assert said(one)["batch"] == "the 2 levels differ; 2 of 2 pairs differ"
    assert said(one)["profile"] == "no effect (2 pairs)"
    assert one.classes[1].size.total == 3


def test_classes_that_only_their_later_samples_separate():
    later = np.zeros_like(BASE)
    later[3] = 1
    one = batches(lambda cell: BASE + later * (cell["profile"] == "v2")).workload_answer()
    assert [len(each.alike) for each in one.classes] == [2, 1, 1]
    assert said(one)["batch"] == "no effect (2 pairs)"
    assert said(one)["profile"] == "the 2 levels differ; 1 of 2 pairs differ, only with batch 4"


def test_batches_of_another_layout_are_not_compared():
    bench = Bench({"batch": ["1", "4"]})
    for cell in bench.cells():
        bench.add(cell, BASE[: int(cell["batch"])].T)
    result = bench.answer()
    assert said(result.workloads[0])["batch"] == "not identified (changes the shape of the outputs in 1 pair)"
    assert not result.deviates


def test_another_shape_under_another_cpu_is_a_deviation():
    bench = Bench({"profile": ["host", "v2"]})
    bench.add({"profile": "host"}, BASE)
    bench.add({"profile": "v2"}, BASE[:3])
    one = bench.workload_answer()
    assert len(one.classes) == 2
    assert one.deviates


def test_changed_labels_and_missing_baseline():
    bench = Bench({"profile": ["host", "a", "b", "c"]})
    bench.add({"profile": "host"}, "timeout")
    for profile in "abc":
        bench.add({"profile": profile}, BASE[:1] if profile != "c" else BASE[1:2])
    one = bench.workload_answer(labels={"net": ["cat", "dog", "bird"]})
    assert not one.against_is_baseline
    assert one.classes[1].changed_labels == ("row 0: bird -> cat",)


def test_json_is_plain_and_finite():
    bench = cpus(lambda cell, _: BASE if cell["profile"] == "v2" else BASE * np.float32(np.inf))
    text = json.dumps(bench.answer(profile_facts=facts()).json(), allow_nan=False)
    assert json.loads(text)["version"] == 2


def test_nothing_at_all():
    assert Bench({"profile": ["host"]}).answer().short == ("There are no results.",)


LARGE = np.finfo(np.float64).max


@pytest.mark.parametrize(
    ("value", "ref"),
    [
        ([LARGE, -LARGE, 1], [5e-324, -5e-324, 0]),
        ([5e-324, -5e-324, 0], [LARGE, -LARGE, LARGE]),
        ([1.2e-162] * 3, [-1.2e-162] * 3),
        ([complex(LARGE, LARGE), 1, 2], [complex(-LARGE, -LARGE), 5e-324j, 2]),
        (np.array([10, -10, 0.1], np.longdouble) ** 4001, [LARGE, 0, 1]),
        (np.array([np.nan, np.inf, 1], np.longdouble), [1.5, 2, 3]),
    ],
)
def test_sizes_beyond_float64_are_json(value, ref):
    arrays = [np.array([one]) for one in (value, ref, ref)]
    for vouched in (True, False):
        seen = [
            Observation(
                "w",
                {} if at == 2 else {"stack": str(at)},
                1,
                "ok",
                "",
                (OutputRef("y", array.dtype.name, array.shape, str(at)),),
                at == 2,
                str(at),
                vouched=vouched,
            )
            for at, array in enumerate(arrays)
        ]
        for order in (["0", "1"], ["1", "0"]):
            told = answer(
                seen, lambda at: arrays[int(at)], baseline={"stack": order[0]}, order={"stack": order}, labels={}
            )
            json.dumps(told.json(), allow_nan=False)


@pytest.mark.parametrize("factor", ["stack", "features", "threads"])
def test_a_level_may_have_no_name(factor):
    arrays = {"a": np.float32([1, 2]), "b": np.float32([3, 4]), "c": np.float32([1, 2.001])}
    levels = [{"profile": "host", factor: "x"}, {"profile": "host", factor: ""}, {}]
    seen = [
        Observation("w", one, 1, "ok", "", (OutputRef("y", "float32", (2,), name),), not one, name)
        for name, one in zip(arrays, levels, strict=True)
    ]
    told = answer(seen, arrays.__getitem__, baseline=levels[0], order={factor: ["x", ""]}, labels={})
    assert len(told.workloads[0].classes) == 2
