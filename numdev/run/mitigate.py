"""Mitigations tried and verified: a matrix's cells again under sets of pins, until the fewest that leave one class are known.

Every set is run as ordinary cells into the same store, so that an interrupted search goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from numdev import digests
from numdev.analysis.fewest import Found, Pins, Score, fewest
from numdev.analysis.mitigated import ROUNDING, Mitigations, Row, Snippet, Solution, Subject, in_short, ordered
from numdev.analysis.mitigation import Measured, Seen, key_of
from numdev.analysis.observation import OK, Observation
from numdev.analysis.reference import references
from numdev.cpu.taken import NO, UNKNOWN, YES, seconds, taken
from numdev.engines import Environment
from numdev.run import identities
from numdev.run.plan import Item, Plan, make_plan
from numdev.run.resolve import Resolved
from numdev.run.runfile import RunCell, observe
from numdev.spec.cell import Cell
from numdev.spec.mitigation import PRECISION, Pin, Setting, catalogue, changes, pinned
from numdev.store import Record, Store

# Inferences of each process where the matrix asks for one: the first prepares, and of the others a median is taken.
ROUNDS = 5

# Runs what a plan lacks; the text says what it is for.
Run = Callable[[Resolved, Plan, str], None]


@dataclass
class _Trials:
    """The sets of pins that were run for one subject. `settings`: by label. `always`: set beside whatever is asked for."""

    seen: Seen
    cells: list[Cell]
    settings: dict[str, Setting]
    results: Callable[[list[Cell], str], Mapping[str, list[Record]]]
    title: str
    rows: dict[Pins, Row] = field(default_factory=dict)

    def measure(self, sets: list[Pins], always: Pins = ()) -> list[Score]:
        wanted = [(*always, *one) for one in sets]
        cells = [pinned(cell, self._of(one)) for one in wanted for cell in self.cells]
        names = ", ".join(" + ".join(one) for one in wanted)
        found = self.results(cells, f"{self.title}: {names}")
        for one in wanted:
            if one not in self.rows:
                self.rows[one] = self._row(one, found)
        return [self.rows[one].measured.score for one in wanted]

    def search(self, pins: Sequence[Sequence[str]], always: Pins = ()) -> Found:
        base = self.rows[always].measured.score if always else self.seen.base.score
        found = fewest(pins, base, lambda sets: self.measure(sets, always))
        for step in found.steps:
            key = (*always, *step.pins)
            why = f"{step.why}, with {' + '.join(always)}" if always else step.why
            self.rows[key] = self.rows[key].model_copy(update={"why": self.rows[key].why or why})
        return found

    def _of(self, labels: Iterable[str]) -> list[Setting]:
        return [self.settings[label] for label in labels]

    def _row(self, labels: Pins, found: Mapping[str, list[Record]]) -> Row:
        settings = self._of(labels)
        runs: list[Observation] = []
        times: dict[tuple[tuple[str, str], ...], list[float]] = {}
        told: dict[str, set[str]] = {label: set() for label in labels}
        unsupported = set()
        for cell in self.cells:
            levels = _levels(cell)
            for record in found[_name(pinned(cell, settings))]:
                runs.append(_observation(record, cell))
                times.setdefault(key_of(levels), []).extend(_seconds(record))
                for label, setting in zip(labels, settings, strict=True):
                    told[label].add(taken(setting.pin.factor, setting.level, record.realised))
                if record.status == "unsupported":
                    unsupported.add(record.reason)
        measured = self.seen.measure(runs, times, cast=any(one.pin.cast for one in settings))
        took = {label: NO if NO in every else YES if every == {YES} else UNKNOWN for label, every in told.items()}
        return Row(pins=labels, why="", measured=measured, took=took, unsupported="; ".join(sorted(unsupported)))

    def snippet(self, labels: Pins, decimals: int | None = None) -> Snippet:
        settings = self._of(labels)
        python = [line for one in settings if (line := one.python())]
        python += [ROUNDING.format(decimals)] if decimals is not None else []
        return Snippet(shell=tuple(line for one in settings if (line := one.shell())), python=tuple(python))


class Mitigation:
    """One search over a matrix.

    Args:
        wanted: which of its cells.
        run: runs a plan and returns when it is stored.
    """

    def __init__(
        self,
        resolved: Resolved,
        environments: Mapping[str, Environment],
        store: Store,
        run: Run,
        wanted: Callable[[Cell], bool],
        retry: bool = False,
    ) -> None:
        rounds = resolved.matrix.rounds if resolved.matrix.rounds > 1 else ROUNDS
        self.resolved = replace(resolved, matrix=replace(resolved.matrix, rounds=rounds))
        self.environments, self.store, self.run, self.retry = environments, store, run, retry
        self.cells = [cell for cell in resolved.matrix.cells if wanted(cell)]
        self._wanted = wanted
        self._done: dict[str, list[Record]] = {}

    def answer(self) -> Mitigations:
        """Runs all of it, workload by workload and stack by stack."""
        plan = make_plan(self.resolved, self.environments, self.store, select=self._wanted, retry=self.retry)
        self.run(self.resolved, plan, "without pins")
        self._keep(item for item in plan.items if not item.reference)
        references = [item for item in plan.items if item.reference]
        groups: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault((cell.workload, cell.software, str(cell.factors["batch"])), []).append(cell)
        every = {key: self._trials(key, cells, references) for key, cells in groups.items()}
        # All pins of all subjects one by one, at once: what shares a container then shares its start.
        alone = [
            pinned(cell, [Setting(pin, pin.levels[0])])
            for trials in every.values()
            if trials is not None and not trials.seen.base.score.holds
            for pin in self._pins(trials.cells)[0]
            for cell in trials.cells
        ]
        if alone:
            self._results(alone, "each pin alone")
        subjects = tuple(self._subject(key, groups[key], trials) for key, trials in every.items())
        refused = identities.fewest(self.resolved.refused)
        records = [record for cell in self.cells for record in self._done[_name(cell)]]
        gaps = {record.status for record in records} - {OK, "unsupported"}
        return Mitigations(
            matrix=self.resolved.matrix.name,
            rounds=self.resolved.matrix.rounds,
            subjects=subjects,
            refused=refused,
            complete=not refused and not gaps,
            short=tuple(line for one in subjects for line in in_short(one)),
        )

    def _results(self, cells: list[Cell], what: str) -> Mapping[str, list[Record]]:
        """The records of these cells by their names, run where they are not stored."""
        new = list({_name(cell): cell for cell in cells if _name(cell) not in self._done}.values())
        if new:
            matrix = replace(self.resolved.matrix, cells=new, reference=None, reference_cell=None)
            resolved = replace(self.resolved, matrix=matrix)
            plan = make_plan(resolved, self.environments, self.store, retry=self.retry)
            self.run(resolved, plan, what)
            self._keep(plan.items)
        return self._done

    def _keep(self, items: Iterable[Item]) -> None:
        for item in items:
            self._done.setdefault(_name(item.cell), []).append(self.store.record(item.digest))
        self.store.flush()

    def _pins(self, cells: list[Cell]) -> tuple[list[Pin], list[Pin]]:
        """The candidates for these cells, and those that every one has as it is."""
        pins = catalogue().get(self.resolved.stacks[cells[0].software].backend, [])
        moving = [pin for pin in pins if any(changes(cell, pin) for cell in cells)]
        return moving, [pin for pin in pins if pin not in moving]

    def _trials(self, key: tuple[str, str, str], cells: list[Cell], items: list[Item]) -> _Trials | None:
        """What all sets of pins are measured against; None where fewer than two cells have a result."""
        workload = key[0]
        good = [cell for cell in cells if all(record.status == OK for record in self._done[_name(cell)])]
        if len(good) < 2:
            return None
        runs = [_observation(record, cell) for cell in good for record in self._done[_name(cell)]]
        times: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for cell in good:
            for record in self._done[_name(cell)]:
                times.setdefault(key_of(_levels(cell)), []).extend(_seconds(record))
        exact = self.resolved.matrix.reference_cell is None
        found = [
            _observation(self.store.record(item.digest), item.cell, reference=True, exact=exact)
            for item in items
            if item.cell.workload == workload and str(item.cell.factors["batch"]) == key[2]
        ]
        seen = Seen(
            workload,
            runs,
            times,
            self.store.load,
            references(workload, found),
            {name: [str(level) for level in levels] for name, levels in self.resolved.matrix.factors.items()},
            {name: str(level) for name, level in self.resolved.matrix.baseline.items() if name != "stack"},
            tuple(self.resolved.workloads[workload].labels),
        )
        settings = [Setting(pin, level) for pin in self._pins(good)[0] for level in pin.levels]
        named = {one.label: one for one in settings}
        return _Trials(seen, good, named, self._results, f"{workload} on {key[1]}")

    def _subject(self, key: tuple[str, str, str], cells: list[Cell], trials: _Trials | None) -> Subject:
        good = trials.cells if trials else []
        without = [f"{_where(cell, cells)}: {self._why(cell)}" for cell in cells if trials and cell not in good]
        solutions: list[Solution] = []
        if trials and not trials.seen.base.score.holds:
            solutions = self._solve(trials)
        return Subject(
            workload=key[0],
            stack=key[1],
            batch=key[2],
            cells=tuple(_varied(cell, cells) for cell in good),
            without=tuple(without),
            base=trials.seen.base if trials else None,
            already=tuple(pin.name for pin in self._pins(cells)[1]),
            rows=tuple(trials.rows.values()) if trials else (),
            others=_others(trials, solutions[0].pins) if solutions and solutions[0].kind == "pins" else (),
            solutions=ordered(solutions),
        )

    def _solve(self, trials: _Trials) -> list[Solution]:
        """Pins first; what computes in another precision next to them, with pins where it needs them; rounding last."""
        moving = self._pins(trials.cells)[0]
        labels = {pin.name: [Setting(pin, level).label for level in pin.levels] for pin in moving}
        pins = [labels[pin.name] for pin in moving if pin.kind != PRECISION]
        found = trials.search(pins)
        solutions = [self._solution("pins", found.pins, trials)] if found.pins else []
        for pin in moving:
            if pin.kind != PRECISION:
                continue
            always: Pins = (labels[pin.name][0],)
            (score,) = trials.measure([always])
            trials.rows[always] = trials.rows[always].model_copy(update={"why": "alone"})
            if score.holds:
                solutions.append(self._solution(PRECISION, always, trials))
            elif score.lost == 0 and not found.pins and (more := trials.search(pins, always)).pins:
                solutions.append(self._solution(PRECISION, (*always, *more.pins), trials))
        if not found.pins:
            solutions += _roundings(trials)
        else:
            solutions += [one for one in _roundings(trials) if not one.pins]
        return solutions

    def _solution(self, kind: str, pins: Pins, trials: _Trials) -> Solution:
        return Solution(
            kind=kind,
            pins=pins,
            decimals=None,
            minimal=True,
            measured=trials.rows[pins].measured,
            snippet=trials.snippet(pins),
        )

    def _why(self, cell: Cell) -> str:
        bad = next(record for record in self._done[_name(cell)] if record.status != OK)
        return f"{bad.status}" + (f" ({bad.reason})" if bad.reason else "")


def _others(trials: _Trials, best: Pins) -> tuple[Pins, ...]:
    """Other sets of no more pins that leave one class; the same pins at other levels are none."""

    def names(pins: Pins) -> set[str]:
        return {trials.settings[label].pin.name for label in pins}

    return tuple(
        pins
        for pins, row in trials.rows.items()
        if row.measured.score.holds
        and len(pins) <= len(best)
        and names(pins) != names(best)
        and not any(trials.settings[label].pin.kind == PRECISION for label in pins)
    )


def _roundings(trials: _Trials) -> list[Solution]:
    """Rounding alone, and after the pins that allow for the most decimals where these are more."""
    every: list[tuple[Pins, Measured]] = [((), trials.seen.base)]
    every += [(pins, row.measured) for pins, row in trials.rows.items()]
    some = [(pins, one) for pins, one in every if not one.odd and one.decimals is not None]
    if not some:
        return []
    best = max(some, key=lambda pair: (pair[1].decimals, -len(pair[0])))
    kept = [pair for pair in some if not pair[0]]
    kept += [best] if best[0] and (not kept or best[1].decimals > kept[0][1].decimals) else []
    return [
        Solution(
            kind="rounding",
            pins=pins,
            decimals=one.decimals,
            minimal=False,
            measured=one,
            snippet=trials.snippet(pins, one.decimals),
        )
        for pins, one in kept
    ]


def _seconds(record: Record) -> list[float]:
    return seconds(record.realised, int(record.factors.get("threads", 1)))


def _name(cell: Cell) -> str:
    return digests.of_json(cell.json())


def _levels(cell: Cell) -> dict[str, str]:
    return {name: str(level) for name, level in cell.factors.items() if name not in ("stack", "batch")}


def _observation(record: Record, cell: Cell, reference: bool = False, exact: bool = True) -> Observation:
    """A record as that of `cell`: under pins it is another cell that was run, and stands for this one."""
    factors = {} if reference else _levels(cell)
    asked = RunCell(
        digest=record.digest,
        workload=cell.workload,
        factors=factors,
        replicate=record.replicate,
        reference=reference,
    )
    return observe(asked, record, exact)


def _varied(cell: Cell, cells: list[Cell]) -> dict[str, str]:
    """The levels by which a cell differs from others of these, and its profile."""
    every = _levels(cell)
    varied = {name for name in every if len({_levels(one).get(name) for one in cells}) > 1}
    return {name: level for name, level in every.items() if name in varied or name == "profile"}


def _where(cell: Cell, cells: list[Cell]) -> str:
    return " ".join(_varied(cell, cells).values())
