"""Profiles and the tables that they become."""

from __future__ import annotations

import dataclasses
import re

import pytest

from numdev import cpu
from numdev.cpu.features import FEATURES, INCIDENTAL, SIMD, present, simd_level
from numdev.cpu.host import Host
from numdev.cpu.table import build, check_subset, replica, shown
from numdev.errors import InvalidInput, ProfileRefused
from numdev.worker.cpuid import Cpuid, Table, parse

NAMES = cpu.names()[1:]

# The dumps of real processors that the catalogue's entries stand for, where their folder is here.
DUMPS = {
    "nehalem": "nehalem-ep",
    "sandybridge": "sandybridge-e",
    "ivybridge": "ivybridge-ep",
    "haswell": "haswell-ep",
    "broadwell": "broadwell-ep",
    "skylake-sp": "skylake-sp",
    "cascadelake-sp": "cascadelake-sp",
    "icelake-sp": "icelake-sp",
    "sapphirerapids": "sapphirerapids",
    "zen1": "zen-naples",
    "zen2": "zen2-rome",
    "zen3": "zen3-milan",
    "zen4": "zen4-genoa",
    "zen5": "zen5-turin",
    "graniterapids": "graniterapids",
}


def rich_host(vendor: str = "GenuineIntel") -> Host:
    """A processor that has everything: what a profile can be shown on."""
    leaves: dict[tuple[int, int], list[int]] = {}
    for leaf, subleaf, register, bit in FEATURES.values():
        leaves.setdefault((leaf, subleaf), [0, 0, 0, 0])[register] |= 1 << bit
    parts = [int.from_bytes(vendor.encode()[i : i + 4], "little") for i in (0, 4, 8)]
    leaves[0, 0] = [0x24, parts[0], parts[2], parts[1]]
    leaves.setdefault((7, 0), [0, 0, 0, 0])[0] = 1
    leaves.setdefault((0x80000000, 0), [0, 0, 0, 0])[0] = 0x80000021
    leaves.setdefault((1, 0), [0, 0, 0, 0])[3] = 0xBFEBFBFF
    return Host({key: tuple(row) for key, row in leaves.items()}, "")


