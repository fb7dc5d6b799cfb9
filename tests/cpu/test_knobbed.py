"""Knobs: what libraries are told, and who is believed to have obeyed."""

from __future__ import annotations

import pytest

from numdev import cpu
from numdev.cpu import knobbed, knobs
from numdev.cpu.knobbed import OBEYED
from numdev.errors import ProfileRefused


def shown(name: str) -> cpu.Knobbed:
    profile = cpu.load(name)
    return cpu.Knobbed(profile, None, settings=knobs.for_profile(profile))


def realised(**found) -> dict:
    """A numpy cell that did as it was told for haswell, changed."""
    blas = [{"internal_api": "openblas", "architecture": "Haswell"}]
    return {"versions": {"numpy": "2.4.6"}, "numpy_dispatch": ["X86_V3"], "blas": blas, **found}


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "nehalem": ("Nehalem", "SSE4_2", "SSE41", "default"),
        "sandybridge": ("Sandybridge", "AVX", "AVX", "default"),
        "haswell": ("Haswell", "AVX2", "AVX2", "avx2"),
        "haswell@vendor=AMD": ("Haswell", "AVX2", "AVX2", "avx2"),
        "zen2": ("Zen", "AVX2", "AVX2", "avx2"),
        "skylake-sp": ("SkylakeX", "AVX512", "AVX512_CORE", "avx512"),
        "icelake-sp": ("SkylakeX", "AVX512", "AVX512_CORE_VNNI", "avx512"),
        "icelake-sp-avx512_vnni": ("SkylakeX", "AVX512", "AVX512_CORE", "avx512"),
        "sapphirerapids": ("SkylakeX", "AVX512", "AVX512_CORE_AMX", "avx512"),
    }.items(),
)
def test_what_a_profile_tells_the_libraries(name, expected):
    found = knobs.for_profile(cpu.load(name))
    told = ("OPENBLAS_CORETYPE", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
    assert tuple(found[key] for key in told) == expected
    assert set(found) <= set(knobs.KNOBS), "each is a knob that is known, with its library"


def test_numpy_is_told_by_all_names_that_its_versions_have():
    disabled = knobs.for_profile(cpu.load("haswell"))["NPY_DISABLE_CPU_FEATURES"].split()
    assert {"X86_V4", "AVX512_SKX", "AVX512F", "AVX512_ICL"} <= set(disabled)
    assert not {"X86_V3", "AVX2", "FMA3"} & set(disabled)
    assert {"X86_V3", "AVX2", "AVX"} <= set(knobs.for_profile(cpu.load("nehalem"))["NPY_DISABLE_CPU_FEATURES"].split())


def test_glibc_is_told_what_to_hide():
    assert knobs.for_profile(cpu.load("nehalem"))["GLIBC_TUNABLES"] == (
        "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-FMA,-FMA4"
    )


def test_a_knob_adds_nothing():
    with pytest.raises(ProfileRefused, match="cannot show") as caught:
        knobbed.shown(cpu.load("haswell"), cpu.Host({}, ""))
    assert "avx2" in caught.value.why
    assert "a knob can hide features, never add them" in caught.value.why


def test_facts_and_digest_say_that_it_is_partial():
    facts = shown("haswell").facts()
    assert (facts["rung"], facts["partial"]) == (cpu.KNOBS, True)
    assert "CPUID" in facts["not_shown"]
    assert facts["variables"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert len({shown(name).digest for name in ("haswell", "broadwell", "zen2")}) == 3


class TestObedience:
    def test_who_obeys_is_believed(self):
        found = cpu.obedience(shown("haswell"), realised())
        assert found["numpy"] == found["OpenBLAS"] == OBEYED
        assert found["glibc"].startswith("cannot be told")
        assert cpu.contradictions(shown("haswell"), realised()) == []
        assert cpu.in_words(found) == "OpenBLAS, numpy obeyed; glibc cannot be told"

    def test_openblas_that_took_another_kernel(self):
        blas = [{"internal_api": "openblas", "architecture": "SkylakeX"}]
        reasons = cpu.contradictions(shown("haswell"), realised(blas=blas))
        assert reasons == ["OpenBLAS chose SkylakeX, whatever its knob says"]

    def test_numpy_that_uses_what_the_profile_lacks(self):
        reasons = cpu.contradictions(shown("haswell"), realised(numpy_dispatch=["X86_V3", "X86_V4"]))
        assert reasons == ["numpy uses X86_V4, whatever its knob says"]

    def test_features_for_which_numpy_has_no_kernels_do_not_matter(self):
        """numpy 2.4 finds AVX2 whatever is disabled; only its groups choose."""
        found = realised(numpy_features=["AVX2", "FMA3", "AVX512F"], numpy_dispatch=[])
        nehalem = realised(blas=[{"internal_api": "openblas", "architecture": "Nehalem"}], **{})
        assert cpu.contradictions(shown("nehalem"), {**nehalem, **found, "blas": nehalem["blas"]}) == []

    @pytest.mark.parametrize("framework", ["onnxruntime", "tensorflow", "jax"])
    def test_some_have_no_knob(self, framework):
        """numpy beside it obeys, and computes nothing."""
        reasons = cpu.contradictions(shown("haswell"), realised(versions={"numpy": "2", framework: "1"}))
        assert len(reasons) == 1
        assert reasons[0].startswith("no library here obeys a knob")
        assert framework in reasons[0]
        assert "numpy" not in reasons[0]

    def test_torch_counts_and_its_mkl_cannot_be_told(self):
        there = realised(versions={"numpy": "2", "torch": "2.13"}, torch_capability="AVX2", numpy_dispatch=["X86_V4"])
        found = cpu.obedience(shown("haswell"), there)
        assert found["torch"] == OBEYED
        assert found["MKL"].startswith("cannot be told")
        assert cpu.contradictions(shown("haswell"), there) == [], "numpy only carries torch's arrays"
        odd = cpu.contradictions(shown("haswell"), {**there, "torch_capability": "AVX512"})
        assert odd == ["torch chose AVX512, whatever its knob says"]

    def test_a_program_of_ones_own_tells_nothing(self):
        reasons = cpu.contradictions(shown("haswell"), realised(), separate=True)
        assert len(reasons) == 1
        assert "not read back" in reasons[0]

    @pytest.mark.parametrize(
        "said", [{}, {"versions": 3, "blas": "x", "numpy_dispatch": {}}, {"blas": [1, {"architecture": 2}]}]
    )
    def test_what_was_not_read_back_is_not_believed(self, said):
        reasons = cpu.contradictions(shown("haswell"), said)
        assert len(reasons) == 1
        assert "no library" in reasons[0]
