"""Dumps read, captures written and read again, and told apart."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev import cpu
from numdev.cpu import dump as dumps
from numdev.cpu.capture import Capture, _processor, _topology
from numdev.cpu.dump import parse_dump
from numdev.cpu.fingerprint import DAZ, DEFAULT, DENORMALS, FTZ, _inputs, _run, _tiny, fingerprint
from numdev.cpu.host import Host
from numdev.cpu.profile import Topology
from numdev.cpu.table import build
from numdev.errors import InvalidInput
from numdev.worker.cpuid import Cpuid

MACHINES = Path(__file__).resolve().parents[1] / "machines"

NEW = """------[ Logical CPU #0 ]------
CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69 [GenuineIntel]
CPUID 00000001: 000306F2-00400800-7DFEFBFF-BFEBFBFF
CPUID 00000004: 7C004121-01C0003F-0000003F-00000000 [SL 00]
CPUID 00000004: 7C004122-01C0003F-0000003F-00000000 [SL 01]
CPUID 00000007: 00000000-00000028-00000000-00000000
CPUID 80000000: 80000008-00000000-00000000-00000000
------[ Logical CPU #1 ]------
CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69
CPUID 00000001: FFFFFFFF-00400800-7DFEFBFF-BFEBFBFF
"""
OLD = NEW.replace(": ", "  \t").replace(" [SL 00]", "").replace(" [SL 01]", "")
RAW = """CPU 0:
   0x00000000 0x00: eax=0x0000000d ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69
   0x00000001 0x00: eax=0x000306f2 ebx=0x00400800 ecx=0x7dfefbff edx=0xbfebfbff
   0x00000004 0x00: eax=0x7c004121 ebx=0x01c0003f ecx=0x0000003f edx=0x00000000
   0x00000004 0x01: eax=0x7c004122 ebx=0x01c0003f ecx=0x0000003f edx=0x00000000
   0x00000007 0x00: eax=0x00000000 ebx=0x00000028 ecx=0x00000000 edx=0x00000000
   0x80000000 0x00: eax=0x80000008 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
CPU 1:
   0x00000000 0x00: eax=0x0000000d ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69
"""
NAMES = sorted(
    path.stem for path in (Path(__file__).resolve().parents[3] / "shared" / "cpuid-dumps").glob("*.txt") if path.stem
)


@pytest.mark.parametrize("text", [NEW, OLD, RAW], ids=["new", "old", "raw"])
def test_three_forms_are_one(text):
    leaves = parse_dump(text, "x")
    assert leaves == parse_dump(NEW, "x")
    assert len(leaves) == 6
    assert leaves[4, 1] == (0x7C004122, 0x01C0003F, 0x3F, 0)
    assert leaves[1, 0][0] == 0x306F2, "the first logical processor, not the second"


@pytest.mark.parametrize("name", NAMES or [pytest.param("", marks=pytest.mark.skip("the shared dumps are not here"))])
def test_dumps_of_real_processors_round_trip(name, shared, tmp_path):
    captured = cpu.read_capture(shared / "cpuid-dumps" / f"{name}.txt")
    captured.write(tmp_path / "c.json")
    assert cpu.read_capture(tmp_path / "c.json") == captured
    profile = cpu.profile_of(captured, name)
    assert 3 <= len(profile.caches) <= 4
    assert profile.signature == captured.leaves[1, 0][0] & 0x0FFF3FFF
    assert build(profile, cpu.host()).values[1, None][0] == profile.signature


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no line of a known form"),
        ("hello\n" * 10, "no line of a known form"),
        ("\n".join(NEW.splitlines()[:2]), "no leaf 0x1, 0x80000000"),
        (RAW.replace("0x00000004 0x01", "0x00000004 0x00"), "stands twice"),
        ("CPUID 00000005: 00000000-00000000-00000000-00000000\n" * 5000, "leaves"),
    ],
)
def test_what_is_no_dump_is_refused(text, what):
    with pytest.raises(InvalidInput) as caught:
        parse_dump(text, "x")
    assert what in str(caught.value)


def test_a_gigantic_dump_is_refused(monkeypatch):
    monkeypatch.setattr(dumps, "LIMIT", 100)
    with pytest.raises(InvalidInput, match="too large"):
        parse_dump(NEW, "x")


@given(
    st.lists(st.sampled_from([*NEW.splitlines(), *RAW.splitlines(), *OLD.splitlines(), "CPUID", "x"]), max_size=40),
    st.data(),
)
def test_damaged_dumps_give_leaves_or_a_clear_error(lines, data):
    text = list("\n".join(lines))
    for _ in range(data.draw(st.integers(0, 5))):
        if text:
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.characters())
    try:
        leaves = parse_dump("".join(text), "x")
    except InvalidInput as error:
        assert error.problems  # noqa: PT017
        return
    assert all(0 <= word <= 0xFFFFFFFF for row in leaves.values() for word in row)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        '{"numdev-capture": 3, "leaves": ["0 0 0 0 0 0"]}',
        '{"numdev-capture": 1, "leaves": []}',
        '{"numdev-capture": 1, "leaves": ["0 0 0 0 0"]}',
        '{"numdev-capture": 1, "leaves": ["0 0 0 0 0 1ffffffff"]}',
        '{"numdev-capture": 1, "leaves": ["x 0 0 0 0 0"], "host": "me"}',
        '{"numdev-capture": 1, "leaves": ["0 0 1 0 0 0", "0 0 2 0 0 0"]}',
        '{"numdev-capture": 1, "numdev-capture": 1, "leaves": ["0 0 1 0 0 0"]}',
        '{"numdev-capture": 2, "leaves": ["0 0 1 0 0 0"], "facts": {"kernel": "\\u001b[2J"}}',
        '{"numdev-capture": 2, "leaves": ["0 0 1 0 0 0"], "facts": {"kernel": "\\ud800"}}',
        '{"numdev-record": 1, "capture": {"numdev-capture": 2, "leaves": []}}',
        '{"numdev-record": 1}',
        "[" * 100_000,
    ],
)
def test_a_damaged_capture_is_refused(content, tmp_path):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InvalidInput):
        cpu.read_capture(tmp_path / "c.json")


def test_a_capture_of_this_machine_names_nobody(tmp_path):
    captured = cpu.capture()
    captured.write(tmp_path / "here.json")
    text = (tmp_path / "here.json").read_text()
    assert os.uname().nodename not in text
    assert str(Path.home()) not in text
    profile = cpu.profile_of(captured, "here")
    assert set(profile.features) == cpu.host().features
    assert cpu.differences(captured, cpu.read_capture(tmp_path / "here.json")) == []


WORD = st.integers(0, 0xFFFFFFFF)


@given(
    st.sampled_from(["GenuineIntel", "AuthenticAMD"]),
    st.fixed_dictionaries(
        {
            key: st.tuples(WORD, WORD, WORD, WORD)
            for key in ((1, 0), (4, 0), (0xB, 0), (0xB, 1), (0x80000008, 0), (0x8000001E, 0))
        }
    ),
    st.integers(1, 4096),
)
def test_whatever_a_hypervisor_says_of_cores_is_a_topology(vendor, leaves, shared):
    words = [int.from_bytes(vendor.encode()[i : i + 4], "little") for i in (0, 4, 8)]
    there = cpu.Host({(0, 0): (0xD, words[0], words[2], words[1]), **leaves}, "")
    found = Topology.model_validate(_topology(there, shared))
    assert found.ids >= max(found.threads, shared)


def test_a_capture_is_a_profile_by_its_path(tmp_path):
    Capture(parse_dump(NEW, "x")).write(tmp_path / "other.json")
    assert cpu.find("other.json", tmp_path).model == 0x3F
    (tmp_path / "dump.txt").write_text(RAW)
    assert cpu.find("dump.txt", tmp_path).features == cpu.find("other.json", tmp_path).features
    with pytest.raises(InvalidInput, match="nowhere"):
        cpu.find("nowhere.json", tmp_path)


def test_a_processor_of_another_maker_is_refused():
    leaves = parse_dump(NEW.replace("756E6547-6C65746E-49656E69", "746E6543-736C7561-48727561"), "x")
    with pytest.raises(InvalidInput, match="via is not valid"):
        cpu.profile_of(Capture(leaves), "via")


def test_old_captures_stay_readable(tmp_path):
    """What was written before denormals were in the fingerprint; what it lacks is not compared, and that is said."""
    old = Capture(parse_dump(NEW, "x"), {"kernel": "6.1.0"}, {"rcpps": "a"})
    (tmp_path / "old.json").write_text(json.dumps({**old.json(), "numdev-capture": 1}))
    assert cpu.read_capture(tmp_path / "old.json") == old
    new = Capture(old.leaves, old.facts, {"rcpps": "a", "denormals": "b"})
    assert cpu.differences(old, new) == ["silicon: not compared, for only the second has it: denormals"]


def test_a_capture_has_the_whole_table():
    here, leaves = cpu.host(), cpu.capture().leaves
    real = Cpuid()
    assert leaves.keys() >= {(0, 0), (1, 0), (7, 0), (0xD, 0), (0xD, 1), (0x80000000, 0)}
    assert max(leaf for leaf, _ in leaves if leaf < 0x40000000) == here.cpuid(0)[0]
    assert ((0x40000000, 0) in leaves) == bool(here.cpuid(1)[2] >> 31 & 1)
    for key in ((0, 0), (7, 0), (7, 1), (4, 0), (4, 1), (0x8000001D, 2)):
        assert leaves.get(key, (0, 0, 0, 0)) == real(*key)
    assert cpu.capture().leaves == leaves, "and is the same each time, whichever core makes it"


def test_names_in_registers_cannot_write_on_the_terminal():
    leaves = dict(parse_dump(NEW, "x"))
    leaves[0x80000002, 0] = (0x4A325B1B, 0xFF414141, 0, 0)  # ESC [ 2 J, three letters, and a byte that is not ASCII
    profile = cpu.profile_of(Capture(leaves), "x")
    assert profile.brand == "?[2JAAA?"
    assert build(profile, cpu.host()).text()


def test_a_large_cache_has_a_size():
    leaves = dict(parse_dump(NEW, "x"))
    leaves[4, 2] = (0x7C004163, 0x03C0003F, (1152 << 20) // 1024 - 1, 0)
    assert cpu.profile_of(Capture(leaves), "x").caches[2].size == "1152MiB"


def test_differences_are_told_in_words():
    one = Capture(
        parse_dump(NEW, "x"), {"microcode": "0x1", "kernel": "6.1.0", "libc": "glibc 2.36"}, {"rcpps": "a", "fma": "c"}
    )
    leaves = dict(one.leaves)
    leaves[7, 0] = (0, 8, 0, 0)
    leaves[4, 0] = (0x7C004121, 0x02C0003F, 0x3F, 0)
    leaves[1, 0] = (0x406F1, *leaves[1, 0][1:])
    facts = {"microcode": "0x2", "kernel": "6.1.0", "libc": "glibc 2.41", "hypervisor": "KVMKVMKVM"}
    assert cpu.differences(one, Capture(leaves, facts, {"rcpps": "b", "fma": "c"})) == [
        "first: no brand (Intel, family 6, model 63, stepping 2)",
        "second: no brand (Intel, family 6, model 79, stepping 1)",
        "SIMD: AVX2 | AVX",
        "only the first has: avx2",
        "L1 data cache: 32KiB | 48KiB; 8 ways | 12 ways",
        "silicon differs: rcpps; no profile can show that",
        "microcode: 0x1 | 0x2",
        "libc: glibc 2.36 | glibc 2.41",
        "hypervisor: none | KVMKVMKVM",
    ]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({}, {}, "silicon: not compared; neither has a fingerprint"),
        ({"fma": "a"}, {}, "silicon: not compared; the second has no fingerprint"),
        ({}, {"fma": "a"}, "silicon: not compared; the first has no fingerprint"),
    ],
)
def test_what_has_no_fingerprint_is_not_called_the_same(one, other, said):
    leaves = parse_dump(NEW, "x")
    lines = cpu.differences(Capture(leaves, {}, one), Capture(leaves, {}, other))
    assert len(lines) == 1
    assert lines[0].startswith(said)


class TestFingerprint:
    def test_it_is_the_same_each_time(self):
        features = cpu.host().features
        assert fingerprint(features) == fingerprint(features)
        assert set(fingerprint(features)) >= {"rcpps", "rsqrtps", "sqrtps"}
        assert json.loads(json.dumps(fingerprint(()))).keys() == {"rcpps", "rsqrtps", "sqrtps", "denormals"}

    def test_exact_instructions_are_exact(self):
        inputs = _inputs()
        with np.errstate(invalid="ignore"):
            expected = np.sqrt(inputs)
        found = _run(bytes.fromhex("0f51c0"), inputs)
        known = ~np.isnan(expected)
        assert np.array_equal(found[known].view(np.uint32), expected[known].view(np.uint32))

    def test_approximate_ones_are_approximate(self):
        inputs = _inputs()[5000:8000]
        found = _run(bytes.fromhex("0f53c0"), inputs)
        error = np.abs(found.astype(np.float64) * inputs - 1)
        assert 0 < error.max() < 1.5 * 2**-12

    @pytest.mark.skipif("fma" not in cpu.host().features, reason="this processor has no FMA")
    def test_fma_rounds_once(self):
        inputs = _inputs()[5000:8000]
        exact = inputs.astype(np.float64) ** 2 + inputs.astype(np.float64)
        assert np.array_equal(_run(bytes.fromhex("c4e27998c0"), inputs), exact.astype(np.float32))


class TestDenormals:
    """The four modes of MXCSR, on inputs and on results that are denormal."""

    SQUARE, DOUBLE = DENORMALS["denormals"][1][:2]
    LEAST = np.float32(2.0**-126)

    def denormal(self, values: np.ndarray) -> int:
        return int(((np.abs(values) < self.LEAST) & (values != 0)).sum())

    def test_the_inputs_reach_all_of_it(self):
        tiny = _tiny()
        assert self.denormal(tiny) > 100
        assert self.denormal(_run(self.SQUARE, tiny)) > 50, "products that underflow"
        assert (_run(self.SQUARE, tiny) == 0).sum() > 50, "products that vanish"

    def test_by_default_they_are_computed_with(self):
        tiny = _tiny()
        assert np.array_equal(_run(self.DOUBLE, tiny).view(np.uint32), (tiny + tiny).view(np.uint32))
        assert np.array_equal(_run(self.SQUARE, tiny).view(np.uint32), (tiny * tiny).view(np.uint32))

    def test_flushing_makes_results_zero(self):
        found = _run(self.SQUARE, _tiny(), DEFAULT | FTZ)
        assert self.denormal(found) == 0
        kept = ~(np.abs(_tiny() * _tiny()) < self.LEAST)
        assert np.array_equal(found[kept], (_tiny() * _tiny())[kept])

    def test_daz_makes_inputs_zero(self):
        tiny = _tiny()
        found = _run(self.DOUBLE, tiny, DEFAULT | DAZ)
        assert np.array_equal(found, np.where(np.abs(tiny) < self.LEAST, np.float32(0), tiny + tiny))
        assert self.denormal(_run(self.SQUARE, tiny, DEFAULT | DAZ)) > 50, "results may still be denormal"

    def test_the_mode_does_not_outlast_the_call(self):
        _run(self.SQUARE, _tiny(), DEFAULT | FTZ | DAZ)
        least = np.float32(1e-45)
        assert least + least > least, "this thread computes with denormals as before"

    def test_each_width_that_the_processor_has_is_in_the_fingerprint(self):
        features = cpu.host().features
        found = fingerprint(features)
        assert ("denormals-avx" in found) == ("avx" in features)
        assert ("denormals-avx512" in found) == ("avx512f" in features)
        widths = {found[name] for name in ("denormals", "denormals-avx", "denormals-avx512") if name in found}
        assert len(widths) == 1, "of any width the bits are those of IEEE 754"


def test_a_machine_that_is_shown_as_another_says_which_it_is(monkeypatch):
    """The kernel knows the processor, whatever CPUID answers; and where both say the same, nothing more is said."""
    told = {"vendor_id": "GenuineIntel", "cpu family": "6", "model": "207", "stepping": "2", "microcode": "0x1"}
    monkeypatch.setattr(sys.modules["numdev.cpu.capture"], "_cpuinfo", lambda key: told.get(key, ""))
    leaves = {(0, 0): (1, 0x756E6547, 0x6C65746E, 0x49656E69), (1, 0): (0x000306F2, 0, 0, 0)}
    assert _processor(Host(leaves, "")) == "intel-6-207-2"
    leaves[1, 0] = (0x000C06F2, 0, 0, 0)
    assert _processor(Host(leaves, "")) == ""
    del told["stepping"]
    leaves[1, 0] = (0x000306F2, 0, 0, 0)
    assert _processor(Host(leaves, "")) == ""


@pytest.mark.parametrize("name", ["haswell", "sandybridge", "zen2"])
def test_hosts_of_all_kinds_tell_programs_the_same(name):
    """Not quite the same table, for address sizes and incidental features are the host's; but the same to choose by."""
    hosts = [Host(cpu.read_capture(MACHINES / f"{each}.json").leaves, "") for each in ("intel-6-207-2", "amd-25-17-1")]
    texts = [cpu.shown(name, host).table.text() for host in hosts]
    assert texts[0] != texts[1]
    assert cpu.essence(texts[0]) == cpu.essence(texts[1])
    others = [cpu.shown(other, hosts[0]).table.text() for other in ("haswell", "sandybridge", "zen2") if other != name]
    assert cpu.essence(texts[0]) not in map(cpu.essence, others)
    rewritten = texts[0].replace("numdev-cpuid 1\n", "numdev-cpuid 1\nrewritten\n")
    assert cpu.essence(rewritten) == cpu.essence(texts[0])
    assert cpu.essence(rewritten.replace("rewritten", "what")) is None
