"""Several bundles as one run: whose cells are whose, which names mean the same in all of them, and what becomes of those that do not."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numdev import digests
from numdev.analysis import HOST
from numdev.bundle import layout, machines
from numdev.bundle.naming import Names
from numdev.bundle.reading import Bundle
from numdev.bundle.records import Records
from numdev.bundle.stranger import plain
from numdev.bundle.survey import mapping
from numdev.cpu.capture import checked
from numdev.errors import InvalidInput, Problem
from numdev.run.runfile import HOSTS, Host, Run
from numdev.spec.cell import DEFAULTS
from numdev.store import Record

CANNOT = "The bundles cannot be merged."
# Of a name, in characters.
_LONGEST = 1000


@dataclass
class Part:
    """The cells of one machine. was: its level of `host` where its bundle was merged itself, else ""."""

    bundle: Bundle
    host: Host
    was: str = ""
    level: str = ""

    @property
    def source(self) -> dict[str, Any]:
        return self.host.source or self.bundle.run.source


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
        self.notes: list[str] = list(machines.said_twice(self.bundles))
        parts = [part for bundle in self.bundles for part in _parts(bundle)]
        if len(parts) > HOSTS:
            raise InvalidInput(CANNOT, [Problem("hosts", f"{len(parts)}, and at most {HOSTS} can be merged")])
        self._places: dict[int, dict[str, tuple[array[int], array[int]]]] = {}
        _distinct(parts)
        for part, level in zip(parts, machines.named(part.host for part in parts), strict=True):
            part.level = level
        self.parts = sorted(parts, key=lambda part: part.level)
        for bundle in self.bundles:
            told = (plain(note, 2000) for note in bundle.run.joined)
            self.notes += [note for note in told if note not in self.notes]
        self.names = Names(self.bundles, {id(bundle): self.called(bundle) for bundle in self.bundles})
        self.notes += self.names.notes
        self.order = _order([bundle.run for bundle in self.bundles])
        for key in self.order[:-1]:
            without = [bundle for bundle in self.bundles if key not in bundle.run.factors]
            if without:
                who, level = ", ".join(map(self.called, without)), DEFAULTS.get(key, "")
                self.notes.append(f"{who} did not name {key}: its cells are at {level or 'none'}, the default.")
        self.references = self._references()

    def called(self, bundle: Bundle) -> str:
        """The levels of `host` that a bundle becomes."""
        return ", ".join(part.level for part in self.parts if part.bundle is bundle)

    def lines(self) -> Iterator[Line]:
        """Every cell, host by host; of references that gave the same on all hosts, the first host's alone."""
        for part in self.parts:
            for line in self._lines(part):
                if not line.cell.reference:
                    yield line
                    continue
                hosts = self.references[_key(line)]
                if hosts is None:
                    yield replace(line, factors={**line.factors, HOST: part.level})
                elif part.level == hosts:
                    yield line

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
                begins, sizes = places.setdefault(_host(bundle, cell), (array("Q"), array("Q")))
                begins.append(begin)
                sizes.append(size)
            self._places[id(bundle)] = places
        for begin, size in zip(*self._places[id(bundle)].get(part.was, ((), ())), strict=True):
            where = f"{bundle.where}: {layout.CELLS}: byte {begin}"
            yield checked(layout.CellLine, bundle.part(layout.CELLS, begin, size), where)

    def _line(self, part: Part, cell: layout.CellLine, record: Record | None) -> Line:
        stack, workload = self.names.stacks[id(part.bundle)], self.names.workloads[id(part.bundle)]
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

    def _references(self) -> dict[tuple[Any, ...], str | None]:
        """By reference, the host whose record stands for all where all gave the same; None where they did not."""
        found: dict[tuple[Any, ...], dict[str, str]] = {}
        for part in self.parts:
            for line in self._lines(part, references=True):
                told = [line.cell.status, line.cell.outputs]
                outcome = "" if line.record is None else digests.of_json(told)
                found.setdefault(_key(line), {})[part.level] = outcome
        result: dict[tuple[Any, ...], str | None] = {}
        odd = set()
        for key, every in found.items():
            # What was never run says nothing against the others.
            outcomes = {level: outcome for level, outcome in every.items() if outcome} or every
            same = len(set(outcomes.values())) == 1
            result[key] = min(outcomes) if same else None
            if not same:
                odd.add(key[0])
        if odd:
            self.notes.append(
                f"The reference of {', '.join(sorted(odd))} is not the same on all hosts: each host's cells are measured by its own."
            )
        return result

    def run(self, name: str) -> Run:
        """The run, without cells and materials."""
        runs = [bundle.run for bundle in self.bundles]
        stacks = [self.names.stacks[id(bundle)] for bundle in self.bundles]
        levels = {key: _levels(key, runs, stacks) for key in self.order[:-1]} | {HOST: [p.level for p in self.parts]}
        sources = [part.source for part in self.parts]
        alike = all(source == sources[0] for source in sources)
        if not alike:
            self.notes.append("The hosts' matrices are not the same: each host has its own, and the merged run none.")
        hosts = {
            part.level: part.host.model_copy(update={"source": {} if alike else part.source}) for part in self.parts
        }
        first = self.parts[0].bundle
        reference = self._reference(runs, stacks)
        return first.run.model_copy(
            update={
                "matrix": name,
                "engine": self._same("engine", {"engine": "several"}),
                "factors": levels,
                "order": self.order,
                "baseline": {key: self._baseline(key, levels[key]) for key in self.order if levels[key]},
                "labels": self._named("labels"),
                "profiles": _facts(runs),
                "refused": {
                    key: why for key, why in runs[0].refused.items() if all(key in run.refused for run in runs)
                },
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
            level = part.bundle.run.baseline.get(key, str(DEFAULTS.get(key, "")))
            found.append(self.names.stacks[id(part.bundle)].get(level, level) if key == "stack" else level)
        if len(set(found)) > 1:
            self.notes.append(
                f"The hosts' baselines differ in {key}: {found[0]}, that of {self.parts[0].level}, is taken."
            )
        return found[0] if found[0] in levels else levels[0]

    def _named(self, field: str) -> dict[str, Any]:
        """What runs say of workloads, by the names that these have now; where they say it otherwise, the smallest by its digest."""
        found: dict[str, dict[str, Any]] = {}
        for bundle in self.bundles:
            for name, told in getattr(bundle.run, field).items():
                called = self.names.workloads[id(bundle)].get(name, name)
                told = {**told, "name": called} if isinstance(told, dict) and "name" in told else told
                found.setdefault(called, {})[digests.of_json(told)] = told
        return {name: some[min(some)] for name, some in sorted(found.items())}

    def _told(self, field: str) -> dict[str, str]:
        """What hosts say of profiles or stacks, by name; where not all say the same, with the host."""
        values = [getattr(part.bundle.run, field) for part in self.parts]
        alike = all(value == values[0] for value in values)
        found = {}
        for part, value in zip(self.parts, values, strict=True):
            for key, why in value.items():
                found[key if alike or part.was else f"{key} on {part.level}"] = plain(why, 2000)
        return found

    def _reference(self, runs: Sequence[Run], stacks: Sequence[dict[str, str]]) -> dict[str, str]:
        """The levels of the cell that is the reference, if one is."""
        found = []
        for run, called in zip(runs, stacks, strict=True):
            if any(cell.reference for cell in run.cells) or run.reference:
                level = run.reference.get("stack", "")
                found.append({**run.reference, **({"stack": called.get(level, level)} if level else {})})
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
    if strange := [name for name in names if not name.isprintable() or len(name) > _LONGEST]:
        # In the store they are shown by every command that reads it.
        problems = [Problem(bundle.where, f"{plain(name, 60)!a} is no name that can be shown") for name in strange[:20]]
        raise InvalidInput(CANNOT, problems)
    if not run.hosts:
        if HOST in run.factors:
            what = f"has a factor {HOST!r} that is not of machines"
            raise InvalidInput(CANNOT, [Problem(bundle.where, what)])
        return [Part(bundle, machines.host_of(bundle))]
    if set(run.hosts) != set(run.factors.get(HOST, ())):
        raise InvalidInput(CANNOT, [Problem(bundle.where, "its hosts are not the levels of its factor `host`")])
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


def _host(bundle: Bundle, cell: layout.CellLine) -> str:
    """The level of `host` of a line: references have it in their record alone."""
    declared = mapping(bundle.facts[cell.declared]) if cell.declared in bundle.facts else {}
    return str(declared.get(HOST, cell.factors.get(HOST, "")))


def _key(line: Line) -> tuple[Any, ...]:
    return line.workload, *sorted(line.factors.items()), line.cell.replicate


def _rank(lists: Sequence[Sequence[str]]) -> Callable[[str], tuple[int, str]]:
    """An order of names that several lists have in orders of their own; it does not depend on the order of the lists."""
    return lambda name: (min(one.index(name) for one in lists if name in one), name)


def _order(runs: Sequence[Run]) -> list[str]:
    lists = [[key for key in run.order if key != HOST] for run in runs]
    return [*sorted({key for one in lists for key in one}, key=_rank(lists)), HOST]


def _levels(key: str, runs: Sequence[Run], stacks: Sequence[dict[str, str]]) -> list[str]:
    lists = [
        [called.get(level, level) if key == "stack" else level for level in run.factors[key]]
        if key in run.factors
        else [str(DEFAULTS.get(key, ""))]
        for run, called in zip(runs, stacks, strict=True)
    ]
    return sorted({level for one in lists for level in one}, key=_rank(lists))


def _facts(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Facts of profiles that are the same wherever they are told: `host` is another processor on each host."""
    found: dict[str, dict[str, str]] = {}
    for run in runs:
        for name, facts in run.profiles.items():
            known = found.get(name, facts)
            found[name] = {key: fact for key, fact in facts.items() if known.get(key) == fact}
    return found
