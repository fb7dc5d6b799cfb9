"""Several bundles as one run: whose cells are whose, which names mean the same in all of them, and what becomes of those that do not."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numdev import digests
from numdev.analysis import HOST
from numdev.bundle import layout, machines
from numdev.bundle.naming import CANNOT, Names, Part, asked_of, host_of
from numdev.bundle.reading import Bundle
from numdev.bundle.records import Records
from numdev.bundle.stranger import plain
from numdev.bundle.survey import mapping
from numdev.cpu.capture import checked
from numdev.errors import InvalidInput, Problem
from numdev.run.runfile import HOSTS, Run
from numdev.spec.cell import DEFAULTS
from numdev.store import Record

# Of a name, in characters.
_LONGEST = 1000


@dataclass(frozen=True)
class Line:
    """A cell of the merged run: the line that it was in its bundle, with its record; `factors` and `workload` as the merged run names them."""

    part: Part
    cell: layout.CellLine
    record: Record | None
    workload: str
    factors: dict[str, str]
    stack: str


class Joined:
    """parts: the machines, by level. names: what stacks and workloads are called. notes: what did not match, and what became of it."""

    def __init__(self, bundles: Sequence[Bundle]) -> None:
        """Raises InvalidInput where they cannot be one run; says why."""
        self.bundles = sorted(bundles, key=lambda one: (one.description.name, one.digest))
        parts = [part for bundle in self.bundles for part in _parts(bundle)]
        if len(parts) > HOSTS:
            raise InvalidInput(CANNOT, [Problem("hosts", f"{len(parts)}, and at most {HOSTS} can be merged")])
        self._places: dict[int, dict[str, tuple[array[int], array[int]]]] = {}
        _distinct(parts)
        for part, level in zip(parts, machines.named(part.host for part in parts), strict=True):
            part.level = level
        self.parts = sorted(parts, key=lambda part: part.level)
        self.names = Names(self.parts)
        self.notes: list[str] = list(self.names.notes)
        self.order = _order([part.asked.order for part in self.parts])
        for key in self.order[:-1]:
            without = [part.level for part in self.parts if key not in part.asked.factors]
            if without:
                who, level = ", ".join(without), DEFAULTS.get(key, "")
                self.notes.append(f"{who} did not name {key}: its cells are at {level or 'none'}, the default.")
        self._compare_references()

    def lines(self) -> Iterator[Line]:
        """Every cell, host by host; each host has its own references."""
        for part in self.parts:
            for line in self._lines(part):
                yield replace(line, factors={**line.factors, HOST: part.level})

    def _lines(self, part: Part, references: bool = False) -> Iterator[Line]:
        """The lines of one machine. references: of its references alone, so that of all others no record is made."""
        records = Records(part.bundle.facts, part.bundle.where)
        for cell in self._cells(part):
            if references and not cell.reference:
                continue
            record = records.of(cell) if cell.status != "missing" else None
            yield self._line(part, cell, record)

    def _cells(self, part: Part) -> Iterator[layout.CellLine]:
        """The lines of one machine; of a bundle that was merged itself, they are looked up where they lie."""
        bundle = part.bundle
        if not part.was:
            yield from bundle.cells()
            return
        if id(bundle) not in self._places:
            places: dict[str, tuple[array[int], array[int]]] = {}
            for (begin, size), cell in bundle.placed():
                begins, sizes = places.setdefault(
                    host_of(cell, mapping(bundle.facts.get(cell.declared))), (array("Q"), array("Q"))
                )
                begins.append(begin)
                sizes.append(size)
            self._places[id(bundle)] = places
        for begin, size in zip(*self._places[id(bundle)].get(part.was, ((), ())), strict=True):
            where = f"{bundle.where}: {layout.CELLS}: byte {begin}"
            yield checked(layout.CellLine, bundle.part(layout.CELLS, begin, size), where)

    def _line(self, part: Part, cell: layout.CellLine, record: Record | None) -> Line:
        stack, workload = self.names.stacks[id(part)], self.names.workloads[id(part)]
        declared = record.factors if record else {}
        factors = {key: level for key, level in cell.factors.items() if key != HOST}
        if not cell.reference:
            for key in self.order[:-1]:
                factors.setdefault(key, str(declared.get(key, DEFAULTS.get(key, ""))))
            factors = {**{key: factors[key] for key in self.order[:-1]}, HOST: part.level}
        if "stack" in factors:
            factors["stack"] = stack.get(factors["stack"], factors["stack"])
        own = str(declared.get("stack", ""))
        return Line(part, cell, record, workload.get(cell.workload, cell.workload), factors, stack.get(own, own))

    def _compare_references(self) -> None:
        found: dict[tuple[Any, ...], set[str]] = {}
        for part in self.parts:
            for line in self._lines(part, references=True):
                # What was never run says nothing against the others.
                if line.record is not None:
                    found.setdefault(_key(line), set()).add(digests.of_json([line.cell.status, line.cell.outputs]))
        if odd := {key[0] for key, outcomes in found.items() if len(outcomes) > 1}:
            self.notes.append(
                f"The reference of {', '.join(sorted(odd))} is not the same on all hosts: each host's cells are measured by its own."
            )

    def run(self, name: str) -> Run:
        """The run, without cells and materials."""
        runs = [bundle.run for bundle in self.bundles]
        levels = {key: self._levels(key) for key in self.order[:-1]} | {HOST: [part.level for part in self.parts]}
        sources = [part.source for part in self.parts]
        alike = all(source == sources[0] for source in sources)
        if not alike:
            self.notes.append("The hosts' matrices are not the same: each host has its own, and the merged run none.")
        hosts = {
            part.level: part.host.model_copy(
                update={"source": {} if alike else part.source, "asked": self.names.asked(part)}
            )
            for part in self.parts
        }
        reference = self._reference()
        return runs[0].model_copy(
            update={
                "matrix": name,
                "engine": self._same("engine", {"engine": "several"}),
                "factors": levels,
                "order": self.order,
                "baseline": {key: self._baseline(key, levels[key]) for key in self.order if levels[key]},
                "labels": self._named("labels"),
                "profiles": _facts(runs),
                "refused": self._refused(),
                "lowered": self._told("lowered"),
                "apart": self._told("apart"),
                "workloads": self._named("workloads"),
                "reference": reference,
                "cells": [],
                "source": sources[0] if alike else {},
                "made": max(bundle.run.made or bundle.description.date for bundle in self.bundles),
                "materials": {},
                "captures": self._captures(),
                "origins": {},
                "hosts": hosts,
                "joined": self.notes,
                "alike": {},
            }
        )

    def _same(self, field: str, else_: Any) -> Any:
        values = [getattr(bundle.run, field) for bundle in self.bundles]
        return values[0] if all(value == values[0] for value in values) else else_

    def _baseline(self, key: str, levels: list[str]) -> str:
        """The level that sizes are measured from: that of the first host."""
        if key == HOST:
            return levels[0]
        found = []
        for part in self.parts:
            level = part.asked.baseline.get(key, str(DEFAULTS.get(key, "")))
            found.append(self.names.level(part, key, level))
        if len(set(found)) > 1:
            self.notes.append(
                f"The hosts' baselines differ in {key}: {found[0]}, that of {self.parts[0].level}, is taken."
            )
        return found[0] if found[0] in levels else levels[0]

    def _named(self, field: str) -> dict[str, Any]:
        """What runs say of workloads, by the names that these have now; where they say it otherwise, the smallest by its digest."""
        found: dict[str, dict[str, Any]] = {}
        for part in self.parts:
            called = self.names.workloads[id(part)]
            for name, told in getattr(part.bundle.run, field).items():
                if name not in called:
                    # Another host of the same bundle asked for it.
                    continue
                kept, key = told, told
                if isinstance(told, dict) and "name" in told:
                    # Which is the smallest must not depend on what they are called.
                    kept, key = {**told, "name": called[name]}, {**told, "name": ""}
                found.setdefault(called[name], {})[digests.of_json(key)] = kept
        return {name: some[min(some)] for name, some in sorted(found.items())}

    def _levels(self, key: str) -> list[str]:
        lists = [
            [self.names.level(part, key, level) for level in part.asked.factors[key]]
            if key in part.asked.factors
            else [str(DEFAULTS.get(key, ""))]
            for part in self.parts
        ]
        return sorted({level for one in lists for level in one}, key=_rank(lists))

    def _refused(self) -> dict[str, str]:
        """Profiles that no host could show."""
        told = [part.host.refused for part in self.parts]
        return {key: min(one[key] for one in told) for key in sorted(told[0]) if all(key in one for one in told)}

    def _told(self, field: str) -> dict[str, str]:
        """What hosts say of profiles or stacks, by name; where not all say the same, with the host."""
        values = [getattr(part.asked, field) for part in self.parts]
        alike = all(value == values[0] for value in values)
        found = {}
        for part, value in zip(self.parts, values, strict=True):
            for key, why in value.items():
                found[key if alike else f"{key} on {part.level}"] = plain(why, 2000)
        return found

    def _reference(self) -> dict[str, str]:
        """The levels of the cell that is the reference, if one is."""
        found = []
        for part in self.parts:
            if part.asked.referred:
                levels = part.asked.reference.items()
                found.append({key: self.names.level(part, key, level) for key, level in levels})
        if len({bool(one) for one in found}) > 1:
            what = "one has a cell as its reference, and another one an exact reference: no class could be measured by both"
            raise InvalidInput(CANNOT, [Problem("reference", what)])
        if any(one != found[0] for one in found):
            self.notes.append("The hosts' references are not the same cell: each host's cells are measured by its own.")
        return min(found, key=digests.of_json, default={})

    def _captures(self) -> dict[str, str]:
        """Profiles that are files, by level; one name must not mean two files."""
        found: dict[str, str] = {}
        for bundle in self.bundles:
            for level, member in bundle.description.profiles.items():
                if found.setdefault(level, member) != member:
                    what = f"the profile {level[:60]!a} is another file in some of them"
                    raise InvalidInput(
                        CANNOT, [Problem(bundle.where, what, "call one of them otherwise in its matrix")]
                    )
        return found


def _parts(bundle: Bundle) -> list[Part]:
    run = bundle.run
    names = [run.matrix, *run.workloads, *run.hosts, *run.refused, *run.lowered, *run.apart]
    names += [name for key, levels in run.factors.items() for name in (key, *levels)]
    names += [label for labels in run.labels.values() for label in labels]
    for asked in (host.asked for host in run.hosts.values()):
        names += [*asked.stacks, *asked.workloads, *asked.lowered, *asked.apart]
        names += [name for key, levels in asked.factors.items() for name in (key, *levels)]
    if strange := [name for name in names if not name.isprintable() or len(name) > _LONGEST]:
        # In the store they are shown by every command that reads it.
        problems = [Problem(bundle.where, f"{plain(name, 60)!a} is no name that can be shown") for name in strange[:20]]
        raise InvalidInput(CANNOT, problems)
    if not run.hosts:
        if HOST in run.factors:
            what = f"has a factor {HOST!r} that is not of machines"
            raise InvalidInput(CANNOT, [Problem(bundle.where, what)])
        return [Part(bundle, machines.host_of(bundle).model_copy(update={"asked": asked_of(bundle)}))]
    if set(run.hosts) != set(run.factors.get(HOST, ())):
        raise InvalidInput(CANNOT, [Problem(bundle.where, "its hosts are not the levels of its factor `host`")])
    if any(sorted(host.asked.order) != sorted(host.asked.factors) for host in run.hosts.values()):
        raise InvalidInput(CANNOT, [Problem(bundle.where, "what its hosts' runs were is not told")])
    return [Part(bundle, host, level) for level, host in sorted(run.hosts.items())]


def _distinct(parts: Sequence[Part]) -> None:
    """No bundle counts twice: that would make one run look like a repeat of itself."""
    by: dict[str, list[Part]] = {}
    for part in parts:
        by.setdefault(part.host.digest, []).append(part)
    problems = [
        Problem(some[0].host.bundle, f"is there {len(some)} times: in {', '.join(part.bundle.where for part in some)}")
        for some in by.values()
        if len(some) > 1
    ]
    if problems:
        raise InvalidInput(CANNOT, sorted(problems), "Name each bundle once.")


def _key(line: Line) -> tuple[Any, ...]:
    return line.workload, *sorted(line.factors.items()), line.cell.replicate


def _rank(lists: Sequence[Sequence[str]]) -> Callable[[str], tuple[int, str]]:
    """An order of names that several lists have in orders of their own; it does not depend on the order of the lists."""
    return lambda name: (min(one.index(name) for one in lists if name in one), name)


def _order(orders: Sequence[Sequence[str]]) -> list[str]:
    return [*sorted({key for one in orders for key in one}, key=_rank(orders)), HOST]


def _facts(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Facts of profiles that are the same wherever they are told: `host` is another processor on each host."""
    found: dict[str, dict[str, str]] = {}
    for run in runs:
        for name, facts in run.profiles.items():
            known = found.get(name, facts)
            found[name] = {key: fact for key, fact in facts.items() if known.get(key) == fact}
    return found
