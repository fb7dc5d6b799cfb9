"""What a design can say of its hosts: the factor `host`, whose levels are whole machines.

Between two machines silicon, kernel, microcode and engine vary at once, and dispatch too where CPUID was not set. What can be told apart
depends on what the programs were told on both sides, pair by pair of cells that differ in their host alone; nothing beyond that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from numdev.analysis.classes import ABSENT, Cell, Partition
from numdev.analysis.observation import OK, Observation

HOST = "host"
# What the libraries were told and chose on the two sides of a pair: told alike and chose alike; told alike, and no library says what
# it chose; told alike, and chose otherwise; not told alike, or not known to be.
HELD, UNREAD, OTHERWISE, TOGETHER = TOLD = ("held", "unread", "otherwise", "together")
# Which processors computed: of different kinds; of one kind; it is not recorded; an emulator did, whatever the processor.
VARIED, SAME, UNKNOWN, EMULATED = SILICON = ("varied", "same", "unknown", "emulated")
# What else of a machine has to be recorded on both sides to be left out of account.
EXPECTED = ("kernel", "microcode", "libc", "engine")


@dataclass(frozen=True)
class Host:
    """The machine behind a level of `host`.

    silicon: its processor's vendor, family, model and stepping, "" where that is not recorded. declared: what its programs were told
    instead, where the whole machine was shown as another. fingerprint: what its processor computes where manuals leave it
    free. facts: whatever else of it may matter, by name.
    """

    silicon: str = ""
    declared: str = ""
    fingerprint: Mapping[str, str] = field(default_factory=dict, hash=False)
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Compared:
    """Matched pairs that differ in their host alone, of one kind: `silicon` is one of SILICON, `told` one of TOLD.

    hosts: the pairs of levels. fingerprints: what of the processors' arithmetic was seen to differ between some of them. also: what else that
    is recorded does; unrecorded: what is not recorded of both.
    """

    silicon: str
    told: str
    pairs: int
    differ: int
    hosts: tuple[tuple[str, str], ...]
    fingerprints: tuple[str, ...]
    also: tuple[str, ...]
    unrecorded: tuple[str, ...]


@dataclass(frozen=True)
class Conflict:
    """One cell that has one digest, so equal causes, on several hosts, and not the same class: by host."""

    levels: Mapping[str, str] = field(hash=False)
    outcomes: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class Hosts:
    """What a workload's cells show of hosts. alone: how many cells have a class on that host and on no other."""

    compared: tuple[Compared, ...]
    conflicts: tuple[Conflict, ...]
    alone: Mapping[str, int] = field(hash=False)


def hosts_of(part: Partition, observations: Iterable[Observation], hosts: Mapping[str, Host]) -> Hosts | None:
    """What the pairs of a partition say; None where `host` is no factor of it."""
    if HOST not in part.levels:
        return None
    seen = _observed(part, observations)
    strata: dict[tuple[str, ...], list[Cell]] = {}
    for cell in part.cells:
        if cell.comparable:
            rest = tuple(level for name, level in cell.levels.items() if name != HOST)
            strata.setdefault(rest, []).append(cell)
    counts: dict[tuple[str, str], Counter[str]] = {}
    between: dict[tuple[str, str], dict[tuple[str, str], None]] = {}
    conflicts, alone = [], Counter(dict.fromkeys(part.levels[HOST], 0))
    for cells in strata.values():
        if len(cells) == 1:
            alone[cells[0].levels[HOST]] += 1
        for pair in combinations(cells, 2):
            if not part.commensurable(*pair):
                continue
            levels = pair[0].levels[HOST], pair[1].levels[HOST]
            key = _silicon(pair, levels, seen, hosts), _told(pair, seen)
            counts.setdefault(key, Counter())["pairs"] += 1
            counts[key]["differ"] += part.differ(*pair)
            between.setdefault(key, {})[levels] = None
        conflicts += _conflicts(part, cells, seen)
    compared = [
        _compared(silicon, told, counts[silicon, told], tuple(between[silicon, told]), hosts)
        for silicon in SILICON
        for told in TOLD
        if (silicon, told) in counts
    ]
    return Hosts(tuple(compared), tuple(conflicts), {level: count for level, count in alone.items() if count})


def _observed(part: Partition, observations: Iterable[Observation]) -> dict[int, Observation]:
    """One run of each cell, by the cell's identity: one that gave outputs, where there is one."""
    at: dict[tuple[str, ...], Observation] = {}
    for one in observations:
        if one.workload == part.workload and not one.reference:
            key = tuple(one.factors.get(name, ABSENT) for name in part.levels)
            if key not in at or (at[key].status != OK and one.status == OK):
                at[key] = one
    return {id(cell): at[tuple(cell.levels.values())] for cell in part.cells if tuple(cell.levels.values()) in at}


def _silicon(
    pair: tuple[Cell, Cell], levels: tuple[str, str], seen: Mapping[int, Observation], hosts: Mapping[str, Host]
) -> str:
    if any(seen[id(cell)].emulated for cell in pair):
        return EMULATED
    one, other = (hosts.get(level, Host()) for level in levels)
    if not one.silicon or not other.silicon:
        return UNKNOWN
    # Two of one name that compute otherwise are not of one kind, whatever they say of themselves.
    return VARIED if one.silicon != other.silicon or apart(one, other) else SAME


def apart(one: Host, other: Host) -> list[str]:
    """The entries of two fingerprints that both have, and that are not equal."""
    both = one.fingerprint.keys() & other.fingerprint.keys()
    return sorted(name for name in both if one.fingerprint[name] != other.fingerprint[name])


def _told(pair: tuple[Cell, Cell], seen: Mapping[int, Observation]) -> str:
    one, other = (seen[id(cell)] for cell in pair)
    if not one.shown or one.shown != other.shown:
        return TOGETHER
    if one.dispatch != other.dispatch:
        return OTHERWISE
    return HELD if one.dispatch else UNREAD


def _conflicts(part: Partition, cells: list[Cell], seen: Mapping[int, Observation]) -> list[Conflict]:
    by: dict[str, list[Cell]] = {}
    for cell in cells:
        if causes := seen[id(cell)].causes:
            by.setdefault(causes, []).append(cell)
    found = []
    for some in by.values():
        if any(part.commensurable(*pair) and part.differ(*pair) for pair in combinations(some, 2)):
            levels = {name: level for name, level in some[0].levels.items() if name != HOST}
            found.append(Conflict(levels, {cell.levels[HOST]: part.name(cell) for cell in some}))
    return found


def _compared(
    silicon: str, told: str, count: Counter[str], between: tuple[tuple[str, str], ...], hosts: Mapping[str, Host]
) -> Compared:
    pairs = [(hosts.get(one, Host()), hosts.get(other, Host())) for one, other in between]
    names = sorted({name for pair in pairs for host in pair for name in host.facts} | set(EXPECTED))
    also = [
        name
        for name in names
        if any(
            name in one.facts and name in other.facts and one.facts[name] != other.facts[name] for one, other in pairs
        )
    ]
    unrecorded = [name for name in EXPECTED if any(name not in host.facts for pair in pairs for host in pair)]
    odd = sorted({name for pair in pairs for name in apart(*pair)})
    return Compared(silicon, told, count["pairs"], count["differ"], between, tuple(odd), tuple(also), tuple(unrecorded))
