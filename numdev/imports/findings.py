"""What the imported rows show before any analysis: suspects, other weights, repeats, and CPUs beside GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from numdev.analysis import Observation, OutputRef
from numdev.analysis.suspects import LIMIT, between, set_apart
from numdev.imports.places import MAIN
from numdev.imports.platforms import CPU, GPU
from numdev.imports.records import OUTPUT, Row
from numdev.imports.runs import factors_of
from numdev.store import Store


@dataclass(frozen=True, order=True)
class Odd:
    """A result that is no rounding of its workload's others. `distance` is None where it has a NaN of its own."""

    path: str
    workload: str
    platform: str
    distance: float | None
    reason: str


def odd_ones(rows: Sequence[Row], store: Store) -> tuple[list[Odd], list[str]]:
    """Suspects by path, by the rule of the answer; and sentences on workloads of which no half agrees."""
    odd, undecided = [], []
    experiments = sorted({row.place.experiment for row in rows})
    factors: dict[str, dict[str, str]] = {}
    for experiment in experiments:
        factors |= factors_of([row for row in rows if row.place.experiment == experiment])
    of_record = {digest: row for row in rows for digest in row.records}
    for mine in _by(rows, "run", "workload").values():
        seen = [_observation(row, place, factors, store) for row in mine for place in range(len(row.records))]
        _, apart, told = set_apart(seen, store.load)
        for one in apart:
            row = of_record[one.records[0]]
            odd.append(Odd(row.path, row.place.workload, row.place.platform, one.distance, one.reason))
        if not apart:
            undecided += [f"{row.place.experiment}, {row.place.workload}: {text}" for row in mine[:1] for text in told]
    return sorted(odd, key=lambda one: one.path), undecided


def other_weights(rows: Sequence[Row], store: Store, odd: Iterable[Odd]) -> list[str]:
    """Workloads of smaller experiments that are not rounding of the main experiment's model of that name, in any sample."""
    apart = {one.path for one in odd}
    main: dict[str, list[Row]] = {}
    for row in rows:
        if row.place.experiment == MAIN and row.place.kind == CPU and row.path not in apart:
            main.setdefault(row.place.model, []).append(row)
    said = []
    for mine in _by([row for row in rows if row.place.experiment == "precision"], "workload").values():
        base = next((model for model in main if mine[0].place.model.startswith(f"{model}_float")), "")
        if not base:
            continue
        own = store.load(mine[0].tensors[0])
        samples = {row.place.sample: store.load(row.tensors[0]) for row in main[base]}
        near = min(between([own], [other]) for other in samples.values() if other.shape == own.shape)
        if near > 2 * LIMIT:
            said.append(
                f"precision, {mine[0].place.workload}: {near:.2g} of the scale from {MAIN}, {base}, in its nearest sample: "
                "other weights or another input"
            )
    return said


def unsteady(rows: Sequence[Row], kind: str) -> tuple[list[str], int]:
    """Platforms whose runs of one workload differ, of those that ran one several times."""
    several = {row.platform for row in rows if row.place.kind == kind and len(row.tensors) > 1}
    differ = {row.platform for row in rows if row.place.kind == kind and len(set(row.tensors)) > 1}
    return sorted(platform for platform, _ in differ), len(several)


def shared_outputs(rows: Sequence[Row]) -> tuple[int, int]:
    """Of the models and samples that ran on CPUs and GPUs: how many, and in how many some bytes are of both."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for row in rows:
        if row.place.experiment == MAIN:
            sides = found.setdefault((row.place.model, row.place.sample), {CPU: set(), GPU: set()})
            sides[row.place.kind].update(row.tensors)
    both = [sides for sides in found.values() if sides[CPU] and sides[GPU]]
    return len(both), sum(bool(sides[CPU] & sides[GPU]) for sides in both)


def class_counts(rows: Sequence[Row], odd: Iterable[Odd]) -> dict[str, int]:
    """Classes of bytes in each workload over the platforms that are steady and not suspect."""
    apart = {one.path for one in odd}
    classes: dict[str, set[str]] = {}
    for row in rows:
        mine = classes.setdefault(row.place.workload, set())
        if row.path not in apart and len(set(row.tensors)) == 1:
            mine.add(row.tensors[0])
    return {name: len(found) for name, found in sorted(classes.items())}


def _by(rows: Iterable[Row], *what: str) -> dict[tuple, list[Row]]:
    found: dict[tuple, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(getattr(row.place, name) for name in what), []).append(row)
    return dict(sorted(found.items()))


def _observation(row: Row, replicate: int, factors: dict[str, dict[str, str]], store: Store) -> Observation:
    record = store.record(row.records[replicate])
    outputs = tuple(OutputRef(one.name, one.dtype, tuple(one.shape), one.tensor) for one in record.outputs)
    assert [one.name for one in outputs] == [OUTPUT]
    return Observation(
        workload=row.place.workload,
        factors=factors[row.path],
        replicate=replicate,
        status="ok",
        reason="",
        outputs=outputs,
        reference=False,
        cell=row.records[replicate],
        vouched=False,
    )
