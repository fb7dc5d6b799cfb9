"""What hosts show, in sentences that claim no more than hosts.py found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from numdev.analysis.classes import Partition
from numdev.analysis.dispatch import PARTS, PROFILE, shown
from numdev.analysis.hosts import (
    EMULATED,
    HELD,
    MIXED,
    NAMED,
    OTHERWISE,
    SAME,
    TOGETHER,
    UNKNOWN,
    UNREAD,
    VARIED,
    Across,
    Compared,
    Host,
    Hosts,
    apart,
    fingerprinted,
)
from numdev.analysis.sentences import listed, plural

# Of more conflicts the levels are in the JSON.
MOST = 6
_TOLD = {
    HELD: "dispatch is held (programs were told the same, and the libraries that say so chose alike)",
    UNREAD: "programs were told the same, and it was not read back on both sides what libraries chose",
    OTHERWISE: "programs were told the same, and libraries chose otherwise",
    TOGETHER: "programs were not told the same",
}


def host_sentences(found: Hosts, part: Partition) -> list[str]:
    """What follows for a person, one thing a sentence."""
    said = [_compared(one) for one in found.compared]
    if found.ended:
        count = plural(len(found.ended), "cell")
        said.append(
            f"{count} ended otherwise on another host, which says nothing of bytes: {_named(found.ended, part)}"
        )
    if found.alone:
        each = [f"{plural(count, 'cell')} on {level}" for level, count in found.alone.items()]
        said.append(f"not compared, for only one host has a class there: {listed(each)}")
    if found.conflicts:
        count = plural(len(found.conflicts), "conflict")
        said.append(f"{count} (equal causes by the cell's digest, other bytes): {_named(found.conflicts, part)}")
    return said


def _compared(one: Compared) -> str:
    count = f"{one.differ} of {plural(one.pairs, 'pair')} differ"
    if one.told == TOGETHER and one.silicon in (VARIED, UNKNOWN):
        return _together(one, count)
    text = f"where {_TOLD[one.told]}, {count}"
    return f"{text}: {_cause(one) if one.differ else _nothing(one)}"


def _nothing(one: Compared) -> str:
    """Of pairs that do not differ: what is then known to change nothing there."""
    what = {
        VARIED: "neither silicon nor anything else of these hosts changes the bytes there",
        SAME: "the silicon is the same, and nothing else of these hosts changes the bytes there",
    }
    emulator = "an emulator computed, so that nothing is said of silicon"
    if one.silicon in (EMULATED, MIXED):
        return emulator if one.silicon == EMULATED else f"on one side {emulator}"
    return what.get(one.silicon, "nothing of these hosts changes the bytes there, whatever their silicon")


def _cause(one: Compared) -> str:
    """Of pairs that differ: everything that may be the reason, and what is not."""
    not_silicon = {
        SAME: "the silicon is the same, so it is not of silicon but",
        EMULATED: "an emulator computed, so it is",
    }
    may = [*_silicon(one)]
    may += {
        OTHERWISE: ["what they chose"],
        UNREAD: ["a choice that was not read back"],
        TOGETHER: ["dispatch, by what they were told"],
    }.get(one.told, [])
    may += _rest(one)
    if not may:
        may.append("something that no record has")
    text = " ".join(filter(None, (not_silicon.get(one.silicon, ""), f"of {', or of '.join(may)}")))
    return text if len(may) > 1 or one.silicon != VARIED else f"{text}: nothing else that is recorded differs"


def _silicon(one: Compared) -> list[str]:
    computed = f"compute {listed(one.fingerprints)} differently"
    seen = f"they {computed}" if one.odd == one.differ else f"the hosts of {one.odd} of these pairs {computed}"
    return {
        VARIED: [f"silicon ({seen})" if one.odd else "silicon"],
        NAMED: ["silicon, which is the same by its name alone"],
        UNKNOWN: ["silicon, which is not recorded"],
        MIXED: ["an emulator's arithmetic against a processor's"],
    }.get(one.silicon, [])


def _rest(one: Compared) -> list[str]:
    """What may be the reason whatever is known of silicon and dispatch."""
    may = []
    if one.also:
        may.append(f"what else differs between the hosts ({listed(one.also)})")
    if one.unrecorded:
        may.append(f"what is not recorded of both ({listed(one.unrecorded)})")
    if one.once:
        of = "" if one.once == one.differ else f" of {one.once} of these pairs"
        may.append(f"chance, for {'cells' if of else 'each cell'}{of} ran once")
    return may


def _together(one: Compared, count: str) -> str:
    what = "dispatch and silicon vary together (each host's own CPUID, or not the same one shown)"
    if not one.differ:
        return f"where {what}, {count}: neither is seen to change the bytes there"
    may = ", or of ".join(["dispatch", *_silicon(one), *_rest(one)])
    return (
        f"not identified where {what}: {count}, of {may}; this design cannot tell of which. "
        "Profiles that both hosts show would hold dispatch"
    )


def _named(cells: Sequence[Across], part: Partition) -> str:
    more = f" and {len(cells) - MOST} more" if len(cells) > MOST else ""
    return "; ".join(_across(one, part) for one in cells[:MOST]) + more


def _across(one: Across, part: Partition) -> str:
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
        if all(fingerprinted(*pair) for pair in combinations(hosts.values(), 2)):
            said.append("All hosts have the same silicon: what differs between them is not of it.")
        else:
            said.append("All hosts have silicon of one name; it is not recorded of all of them what it computes.")
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
