"""What differs between two runs of one cell, in the order in which one thing follows from the other.

    level -> workload -> software -> numdev's own code -> CPU as shown -> what libraries chose -> silicon -> the system around it

Nothing is concluded here: each difference is one that both sides recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numdev import cpu
from numdev.analysis import HOST
from numdev.bundle.stranger import plain
from numdev.spec import identity
from numdev.spec.architecture import X86
from numdev.spec.cell import DEFAULTS
from numdev.store import Record
from numdev.worker import cpuid

LEVEL, WORKLOAD, STACK, WORKER = "level", "workload", "software stack", "numdev's code in the cell"
CPU, DISPATCH, SILICON, SYSTEM = "CPU as shown", "dispatch", "silicon", "system"
ORDER = (LEVEL, WORKLOAD, STACK, WORKER, CPU, DISPATCH, SILICON, SYSTEM)
_FEW = 6
# A table that passes these to the real processor does not say itself what programs were told.
_TOLD = frozenset((0, 1, 7))


@dataclass(frozen=True)
class Difference:
    """`factor`: one of ORDER. `what`: in words, `... there, ... here`."""

    factor: str
    what: str


@dataclass(frozen=True)
class Side:
    """Where one side's records come from.

    name: what it is called after a value: "there" and "here", or "in A" and "in B". capture: a processor by the platform's digest and
    the level of `host`, "" where the run is of one machine. table: the text of a CPUID table by its digest. pins: package and version by
    stack. load: a tensor.
    known: what was found out of pairs of processors or tables, which many cells have in common.
    """

    name: str
    capture: Callable[[str, str], cpu.Capture | None] = lambda platform, host: None
    table: Callable[[str], str | None] = lambda digest: None
    pins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    load: Callable[[str], np.ndarray] = lambda tensor: np.zeros(0)
    known: dict[tuple[str, ...], str] = field(default_factory=dict, compare=False)


Sides = tuple[Side, Side]
Records = tuple[Record, Record]
Levels = tuple[Mapping[str, str], Mapping[str, str]]


def differences(records: Records, sides: Sides, levels: Levels | None = None) -> list[Difference]:
    """All differences of what both records say, the causes first.

    Args:
        levels: all levels of both cells, see `effective`; None where they are the same cell.
    """
    found = list(_levels(records, sides, levels)) if levels else []
    for factor, what in (
        (WORKLOAD, _digests("workload", "another model or other inputs", records, sides)),
        (STACK, _stack(records, sides)),
        (WORKER, _digests("worker", "another version", records, sides)),
        (CPU, shown(records, sides)),
        (DISPATCH, _dispatch(records, sides)),
        (SILICON, _silicon(records, sides)),
        (SYSTEM, _system(records, sides, levels)),
    ):
        if what:
            found.append(Difference(factor, what))
    return found


def effective(factors: Mapping[str, str], declared: Mapping[str, Any]) -> dict[str, str]:
    """All levels of a cell: those that its run names, and the defaults of those that it does not.

    declared: its record's levels. What a run that does not name the architecture means by it is its machine's, and not this one's.
    """
    # Records that do not say it are from before there was another one.
    machine = str(declared.get("architecture", X86))
    return {**{key: str(level) for key, level in DEFAULTS.items()}, "architecture": machine, **factors}


def _levels(records: Records, sides: Sides, levels: Levels) -> Iterator[Difference]:
    """Levels that were compared with each other and are not equal, but for those that have a difference of their own."""
    # A host is a machine, and no level that was set: it is told with its system.
    covered = {HOST}
    if told(records):
        covered.update(("profile", *identity.FACTORS))
    if all(_cause(record, "stack") for record in records):
        covered.add("stack")
    one, other = levels
    for key, level in one.items():
        if key not in covered and level != other.get(key, level):
            yield Difference(LEVEL, f"{plain(key, 60)} {_beside((level, other[key]), sides)}")


def silicon_known(records: Records, sides: Sides) -> bool:
    """Whether both processors' fingerprints are there to be compared."""
    return all(capture is not None and capture.fingerprint for capture in _captures(records, sides))


def told(records: Records) -> bool:
    """Whether it is recorded of both what CPUID answered; of imported ones it is not."""
    return all(_cause(record, "table") and (not own(record) or _cause(record, "platform")) for record in records)


def own(record: Record) -> bool:
    """Whether CPUID answered as the real processor does. Knobs leave it as it is, whatever profile they stand for."""
    return _cause(record, "table") == cpu.HOST or _profile(record).get("rung") == cpu.KNOBS


def read_back(records: Records) -> bool:
    """Whether some library says of both what it chose."""
    one, other = (cpu.dispatch(record.realised) for record in records)
    return not one.keys().isdisjoint(other)