class Fixed(Cpuid):
    """A "real" processor that answers from a Host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def __call__(self, leaf: int, subleaf: int = 0):
        return self.host.cpuid(leaf, subleaf if leaf in (4, 7, 0xB, 0xD, 0x1F, 0x8000001D) else 0)

    def on(self, processor, leaf, subleaf):
        return self(leaf, subleaf)


def seen(table: Table, host: Host):
    real = Fixed(host)
    return lambda leaf, subleaf=0: table.answer(leaf, subleaf, real)


@pytest.mark.parametrize("name", NAMES)
def test_a_rich_host_shows_every_profile_whole(name):
    host = rich_host()
    result = shown(name, host)
    look = seen(result.table, host)
    assert result.dropped == ()
    assert present(look) == set(result.profile.features)
    vendor = b"".join(look(0)[i].to_bytes(4, "little") for i in (1, 3, 2)).decode()
    assert vendor == result.profile.vendor
    assert look(1)[0] == result.profile.signature
    assert look(1, 12345) == look(1, 0), "leaf 1 ignores ECX"
    assert parse(result.table.text()).text() == result.table.text()


@pytest.mark.parametrize("name", NAMES)
def test_a_table_never_shows_what_the_host_lacks(name):
    host = cpu.host()
    table = build(cpu.load(name), host)
    assert check_subset(table, host) == []
    assert present(lambda leaf, subleaf=0: table.answer(leaf, subleaf, Cpuid())) <= host.features


@pytest.mark.parametrize("name", NAMES)
def test_caches_are_as_declared(name):
    host = rich_host()
    profile = cpu.load(name)
    look = seen(build(profile, host), host)
    leaf = 4 if profile.vendor == "GenuineIntel" else 0x8000001D
    for index, cache in enumerate(profile.caches):
        eax, ebx, ecx, _ = look(leaf, index)
        size = ((ebx >> 22) + 1) * ((ebx >> 12 & 1023) + 1) * ((ebx & 4095) + 1) * (ecx + 1)
        assert (size, eax >> 5 & 7) == (cache.bytes, cache.level)
    assert look(leaf, len(profile.caches))[0] & 31 == 0, "the list ends"


def test_xsave_sizes_are_the_real_processors():
    host = dataclasses.replace(rich_host(), leaves={**rich_host().leaves, (0xD, 0): (0x2E7, 0xA80, 0xA88, 0)})
    assert seen(build(cpu.load("nehalem"), host), host)(0xD, 0) == (0x2E7, 0xA80, 0xA88, 0)


def test_osxsave_goes_with_xsave():
    leaves = dict(rich_host().leaves)
    leaves[1, 0] = (leaves[1, 0][0], leaves[1, 0][1], leaves[1, 0][2] | 1 << 27, leaves[1, 0][3])
    host = dataclasses.replace(rich_host(), leaves=leaves)
    assert seen(build(cpu.load("haswell"), host), host)(1)[2] >> 27 & 1 == 1
    assert seen(build(cpu.load("x86-64-v2"), host), host)(1)[2] >> 27 & 1 == 0


def test_a_host_without_a_feature_refuses_and_names_it():
    host = rich_host()
    leaves = dict(host.leaves)
    row = list(leaves[7, 0])
    row[1] &= ~(1 << 16)
    leaves[7, 0] = tuple(row)
    with pytest.raises(ProfileRefused, match="cannot show the profile 'skylake-sp'") as caught:
        shown("skylake-sp", dataclasses.replace(host, leaves=leaves))
    assert "avx512f" in caught.value.why
    assert shown("haswell", dataclasses.replace(host, leaves=leaves)).table is not None


def test_incidental_features_are_dropped_and_said():
    host = rich_host()
    leaves = dict(host.leaves)
    row = list(leaves[7, 0])
    row[1] &= ~(1 << 29)
    leaves[7, 0] = tuple(row)
    result = shown("zen2", dataclasses.replace(host, leaves=leaves))
    assert result.dropped == ("sha_ni",)
    assert result.facts()["dropped"] == ["sha_ni"]


def test_without_the_mechanism_all_but_host_are_refused():
    host = dataclasses.replace(rich_host(), refusal="it does not fault")
    with pytest.raises(ProfileRefused) as caught:
        shown("haswell", host)
    assert caught.value.why == "it does not fault"
    assert shown("host", host).digest == "host"


def test_an_unknown_profile_lists_those_there_are():
    with pytest.raises(InvalidInput, match="haswell"):
        shown("haswel", rich_host())


def test_replica_shows_the_host():
    table, real = replica(), Cpuid()
    for leaf in (0, 7, 0xD, 0x80000001):
        assert table.answer(leaf, 0, real) == real(leaf, 0)


def test_the_dispatch_features_of_each_level_are_essential():
    for _, needed in SIMD[:-1]:
        assert not set(needed) & INCIDENTAL


@pytest.mark.parametrize(
    ("name", "level"),
    {"nehalem": "SSE4.2", "sandybridge": "AVX", "haswell": "AVX2", "skylake-sp": "AVX-512", "icelake-sp": "AVX-512 VNNI",
     "zen2": "AVX2", "x86-64-v2": "SSE4.2", "x86-64-v3": "AVX2", "x86-64-v4": "AVX-512"}.items(),
)  # fmt: skip
def test_simd_levels(name, level):
    assert cpu.load(name).simd == level
    assert simd_level(cpu.load(name).features) == level


@pytest.mark.parametrize("name", DUMPS)
def test_the_catalogue_agrees_with_real_processors(name, shared):
    """Identity, features and caches against the register dump of the processor itself."""
    leaves: dict[tuple[int, int], tuple[int, ...]] = {}
    counted: dict[int, int] = {}
    pattern = re.compile(
        r"\s*CPUID ([0-9A-F]{8}):?\s+([0-9A-F]{8})-([0-9A-F]{8})-([0-9A-F]{8})-([0-9A-F]{8})(?:\s*\[SL (..)\])?"
    )
    for line in (shared / "cpuid-dumps" / f"{DUMPS[name]}.txt").read_text(errors="replace").splitlines():
        if found := pattern.match(line):
            leaf = int(found[1], 16)
            if leaf == 0 and leaves:
                break
            subleaf = int(found[6], 16) if found[6] else counted.get(leaf, 0)
            counted[leaf] = subleaf + 1
            leaves[leaf, subleaf] = tuple(int(found[i], 16) for i in range(2, 6))
    dump = Host(leaves, "")
    profile = cpu.load(name)
    assert set(profile.features) == dump.features
    family, model, stepping = dump.family_model_stepping
    assert (profile.vendor, profile.family, profile.model) == (dump.vendor, family, model)
    if name != "nehalem":  # its dump is of an engineering sample; the catalogue has the product's stepping
        assert profile.stepping == stepping
    assert [(c.level, c.sets - 1, c.ways - 1) for c in profile.caches] == [
        (row[0] >> 5 & 7, row[2], row[1] >> 22) for row in dump.caches()
    ]


class TestRungs:
    """What `enforce` asks for, and what this host can do."""

    def test_the_first_that_works_is_taken(self):
        able, unable = rich_host(), dataclasses.replace(rich_host(), refusal="it does not fault")
        assert shown("haswell", able, cpu.BEST).rung == cpu.CPUID
        assert shown("haswell", unable, cpu.BEST).rung == cpu.REWRITE
        assert shown("haswell", able, cpu.REWRITE).rung == cpu.REWRITE
        assert shown("host", unable, cpu.BEST).rung == ""

    def test_nothing_falls_back_unasked(self):
        with pytest.raises(ProfileRefused, match="cannot show"):
            shown("haswell", dataclasses.replace(rich_host(), refusal="it does not fault"))

    def test_where_nothing_can_be_traced_all_are_refused(self):
        host = dataclasses.replace(rich_host(), refusal="it does not fault", rewriting="ptrace is forbidden")
        with pytest.raises(ProfileRefused) as caught:
            shown("haswell", host, cpu.BEST)
        assert caught.value.why == "ptrace is forbidden"

    def test_rungs_are_never_taken_for_each_other(self):
        host = rich_host()
        one, other = shown("haswell", host), shown("haswell", host, cpu.REWRITE)
        assert one.digest != other.digest
        assert seen(one.table, host)(7) == seen(other.table, host)(7)
        assert parse(other.table.text()).rewritten
        assert other.facts()["rung"] == "rewrite"
