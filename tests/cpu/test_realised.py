"""What was read back in a cell against its profile: TensorFlow's part."""

from __future__ import annotations

import pytest

from numdev import cpu
from numdev.cpu.table import Shown
from numdev.worker.cpuid import Table

TRUE = {"cpuid": {"traps": 9, "mismatches": []}}
OLD_BLAS = [{"internal_api": "openblas", "architecture": "Prescott"}]


def reasons(profile: str, **realised) -> list[str]:
    return cpu.contradictions(Shown(cpu.load(profile), Table({}, {}, [])), {**TRUE, **realised})


@pytest.mark.parametrize("found", [["avx"], ["avx", "avx2", "fma"], None, []])
def test_features_that_the_profile_has(found):
    assert reasons("haswell", tensorflow_build="v2.5.0", tensorflow_features=found) == []


def test_features_that_it_has_not():
    found = reasons("sandybridge", tensorflow_build="v2.5.0", tensorflow_features=["avx", "avx2", "fma"])
    assert [reason.split(",")[0] for reason in found] == ["TensorFlow uses avx2", "TensorFlow uses fma"]


def test_the_blas_beside_tensorflow_is_not_judged():
    """An OpenBLAS older than the profile falls back; TensorFlow does not compute with it, numpy does."""
    assert reasons("icelake-sp", blas=OLD_BLAS, tensorflow_build="v2.5.0") == []
    assert "OpenBLAS chose its Prescott kernel" in reasons("icelake-sp", blas=OLD_BLAS)[0]
