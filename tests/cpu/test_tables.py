"""Profiles and the tables that they become."""

from __future__ import annotations

import dataclasses

import pytest

from numdev import cpu
from numdev.cpu.features import FEATURES, INCIDENTAL, SIMD, present, simd_level
from numdev.cpu.host import Host
from numdev.cpu.table import build, check_subset, replica, shown
from numdev.errors import InvalidInput, ProfileRefused
from numdev.spec import yamlfile
from numdev.worker.cpuid import Cpuid, Table, parse

NAMES = cpu.names()[1:]

# The dumps of real processors, and the catalogue's entries that stand for the same ones.
DUMPS = {
    "alderlake": "alderlake",
    "broadwell-ep": "broadwell",
    "cascadelake-sp": "cascadelake-sp",
    "graniterapids": "graniterapids",
    "haswell-ep": "haswell",
    "icelake-sp": "icelake-sp",
    "ivybridge-ep": "ivybridge",
    "nehalem-ep": "nehalem",
    "sandybridge-e": "sandybridge",
    "sapphirerapids": "sapphirerapids",
    "skylake-sp": "skylake-sp",
    "zen-naples": "zen1",
    "zen2-rome": "zen2",
    "zen3-milan": "zen3",
    "zen4-genoa": "zen4",
    "zen5-turin": "zen5",
}
# What of leaves 4 and 0x8000001D is geometry; the rest is inclusiveness, and how addresses are spread.
GEOMETRY = (0xFFFFC1FF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


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


def without(host: Host, *features: str) -> Host:
    leaves = dict(host.leaves)
    for feature in features:
        leaf, subleaf, register, bit = FEATURES[feature]
        row = list(leaves[leaf, subleaf])
        row[register] &= ~(1 << bit)
        leaves[leaf, subleaf] = tuple(row)
    return dataclasses.replace(host, leaves=leaves)


class TestIntersect:
    """A profile without what the host lacks: only where that is asked for, and never silently."""

    def test_what_needs_a_missing_feature_goes_with_it(self):
        host = without(rich_host(), "avx512f", "sha_ni")
        result = shown("icelake-sp", host, missing=cpu.INTERSECT)
        gone = {name for name in cpu.load("icelake-sp").features if name.startswith("avx512")}
        assert set(result.essential) == gone
        assert set(result.dropped) == {*gone, "sha_ni"}
        assert present(seen(result.table, host)) == set(cpu.load("icelake-sp").features) - gone - {"sha_ni"}
        assert result.profile.simd == "AVX2"
        assert result.facts()["intersected"] == sorted(gone)
        assert result.facts()["dropped"] == sorted({*gone, "sha_ni"})

    def test_nothing_is_expected_of_what_is_left(self):
        host = without(rich_host(), "avx512f")
        assert shown("skylake-sp", host, missing=cpu.INTERSECT).profile.expect.torch == []
        assert shown("haswell", host, missing=cpu.INTERSECT).profile.expect.torch == ["AVX2"]

    def test_whoever_lacks_nothing_sees_the_same(self):
        host = rich_host()
        for name in NAMES:
            one, other = shown(name, host), shown(name, host, missing=cpu.INTERSECT)
            assert (one.digest, one.dropped, other.essential) == (other.digest, other.dropped, ())
            assert "intersected" not in other.facts()

    def test_the_digest_is_that_of_what_is_shown(self):
        host = without(rich_host(), "avx512_vnni")
        one = shown("icelake-sp", host, missing=cpu.INTERSECT)
        assert one.digest == shown("icelake-sp-avx512_vnni", host).digest
        assert one.digest != shown("icelake-sp", rich_host()).digest

    def test_a_refusal_lists_what_would_go(self):
        with pytest.raises(ProfileRefused) as caught:
            shown("skylake-sp", without(rich_host(), "avx512f"))
        for feature in ("avx512f", "avx512bw", "avx512vl"):
            assert feature in caught.value.why
        assert "--intersect" in caught.value.remedy


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


def test_every_dump_has_its_profile(shared):
    assert {path.stem for path in (shared / "cpuid-dumps").glob("*.txt")} == set(DUMPS)


@pytest.mark.parametrize("dump", DUMPS)
def test_the_catalogue_agrees_with_real_processors(dump, shared):
    """Every difference is named and explained in the profile's file, and nothing else is."""
    captured = cpu.read_capture(shared / "cpuid-dumps" / f"{dump}.txt")
    profile, real = cpu.load(DUMPS[dump]), cpu.profile_of(captured, dump)
    assert (profile.vendor, profile.family, profile.model) == (real.vendor, real.family, real.model)
    mine, theirs = (
        [(one.level, one.type, one.bytes, one.ways, one.line, one.sets, one.threads) for one in each.caches]
        for each in (profile, real)
    )
    different = {
        "stepping": profile.stepping != real.stepping,
        "brand": profile.brand != real.brand,
        "max_leaf": profile.max_leaf != captured.leaves[0, 0][0],
        "features": set(profile.features) != set(real.features),
        "caches": mine != theirs,
        "topology": profile.topology.model_dump(exclude={"real"}) != real.topology.model_dump(exclude={"real"}),
    }
    assert {key for key, differs in different.items() if differs} == set(profile.differs)


@pytest.mark.parametrize("dump", DUMPS)
def test_a_table_describes_cores_and_caches_as_the_processor_does(dump, shared):
    """Register by register; only the very core's own number is another."""
    real = Host(cpu.read_capture(shared / "cpuid-dumps" / f"{dump}.txt").leaves, "")
    profile, host = cpu.load(DUMPS[dump]), dataclasses.replace(rich_host(), leaves={**rich_host().leaves})
    # Not an AMD processor: what it would tell of its own cores comes from the profile.
    host.leaves[0x80000000, 0] = (0x80000008, 0, 0, 0)
    look = seen(build(profile, host), host)
    amd = profile.vendor == "AuthenticAMD"
    masks = {(0x8000001D if amd else 4, index): GEOMETRY for index in range(len(profile.caches) + 1)}
    masks[1, 0] = (0, 0x00FFFFFF, 0, 1 << 28)
    if amd:
        masks[0x80000008, 0] = (0, 0, 0xFFFF, 0)
        masks[0x8000001E, 0] = (0, 0xFF00, 0, 0)
        masks[0x80000001, 0] = (0, 0, 1 << 1, 0)
    for (leaf, subleaf), mask in masks.items():
        mine, theirs = look(leaf, subleaf), real.cpuid(leaf, subleaf)
        assert [word & bits for word, bits in zip(mine, mask, strict=True)] == [
            word & bits for word, bits in zip(theirs, mask, strict=True)
        ], f"leaf {leaf:#x}.{subleaf}"


class TestTopology:
    """Who tells what of cores: the profile how many, the real core which one it is."""

    def with_ids(self) -> Host:
        leaves = dict(rich_host().leaves)
        leaves[1, 0] = (leaves[1, 0][0], 0x5A123456, leaves[1, 0][2], leaves[1, 0][3])
        leaves[0xB, 0], leaves[0xB, 1] = (1, 2, 0x100, 0x5A), (3, 8, 0x201, 0x5A)
        leaves[0x8000001E, 0] = (0x5A, 0x10D, 0x100, 0)
        return dataclasses.replace(rich_host(), leaves=leaves)

    def test_apic_ids_are_the_real_cores(self):
        host = self.with_ids()
        for name in NAMES:
            look = seen(build(cpu.load(name), host), host)
            assert look(1)[1] >> 24 == 0x5A
            if name != "zen1":
                assert (look(0xB, 0), look(0xB, 1)) == (host.cpuid(0xB, 0), host.cpuid(0xB, 1))
            amd = cpu.load(name).vendor == "AuthenticAMD"
            assert look(0x8000001E) == (host.cpuid(0x8000001E) if amd else (0, 0, 0, 0))

    def test_a_processor_without_such_a_leaf_has_none(self):
        host = self.with_ids()
        assert seen(build(cpu.load("zen1"), host), host)(0xB, 0) == (0, 0, 0, 0)

    def test_a_vendor_counts_cores_in_its_own_way(self):
        host = self.with_ids()
        intel, amd = (seen(build(cpu.load(name), host), host) for name in ("haswell", "haswell@vendor=AMD"))
        assert (intel(1)[1] >> 16 & 255, intel(4, 0)[0] >> 26, intel(0x80000008)[2]) == (64, 31, 0)
        assert (amd(1)[1] >> 16 & 255, amd(4, 0), amd(0x80000008)[2]) == (36, (0, 0, 0, 0), 0x6023)

    @pytest.mark.parametrize(
        ("topology", "what"),
        [
            ({"cores": 4, "threads_per_core": 2, "ids": 12}, "12 is no power of two"),
            ({"cores": 4, "threads_per_core": 2, "ids": 4}, "4 are too few for 8 threads"),
            ({"cores": 4, "threads_per_core": 2, "ids": 8}, "shared by more threads than the 8 that have ids"),
            ({"cores": 0, "threads_per_core": 2, "ids": 64}, "greater than or equal to 1"),
            ({"cores": 4, "threads_per_core": 2, "ids": 64, "real": ["0x4"]}, "0x4 tells no core's number"),
            ({"cores": 4, "threads_per_core": 2, "ids": 64, "real": ["0xB", "0xB"]}, "a leaf stands twice"),
            ({"cores": 4, "threads_per_core": 2, "ids": 64, "sockets": 2}, "unknown key"),
            ({"cores": 4, "ids": 64}, "threads_per_core: missing"),
        ],
    )
    def test_a_topology_that_cannot_be_is_refused(self, topology, what):
        data = {**cpu.load("haswell").model_dump(), "topology": topology}
        with pytest.raises(InvalidInput) as caught:
            yamlfile.validate(cpu.Profile, data, "x")
        assert what in str(caught.value)


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
