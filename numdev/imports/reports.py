"""What an import did, found and left out: as data, and as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from numdev.imports.design import Separation
from numdev.imports.findings import Odd
from numdev.imports.multiplications import Multiplications

# Why a path was left out.
LFS = "LFS pointer"
MISSING = "missing"
UNREADABLE = "unreadable"
UNKNOWN = "not imported"
CONFLICT = "conflict"


@dataclass(frozen=True, order=True)
class LeftOut:
    """One path that is not in the store, and why."""

    path: str
    kind: str
    what: str


@dataclass(frozen=True)
class ImportedRun:
    """One run of the store. `records` are result files, `runs` the inferences in them; `state` is new, unchanged or
    replaced, and `replaced` how many inferences the run of that name had before."""

    name: str
    experiment: str
    records: int
    runs: int
    workloads: int
    cpus: int
    gpus: int
    state: str
    replaced: int


@dataclass(frozen=True)
class Design:
    """What the platforms of one kind can tell of their facts."""

    kind: str
    platforms: int
    factors: tuple[Separation, ...]


@dataclass(frozen=True)
class Report:
    """All that an import has to say.

    `new` inferences were stored; `twice` files were there several times with equal bytes; `others` files are no results.
    `mixed` are sentences on weight sets that share a name. `classes` has the classes of bytes of each workload of the main
    experiment without suspects and unsteady platforms, `unsteady` the GPUs whose runs differ, of `repeated` that ran several
    times; `tables` are those without outputs, which become no records; `compared`: models and samples that ran on both kinds, and those in which some bytes are of both.
    """

    path: str
    runs: tuple[ImportedRun, ...]
    new: int
    twice: int
    others: int
    left_out: tuple[LeftOut, ...]
    suspects: tuple[Odd, ...]
    mixed: tuple[str, ...]
    tables: tuple[Multiplications, ...]
    classes: dict[str, int]
    unsteady: tuple[str, ...]
    repeated: int
    compared: tuple[int, int]
    designs: tuple[Design, ...]

    def json(self) -> dict[str, Any]:
        return {"import": 1, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """For people: first what was read, then what it shows, then everything that is odd, one by one."""
        yield from self._runs()
        yield from self._findings()
        yield from self._separations()
        yield from self._odd()

    def _runs(self) -> Iterator[str]:
        for one in self.runs:
            gpus = f", {one.gpus} GPU" if one.gpus else ""
            before = f": it had {one.replaced} inferences" if one.state == "replaced" else ""
            yield (
                f"{one.name} ({one.experiment}): {one.records} records of {one.runs} inferences, {one.cpus + one.gpus} "
                f"platforms ({one.cpus} CPU{gpus}), {one.workloads} workloads; {one.state}{before}"
            )
        if not self.runs:
            yield f"Nothing was imported: {self.path} has no results of that repository."
        elif not self.new and all(one.state == "unchanged" for one in self.runs):
            yield "All of it was in the store already: nothing was written."
        if self.twice:
            yield f"{self.twice} files were there more than once, with equal bytes."
        if self.others:
            yield f"{self.others} other files are no results, and were not read."

    def _findings(self) -> Iterator[str]:
        counts: dict[str, list[str]] = {}
        for workload, count in self.classes.items():
            name, _, kind = workload.rpartition("-")
            counts.setdefault(kind, []).append(f"{name} {count}")
        for kind, listed in counts.items():
            steady = ", and without GPUs whose runs differ" if kind == "gpu" else ""
            yield f"Classes of equal bytes, {kind.upper()}s, without suspects{steady}: {', '.join(listed)}."
        both, equal = self.compared
        if both:
            some = f"in {equal} of {both} workloads" if equal else f"in none of {both} workloads"
            yield f"Outputs that a CPU and a GPU have in common: {some}."
        if self.repeated:
            names = f": {', '.join(self.unsteady)}" if self.unsteady else ""
            yield f"GPUs whose runs differ in some workload: {len(self.unsteady)} of {self.repeated}{names}."

        for table in self.tables:
            if table.spearman is not None:
                yield (
                    f"{table.path}: fewest mantissa bits that a pair of platforms keeps, against the multiplications of "
                    f"{table.configurations} convolutions: Spearman {table.spearman:.2f}."
                )

    def _separations(self) -> Iterator[str]:
        for one in self.designs:
            yield f"What the {one.platforms} {one.kind.upper()} platforms can tell apart, and what not:"
            for factor in one.factors:
                yield f"  {factor.factor.replace('_', ' ')}: {_separable(factor)}"

    def _odd(self) -> Iterator[str]:
        if self.suspects:
            yield f"{len(self.suspects)} suspects, imported and in no class: other weights or another input, not rounding:"
        for one in self.suspects:
            size = "a NaN of its own" if one.distance is None else f"{one.distance:.2g} of the scale from the median"
            yield f"  {one.path}: {size}"
        if self.mixed or any(table.mixed for table in self.tables):
            yield "Weight sets that share a name:"
        yield from (f"  {text}" for text in self.mixed)
        for table in self.tables:
            if table.mixed:
                every = len(table.mixed) == table.configurations
                names = "" if every else f" of {table.configurations}: {', '.join(table.mixed)}"
                which = f"{'all ' if every else ''}{len(table.mixed)} configurations{names}"
                yield f"  {table.path}: sets of weights are mixed in {which}"
        if self.left_out:
            kinds = Counter(one.kind for one in self.left_out)
            yield f"Left out: {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}:"
        for one in self.left_out:
            yield f"  {one.path}: {one.kind}, {one.what}"


def _separable(one: Separation) -> str:
    if one.complete:
        return "separated: platforms differ in it alone"
    fixed = f", fixed by {' and by '.join(one.follows).replace('_', ' ')}" if one.follows else ""
    if not one.alone:
        return f"CANNOT be separated: no two platforms differ in it alone{fixed}"
    groups = " | ".join(", ".join(group) for group in one.alone)
    return f"separated only within {groups}; elsewhere it CANNOT be{fixed}"
