"""A profile on a host becomes a CPUID table: what the host has and the profile has, in the profile's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.cpu.capture import profile_of, read_capture
from numdev.cpu.features import EAX, ECX, EDX, FEATURES, INCIDENTAL, SYSTEM
from numdev.cpu.host import Host
from numdev.cpu.profile import HOST, Cache, Profile, load
from numdev.errors import ProfileRefused
from numdev.worker.cpuid import EVERY_LEAF, Registers, Table

_ALL = (0xFFFFFFFF,) * 4
# Topology and timing differ from core to core or belong to the hypervisor: the real processor answers.
_PASSED = (0xB, 0x15, 0x16, 0x1F, *range(0x40000000, 0x40000011), 0x80000007, 0x8000001E)
# Leaves that say how wide AMX tiles and AVX10 vectors are: true, where the features are shown at all.
_WITH = {"amx_tile": (0x1D, 0x1E), "avx10": (0x24,)}
_TYPES = {"data": 1, "instruction": 2, "unified": 3}
# AMD's encoding of associativity in leaf 0x80000006; values between are rounded down, as AMD does.
_WAYS = ((128, 14), (96, 13), (64, 12), (48, 11), (32, 10), (16, 8), (8, 6), (4, 4), (2, 2), (1, 1))


# The rungs of the ladder: how a profile is made to be seen. `best` takes the first that works here.
CPUID, REWRITE, BEST = "cpuid", "rewrite", "best"
RUNGS = (CPUID, REWRITE)


@dataclass(frozen=True)
class Shown:
    """What a profile becomes here. `table` is None for `host`; `dropped`: incidental features this host lacks."""

    profile: Profile | None
    table: Table | None
    dropped: tuple[str, ...] = ()

    @property
    def rung(self) -> str:
        """How it is shown: "" for `host`, else one of RUNGS."""
        return "" if self.table is None else REWRITE if self.table.rewritten else CPUID

    @property
    def digest(self) -> str:
        return HOST if self.table is None else digests.of_bytes(self.table.text().encode("ascii"))

    def facts(self) -> dict[str, Any]:
        if self.profile is None:
            return {"profile": HOST}
        facts = {"profile": self.profile.name, "simd": self.profile.simd, "dropped": list(self.dropped)}
        return {**facts, "rung": self.rung}


def find(name: str, folder: Path) -> Profile:
    """The profile called `name`, or that of a capture or dump file, relative to `folder`. Raises InvalidInput."""
    if "/" in name or name.endswith((".json", ".txt")):
        return profile_of(read_capture(folder / name), name)
    return load(name)


def shown(name: str, host: Host, enforce: str = CPUID, folder: Path = Path()) -> Shown:
    """The table for the profile called `name` on `host`, by the rung that `enforce` names.

    Args:
        folder: what the path of a capture is relative to.

    Raises:
        InvalidInput: there is no such profile.
        ProfileRefused: this host cannot show it; says which features or what mechanism is missing.
    """
    if name == HOST:
        return Shown(None, None)
    profile = find(name, folder)
    rewritten = enforce == REWRITE or (enforce == BEST and host.refusal != "")
    if reason := host.rewriting if rewritten else host.refusal:
        raise ProfileRefused(
            f"This host cannot show the profile {name!r}.",
            reason,
            "Use the profile `host`, or another machine: Intel since Ivy Bridge has CPUID faulting, KVM guests on "
            "Intel usually too. CPUID can be rewritten in memory instead: `enforce: best` in a matrix. "
            "`numdev doctor` says what a host can do.",
        )
    missing = sorted(set(profile.features) - host.features)
    if essential := [feature for feature in missing if feature not in INCIDENTAL]:
        raise ProfileRefused(
            f"This host cannot show the profile {name!r}.",
            f"its processor lacks {', '.join(essential)}; a profile can hide features, never add them",
            "Use a lower profile, or a machine that has them. `numdev platform list` shows what fits here.",
        )
    return Shown(profile, build(profile, host, rewritten), tuple(missing))


def build(profile: Profile, host: Host, rewritten: bool = False) -> Table:
    """The table of a profile with the features that `host` has as well."""
    features = set(profile.features) & host.features
    intel = profile.vendor == "GenuineIntel"
    words: dict[tuple[int, int], list[int]] = {
        (leaf, subleaf): [0, 0, 0, 0] for leaf, subleaf, _, _ in FEATURES.values()
    }
    for name in features:
        leaf, subleaf, register, bit = FEATURES[name]
        words[leaf, subleaf][register] |= 1 << bit
    masks: dict[tuple[int, int | None], Registers] = {}
    for (leaf, subleaf, register), bits in SYSTEM.items():
        row = list(masks.get((leaf, subleaf), (0, 0, 0, 0)))
        row[register] = bits
        masks[leaf, subleaf] = (row[0], row[1], row[2], row[3])

    vendor = [int.from_bytes(profile.vendor.encode()[i : i + 4], "little") for i in (0, 4, 8)]
    maximum = min(profile.max_leaf, host.cpuid(0)[EAX])
    words[0, 0] = [maximum, vendor[0], vendor[2], vendor[1]]
    words[1, 0][EAX] = profile.signature
    # Cache line of CLFLUSH, number of logical processors and the APIC id of the very core.
    # A processor without XSAVE cannot have it enabled by the system.
    system = masks[1, 0][ECX] if "xsave" in features else masks[1, 0][ECX] & ~(1 << 27)
    masks[1, 0] = (0, 0xFFFFFFFF, system, masks[1, 0][EDX])
    words[7, 0][EAX] = 1 if any(words[7, 1]) else 0
    masks[0xD, 1] = (0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    extended = 0x80000008 if intel else 0x8000001E
    words[0x80000000, 0] = [extended, *((0, 0, 0) if intel else (vendor[0], vendor[2], vendor[1]))]
    words[0x80000008, 0][EAX] = host.cpuid(0x80000008)[EAX]
    words[0x80000008, 0][ECX] = host.cpuid(0x80000008)[ECX]
    brand = profile.brand.encode("ascii").ljust(48, b"\0")
    for index in range(3):
        part = brand[index * 16 : index * 16 + 16]
        words[0x80000002 + index, 0] = [int.from_bytes(part[i : i + 4], "little") for i in (0, 4, 8, 12)]
    if intel:
        # Descriptor 0xFF: "see leaf 4"; prefetching of 64 bytes.
        words[2, 0] = [0x00FEFF01, 0xF0, 0, 0]
    else:
        words[0x80000001, 0][EAX] = profile.signature
        # AMD repeats the low feature bits of leaf 1 here.
        words[0x80000001, 0][EDX] |= host.cpuid(1)[EDX] & 0x0183F3FF
    words.update(_legacy_caches(profile.caches, intel))
    leaf = 4 if intel else 0x8000001D
    for index, cache in enumerate(profile.caches):
        words[leaf, index] = _cache(cache, host if intel else None)

    values: dict[tuple[int, int | None], Registers] = {}
    for (leaf, subleaf), row in words.items():
        # Leaves 1 and 0x80000001 ignore ECX, and callers leave garbage there; so do all that have no sub-leaves.
        key = (leaf, subleaf) if leaf in (4, 7, 0xD, 0x8000001D) else (leaf, None)
        values[key] = (row[0], row[1], row[2], row[3])
    masks = {(leaf, sub if leaf in (4, 7, 0xD) else None): row for (leaf, sub), row in masks.items()}
    # XSAVE sizes must follow the real XCR0, or programs overrun their stacks.
    values[0xD, None], masks[0xD, None] = (0, 0, 0, 0), _ALL
    passed = [*_PASSED, *(leaf for feature, leaves in _WITH.items() if feature in features for leaf in leaves)]
    return Table(values, masks, passed, rewritten)


def replica(rewritten: bool = False) -> Table:
    """A table that shows the host to itself: what remains of the instrument when nothing is changed."""
    return Table({}, {}, EVERY_LEAF, rewritten)


def _cache(cache: Cache, host: Host | None) -> list[int]:
    """One cache as leaf 4 or 0x8000001D describes it; Intel's also counts the cores of the package."""
    eax = _TYPES[cache.type] | cache.level << 5 | 1 << 8 | (cache.threads - 1) << 14
    if host is not None:
        eax |= 0x3F << 26
    ebx = (cache.line - 1) | (cache.ways - 1) << 22
    return [eax & 0xFFFFFFFF, ebx, cache.sets - 1, 0]


