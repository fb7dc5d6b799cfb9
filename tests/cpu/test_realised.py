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


class TestTold:
    """Libraries that the cell's own environment told to choose less than the profile would let them."""

    @staticmethod
    def reasons(profile: str, told: dict[str, str], **realised) -> list[str]:
        shown = Shown(cpu.load(profile), Table({}, {}, []))
        return cpu.contradictions(shown, {**TRUE, **realised}, told=told)

    def test_what_is_as_told_is_as_asked_for(self):
        assert "on haswell" in reasons("haswell", torch_capability="DEFAULT")[0]
        assert self.reasons("haswell", {"ATEN_CPU_CAPABILITY": "default"}, torch_capability="DEFAULT") == []
        blas = [{"internal_api": "openblas", "architecture": "Nehalem"}]
        assert self.reasons("haswell", {"OPENBLAS_CORETYPE": "NEHALEM"}, blas=blas) == []

    def test_a_knob_that_was_not_obeyed(self):
        found = self.reasons("haswell", {"ATEN_CPU_CAPABILITY": "default"}, torch_capability="AVX2")
        assert found == ["torch chose AVX2, whatever ATEN_CPU_CAPABILITY=default says"]
        blas = [{"internal_api": "openblas", "architecture": "Haswell"}]
        found = self.reasons("haswell", {"OPENBLAS_CORETYPE": "LALALA"}, blas=blas)
        assert found == ["OpenBLAS chose its Haswell kernel, whatever OPENBLAS_CORETYPE=LALALA says"]

    def test_a_knob_adds_no_feature(self):
        found = self.reasons("nehalem", {"ATEN_CPU_CAPABILITY": "avx2"}, torch_capability="AVX2")
        assert found == ["torch uses AVX2, which nehalem does not have"]
        blas = [{"internal_api": "openblas", "architecture": "Haswell"}]
        found = self.reasons("sandybridge", {"OPENBLAS_CORETYPE": "Haswell"}, blas=blas)
        assert found == ["OpenBLAS uses its Haswell kernel, for which sandybridge has too little"]
