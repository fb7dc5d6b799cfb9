"""Two sides of the same cells: the same class, or another, because of what. `rerun` and `diff` both say it by this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numdev.analysis.agreement import adjusted_rand
from numdev.analysis.classes import letters
from numdev.bundle import printed
from numdev.bundle.differing import Difference, Sides, differences, shown
from numdev.bundle.stranger import plain
from numdev.bundle.verdicts import Verdict, verdict
from numdev.cpu import HOST
from numdev.store import Record

# What became of a cell. ENDED: on both sides without a result, in the same way.
SAME, OTHER, NOISY_FIRST, NOISY_SECOND, ENDED = "same", "other", "noisy there", "noisy here", "ended the same"
FAILED_FIRST, FAILED_SECOND, NOT_RUN, UNKNOWN = "failed there", "failed here", "not run here", "never run there"
OUTCOMES = (SAME, OTHER, NOISY_FIRST, NOISY_SECOND, ENDED, FAILED_FIRST, FAILED_SECOND, NOT_RUN, UNKNOWN)
# Other bits than were recorded, or no bits where some were recorded.
DEVIATES, INCOMPLETE = frozenset({OTHER, NOISY_SECOND}), frozenset({FAILED_FIRST, FAILED_SECOND, NOT_RUN})


@dataclass(frozen=True)
class Pair:
    """One cell of both sides with the records of its replicates; `why` where the second side has none."""

    name: str
    workload: str
    factors: Mapping[str, str]
    one: Sequence[Record]
    other: Sequence[Record]
    why: str = ""


@dataclass(frozen=True)
class CellCompared:
    """`outcome` is one of OUTCOMES, `reason` what is to say of it; of an OTHER `differs`, in causal order, and the verdict."""

    pair: Pair
    outcome: str
    reason: str = ""
    differs: tuple[Difference, ...] = ()
    verdict: Verdict | None = None

    def printed(self) -> printed.Cell:
        told = self.verdict
        return printed.Cell(
            cell=self.pair.name,
            workload=self.pair.workload,
            factors=dict(self.pair.factors),
            outcome=self.outcome,
            runs=[len(self.pair.one), len(self.pair.other)],
            reason=self.reason,
            differs=[printed.Difference(factor=one.factor, what=one.what) for one in self.differs],
            first=told.first if told else None,
            layer=told.layer if told else None,
            cause=printed.Cause(factor=told.cause, why=told.why) if told else None,
        )


@dataclass(frozen=True)
class Classes:
    """The partitions of a workload's cells that have a class on both sides, whatever their bytes are.

    index: the adjusted Rand index, None for fewer than two cells. alike: whether they are the same partition.
    """

    workload: str
    cells: int
    one: int
    other: int
    index: float | None
    alike: bool

    def printed(self) -> printed.Classes:
        return printed.Classes(
            workload=self.workload,
            cells=self.cells,
            classes=[self.one, self.other],
            index=self.index,
            same_partition=self.alike,
        )


@dataclass(frozen=True)
class Compared:
    cells: tuple[CellCompared, ...]
    classes: tuple[Classes, ...] = field(default=())

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(one.outcome for one in self.cells)
        return {outcome: found[outcome] for outcome in OUTCOMES if found[outcome]}

    @property
    def deviates(self) -> bool:
        return any(one.outcome in DEVIATES for one in self.cells)

    @property
    def complete(self) -> bool:
        return not any(one.outcome in INCOMPLETE for one in self.cells)

    def printed(self) -> printed.Cells:
        return printed.Cells(
            same=not self.deviates and self.complete,
            counts=self.counts,
            cells=[one.printed() for one in self.cells],
            classes=[one.printed() for one in self.classes],
        )


def compare(pairs: Sequence[Pair], sides: Sides) -> Compared:
    """Every cell's outcome; why bytes are other is told by what both sides recorded, and by what did not matter elsewhere."""
    judged = [(pair, *_outcome(pair, sides)) for pair in pairs]
    found: dict[int, list[Difference]] = {}
    harmless: Counter[tuple[str, str, Difference]] = Counter()
    for at, (pair, outcome, _) in enumerate(judged):
        if outcome in (SAME, OTHER):
            found[at] = differences((_ok(pair.one)[0], _ok(pair.other)[0]), sides)
            if outcome == SAME:
                harmless.update((*_place(pair), one) for one in found[at])
    cells = []
    for at, (pair, outcome, reason) in enumerate(judged):
        if outcome != OTHER:
            cells.append(CellCompared(pair, outcome, reason))
            continue
        records = _ok(pair.one)[0], _ok(pair.other)[0]
        here = {one: harmless[(*_place(pair), one)] for one in found[at]}
        runs = min(len(pair.one), len(pair.other))
        told = verdict(found[at], here, records, sides, runs)
        cells.append(CellCompared(pair, outcome, reason, tuple(found[at]), told))
    return Compared(tuple(cells), tuple(_classes(judged)))


