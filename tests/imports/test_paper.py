"""The paper's facts, from its own files: what the import says, and what the ordinary answer says."""

from __future__ import annotations

import csv
import gzip
import json

import pytest

from numdev.imports import design
from numdev.imports.multiplications import Multiplications

MAIN = "unannticipated"
# The table of the medium model in the paper's letters, by rows of microarchitectures that share one.
MEDIUM = {
    ("Sandy Bridge", "Ivy Bridge"): "MNODD",
    ("Haswell", "Broadwell"): "FEHAA",
    ("Skylake", "Cascade Lake"): "BCIAA",
    ("Ice Lake",): "PCIAA",
    ("AMD Rome", "AMD Milan"): "JKLGG",
}
CORES = ("2", "4", "8", "16", "32")


def class_at(one, **levels):
    """The names of the classes of all cells at these levels."""
    return {
        each.name
        for each in one.classes
        for cell in each.levels
        if all(cell[name] == level for name, level in levels.items())
    }


def said(one):
    return {sentence.about: sentence.text for sentence in one.sentences}


def test_records_and_platforms(imported):
    main = imported[1].runs[0]
    assert (main.name, main.records, main.cpus, main.gpus) == (MAIN, 879, 65, 11)
    assert {run.name: run.records for run in imported[1].runs[1:]} == {
        "unannticipated-input-distribution": 45,
        "unannticipated-parameter-distribution": 81,
        "unannticipated-precision": 126,
        "unannticipated-race-conditions": 6,
        "unannticipated-raw-simd": 15,
    }


@pytest.mark.parametrize(
    ("model", "count"), [("cifar10_small", 3), ("cifar10_medium", 16), ("cifar10_large", 20), ("deep_weeds", 14)]
)
def test_classes_of_the_cpus(model, count, answers, imported):
    one = answers[MAIN, f"{model}-i0-cpu"]
    assert len(one.classes) == count == imported[1].classes[f"{model}-i0-cpu"]


def test_the_table_of_the_medium_model(answers):
    one = answers[MAIN, "cifar10_medium-i0-cpu"]
    ours: dict[str, set[str]] = {}
    for names, row in MEDIUM.items():
        for name in names:
            for cores, letter in zip(CORES, row, strict=True):
                ours.setdefault(letter, set()).update(class_at(one, microarchitecture=name, cores=cores))
    assert all(len(found) == 1 for found in ours.values())
    assert len({*map(frozenset, ours.values())}) == len(ours) == 16
    assert (one.table.row_factor, one.table.column_factor) == ("microarchitecture", "cores")
    assert "the class follows from microarchitecture and cores" in said(one)["together"]
    assert "does not tell which" in said(one)["together"]


def test_the_small_model_is_split_by_simd_at_every_number_of_cores(answers):
    one = answers[MAIN, "cifar10_small-i0-cpu"]
    tiers = [class_at(one, SIMD="AVX"), class_at(one, SIMD="AVX2"), class_at(one, SIMD="AVX-512")]
    assert [len(found) for found in tiers] == [1, 1, 1]
    assert len(set.union(*tiers)) == 3
    assert class_at(one, SIMD="AVX-512 VNNI") == tiers[2]
    assert class_at(one, vendor="AMD") == tiers[1]