def _legacy_caches(caches: list[Cache], intel: bool) -> dict[tuple[int, int], list[int]]:
    """Leaves 0x80000005 and 0x80000006: the same geometry in AMD's older words (Intel only has the L2's)."""
    by = {(cache.level, cache.type): cache for cache in caches}
    first, second = [0, 0, 0, 0], [0, 0, 0, 0]
    if level2 := by.get((2, "unified")):
        second[ECX] = level2.bytes >> 10 << 16 | _ways(level2.ways) << 12 | level2.line
    if not intel:
        for register, kind in ((ECX, "data"), (EDX, "instruction")):
            if level1 := by.get((1, kind)):
                first[register] = level1.bytes >> 10 << 24 | level1.ways << 16 | 1 << 8 | level1.line
        if level3 := by.get((3, "unified")):
            second[EDX] = level3.bytes // (512 << 10) << 18 | _ways(level3.ways) << 12 | level3.line
    return {(0x80000005, 0): first, (0x80000006, 0): second}


def _ways(ways: int) -> int:
    return next(code for limit, code in _WAYS if ways >= limit)


def check_subset(table: Table, host: Host) -> list[str]:
    """Features that the table shows and the host lacks: always none, a programming error otherwise."""
    bad = []
    for name, (leaf, subleaf, register, bit) in FEATURES.items():
        row = table.values.get((leaf, subleaf), table.values.get((leaf, None), (0, 0, 0, 0)))
        if row[register] >> bit & 1 and name not in host.features:
            bad.append(name)
    return bad