def _captures(records: Records, sides: Sides) -> list[cpu.Capture | None]:
    return [
        side.capture(_cause(record, "platform"), str(record.factors.get(HOST, "")))
        for side, record in zip(sides, records, strict=True)
    ]


def _cause(record: Record, key: str) -> str:
    return str(record.causes.get(key, ""))


def _beside(values: tuple[Any, Any], sides: Sides) -> str:
    return ", ".join(f"{plain(value or 'none', 120)} {side.name}" for value, side in zip(values, sides, strict=True))


def _digests(key: str, what: str, records: Records, sides: Sides) -> str:
    one, other = (_cause(record, key) for record in records)
    if one == other or not one or not other:
        return ""
    return f"{what}: digest {_beside((one[:12], other[:12]), sides)}"


def _stack(records: Records, sides: Sides) -> str:
    one, other = (_cause(record, "stack") for record in records)
    if one == other or not one or not other:
        return ""
    names = tuple(str(record.factors.get("stack", "")) for record in records)
    versions = [
        {**side.pins.get(name, {}), **_versions(record)}
        for side, name, record in zip(sides, names, records, strict=True)
    ]
    said = [
        f"{plain(package, 60)} {_beside((versions[0].get(package), versions[1].get(package)), sides)}"
        for package in sorted(versions[0].keys() | versions[1].keys())
        if versions[0].get(package) != versions[1].get(package)
    ]
    if names[0] != names[1]:
        said = said or [_beside(names, sides)]
    more = f"; and {len(said) - _FEW} more" if len(said) > _FEW else ""
    return "; ".join(said[:_FEW]) + more or "the same versions in other files: another base system, build or lock"


def _versions(record: Record) -> dict[str, str]:
    found = record.realised.get("versions")
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _profile(record: Record) -> dict[str, Any]:
    facts = record.environment.get("profile")
    return facts if isinstance(facts, dict) else {}


def shown(records: Records, sides: Sides) -> str:
    """What libraries were told of the CPU: by the processor's own CPUID or a table's, and by knobs."""
    if not told(records):
        return ""
    real = [own(record) for record in records]
    if all(real):
        what = _processors(records, sides)
    elif any(real):
        what = _replaced(records, sides, real.index(False))
    else:
        tables = tuple(_cause(record, "table") for record in records)
        what = "" if tables[0] == tables[1] else _once(tables, sides, lambda: _between(tables, sides))
    return "; ".join(filter(None, (what, _knobs(records, sides))))


def _replaced(records: Records, sides: Sides, at: int) -> str:
    """The real processor, and `at` what answered in its place there."""
    platform, facts = _cause(records[1 - at], "platform"), _profile(records[at])
    if _called(records[at]) == f"platforms/{platform}.json":
        # The other one was shown as it: what it lacks is all that can differ, and what no emulator takes from a profile.
        lacks, kept = facts.get("intersected"), facts.get("not_shown")
        said = [
            f"{sides[at].name} {how} {', '.join(plain(name, 40) for name in names)}"
            for how, names in (("without", lacks), ("with the emulator's own", kept))
            if isinstance(names, list) and names
        ]
        return "; ".join(said)
    names = ["the processor's own"] * 2
    names[at] = _called(records[at])
    table = _cause(records[at], "table")

    def find() -> str:
        text, real = sides[at].table(table), _captures(records, sides)[1 - at]
        lines = _real_and_table(real, text, at) if real and text is not None else None
        if lines == []:
            return ""
        rest = _of(_without_identity(lines or []), sides)
        return _beside((names[0], names[1]), sides) + (f"; {rest}" if rest else "")

    return _once((platform, table, *names), sides, find)


def _called(record: Record) -> str:
    """The profile that a record was shown, by its name."""
    facts = _profile(record)
    name = str(facts.get("profile") or identity.compose(record.factors))
    # Another architecture has no profiles: it is what its emulator makes of it.
    return f"QEMU's {facts.get('cpu')}" if name == cpu.HOST and facts.get("rung") == cpu.EMULATE else name


def _real_and_table(real: cpu.Capture, text: str, at: int) -> list[str] | None:
    """What a library can choose by, of a processor and of a table, the side `at`; None where the table does not say it."""
    try:
        table = cpuid.parse(text)
    except cpuid.TableError:
        return None
    if _TOLD & table.passed:
        return None
    both = [real, cpu.Capture({(leaf, subleaf or 0): row for (leaf, subleaf), row in table.values.items()})]
    return [line for line in _chosen_by(both if at else both[::-1]) if "no library chooses" not in line]


