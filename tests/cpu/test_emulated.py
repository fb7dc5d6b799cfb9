"""QEMU as another processor: what it is told, what it says of itself, and what is done where it disagrees."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu import emulated
from numdev.cpu.emulated import Emulated, Emulator
from numdev.cpu.features import FEATURES
from numdev.errors import ProfileRefused

FAKE = Emulator("/nowhere/qemu", "qemu-x86_64 version 0 (a test's)", "0" * 64, True)


def emulator() -> Emulator:
    found, why = emulated.find()
    assert found is not None, why
    return found


def identity_of(host: cpu.Host) -> list[list[int]]:
    """What a cell reads back on such a processor."""
    leaves = ((0, 0), (1, 0), (7, 0), (7, 1), (0xD, 1), (0x80000000, 0), (0x80000001, 0), (0x80000008, 0))
    return [[leaf, subleaf, *host.cpuid(leaf, subleaf)] for leaf, subleaf in leaves]


class TestArgument:
    CALLED = {feature: feature.replace("_", "-") for feature in FEATURES}

    def test_it_has_the_whole_identity_and_no_feature_more(self):
        profile = cpu.load("haswell")
        words = emulated.argument(profile, ["avx2", "sse4_2"], self.CALLED).split(",")
        assert words[0] == "base"
        assert {"vendor=GenuineIntel", "family=6", "model=63", "stepping=2", "level=15"} <= set(words)
        assert f"model-id={profile.brand}" in words
        assert {word for word in words if word.startswith("+")} >= {"+avx2", "+sse4-2", "+lm", "+sse2"}
        assert not {"+fma", "+avx", "+rtm"} & set(words)

    def test_amd_is_told_as_amd(self):
        words = emulated.argument(cpu.load("zen2"), [], self.CALLED).split(",")
        assert {"vendor=AuthenticAMD", "family=23", "model=49", "xlevel=0x8000001e"} <= set(words)

    def test_a_brand_with_a_comma_does_not_end_early(self):
        profile = cpu.load("haswell").model_copy(update={"brand": "A, B,+avx512f"})
        assert "+avx512f" not in emulated.argument(profile, [], self.CALLED).split(",")


class TestFind:
    def test_without_qemu_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(emulated.shutil, "which", lambda name: None)
        found, why = emulated.find()
        assert found is None
        assert "qemu-user-static" in why
        with pytest.raises(ProfileRefused, match="cannot be emulated here") as caught:
            emulated.shown(cpu.load("haswell"))
        assert "qemu-user-static" in str(caught.value)

    def test_something_else_of_that_name_is_not_taken(self, monkeypatch, tmp_path):
        other = tmp_path / "qemu-x86_64-static"
        other.write_text("#!/bin/sh\necho I am no ELF program\n")
        other.chmod(0o755)
        monkeypatch.setattr(emulated.shutil, "which", lambda name: str(other))
        found, why = emulated.find()
        assert found is None
        assert "no 64-bit ELF program" in why

    def test_a_program_with_a_loader_is_not_static(self, tmp_path):
        assert not emulated.is_static(Path(sys.executable).resolve())
        (tmp_path / "short").write_bytes(b"\x7fELF")
        with pytest.raises(ValueError, match="no 64-bit ELF"):
            emulated.is_static(tmp_path / "short")

    @pytest.mark.qemu
    def test_this_one_is_described(self):
        found = emulator()
        assert found.version.startswith("qemu-x86_64 version ")
        assert len(found.sha256) == 64
        assert found.facts() == {"emulator": found.version, "sha256": found.sha256}


@pytest.mark.qemu
class TestQemuIsAsked:
    def test_for_the_features_that_it_has(self):
        found = emulated.features(emulator())
        assert {"sse4_2", "avx2", "fma", "bmi2"} <= found
        assert "sha512" not in found, "QEMU has no name for it"
        assert found <= set(FEATURES)
        assert emulated.names(emulator())["sse3"] == "pni"
        assert emulated.names(emulator())["sse4_1"] == "sse4.1"

    @pytest.mark.parametrize("name", ["nehalem", "haswell", "zen2"])
    def test_it_becomes_the_processor_that_it_is_told_to_be(self, name):
        shown = emulated.shown(cpu.load(name))
        there = emulated.processor(shown.emulator, shown.argument)
        assert (there.vendor, there.brand) == (shown.profile.vendor, shown.profile.brand)
        assert there.family_model_stepping == (shown.profile.family, shown.profile.model, shown.profile.stepping)
        assert there.features == set(shown.profile.features)
        assert set(shown.profile.features) | set(shown.dropped) == set(cpu.load(name).features)
        assert emulated.contradictions(shown, {"identity": identity_of(there)}) == []

    def test_what_it_lacks_is_refused_with_the_list(self):
        lacking = emulated.lacking(cpu.load("skylake-sp"), emulator())
        if not lacking:
            pytest.skip("this QEMU has AVX-512")
        with pytest.raises(ProfileRefused, match="cannot be emulated") as caught:
            emulated.shown(cpu.load("skylake-sp"))
        assert ", ".join(lacking) in caught.value.why
        assert "avx512f" in lacking

    def test_another_processor_is_found_out(self):
        """The same profile, of which QEMU was told less: the cell does not count."""
        shown = emulated.shown(cpu.load("haswell"))
        there = emulated.processor(shown.emulator, shown.argument.replace("+avx2,", "").replace("model=63", "model=62"))
        reasons = emulated.contradictions(shown, {"identity": identity_of(there)})
        assert "QEMU has other features than haswell: no avx2" in reasons
        assert "QEMU has the family, model and stepping (6, 62, 2), not (6, 63, 2)" in reasons

    def test_an_argument_that_it_does_not_know_is_told(self):
        with pytest.raises(ProfileRefused, match="No program runs under QEMU here") as caught:
            emulated.processor(emulator(), "no-such-processor")
        assert "no-such-processor" in str(caught.value)


class TestEmulated:
    def made(self, **changes) -> Emulated:
        return Emulated(cpu.load("haswell"), None, **{"argument": "base", "emulator": FAKE, **changes})

    def test_facts_and_digest_name_the_rung_and_the_emulator(self):
        facts = self.made().facts()
        assert facts["rung"] == cpu.EMULATE
        assert facts["not_shown"] == ["caches", "topology"]
        assert facts["sha256"] == FAKE.sha256
        other = Emulator(FAKE.path, FAKE.version, "1" * 64, True)
        assert self.made().digest != self.made(emulator=other).digest
        assert self.made().digest != self.made(argument="base,+avx").digest

    @pytest.mark.parametrize(
        "said", [None, [], "text", [[1, 2, 3]], [[0, 0, 1, 1, 1, -1]], [[0, 0, 1, 1, 1, True]], {}]
    )
    def test_without_a_read_back_it_does_not_count(self, said):
        reasons = cpu.contradictions(self.made(), {"identity": said})
        assert reasons == ["CPUID was not read back in the cell, which should have been emulated"]

    def test_what_libraries_chose_counts_here_too(self):
        blas = [{"internal_api": "openblas", "architecture": "SkylakeX"}]
        found = {"identity": identity_of(cpu.host()), "blas": blas, "numpy_features": ["X86_V4"]}
        reasons = cpu.contradictions(self.made(), found)
        assert "OpenBLAS chose its SkylakeX kernel; on haswell it chooses Haswell" in reasons
        assert "numpy uses X86_V4, which haswell does not have" in reasons