def test_suspects_are_those_of_the_repacked_data(imported, shared):
    with gzip.open(shared / "paper-data" / "equivalence_classes.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    known = {row["source"]: row["dev_from_median"] for row in rows if row["suspect"]}
    found = {one.path: one.distance for one in imported[1].suspects}
    assert len(found) == 30
    assert found.keys() == known.keys()
    for path, distance in found.items():
        # Theirs is absolute, ours in units of the median's largest value, which is a probability.
        assert distance >= known[path] * 0.999


def test_suspects_are_in_no_class_and_seen(answers):
    odd = {name: one for (run, name), one in answers.items() if run == MAIN and one.suspects}
    assert sum(len(one.suspects) for one in odd.values()) == 30
    assert set(odd) == {
        *(f"deep_weeds-i{sample}-{kind}" for sample in (0, 1, 6) for kind in ("cpu", "gpu")),
        *(f"cifar10_{model}-i{sample}-gpu" for sample in (0, 1, 6) for model in ("small", "medium")),
    }
    weeds = odd["deep_weeds-i0-cpu"]
    assert sum(weeds.cells.values()) == 65
    assert sum(each.cells for each in weeds.classes) == 61
    assert "4 of 65 cells set apart" in said(weeds)["suspects"]
    assert sum(cell.status == "suspect" for cell in weeds.without_class) == 4


def test_no_cpu_equals_a_gpu_and_ten_gpus_are_unsteady(imported):
    report = imported[1]
    assert report.compared == (12, 0)
    assert (len(report.unsteady), report.repeated) == (10, 11)
    assert not [name for name in report.unsteady if "GTX_1650" in name]


def test_platforms_alike_in_all_facts_never_differ(answers):
    for (run, name), one in answers.items():
        if run == MAIN and name.endswith("-cpu"):
            assert said(one)["instance"].startswith("no effect (")
        elif run == MAIN:
            assert "instance" not in one.levels


def test_float64_follows_the_cores_alone(answers):
    one = answers["unannticipated-precision", "cifar10_medium_float64"]
    assert sum(one.cells.values()) == 14
    assert said(one)["together"].startswith("the class follows from cores alone")
    for cores in ("2", "4", "8", "16", "48"):
        assert len(class_at(one, cores=cores)) == 1


def test_cpus_repeat_their_bits(answers):
    one = answers["unannticipated-race-conditions", "race_conditions"]
    assert (one.cells, one.runs, one.repeats.noisy) == ({"ok": 6}, 60, 0)


def test_kept_bits_fall_with_the_multiplications(imported, shared):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    sound, *mixed = imported[1].tables
    assert "2021_11_03" in sound.path
    assert round(sound.spearman, 2) == -0.81
    assert isinstance(sound, Multiplications)
    assert sound.configurations == 359
    assert [(len(one.mixed), one.spearman) for one in mixed] == [(143, None), (143, None)]
    with gzip.open(shared / "paper-data" / "num_multiplications.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["c"], row["f"], row["k"], row["i"]) for row in rows if row["run"].startswith("2021_11_03")}) == 359


def test_what_the_platforms_cannot_separate(imported):
    cpus, gpus = imported[1].designs
    assert (cpus.platforms, gpus.platforms) == (65, 11)
    by = {one.factor: one for one in cpus.factors}
    for name in ("vendor", "L1d", "L2", "Python"):
        assert by[name].alone == ()
    assert by["SIMD"].alone == (("AVX-512", "AVX-512 VNNI"),)
    assert "microarchitecture" in by["vendor"].follows
    assert {"2", "4", "8", "16", "32"} <= set(by["cores"].alone[0])
    lines = "\n".join(imported[1].lines())
    assert "vendor: CANNOT be separated: no two platforms differ in it alone" in lines
    assert "SIMD: separated only within AVX-512, AVX-512 VNNI" in lines
    assert not any(isinstance(one, design.Separation) and one.complete for one in cpus.factors)


def test_what_was_left_out_is_named(imported):
    left = imported[1].left_out
    kinds = {kind: [one.path for one in left if one.kind == kind] for kind in {one.kind for one in left}}
    assert len(kinds.pop("LFS pointer")) == 72
    absent = kinds.pop("missing")
    assert len(absent) == 33
    assert all("cifar10_large" in path for path in absent)
    assert len([path for path in absent if "/local/" in path]) == 24
    if len(imported[1].tables) == 3:
        assert kinds == {"not imported": ["experiments/results/dendrogram_consistency/data.feather"]}


def test_other_weights_under_one_name_are_told(imported):
    assert [text.split(":")[0] for text in imported[1].mixed] == [
        f"precision, cifar10_small_float{bits}" for bits in (16, 32, 64)
    ]


def test_facts_are_the_repacked_data_s(imported, shared):
    opened, _ = imported
    with gzip.open(shared / "paper-data" / "equivalence_classes.jsonl.gz", "rt") as file:
        known = {row["source"]: row for row in map(json.loads, file)}
    names = {"Skylake-SP": "Skylake", "Zen2 (Rome)": "AMD Rome", "Zen3 (Milan)": "AMD Milan"}
    count = 0
    for record in opened.records():
        if record.factors["experiment"] == "equivalence_classes" and record.replicate == 0:
            row, count = known[record.environment["path"]], count + 1
            uarch = record.factors["host_CPU" if row["device_type"] == "gpu" else "microarchitecture"]
            assert uarch == names.get(row["uarch"], row["uarch"])
            assert record.factors["cores"] == str(row["cores"])
            assert record.factors["kind"] == row["device_type"]
            if row["gpu"]:
                assert record.factors["generation"] == row["gpu"]["arch"]
    assert count == 879


def test_the_store_is_whole(imported):
    assert imported[0].verify() == []
