"""What a design can say of its hosts: the factor `host`, whose levels are whole machines.

Between two machines silicon, kernel, microcode and engine vary at once, and dispatch too where CPUID was not set. What can be told apart
depends on what the programs were told on both sides, pair by pair of cells that differ in their host alone; nothing beyond that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from numdev.analysis.classes import ABSENT, Cell, Partition
from numdev.analysis.observation import HOST, OK, Observation

# What the libraries were told and chose on the two sides of a pair: told alike and chose alike; told alike, and it was not read back on both
# sides what was chosen; told alike, and chose otherwise; not told alike, or not known to be.
HELD, UNREAD, OTHERWISE, TOGETHER = TOLD = ("held", "unread", "otherwise", "together")
# What computed: processors of different kinds; of one kind, by their arithmetic too; of one kind by name, their arithmetic not being recorded
# of both; it is not recorded; an emulator on both sides; an emulator on one side alone.
VARIED, SAME, NAMED, UNKNOWN, EMULATED, MIXED = SILICON = ("varied", "same", "named", "unknown", "emulated", "mixed")
# What else of a machine has to be recorded on both sides to be left out of account.
EXPECTED = ("kernel", "microcode", "libc", "engine")
# Facts that a machine has or has not: to have none is to differ from one that has.
OPTIONAL = ("emulator", "hypervisor")


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
    """Matched pairs that have outputs and differ in their host alone, of one kind: `silicon` is one of SILICON, `told` one of TOLD.

    hosts: the pairs of levels. The rest is of pairs whose bytes differ. once: how many have a cell that ran once. fingerprints: what of
    the processors' arithmetic differs; odd: in how many of these pairs some does. also: what else that is recorded differs between
    hosts; unrecorded: what is not recorded of both.
    """

    silicon: str
    told: str
    pairs: int
    differ: int
    hosts: tuple[tuple[str, str], ...]
    once: int
    fingerprints: tuple[str, ...]
    odd: int
    also: tuple[str, ...]
    unrecorded: tuple[str, ...]


@dataclass(frozen=True)
class Across:
    """One cell on several hosts: its class or status by host."""

    levels: Mapping[str, str] = field(hash=False)
    outcomes: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class Hosts:
    """What a workload's cells show of hosts.

    conflicts: cells that have one digest, so equal causes, and not the same class. ended: cells that have outputs on one host and none on
    another, or ended otherwise there. alone: how many cells have a class on that host and on no other.
    """

    compared: tuple[Compared, ...]
    conflicts: tuple[Across, ...]
    ended: tuple[Across, ...]
    alone: Mapping[str, int] = field(hash=False)


@dataclass(frozen=True)
class _Pair:
    """Two cells that differ in their host alone, the levels of that, and whether their bytes differ."""

    cells: tuple[Cell, Cell]
    levels: tuple[str, str]
    differ: bool


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
    by: dict[tuple[str, str], list[_Pair]] = {}
    conflicts, ended, alone = [], [], Counter(dict.fromkeys(part.levels[HOST], 0))
    for cells in strata.values():
        if len(cells) == 1:
            alone[cells[0].levels[HOST]] += 1
        if any(cell.kind == "status" for cell in cells) and len({cell.status for cell in cells}) > 1:
            ended.append(_across(part, cells))
        some = [cell for cell in cells if cell.kind == "bytes"]
        for one, other in combinations(some, 2):
            if part.commensurable(one, other):
                pair = _Pair((one, other), (one.levels[HOST], other.levels[HOST]), part.differ(one, other))
                by.setdefault((_silicon(pair, seen, hosts), _told(pair, seen)), []).append(pair)
        conflicts += _conflicts(part, some, seen)
    compared = [
        _compared(silicon, told, by[silicon, told], hosts)
        for silicon in SILICON
        for told in TOLD
        if (silicon, told) in by
    ]
    return Hosts(
        tuple(compared), tuple(conflicts), tuple(ended), {level: count for level, count in alone.items() if count}
    )


def _observed(part: Partition, observations: Iterable[Observation]) -> dict[int, list[Observation]]:
    """The runs of each cell that gave outputs, by the cell's identity."""
    at: dict[tuple[str, ...], list[Observation]] = {}
    for one in observations:
        if one.workload == part.workload and not one.reference and one.status == OK:
            at.setdefault(tuple(one.factors.get(name, ABSENT) for name in part.levels), []).append(one)
    return {id(cell): at.get(tuple(cell.levels.values()), []) for cell in part.cells}


