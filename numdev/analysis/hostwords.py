"""What hosts show, in sentences that claim no more than hosts.py found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from numdev.analysis.classes import Partition
from numdev.analysis.dispatch import PARTS, PROFILE, shown
from numdev.analysis.hosts import (
    EMULATED,
    HELD,
    OTHERWISE,
    SAME,
    TOGETHER,
    UNKNOWN,
    UNREAD,
    VARIED,
    Compared,
    Conflict,
    Host,
    Hosts,
    apart,
)
from numdev.analysis.sentences import listed, plural

# Of more conflicts the levels are in the JSON.
MOST = 6
_TOLD = {
    HELD: "dispatch is held (programs were told the same, and the libraries that say so chose alike)",
    UNREAD: "programs were told the same, and no library says what it chose",
    OTHERWISE: "programs were told the same, and libraries chose otherwise",
    TOGETHER: "programs were not told the same",
}


def host_sentences(found: Hosts, part: Partition, repeated: bool) -> list[str]:
    """What follows for a person, one thing a sentence. repeated: whether it was measured what differs from run to run."""
    said = [_compared(one, repeated) for one in found.compared]
    if found.alone:
        each = [f"{plural(count, 'cell')} on {level}" for level, count in found.alone.items()]
        said.append(f"not compared, for only one host has a class there: {listed(each)}")
    if found.conflicts:
        names = [_conflict(one, part) for one in found.conflicts[:MOST]]
        more = f" and {len(found.conflicts) - MOST} more" if len(found.conflicts) > MOST else ""
        count = plural(len(found.conflicts), "conflict")
        said.append(f"{count} (equal causes by the cell's digest, other bytes): {'; '.join(names)}{more}")
    return said


def _compared(one: Compared, repeated: bool) -> str:
    count = f"{one.differ} of {plural(one.pairs, 'pair')} differ"
    if one.told == TOGETHER and one.silicon in (VARIED, UNKNOWN):
        return _together(one, count)
    text = f"where {_TOLD[one.told]}, {count}"
    return f"{text}: {_cause(one, repeated) if one.differ else _nothing(one)}"


def _nothing(one: Compared) -> str:
    """Of pairs that do not differ: what is then known to change nothing there."""
    what = {
        VARIED: "neither silicon nor anything else of these hosts changes the bytes there",
        UNKNOWN: "nothing of these hosts changes the bytes there, whatever their silicon",
        SAME: "the silicon is the same, and nothing else of these hosts changes the bytes there",
        EMULATED: "an emulator computed, so that nothing is said of silicon",
    }
    return what[one.silicon]


def _cause(one: Compared, repeated: bool) -> str:
    """Of pairs that differ: everything that may be the reason, and what is not."""
    seen = f" (they compute {listed(one.fingerprints)} differently)" if one.fingerprints else ""
    not_silicon = {
        SAME: "the silicon is the same, so it is not of silicon but",
        EMULATED: "an emulator computed, so it is",
    }
    may = {VARIED: [f"silicon{seen}"], UNKNOWN: ["silicon, which is not recorded"]}.get(one.silicon, [])
    may += {
        OTHERWISE: ["what they chose"],
        UNREAD: ["a choice that no library tells"],
        TOGETHER: ["dispatch, by what they were told"],
    }.get(one.told, [])
    if one.also:
        may.append(f"what else differs between the hosts ({listed(one.also)})")
    if one.unrecorded:
        may.append(f"what is not recorded of both ({listed(one.unrecorded)})")
    if not repeated:
        may.append("chance, for each cell ran once")
    if not may:
        may.append("something that no record has")
    text = " ".join(filter(None, (not_silicon.get(one.silicon, ""), f"of {', or of '.join(may)}")))
    return text if len(may) > 1 or one.silicon != VARIED else f"{text}: nothing else that is recorded differs"


def _together(one: Compared, count: str) -> str:
    what = "dispatch and silicon vary together (each host's own CPUID, or not the same one shown)"
    if not one.differ:
        return f"where {what}, {count}: neither is seen to change the bytes there"
    return f"not identified where {what}: {count}, and this design cannot tell of which; profiles that both hosts show would"


def _conflict(one: Conflict, part: Partition) -> str:
    levels = {name: level for name, level in one.levels.items() if len(part.levels[name]) > 1}
    named = [level for name, level in levels.items() if name == "stack"]
    if PROFILE in levels:
        named.append(shown({name: level for name, level in one.levels.items() if name in (PROFILE, *PARTS)}))
    named += [
        f"{name.replace('_', ' ')} {level}" for name, level in levels.items() if name not in ("stack", PROFILE, *PARTS)
    ]
    where = " ".join(named) or "the only cell"
    return f"{where} ({', '.join(f'{outcome} on {level}' for level, outcome in one.outcomes.items())})"


def hosts_in_short(hosts: Mapping[str, Host], workloads: Mapping[str, Hosts | None]) -> list[str]:
    """Who the hosts are, what of them varies, and what cannot be told apart; over all workloads."""
    if len(hosts) < 2:
        return []
    said = [f"Hosts: {listed(_who(level, host) for level, host in hosts.items())}."]
    kinds = {host.silicon for host in hosts.values()}
    found = [one for one in workloads.values() if one is not None]
    compared = [each for one in found for each in one.compared]
    if "" in kinds:
        said.append("Of some hosts it is not recorded which silicon they have.")
    elif len(kinds) == 1 and not any(apart(*pair) for pair in combinations(hosts.values(), 2)):
        said.append("All hosts have the same silicon: no difference here can be of silicon.")
    held = [one for one in compared if one.told in (HELD, UNREAD) and one.silicon == VARIED]
    if held:
        said.append(_total("Told the same CPU on other silicon", held))
    if open_ := [one for one in compared if one.told == TOGETHER and one.silicon in (VARIED, UNKNOWN)]:
        said.append(_total("Dispatch and silicon vary together, and are not told apart", open_))
    if conflicts := sum(len(one.conflicts) for one in found):
        said.append(f"{plural(conflicts, 'conflict')}: one cell's digest, other bytes on another host.")
    return said


def _total(what: str, some: Sequence[Compared]) -> str:
    pairs = sum(one.pairs for one in some)
    return f"{what}: {sum(one.differ for one in some)} of {plural(pairs, 'pair')} differ."


def _who(level: str, host: Host) -> str:
    return f"{level} (declared: its processor is {host.silicon or 'not recorded'})" if host.declared else level