def _knobs(records: Records, sides: Sides) -> str:
    """By which knobs libraries were told of a CPU, where that was done and is not the same."""
    one, other = (_settings(record) for record in records)
    said = [
        f"{plain(name, 60)} {_beside((one.get(name), other.get(name)), sides)}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
    more = f"; and {len(said) - _FEW} more" if len(said) > _FEW else ""
    return f"knobs: {'; '.join(said[:_FEW])}{more}" if said else ""


def _settings(record: Record) -> dict[str, str]:
    facts = _profile(record)
    found = facts.get("variables") if facts.get("rung") == cpu.KNOBS else None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _once(key: tuple[str, ...], sides: Sides, find: Callable[[], str]) -> str:
    if key not in sides[0].known:
        sides[0].known[key] = find()
    return sides[0].known[key]


def _between(tables: tuple[str, ...], sides: Sides) -> str:
    texts = [side.table(table) for side, table in zip(sides, tables, strict=True)]
    told = {None if text is None else cpu.essence(text) for text in texts}
    if len(told) == 1 and None not in told:
        # Tables of one profile on two kinds of host, or one by faulting and one by rewriting.
        return ""
    lines = cpu.tables(texts[0], texts[1]) if texts[0] is not None and texts[1] is not None else None
    if lines is None:
        return f"another CPUID table: digest {_beside((tables[0][:12], tables[1][:12]), sides)}"
    return _of(lines, sides) or "the same answers, but for what the real processor is asked for"


def _of(lines: list[str], sides: Sides) -> str:
    """Lines of `cpu.differences`, of the two sides; without what no library chooses by."""
    said = "; ".join(line for line in lines if "no library chooses" not in line)
    for which, side in zip(("first", "second"), sides, strict=True):
        said = said.replace(f"only the {which} has", f"only {side.name}")
    return plain(said, 400)


def _processors(records: Records, sides: Sides) -> str:
    """Two real processors: what libraries can choose by."""
    if _cause(records[0], "platform") == _cause(records[1], "platform"):
        return ""
    captures = _captures(records, sides)
    facts = [record.environment.get("platform") for record in records]
    brands = _beside(tuple(one.get("brand") if isinstance(one, dict) else None for one in facts), sides)
    if any(capture is None for capture in captures):
        return f"another processor: {brands}"
    platforms = tuple(_cause(record, "platform") for record in records)
    lines = _once(platforms, sides, lambda: _of(_without_identity(_chosen_by(captures)), sides))
    return f"another processor: {brands}" + (f"; {lines}" if lines else "")


def _chosen_by(captures: list[cpu.Capture | None]) -> list[str]:
    one, other = (cpu.Capture(capture.leaves) for capture in captures if capture is not None)
    return [line for line in cpu.differences(one, other) if not line.startswith("silicon")]


def _without_identity(lines: list[str]) -> list[str]:
    """Without the lines that say which processors they are, where that was said already."""
    return [line for line in lines if not line.startswith(("first:", "second:"))]


def _dispatch(records: Records, sides: Sides) -> str:
    one, other = (cpu.dispatch(record.realised) for record in records)
    said = []
    # Of a library that was read back on one side only, it is not known what it chose on the other.
    for library in sorted(one.keys() & other.keys()):
        there, here = set(one[library].split()), set(other[library].split())
        if one[library] == other[library]:
            continue
        if len(there) <= 3 and len(here) <= 3:
            said.append(f"{library} chose {_beside((one[library], other[library]), sides)}")
        else:
            parts = ((there - here, sides[0].name), (here - there, sides[1].name))
            only = [f"only {name} {' '.join(sorted(some))}" for some, name in parts if some]
            said.append(plain(f"{library} chose {'; '.join(only)}", 300))
    return "; ".join(said)


def _silicon(records: Records, sides: Sides) -> str:
    if any(_profile(record).get("rung") == cpu.EMULATE for record in records):
        # An emulator's arithmetic is its own, wherever it runs.
        return ""
    captures = _captures(records, sides)
    if captures[0] is None or captures[1] is None:
        return ""
    odd = cpu.silicon(captures[0].fingerprint, captures[1].fingerprint)
    return f"the processors compute {plain(', '.join(odd))} differently" if odd else ""


def _system(records: Records, sides: Sides, levels: Levels | None) -> str:
    captures = _captures(records, sides)
    said = []
    for name, values in (
        ("host", tuple(one.get(HOST) for one in levels) if levels else (None, None)),
        ("engine", tuple(record.environment.get("engine") for record in records)),
        ("libc", tuple(record.realised.get("libc") for record in records)),
        ("Python", tuple(record.realised.get("python") for record in records)),
        ("emulator", tuple(_profile(record).get("emulator") for record in records)),
        *(
            (name, tuple(capture.facts.get(key) if capture else None for capture in captures))
            for name, key in (("Linux", "kernel"), ("microcode", "microcode"), ("hypervisor", "hypervisor"))
        ),
    ):
        if values[0] != values[1] and (all(values) or name in ("emulator", "hypervisor")):
            said.append(f"{name} {_beside(values, sides)}")
    return "; ".join(said)
