"""What XLA says that it compiled for, against a profile and against what it was told."""

from __future__ import annotations

import pytest

from numdev import cpu
from numdev.cpu import xla
from numdev.cpu.table import Shown
from numdev.worker.cpuid import Table

TRUE = {"cpuid": {"traps": 9, "mismatches": []}}
HASWELL = ["64bit", "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "mmx", "pclmul", "sse4.1", "sse4.2", "ssse3"]
SKYLAKE = [*HASWELL, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "prefer-no-gather"]


def reasons(profile: str, features: list[str], told: dict[str, str] | None = None, **realised) -> list[str]:
    shown = Shown(cpu.load(profile), Table({}, {}, []))
    return cpu.contradictions(shown, {**TRUE, "jax_features": features, **realised}, told=told)


def test_features_by_our_names():
    found = xla.features({"jax_features": [*HASWELL, "avx512vnni", "avx512bf16", "sse4a", "rdseed", 7]})
    assert {"abm", "avx512_vnni", "avx512_bf16", "bmi1", "sse4_1", "sse4a"} <= set(found)
    assert not {"rdseed", "mmx", "64bit", "pclmulqdq"} & set(found)


@pytest.mark.parametrize("said", [None, 3, "avx", {}, [None, {"a": 1}]])
def test_what_a_stranger_wrote(said):
    assert xla.features({"jax_features": said}) == []
    assert xla.chosen({"jax_features": said, "jax_target": ["x"]}) == ""


def test_what_the_profile_has():
    assert reasons("haswell", HASWELL) == []
    assert reasons("skylake-sp", SKYLAKE) == []


def test_what_it_has_not():
    found = reasons("sandybridge", ["avx", "fma", "avx2"])
    assert found == [f"XLA compiles for {name}, which sandybridge does not have" for name in ("avx2", "fma")]
    assert reasons("haswell", ["sse4a"]) == ["XLA compiles for sse4a, which haswell does not have"]


def test_what_is_left_out_here_and_nobody_else_chooses_by():
    zen2 = cpu.load("zen2")
    found = {**TRUE, "jax_features": HASWELL}
    said = ["XLA chooses by sse4a, which is left out here for this processor lacks it"]
    assert cpu.contradictions(Shown(zen2, Table({}, {}, []), ("clwb", "sse4a")), found) == said
    assert cpu.contradictions(Shown(zen2, Table({}, {}, []), ("clwb",)), found) == []
    # Asked for with `missing: intersect`; or nothing of XLA has computed.
    assert cpu.contradictions(Shown(zen2, Table({}, {}, []), ("sse4a",), ("sse4a",)), found) == []
    assert cpu.contradictions(Shown(zen2, Table({}, {}, []), ("sse4a",)), TRUE) == []


def test_a_knob_that_was_obeyed_and_one_that_was_not():
    told = {"XLA_FLAGS": "--xla_cpu_max_isa=AVX"}
    assert reasons("haswell", ["avx", "sse4.2"], told) == []
    assert reasons("haswell", ["avx", "avx2"], told) == [
        "XLA compiles for avx2, whatever XLA_FLAGS=--xla_cpu_max_isa=AVX says"
    ]
    # Of other flags nothing is known, and nothing said.
    assert reasons("haswell", HASWELL, {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"}) == []


@pytest.mark.parametrize(
    ("flags", "more"),
    [
        ("--xla_cpu_max_isa=SSE4_2", ["avx"]),
        ("--xla_cpu_max_isa=avx2", ["avx512f"]),
        ("--xla_cpu_max_isa=AVX512", []),
        ("--xla_cpu_max_isa=AVX512 --xla_cpu_max_isa=AVX", ["avx2", "fma"]),
        ("--xla_cpu_max_isa=AMX", None),
        ("", None),
    ],
)
def test_what_is_more_than_it_was_told(flags, more):
    assert xla.beyond(flags, xla.features({"jax_features": SKYLAKE})) == more


def test_the_blas_beside_jax_is_not_judged():
    old = [{"internal_api": "openblas", "architecture": "Prescott"}]
    assert reasons("icelake-sp", [], blas=old, jax_threads=1) == []


def test_dispatch_in_a_word():
    assert cpu.dispatch({"jax_target": "haswell", "jax_features": HASWELL}) == {"XLA": "haswell, AVX2"}
    assert cpu.dispatch({"jax_target": "athlon-xp", "jax_features": SKYLAKE}) == {"XLA": "athlon-xp, AVX-512"}