def _silicon(pair: _Pair, seen: Mapping[int, list[Observation]], hosts: Mapping[str, Host]) -> str:
    emulated = {one.emulated for cell in pair.cells for one in seen[id(cell)]}
    if True in emulated:
        return MIXED if False in emulated else EMULATED
    one, other = (hosts.get(level, Host()) for level in pair.levels)
    if not one.silicon or not other.silicon:
        return UNKNOWN
    # Two of one name that compute otherwise are not of one kind, whatever they say of themselves.
    if one.silicon != other.silicon or apart(one, other):
        return VARIED
    return SAME if fingerprinted(one, other) else NAMED


def apart(one: Host, other: Host) -> list[str]:
    """The entries of two fingerprints that both have, and that are not equal."""
    both = one.fingerprint.keys() & other.fingerprint.keys()
    return sorted(name for name in both if one.fingerprint[name] != other.fingerprint[name])


def fingerprinted(one: Host, other: Host) -> bool:
    """Whether the arithmetic of both is recorded, so that it can be compared."""
    return bool(one.fingerprint.keys() & other.fingerprint.keys())


def _told(pair: _Pair, seen: Mapping[int, list[Observation]]) -> str:
    one, other = (seen[id(cell)] for cell in pair.cells)
    shown = {run.shown for run in (*one, *other)}
    if len(shown) != 1 or "" in shown:
        return TOGETHER
    chosen = [[run.dispatch for run in runs] for runs in (one, other)]
    for library in set().union(*chosen[0]) & set().union(*chosen[1]):
        if len({run[library] for runs in chosen for run in runs if library in run}) > 1:
            return OTHERWISE
    libraries = {frozenset(run) for runs in chosen for run in runs}
    return HELD if len(libraries) == 1 and all(libraries) else UNREAD


def _across(part: Partition, cells: Iterable[Cell]) -> Across:
    cells = list(cells)
    levels = {name: level for name, level in cells[0].levels.items() if name != HOST}
    return Across(levels, {cell.levels[HOST]: part.name(cell) for cell in cells})


def _conflicts(part: Partition, cells: list[Cell], seen: Mapping[int, list[Observation]]) -> list[Across]:
    by: dict[str, list[Cell]] = {}
    for cell in cells:
        # What one cell is called does not depend on the replicate.
        causes = {one.causes for one in seen[id(cell)]}
        if len(causes) == 1 and "" not in causes:
            by.setdefault(causes.pop(), []).append(cell)
    return [
        _across(part, some)
        for some in by.values()
        if any(part.commensurable(*pair) and part.differ(*pair) for pair in combinations(some, 2))
    ]


def _compared(silicon: str, told: str, some: list[_Pair], hosts: Mapping[str, Host]) -> Compared:
    odd = [pair for pair in some if pair.differ]
    between = [(pair, *(hosts.get(level, Host()) for level in pair.levels)) for pair in odd]
    machines = {pair.levels: (one, other) for pair, one, other in between}.values()
    computed = [apart(one, other) for _, one, other in between]
    return Compared(
        silicon,
        told,
        len(some),
        len(odd),
        tuple(dict.fromkeys(pair.levels for pair in some)),
        sum(any(cell.runs < 2 for cell in pair.cells) for pair in odd),
        tuple(sorted({name for names in computed for name in names})),
        sum(map(bool, computed)),
        tuple(sorted({name for one, other in machines for name in _facts_apart(one, other)})),
        tuple(name for name in EXPECTED if any(name not in host.facts for pair in machines for host in pair)),
    )


def _facts_apart(one: Host, other: Host) -> Iterator[str]:
    for name in one.facts.keys() | other.facts.keys():
        both = name in one.facts and name in other.facts
        if (both or name in OPTIONAL) and one.facts.get(name) != other.facts.get(name):
            yield name
