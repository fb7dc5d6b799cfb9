"""Which rung a profile is shown by, and that both sides of a comparison of silicon are alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from numdev import cpu
from numdev.cpu import emulated, ladder
from numdev.cpu.capture import Capture, profile_of
from numdev.cpu.emulated import Emulator
from numdev.cpu.features import FEATURES, present
from numdev.errors import InvalidInput, ProfileRefused

ALL = 0xFFFFFFFF
LEAVES = {(leaf, subleaf): (ALL,) * 4 for leaf, subleaf, _, _ in FEATURES.values()}
LEAVES[0x80000000, 0] = (0x80000021, 0, 0, 0)
LEAVES[0, 0] = (0x24, 0x756E6547, 0x6C65746E, 0x49656E69)
ABLE = cpu.Host(LEAVES, "")
REWRITING = cpu.Host(LEAVES, "no faulting")
UNABLE = cpu.Host(LEAVES, "no faulting", "no tracing")
WEAK = cpu.Host({(0, 0): (1, 0, 0, 0)}, "")
FAKE = Emulator("/nowhere/qemu", "qemu-x86_64 version 0 (a test's)", "0" * 64, True)
AVX2 = frozenset(name for name in FEATURES if "512" not in name and name not in ("rtm", "hle"))


@pytest.fixture
def with_qemu(monkeypatch):
    """A QEMU that has all but AVX-512 and transactions."""
    monkeypatch.setattr(emulated, "find", lambda: (FAKE, ""))
    monkeypatch.setattr(emulated, "features", lambda emulator: AVX2)
    monkeypatch.setattr(emulated, "names", lambda emulator: {name: name for name in AVX2})


@pytest.fixture
def without_qemu(monkeypatch):
    monkeypatch.setattr(emulated, "find", lambda: (None, "QEMU is not installed"))


@pytest.mark.usefixtures("with_qemu")
class TestBest:
    @pytest.mark.parametrize(
        ("host", "rung"),
        [(ABLE, cpu.CPUID), (REWRITING, cpu.REWRITE), (UNABLE, cpu.EMULATE), (WEAK, cpu.EMULATE)],
    )
    def test_is_the_first_that_works(self, host, rung):
        assert cpu.enforced("haswell", host, cpu.BEST).rung == rung

    def test_is_knobs_where_nothing_else_works(self):
        assert cpu.enforced("skylake-sp", UNABLE, cpu.BEST).rung == cpu.KNOBS

    def test_says_why_no_rung_works(self):
        with pytest.raises(ProfileRefused) as caught:
            cpu.enforced("skylake-sp", WEAK, cpu.BEST)
        assert "its processor lacks abm, avx," in caught.value.why
        assert "qemu-x86_64 version 0 lacks them too" not in caught.value.why, "QEMU has some of them"
        assert "qemu-x86_64 version 0 has no avx512bw" in caught.value.why

    def test_is_nothing_for_the_real_processor(self):
        assert cpu.enforced("host", UNABLE, cpu.BEST).rung == ""

    def test_knows_no_more_profiles_than_there_are(self):
        with pytest.raises(InvalidInput):
            cpu.enforced("pentium", UNABLE, cpu.BEST)


@pytest.mark.usefixtures("without_qemu")
def test_without_qemu_the_ladder_goes_on():
    assert cpu.enforced("haswell", UNABLE, cpu.BEST).rung == cpu.KNOBS
    with pytest.raises(ProfileRefused, match="cannot be emulated") as caught:
        cpu.enforced("haswell", ABLE, cpu.EMULATE)
    assert "not installed" in caught.value.why


@pytest.mark.usefixtures("with_qemu")
@pytest.mark.parametrize("rung", [cpu.CPUID, cpu.EMULATE, cpu.KNOBS])
def test_a_rung_by_name_is_that_rung(rung):
    shown = cpu.enforced("haswell", ABLE, rung)
    assert shown.rung == rung
    assert shown.facts()["rung"] == rung


@pytest.mark.usefixtures("with_qemu")
def test_no_two_rungs_share_a_digest():
    shown = [cpu.enforced("haswell", ABLE, rung) for rung in cpu.RUNGS if rung != cpu.REWRITE]
    shown.append(cpu.enforced("haswell", REWRITING, cpu.REWRITE))
    assert len({one.digest for one in shown}) == len(cpu.RUNGS)


@pytest.mark.usefixtures("with_qemu")
class TestPair:
    @pytest.fixture(autouse=True)
    def _caches(self, monkeypatch):
        """QEMU's own caches: a first level of 16 KiB, as no profile has it."""
        leaves = {**LEAVES, (4, 0): (0x121, 0x00C0003F, 63, 0)}
        there = cpu.Host({**leaves, **{(4, sub): (0, 0, 0, 0) for sub in range(1, 8)}}, "")
        monkeypatch.setattr(emulated, "processor", lambda emulator, argument: there)

    def test_both_sides_have_the_same_features_and_caches(self):
        native, other = cpu.pair("haswell", ABLE, cpu.BEST)
        assert {"rtm", "hle"} == set(native.dropped) == set(other.dropped)
        assert set(native.profile.features) == set(other.profile.features)
        assert [(cache.level, cache.bytes) for cache in native.profile.caches] == [(1, 16 << 10)]
        row = native.table.values[4, 0]
        assert ((row[1] >> 22) + 1) * ((row[1] & 4095) + 1) * (row[2] + 1) == 16 << 10
        assert native.digest != cpu.enforced("haswell", ABLE, cpu.BEST).digest, "it is another table, and says so"
        assert other.facts()["paired"] is True

    def test_what_this_processor_lacks_is_left_out_there(self):
        leaves = dict(LEAVES)
        leaves[7, 0] = (1, ALL & ~(1 << 10), ALL, ALL)
        native, other = cpu.pair("haswell", cpu.Host(leaves, ""), cpu.BEST)
        assert "invpcid" in native.dropped
        assert "invpcid" in other.dropped
        assert "+invpcid" not in other.argument

    def test_a_host_that_can_only_emulate_has_no_native_side(self):
        with pytest.raises(ProfileRefused, match="no silicon of its own"):
            cpu.pair("haswell", WEAK, cpu.BEST)


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["nehalem", "haswell", "zen2"])
def test_the_two_sides_answer_alike(name):
    """CPUID as each side answers it, by execution there and by the table here."""
    host = cpu.host()
    if set(cpu.load(name).features) - host.features - cpu.features.INCIDENTAL:
        pytest.skip(f"this processor cannot be a {name}")
    native, other = ladder.pair(name, replace(host, refusal=""), cpu.CPUID)
    there = emulated.processor(other.emulator, other.argument)

    def answered(leaf: int, subleaf: int = 0):
        return native.table.answer(leaf, subleaf, lambda leaf, subleaf: host.cpuid(leaf, subleaf))

    here = cpu.Host({key: answered(*key) for key in there.leaves}, "")
    assert (here.vendor, here.family_model_stepping) == (there.vendor, there.family_model_stepping)
    assert present(here.cpuid) == present(there.cpuid)
    first, second = (profile_of(Capture(side.leaves), name).caches for side in (here, there))
    assert [(one.level, one.type, one.bytes, one.ways) for one in first] == [
        (one.level, one.type, one.bytes, one.ways) for one in second
    ]


