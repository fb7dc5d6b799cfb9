"""Two sides of the same cells: the same class, or another, because of what. `rerun` and `diff` both say it by this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from numdev.analysis.agreement import adjusted_rand
from numdev.analysis.classes import letters
from numdev.analysis.observation import GAPS, OK, outcome_digest
from numdev.bundle import printed
from numdev.bundle.differing import Difference, Levels, Sides, differences, own, shown
from numdev.bundle.found import some
from numdev.bundle.stranger import plain
from numdev.bundle.verdicts import Verdict, verdict
from numdev.store import Record

# What became of a cell. ENDED: on both sides without a result, in the same way.
SAME, OTHER, NOISY_FIRST, NOISY_SECOND, ENDED = "same", "other", "noisy there", "noisy here", "ended the same"
FAILED_FIRST, FAILED_SECOND, NOT_RUN, UNKNOWN = "failed there", "failed here", "not run here", "never run there"
OUTCOMES = (SAME, OTHER, NOISY_FIRST, NOISY_SECOND, ENDED, FAILED_FIRST, FAILED_SECOND, NOT_RUN, UNKNOWN)
# Other bits than were recorded, or no bits where some were recorded.
DEVIATES, INCOMPLETE = frozenset({OTHER, NOISY_SECOND}), frozenset({FAILED_FIRST, FAILED_SECOND, NOT_RUN})


@dataclass(frozen=True)
class Pair:
    """One cell of both sides with the records of its replicates; `why` where the second side has none.

    levels: all levels of the cell on each side, see `differing.effective`; None where it is the same cell that is run again.
    """

    name: str
    workload: str
    factors: Mapping[str, str]
    one: Sequence[Record]
    other: Sequence[Record]
    why: str = ""
    levels: Levels | None = None


@dataclass(frozen=True)
class CellCompared:
    """`outcome` is one of OUTCOMES, `reason` what is to say of it; of an OTHER `differs`, in causal order, and the verdict."""

    pair: Pair
    outcome: str
    reason: str = ""
    differs: tuple[Difference, ...] = ()
    verdict: Verdict | None = None

    @property
    def undecided(self) -> bool:
        """Whether it was noisy already and gave here what it had not given: that may be the noise, or another class."""
        return self.outcome == NOISY_FIRST and not _among(self.pair)

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
        return not any(one.outcome in INCOMPLETE or one.undecided for one in self.cells)

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
            found[at] = differences((_ok(pair.one)[0], _ok(pair.other)[0]), sides, pair.levels)
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
        # Where the real processor answers, there is no table: that is another CPU, and told with the cells.
        if had[0] != had[1] and not any(map(own, records)) and (what := shown(records, sides)):
            name, other = (levels.get("profile", "") for levels in pair.levels or (pair.factors, pair.factors))
            found.setdefault(what, {})[name if name == other else f"{name} ({other} {sides[1].name})"] = None
    return [f"Another CPUID table {sides[1].name} under {', '.join(names)}: {what}." for what, names in found.items()]


def _place(pair: Pair) -> tuple[str, str]:
    return pair.workload, pair.factors.get("stack", "")


def _ok(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.status == "ok"]


def _results(records: Sequence[Record]) -> list[str]:
    """The different bytes that the replicates gave; inferences of one process that differ are results of their own."""
    found: dict[str, None] = {}
    for record in _ok(records):
        # As the worker names the outcome of each inference, whatever the order in which a framework lists its outputs.
        found[outcome_digest(record.outputs)] = None
        if len(set(record.rounds)) > 1:
            found.update(dict.fromkeys(record.rounds))
    return list(found)


def _outcomes(records: Sequence[Record]) -> list[str]:
    """What became of the replicates, each once: bytes, or how one ended without any. What was not computed is none, as in the answer."""
    return [*_results(records), *dict.fromkeys(record.status for record in records if record.status not in (OK, *GAPS))]


def _among(pair: Pair) -> bool:
    return set(_outcomes(pair.other)) <= set(_outcomes(pair.one))


def _outcome(pair: Pair, sides: Sides) -> tuple[str, str]:
    one, other = _results(pair.one), _results(pair.other)
    ends = [[record for record in side if record.status != OK] for side in (pair.one, pair.other)]
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
    first, second = sides[0].name, sides[1].name
    partly = [
        f"{len(ended)} of {some(len(side), 'run')} {name} ended otherwise: {_said(ended[0])}"
        for ended, side, name in zip(ends, (pair.one, pair.other), (first, second), strict=True)
        if ended
    ]
    told = f"{some(len(one), 'result')} in {some(len(pair.one), 'run')} {first}"
    if len(_outcomes(pair.one)) > 1:
        among = "among them" if _among(pair) else "another"
        return NOISY_FIRST, "; ".join((told, *partly, f"what came out {second} is {among}"))
    if len(_outcomes(pair.other)) > 1:
        among = "among them" if set(one) <= set(other) else "none of them"
        seen = f"{some(len(other), 'result')} in {some(len(pair.other), 'run')} {second}"
        return NOISY_SECOND, "; ".join((seen, *partly, f"{told}, which is {among}"))
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
        named = [[_results(side)[0] for side in (pair.one, pair.other)] for pair in pairs]
        one, other = [names[0] for names in named], [names[1] for names in named]
        counts = len(set(one)), len(set(other))
        alike = len(set(zip(one, other, strict=True))) == counts[0] == counts[1]
        found.append(Classes(workload, len(pairs), *counts, adjusted_rand(one, other), alike))
    return found


def named(pairs: Sequence[Pair]) -> dict[str, tuple[str, str]]:
    """By cell the letters of its classes on both sides; the same bytes have the same letter."""
    known: dict[str, str] = {}
    found = {}
    for pair in pairs:
        told = []
        for side in (pair.one, pair.other):
            results = _results(side)
            noisy = len(_outcomes(side)) > 1
            told.append("-" if not results else "~" if noisy else known.setdefault(results[0], letters(len(known))))
        found[pair.name] = (told[0], told[1])
    return found
