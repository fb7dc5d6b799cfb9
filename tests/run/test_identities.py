"""Features, vendor, model and caches as factors: from the matrix to the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from numdev import cpu
from numdev.cpu.features import FEATURES
from numdev.engines import MemoryEngine, Played
from numdev.errors import InvalidInput
from numdev.report import print_answer
from numdev.run import identities

WORKLOADS = "workloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"
FOUR = """
factors:
  stack: [ort-1, ort-2]
  profile: [haswell]
  features: [own, -fma]
  vendor: [own, AMD]
  model: [own, zen2]
  caches: [own, icelake-sp]
"""


def lacking(bench, *features: str) -> None:
    """The host of `bench` without some features."""
    leaves = dict(bench.host.leaves)
    for feature in features:
        leaf, subleaf, register, bit = FEATURES[feature]
        row = list(leaves[leaf, subleaf])
        row[register] &= ~(1 << bit)
        leaves[leaf, subleaf] = tuple(row)
    bench.host = replace(bench.host, leaves=leaves)


def engine(rule) -> MemoryEngine:
    """Cells whose only number is rule(stack, the table's lines)."""

    def player(stack, cell, table):
        realised = {"cpuid": {"traps": 1, "mismatches": []}} if table else {}
        return Played({"y": np.array([rule(stack, table or "")], np.float32)}, realised=realised)

    return MemoryEngine(player)


def leaf(table: str, number: int, subleaf: str = "*") -> list[int]:
    start = f"{number:08x} {subleaf} "
    return [int(word, 16) for line in table.splitlines() if line.startswith(start) for word in line.split()[2:]]


def planted(stack, table) -> int:
    """As seen with real libraries: one stack follows features, the other vendor, and nothing model and caches."""
    fma, amd = leaf(table, 1)[2] >> 12 & 1, leaf(table, 0)[1] == 0x68747541
    return 1 + fma if stack == "ort-1" else 3 + amd


def test_each_part_is_told_from_the_others(bench, capsys):
    found = bench.run(FOUR + WORKLOADS, engine(planted)).answer
    one = found.workloads[0]
    assert {each.factor: each.status for each in one.effects} == {
        "stack": "depends", "profile": "not varied", "features": "depends", "vendor": "depends", "model": "no effect",
        "caches": "no effect",
    }  # fmt: skip
    only = {each.factor: dict(each.only) for each in one.effects}
    assert (only["features"], only["vendor"]) == ({"stack": ("ort-1",)}, {"stack": ("ort-2",)})
    said = {each.about: each.text for each in one.sentences}
    assert said["features"] == "the 2 levels differ; 8 of 16 pairs differ, only with stack 1"
    assert found.short[-1].startswith(
        "Dispatch (what software chooses by CPUID): some result changes with features, vendor"
    )
    assert "none with model, caches" in found.short[-1]
    assert not any(line.startswith("Not varied") for line in found.short)


def test_a_row_of_the_table_is_a_cpu(bench):
    one = bench.run(FOUR + WORKLOADS, engine(planted)).answer.workloads[0]
    assert one.table.rows == ("haswell", "haswell vendor AMD", "haswell -fma", "haswell -fma vendor AMD")
    assert one.table.entries == ((("A",), ("C",)), (("A",), ("D",)), (("B",), ("C",)), (("B",), ("D",)))
    assert {each.where for each in one.classes} == {
        "stack 1 with own features", "stack 1 with -fma", "stack 2 with own vendor", "stack 2 with vendor AMD"
    }  # fmt: skip


def test_the_answer_is_readable_at_80_columns(bench, capsys):
    from rich.console import Console

    answer = bench.run(
        FOUR.replace("-fma", "-fma-movbe-rdrand") + WORKLOADS, engine(lambda stack, table: hash_of(table))
    ).answer
    print_answer(answer, Console(width=80))
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "haswell -fma-movbe-rdrand vendor AMD model zen2 caches icelake-sp" in text


def hash_of(table: str) -> int:
    return sum(map(ord, table)) % 65521


def test_equal_tables_are_run_once(bench):
    text = "factors: {stack: [ort-1], profile: [haswell, haswell@vendor=AMD], vendor: [own, Intel, AMD]}\n" + WORKLOADS
    ran = bench.run(text, engine(planted))
    assert len(ran.plan.items) == 6
    assert len({item.digest for item in ran.plan.items}) == 2
    assert sum(len(group.items) for group in ran.plan.groups) == 2
    assert ran.answer.workloads[0].cell_count == 6


def test_the_real_processor_is_not_changed(bench):
    """Crossed with host, the other parts are unsupported cells: a fact of the matrix, and no fault of this machine."""
    text = "factors: {stack: [ort-1], profile: [host, haswell], vendor: [own, AMD]}\n" + WORKLOADS
    ran = bench.run(text, engine(lambda stack, table: 1))
    assert ran.statuses() == {
        "own ort-1 host": "ok",
        "own ort-1 host@vendor=AMD": "unsupported",
        "own ort-1 haswell": "ok",
        "own ort-1 haswell@vendor=AMD": "ok",
    }
    assert (ran.resolved.refused, ran.answer.complete) == ({}, True)
    reason = "the profile host is the real processor, and keeps its own vendor"
    assert [each.reason for each in ran.answer.workloads[0].without_class] == [reason]


def test_what_this_host_cannot_show_is_said_once(bench):
    lacking(bench, "avx512f")
    text = FOUR.replace("[haswell]", "[haswell, skylake-sp]").replace("-fma", "+aes") + WORKLOADS
    text += "exclude: [{profile: haswell, features: +aes}, {profile: skylake-sp, features: +aes}]\n"
    ran = bench.run(text, engine(planted))
    assert len(ran.resolved.refused) == 8
    answer = ran.answer
    assert list(answer.refused) == ["skylake-sp"]
    assert answer.workloads[0].levels["profile"] == ("haswell",)
    assert answer.workloads[0].without_class == ()
    assert not answer.complete


def test_what_is_missing_is_left_out_where_that_is_asked_for(bench):
    lacking(bench, "avx512_vnni")
    text = (
        "factors: {stack: [ort-1], profile: [icelake-sp, haswell], vendor: [own, AMD]}\nmissing: intersect\n"
        + WORKLOADS
    )
    ran = bench.run(text, engine(planted))
    assert set(ran.statuses().values()) == {"ok"}
    assert identities.lowered(ran.resolved.profiles) == {"icelake-sp": "avx512_vnni"}
    assert ran.answer.short[-1] == "Shown without what this host lacks: icelake-sp (no avx512_vnni)."
    facts = {ran.store.record(item.digest).environment["profile"]["profile"]: item for item in ran.plan.items}
    recorded = ran.store.record(facts["icelake-sp@vendor=AMD"].digest).environment["profile"]
    assert (recorded["intersected"], recorded["dropped"]) == (["avx512_vnni"], ["avx512_vnni"])
    assert "intersected" not in ran.store.record(facts["haswell"].digest).environment["profile"]


def test_what_is_wrong_is_said_of_the_level_it_is_wrong_with(bench):
    with pytest.raises(InvalidInput) as caught:
        bench.resolve(
            "factors:\n  stack: [ort-1]\n  profile: [haswell, nehalem, pentium]\n  features: [own, +avx2, zen9, -avx]\n"
            "  model: [own, zen2-fma, zen7]\n  caches: [own, l3=48MiB]\n" + WORKLOADS
        )
    said = {(problem.where.split(": factors.")[1], problem.what) for problem in caught.value.problems}
    assert said == {
        ("profile: pentium", "unknown profile"),
        ("features: +avx2 on haswell", "haswell has 'avx2' already"),
        ("features: +avx2 on nehalem", "avx2 needs avx"),
        ("features: -avx on haswell", "avx2 needs avx"),
        ("features: -avx on haswell", "f16c needs avx"),
        ("features: -avx on haswell", "fma needs avx"),
        ("features: -avx on nehalem", "nehalem has no 'avx'"),
        ("features: zen9 on haswell", "unknown profile"),
        ("features: zen9 on nehalem", "unknown profile"),
        ("model", "'zen2-fma' is a variant"),
        ("model: zen7 on haswell", "unknown profile"),
        ("model: zen7 on nehalem", "unknown profile"),
        ("caches: l3=48MiB on haswell", "a cache of 48MiB cannot be made of lines of 64 bytes in 20 ways"),
    }


def test_a_variant_changes_nothing_by_a_way_round(bench):
    """`@model=x.json-fma` would change features, too, and under another factor's name."""
    cpu.capture().write(bench.folder / "x.json")
    text = "factors: {stack: [ort-1], profile: [haswell], model: [x.json], caches: [x.json]}\n" + WORKLOADS
    assert bench.resolve(text).profiles["haswell@model=x.json@caches=x.json"].profile.simd == "AVX2"
    with pytest.raises(InvalidInput) as caught:
        bench.resolve(text.replace("[x.json]", "[x.json-fma]"))
    assert [(problem.where.split(".")[-1], problem.what) for problem in caught.value.problems] == [
        ("caches", "'x.json-fma' is a variant"), ("model", "'x.json-fma' is a variant"),
    ]  # fmt: skip


def test_a_cache_that_the_profile_lacks_is_a_mistake(bench, tmp_path):
    (bench.folder / "cpu.txt").write_text(
        "CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69\nCPUID 00000001: 000306F2-00400800-7DFEFBFF-BFEBFBFF\n"
        "CPUID 00000004: 7C004121-01C0003F-0000003F-00000000 [SL 00]\nCPUID 80000000: 80000008-00000000-00000000-00000000\n"
    )
    with pytest.raises(InvalidInput) as caught:
        bench.resolve("factors: {stack: [ort-1], profile: [cpu.txt], caches: [own, l3=8MiB]}\n" + WORKLOADS)
    assert "cpu.txt has no l3" in str(caught.value)


def test_facts_of_a_profile_explain_only_what_is_the_profiles(bench):
    for factors, keys in (
        ("profile: [haswell, zen2]", {"simd", "vendor"}),
        ("profile: [haswell, zen2], vendor: [Intel, AMD]", {"simd"}),
        ("profile: [haswell, zen2], features: [own, -fma]", {"vendor"}),
    ):
        run = bench.run(f"factors: {{stack: [ort-1], {factors}}}\n" + WORKLOADS, engine(planted)).run
        assert all(set(facts) <= keys for facts in run.profiles.values())


def test_a_level_that_only_include_adds_is_compared_with_the_default(bench):
    text = "factors: {stack: [ort-1], profile: [haswell]}\n" + WORKLOADS
    text += "include: [{workload: own, stack: ort-1, vendor: AMD}, {workload: own, stack: ort-1, model: zen2}]\n"
    run = bench.run(text, engine(planted)).run
    assert (run.factors["vendor"], run.factors["model"]) == (["own", "AMD"], ["own", "zen2"])
    assert (run.baseline["vendor"], run.baseline["model"]) == ("own", "own")


def test_fewest_names():
    refused = {"a": "x", "a-fma": "x", "a@vendor=AMD": "x", "a+b": "y", "a+b@vendor=AMD": "y", "ab": "x"}
    assert identities.fewest(refused) == {"a": "x", "a+b": "y", "ab": "x"}
    assert cpu.HOST not in refused