@pytest.mark.usefixtures("with_qemu")
class TestIntersect:
    """`missing: intersect`: a profile without what a rung lacks, and no word about what libraries choose on it."""

    def test_qemu_shows_what_it_has(self):
        shown = cpu.enforced("skylake-sp", ABLE, cpu.EMULATE, missing=cpu.INTERSECT)
        assert {"avx512f", "avx512bw"} <= set(shown.essential) <= set(shown.dropped)
        assert "rtm" in set(shown.dropped) - set(shown.essential)
        assert shown.facts()["intersected"] == list(shown.essential)
        assert shown.profile.expect.openblas == []
        assert "+avx512f" not in shown.argument
        assert "+avx2" in shown.argument

    def test_knobs_tell_of_what_the_host_has(self):
        leaves = {**LEAVES, (7, 0): (1, ALL & ~(1 << 16), ALL, ALL)}
        shown = cpu.enforced("skylake-sp", cpu.Host(leaves, ""), cpu.KNOBS, missing=cpu.INTERSECT)
        assert "avx512bw" in shown.essential, "it cannot be without the foundation"
        assert shown.settings["ATEN_CPU_CAPABILITY"] == "avx2"
        assert shown.settings["OPENBLAS_CORETYPE"] == "Haswell"

    def test_both_sides_of_a_pair_are_without_what_one_lacks(self, monkeypatch):
        monkeypatch.setattr(emulated, "processor", lambda emulator, argument: cpu.Host(LEAVES, ""))
        monkeypatch.setattr(ladder, "profile_of", lambda captured, name: cpu.load("haswell"))
        native, other = cpu.pair("skylake-sp", ABLE, cpu.BEST, missing=cpu.INTERSECT)
        assert native.essential == other.essential != ()
        assert native.profile.features == other.profile.features
        row = native.table.values[7, 0]
        assert row[1] >> 16 & 1 == 0
        assert row[1] >> 5 & 1 == 1
        with pytest.raises(ProfileRefused, match="cannot be emulated"):
            cpu.pair("skylake-sp", ABLE, cpu.BEST)
