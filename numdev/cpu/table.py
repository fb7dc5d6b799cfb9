"""A profile on a host becomes a CPUID table: what the host has and the profile has, in the profile's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.cpu.capture import profile_of, read_capture
from numdev.cpu.features import EAX, EBX, ECX, EDX, FEATURES, INCIDENTAL, SYSTEM, closed
from numdev.cpu.host import Host
from numdev.cpu.profile import HOST, Cache, Expected, Profile, load, names
from numdev.cpu.variant import apply, split
from numdev.errors import ProfileRefused
from numdev.worker.cpuid import EVERY_LEAF, Registers, Table

_ALL = (0xFFFFFFFF,) * 4
# Timing belongs to the hypervisor: the real processor answers. So it does where it tells a core's number, see Topology.
_PASSED = (0x15, 0x16, *range(0x40000000, 0x40000011), 0x80000007)
# In leaf 1 EDX, and in 0x80000001 ECX that these threads are cores.
_MULTITHREADED, _CORES = 1 << 28, 1 << 1
# Leaves that say how wide AMX tiles and AVX10 vectors are: true, where the features are shown at all.
_WITH = {"amx_tile": (0x1D, 0x1E), "avx10": (0x24,)}
_TYPES = {"data": 1, "instruction": 2, "unified": 3}
# AMD's encoding of associativity in leaf 0x80000006; values between are rounded down, as AMD does.
_WAYS = ((128, 14), (96, 13), (64, 12), (48, 11), (32, 10), (16, 8), (8, 6), (4, 4), (2, 2), (1, 1))


# What becomes of a profile with features that the host lacks and libraries choose by.
REFUSE, INTERSECT = "refuse", "intersect"

# The rungs that show a table (ladder.py has the others). `best` takes the first that works here.
CPUID, REWRITE, BEST = "cpuid", "rewrite", "best"


@dataclass(frozen=True)
class Shown:
    """What a profile becomes here. `table` is None for `host`; `dropped`: features of the profile that this host lacks.

    `essential`: those of them that libraries choose by, dropped only where that was asked for.
    """

    profile: Profile | None
    table: Table | None
    dropped: tuple[str, ...] = ()
    essential: tuple[str, ...] = ()

    @property
    def rung(self) -> str:
        """How it is shown: "" for `host`, else one of ladder.RUNGS."""
        return "" if self.table is None else REWRITE if self.table.rewritten else CPUID

    @property
    def digest(self) -> str:
        return HOST if self.table is None else digests.of_bytes(self.table.text().encode("ascii"))

    def facts(self) -> dict[str, Any]:
        if self.profile is None:
            return {"profile": HOST}
        facts = {"profile": self.profile.name, "simd": self.profile.simd, "dropped": list(self.dropped)}
        if self.essential:
            facts["intersected"] = list(self.essential)
        return {**facts, "rung": self.rung}


def find(name: str, folder: Path) -> Profile:
    """The profile called `name`, a variant of one, or of a capture or dump file, relative to `folder`.

    Raises:
        InvalidInput: there is none, or the variant cannot be made.
    """
    base = _file_in(name, folder)
    if base:
        profile, changes = profile_of(read_capture(folder / base), base), name[len(base) :]
    else:
        base, changes = split(name, names()[1:])
        profile = load(base or name)
    return apply(profile, changes, names()[1:], lambda other: find(other, folder)) if changes else profile


def file_of(name: str, folder: Path) -> Path | None:
    """The capture or dump file that a profile's name, relative to `folder`, begins with; None where it names none."""
    base = _file_in(name, folder)
    return folder / base if base and _there(folder / base) else None


def _file_in(name: str, folder: Path) -> str:
    """The part of a profile's name that is a file's; "" where there is none."""
    cuts = [len(name), *(place for place in range(len(name) - 1, 0, -1) if name[place] in "+-@")]
    # A file's own name may have these characters, too: what is there decides, and the longest first.
    files = [name[:cut] for cut in cuts if _is_file(name[:cut])]
    base = next((file for file in files if _there(folder / file)), "")
    if not base and not split(name, names()[1:])[0]:
        base = next(iter(files), "")
    return base


def _is_file(name: str) -> bool:
    return "/" in name or name.endswith((".json", ".txt"))


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # Too long a name, or a folder that may not be looked into.
        return False


