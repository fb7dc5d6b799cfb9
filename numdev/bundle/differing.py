"""What differs between two runs of one cell, in the order in which one thing follows from the other.

    workload -> software -> numdev's own code -> CPU as shown -> what libraries chose -> silicon -> the system around it

Nothing is concluded here: each difference is one that both sides recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numdev import cpu
from numdev.bundle.stranger import plain
from numdev.store import Record

WORKLOAD, STACK, WORKER, CPU = "workload", "software stack", "numdev's code in the cell", "CPU as shown"
DISPATCH, SILICON, SYSTEM = "dispatch", "silicon", "system"
ORDER = (WORKLOAD, STACK, WORKER, CPU, DISPATCH, SILICON, SYSTEM)
_FEW = 6


@dataclass(frozen=True)
class Difference:
    """`factor`: one of ORDER. `what`: in words, `... there, ... here`."""

    factor: str
    what: str


@dataclass(frozen=True)
class Side:
    """Where one side's records come from.

    name: what it is called after a value: "there" and "here", or "in A" and "in B". capture: a processor by the platform's digest.
    table: the text of a CPUID table by its digest. pins: package and version by stack. load: a tensor.
    known: what was found out of pairs of processors or tables, which many cells have in common.
    """

    name: str
    capture: Callable[[str], cpu.Capture | None] = lambda digest: None
    table: Callable[[str], str | None] = lambda digest: None
    pins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    load: Callable[[str], np.ndarray] = lambda tensor: np.zeros(0)
    known: dict[tuple[str, ...], str] = field(default_factory=dict, compare=False)


Sides = tuple[Side, Side]
Records = tuple[Record, Record]


def differences(records: Records, sides: Sides) -> list[Difference]:
    """All differences of what both records say, the causes first."""
    found = []
    for factor, what in (
        (WORKLOAD, _digests("workload", "another model or other inputs", records, sides)),
        (STACK, _stack(records, sides)),
        (WORKER, _digests("worker", "another version", records, sides)),
        (CPU, shown(records, sides)),
        (DISPATCH, _dispatch(records, sides)),
        (SILICON, _silicon(records, sides)),
        (SYSTEM, _system(records, sides)),
    ):
        if what:
            found.append(Difference(factor, what))
    return found


def silicon_known(records: Records, sides: Sides) -> bool:
    """Whether both processors' fingerprints are there to be compared."""
    captures = [side.capture(_cause(record, "platform")) for side, record in zip(sides, records, strict=True)]
    return all(capture is not None and capture.fingerprint for capture in captures)


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
    """What CPUID answered: the processor's own answers, or a table's."""
    tables = tuple(_cause(record, "table") for record in records)
    own = [table == cpu.HOST for table in tables]
    if all(own):
        return _processors(records, sides)
    if any(own):
        # One is the real processor, and the other one was shown as it: what it lacks is all that can differ.
        at = own.index(False)
        lacks = _profile(records[at]).get("intersected")
        names = [plain(name, 40) for name in lacks] if isinstance(lacks, list) else []
        return f"{sides[at].name} without {', '.join(names)}" if names else ""
    if tables[0] == tables[1]:
        return ""
    return _once(tables, sides, lambda: _between(tables, sides))


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
    captures = [side.capture(_cause(record, "platform")) for side, record in zip(sides, records, strict=True)]
    facts = [record.environment.get("platform") for record in records]
    brands = _beside(tuple(one.get("brand") if isinstance(one, dict) else None for one in facts), sides)
    if any(capture is None for capture in captures):
        return f"another processor: {brands}"
    platforms = tuple(_cause(record, "platform") for record in records)
    told = _once(platforms, sides, lambda: _of(_chosen_by(captures), sides))
    return f"another processor: {brands}" + (f"; {told}" if told else "")


def _chosen_by(captures: list[cpu.Capture | None]) -> list[str]:
    one, other = (cpu.Capture(capture.leaves) for capture in captures if capture is not None)
    return [line for line in cpu.differences(one, other) if not line.startswith(("silicon", "first:", "second:"))]


def _dispatch(records: Records, sides: Sides) -> str:
    one, other = (cpu.dispatch(record.realised) for record in records)
    said = []
    for library in sorted(one.keys() | other.keys()):
        there, here = set(one.get(library, "").split()), set(other.get(library, "").split())
        if one.get(library) == other.get(library):
            continue
        if len(there) <= 3 and len(here) <= 3:
            said.append(f"{library} chose {_beside((one.get(library), other.get(library)), sides)}")
        else:
            parts = ((there - here, sides[0].name), (here - there, sides[1].name))
            only = [f"only {name} {' '.join(sorted(some))}" for some, name in parts if some]
            said.append(plain(f"{library} chose {'; '.join(only)}", 300))
    return "; ".join(said)


def _silicon(records: Records, sides: Sides) -> str:
    if any(_profile(record).get("rung") == cpu.EMULATE for record in records):
        # An emulator's arithmetic is its own, wherever it runs.
        return ""
    captures = [side.capture(_cause(record, "platform")) for side, record in zip(sides, records, strict=True)]
    if captures[0] is None or captures[1] is None:
        return ""
    odd = cpu.silicon(captures[0].fingerprint, captures[1].fingerprint)
    return f"the processors compute {plain(', '.join(odd))} differently" if odd else ""


def _system(records: Records, sides: Sides) -> str:
    captures = [side.capture(_cause(record, "platform")) for side, record in zip(sides, records, strict=True)]
    said = []
    for name, values in (
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
