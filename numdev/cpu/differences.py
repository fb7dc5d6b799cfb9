"""What differs between two processors, in words: what a program can choose by, what it computes with, and what it runs on."""

from __future__ import annotations

from numdev.cpu.capture import Capture, caches_of
from numdev.cpu.features import FEATURES, INCIDENTAL
from numdev.cpu.host import VENDORS, Host
from numdev.worker import cpuid

# The facts of a capture, and what they are called; others are told by their own names.
_FACTS = {
    "microcode": "microcode",
    "kernel": "Linux",
    "libc": "libc",
    "hypervisor": "hypervisor",
    "emulator": "emulator",
    "processor": "processor by the kernel",
}

_LEAVES = 6
# Leaves in which a core tells its number, and the one whose EAX is the size of addresses.
_NUMBERS, _ADDRESSES = frozenset((0xB, 0x1F, 0x8000001E)), 0x80000008


def differences(one: Capture, other: Capture) -> list[str]:
    """Lines of "what: the first | the second"; empty where nothing differs."""
    first, second = Host(one.leaves, ""), Host(other.leaves, "")
    return [
        *_identity(first, second),
        *_features(first.features, second.features),
        *_caches(first, second),
        *_silicon(one.fingerprint, other.fingerprint),
        *_facts(one.facts, other.facts),
    ]


def tables(one: str, other: str) -> list[str] | None:
    """What differs between two CPUID tables that programs were shown, by their texts; None where one is no table."""
    try:
        first, second = cpuid.parse(one), cpuid.parse(other)
    except cpuid.TableError:
        return None
    said = _features(_shown_by(first), _shown_by(second))
    keys = first.values.keys() | second.values.keys()
    told = {leaf for leaf, _, _, _ in FEATURES.values()} if said else set()
    leaves = sorted({key[0] for key in keys if first.values.get(key) != second.values.get(key)} - told)
    if leaves:
        more = f" and {len(leaves) - _LEAVES} more" if len(leaves) > _LEAVES else ""
        said.append(f"other answers in {', '.join(f'{leaf:#x}' for leaf in leaves[:_LEAVES])}{more}")
    if first.rewritten != second.rewritten:
        ways = ["by rewriting CPUID" if table.rewritten else "by CPUID faulting" for table in (first, second)]
        said.append(f"shown: {' | '.join(ways)}")
    return said


def essence(text: str) -> str | None:
    """A table without what no library chooses its arithmetic by: tables equal in this told programs the same. None where it is no table.

    Left out are how it is shown (by faulting or rewriting), how many bits addresses have, the numbers of cores, and incidental features: these
    come from the host, so that no two kinds of host show quite the same table of a profile.
    """
    try:
        table = cpuid.parse(text)
    except cpuid.TableError:
        return None
    values = {key: list(row) for key, row in table.values.items() if key[0] not in _NUMBERS}
    for name in INCIDENTAL & FEATURES.keys():
        leaf, subleaf, register, bit = FEATURES[name]
        for key in ((leaf, subleaf), (leaf, None)):
            if key in values:
                values[key][register] &= ~(1 << bit)
    for key, row in values.items():
        if key[0] == _ADDRESSES:
            row[0] = 0
    passed = table.passed - _NUMBERS
    return cpuid.Table({key: (a, b, c, d) for key, (a, b, c, d) in values.items()}, table.masks, passed).text()


def _shown_by(table: cpuid.Table) -> frozenset[str]:
    found = set()
    for name, (leaf, subleaf, register, bit) in FEATURES.items():
        row = table.values.get((leaf, subleaf), table.values.get((leaf, None), (0, 0, 0, 0)))
        if row[register] >> bit & 1:
            found.add(name)
    return frozenset(found)


def silicon(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The entries of two fingerprints that both have, and that are not equal; sorted."""
    return sorted(name for name in one.keys() & other.keys() if one[name] != other[name])


def _identity(first: Host, second: Host) -> list[str]:
    said = []
    identities = [(host.vendor, host.brand, host.family_model_stepping) for host in (first, second)]
    if identities[0] != identities[1]:
        for name, (vendor, brand, (family, model, stepping)) in zip(("first", "second"), identities, strict=True):
            who = f"{VENDORS.get(vendor, vendor)}, family {family}, model {model}, stepping {stepping}"
            said.append(f"{name}: {brand or 'no brand'} ({who})")
    if first.simd != second.simd:
        said.append(f"SIMD: {first.simd} | {second.simd}")
    return said


def _features(first: frozenset[str], second: frozenset[str]) -> list[str]:
    said = []
    for who, names in (("only the first has", first - second), ("only the second has", second - first)):
        if chosen := sorted(names - INCIDENTAL):
            said.append(f"{who}: {', '.join(chosen)}")
        if rest := sorted(names & INCIDENTAL):
            said.append(f"{who}, and no library chooses its arithmetic by it: {', '.join(rest)}")
    return said


def _caches(first: Host, second: Host) -> list[str]:
    said = []
    one, two = ({(cache["level"], cache["type"]): cache for cache in caches_of(host)} for host in (first, second))
    for key in sorted(one.keys() | two.keys()):
        name = f"L{key[0]}" + ("" if key[1] == "unified" else f" {key[1]}")
        if key not in one or key not in two:
            have = one.get(key) or two[key]
            said.append(f"{name} cache: " + (f"{have['size']} | none" if key in one else f"none | {have['size']}"))
            continue
        a, b = one[key], two[key]
        parts = [
            f"{a[part]}{unit} | {b[part]}{unit}"
            for part, unit in (("size", ""), ("ways", " ways"), ("line", " bytes a line"))
            if a[part] != b[part]
        ]
        if a["threads"] != b["threads"]:
            parts.append(f"shared by {a['threads']} | {b['threads']} threads")
        if parts:
            said.append(f"{name} cache: {'; '.join(parts)}")
    return said


def _silicon(one: dict[str, str], other: dict[str, str]) -> list[str]:
    if not one or not other:
        which = "neither has a" if not one and not other else f"the {'second' if one else 'first'} has no"
        return [f"silicon: not compared; {which} fingerprint (dumps have none)"]
    said = []
    if odd := silicon(one, other):
        said.append(f"silicon differs: {', '.join(odd)}; no profile can show that")
    for who, names in (("first", one.keys() - other.keys()), ("second", other.keys() - one.keys())):
        if names:
            said.append(f"silicon: not compared, for only the {who} has it: {', '.join(sorted(names))}")
    return said


def _facts(one: dict[str, str], other: dict[str, str]) -> list[str]:
    if not one or not other:
        # A dump is of a processor and says nothing of the system: nothing to compare, and no difference either.
        return []
    return [
        f"{_FACTS.get(key, key)}: {one.get(key, 'none')} | {other.get(key, 'none')}"
        for key in sorted(one.keys() | other.keys(), key=lambda key: ([*_FACTS, key].index(key), key))
        if one.get(key) != other.get(key)
    ]