def tables(pairs: Sequence[Pair], sides: Sides) -> list[str]:
    """A line for each profile that comes to another CPUID table on the second side: even the same bytes are then of another CPU."""
    found: dict[str, dict[str, None]] = {}
    for pair in pairs:
        if not pair.one or not pair.other:
            continue
        records = pair.one[0], pair.other[0]
        had = [str(record.causes.get("table", "")) for record in records]
        if had[0] != had[1] and HOST not in had and (what := shown(records, sides)):
            found.setdefault(what, {})[pair.factors.get("profile", "")] = None
    return [f"Another CPUID table {sides[1].name} under {', '.join(names)}: {what}." for what, names in found.items()]


def _place(pair: Pair) -> tuple[str, str]:
    return pair.workload, pair.factors.get("stack", "")


def _ok(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.status == "ok"]


def outputs(record: Record) -> tuple[tuple[str, str], ...]:
    return tuple((output.name, output.tensor) for output in record.outputs)


def _results(records: Sequence[Record]) -> list[Any]:
    """What the replicates gave, each once; inferences of one process that differ are a result of their own."""
    found: dict[Any, None] = {}
    for record in _ok(records):
        steady = len(set(record.rounds)) < 2
        found[outputs(record) if steady else (*outputs(record), ("rounds", record.digest))] = None
        if not steady:
            found[outputs(record)] = None
    return list(found)


def _outcome(pair: Pair, sides: Sides) -> tuple[str, str]:
    one, other = _results(pair.one), _results(pair.other)
    ends = [[record for record in side if record.status != "ok"] for side in (pair.one, pair.other)]
    if not pair.one and not pair.other and not pair.why:
        return ENDED, "it has no record"
    if not pair.one:
        return UNKNOWN, f"it has no record {sides[0].name}"
    if not one and not other and pair.other and {r.status for r in ends[0]} == {r.status for r in ends[1]}:
        return ENDED, _said(ends[0][0])
    if not pair.other:
        return NOT_RUN, pair.why or "it has no record"
    if not one:
        return FAILED_FIRST, _said(ends[0][0])
    if not other:
        last = ends[1][0]
        return (NOT_RUN if last.status == "unsupported" else FAILED_SECOND), _said(last)
    partly = [
        f"{len(some)} of {len(side)} runs ended otherwise: {_said(some[0])}"
        for some, side in zip(ends, (pair.one, pair.other), strict=True)
        if some
    ]
    first, second = sides[0].name, sides[1].name
    if len(one) > 1:
        among = "among them" if set(other) <= set(one) else "another"
        return NOISY_FIRST, f"{len(one)} results in {len(pair.one)} runs {first}; what came out {second} is {among}"
    if len(other) > 1:
        return NOISY_SECOND, f"{len(other)} results in {len(pair.other)} runs {second}, always the same {first}"
    return (SAME if one == other else OTHER), "; ".join(partly)


def _said(record: Record) -> str:
    return plain(f"{record.status}: {record.reason}" if record.reason else record.status, 300)


def _classes(judged: Sequence[tuple[Pair, str, str]]) -> list[Classes]:
    by: dict[str, list[Pair]] = {}
    for pair, outcome, _ in judged:
        if outcome in (SAME, OTHER):
            by.setdefault(pair.workload, []).append(pair)
    found = []
    for workload, pairs in by.items():
        named = [[str(_results(side)[0]) for side in (pair.one, pair.other)] for pair in pairs]
        one, other = [names[0] for names in named], [names[1] for names in named]
        counts = len(set(one)), len(set(other))
        alike = len(set(zip(one, other, strict=True))) == counts[0] == counts[1]
        found.append(Classes(workload, len(pairs), *counts, adjusted_rand(one, other), alike))
    return found


def named(pairs: Sequence[Pair]) -> dict[str, tuple[str, str]]:
    """By cell the letters of its classes on both sides; the same bytes have the same letter."""
    known: dict[Any, str] = {}
    found = {}
    for pair in pairs:
        told = []
        for side in (pair.one, pair.other):
            results = _results(side)
            told.append(
                known.setdefault(results[0], letters(len(known))) if len(results) == 1 else "~" if results else "-"
            )
        found[pair.name] = (told[0], told[1])
    return found