def shown(name: str, host: Host, enforce: str = CPUID, folder: Path = Path(), missing: str = REFUSE) -> Shown:
    """The table for the profile called `name` on `host`, by the rung that `enforce` names.

    Args:
        folder: what the path of a capture is relative to.
        missing: INTERSECT shows a profile without what this host lacks, and `Shown.essential` has that.

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
    kept = closed(host.features.intersection(profile.features))
    dropped = sorted(set(profile.features) - kept)
    essential = [feature for feature in dropped if feature not in INCIDENTAL]
    if essential and missing != INTERSECT:
        raise ProfileRefused(
            f"This host cannot show the profile {name!r}.",
            f"its processor lacks {', '.join(essential)}; a profile can hide features, never add them",
            "Use a lower profile, or a machine that has them. `numdev platform list` shows what fits here. "
            "`numdev as --intersect`, or `missing: intersect` in a matrix, shows it without them.",
        )
    if essential:
        # What the libraries choose on what is left is not known beforehand.
        features = [feature for feature in profile.features if feature in kept]
        profile = profile.model_copy(update={"features": features, "expect": Expected()})
    return Shown(profile, build(profile, host, rewritten), tuple(dropped), tuple(essential))


def build(profile: Profile, host: Host, rewritten: bool = False) -> Table:
    """The table of a profile with the features that `host` has as well."""
    features = closed(host.features.intersection(profile.features))
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
    words[1, 0][EBX], words[1, 0][EDX] = _numbering(profile)
    # A processor without XSAVE cannot have it enabled by the system.
    system = masks[1, 0][ECX] if "xsave" in features else masks[1, 0][ECX] & ~(1 << 27)
    # The APIC id is that of the very core.
    masks[1, 0] = (0, 0xFF << 24, system, masks[1, 0][EDX] & ~_MULTITHREADED)
    masks[0x80000001, 0] = (0, 0, masks[0x80000001, 0][ECX] & ~_CORES, masks[0x80000001, 0][EDX])
    words[7, 0][EAX] = 1 if any(words[7, 1]) else 0
    masks[0xD, 1] = (0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    extended = 0x80000008 if intel else 0x8000001E
    words[0x80000000, 0] = [extended, *((0, 0, 0) if intel else (vendor[0], vendor[2], vendor[1]))]
    words[0x80000008, 0][EAX] = host.cpuid(0x80000008)[EAX]
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
        topology = profile.topology
        words[0x80000001, 0][ECX] |= _CORES if topology.threads > 1 else 0
        words[0x80000008, 0][ECX] = (topology.ids.bit_length() - 1) << 12 | min(topology.threads - 1, 255)
        # Only an AMD processor has the numbers of its cores here; elsewhere what is the same for all of them.
        words[0x8000001E, 0] = [0, topology.threads_per_core - 1 << 8, 0, 0]
    words.update(_legacy_caches(profile.caches, intel))
    leaf = 4 if intel else 0x8000001D
    for index, cache in enumerate(profile.caches):
        words[leaf, index] = _cache(cache, profile.topology.core_ids if intel else 1)

    values: dict[tuple[int, int | None], Registers] = {}
    for (leaf, subleaf), row in words.items():
        # Leaves 1 and 0x80000001 ignore ECX, and callers leave garbage there; so do all that have no sub-leaves.
        key = (leaf, subleaf) if leaf in (4, 7, 0xD, 0x8000001D) else (leaf, None)
        values[key] = (row[0], row[1], row[2], row[3])
    masks = {(leaf, sub if leaf in (4, 7, 0xD) else None): row for (leaf, sub), row in masks.items()}
    # XSAVE sizes must follow the real XCR0, or programs overrun their stacks.
    values[0xD, None], masks[0xD, None] = (0, 0, 0, 0), _ALL
    passed = [
        *_PASSED,
        *_own_numbers(profile, host),
        *(leaf for feature, leaves in _WITH.items() if feature in features for leaf in leaves),
    ]
    return Table(values, masks, passed, rewritten)


def replica(rewritten: bool = False) -> Table:
    """A table that shows the host to itself: what remains of the instrument when nothing is changed."""
    return Table({}, {}, EVERY_LEAF, rewritten)


def _numbering(profile: Profile) -> tuple[int, int]:
    """EBX and EDX of leaf 1: CLFLUSH's line, how many threads are numbered, and whether there is more than one.

    Intel counts the numbers that there is room for, AMD the threads that there are.
    """
    topology = profile.topology
    threads = topology.ids if profile.vendor == "GenuineIntel" else topology.threads
    line = max((cache.line for cache in profile.caches if cache.level == 1), default=64)
    return min(threads, 255) << 16 | line // 8 << 8, _MULTITHREADED if threads > 1 else 0


def _own_numbers(profile: Profile, host: Host) -> list[int]:
    """Leaves in which the very core tells its number: those that the profile and this host have."""
    amd = profile.vendor == "AuthenticAMD" and host.cpuid(0x80000000)[EAX] >= 0x8000001E
    return [
        leaf
        for leaf in profile.topology.leaves
        if (amd if leaf >> 31 else leaf <= min(profile.max_leaf, host.cpuid(0)[EAX]))
    ]


def _cache(cache: Cache, core_ids: int) -> list[int]:
    """One cache as leaf 4 or 0x8000001D describes it; Intel's also counts the cores that a package has room for."""
    eax = _TYPES[cache.type] | cache.level << 5 | 1 << 8 | (cache.threads - 1) << 14 | (min(core_ids, 64) - 1) << 26
    ebx = (cache.line - 1) | (cache.ways - 1) << 22
    return [eax & 0xFFFFFFFF, ebx, _most(cache.sets - 1, 32), 0]


def _legacy_caches(caches: list[Cache], intel: bool) -> dict[tuple[int, int], list[int]]:
    """Leaves 0x80000005 and 0x80000006: the same geometry in AMD's older words (Intel only has the L2's)."""
    by = {(cache.level, cache.type): cache for cache in caches}
    first, second = [0, 0, 0, 0], [0, 0, 0, 0]
    if level2 := by.get((2, "unified")):
        second[ECX] = _most(level2.bytes >> 10, 16) << 16 | _ways(level2.ways) << 12 | _most(level2.line, 8)
    if not intel:
        for register, kind in ((ECX, "data"), (EDX, "instruction")):
            if level1 := by.get((1, kind)):
                size, ways = _most(level1.bytes >> 10, 8), _most(level1.ways, 8)
                first[register] = size << 24 | ways << 16 | 1 << 8 | _most(level1.line, 8)
        if level3 := by.get((3, "unified")):
            second[EDX] = (
                _most(level3.bytes // (512 << 10), 14) << 18 | _ways(level3.ways) << 12 | _most(level3.line, 8)
            )
    return {(0x80000005, 0): first, (0x80000006, 0): second}


def _most(value: int, bits: int) -> int:
    """The value, or as much of it as a field can say: a dump may have a cache that no processor has."""
    return min(value, (1 << bits) - 1)


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
