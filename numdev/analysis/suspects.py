"""Outputs that rounding cannot explain: other weights or another input, recorded under the same name.

The rule. Of all outputs of a workload with equal names, types and shapes the elementwise median is taken, each cell with
one vote. The distance of an output is its largest difference from that median, in units of the median's largest value.
Up to `LIMIT` it is rounding. Where more than half of the votes lie within the limit, the median lies among them
whatever the others hold (its breakdown point is one half), and the others are suspects. Where no such half is, there
are several groups and no statistic tells which is the workload: then they are named, and nothing is set apart.

The limit is that of `reference.NOT_ROUNDING`, 1e-2. Below it, in the published measurements: float32 sums in another order on
CPUs (5e-7), GPUs that choose other algorithms at run time (1e-3 on a P100, 5e-3 on an A100, which also multiplies in TF32 with
10 bits of mantissa). Above it: other weights or samples, from 5e-2 on.

Integers do not round, so they are not judged: a deviation there is a finding, not a suspicion.

Only cells are judged whose model and inputs nothing vouches for. What numdev ran itself has them by digest: a result
that is far away there is what the platform does, stays a class, and is judged against the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from numdev.analysis.budget import spend
from numdev.analysis.numbers import number
from numdev.analysis.observation import OK, SUSPECT, Observation, OutputRef
from numdev.analysis.pairs import flat

LIMIT = 1e-2
# Elements of all outputs together that are held at a time: 8 MiB in float64, and some times that while they are sorted.
PIECE = 1 << 20
# Groups that are told apart where no half agrees; the last one holds all that is left.
MOST_GROUPS = 8
# Steps of an element of an output that is sorted among those of the others.
_SORTED = 2
REASON = "not rounding: other weights or another input"

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Suspicion:
    """`distance` from the median in units of its largest value, infinite for a NaN or infinity that the median has not."""

    distance: float
    reason: str


@dataclass(frozen=True)
class Found:
    """`groups` is empty where more than half agree; else the ids by group, largest first, and there are no suspects."""

    suspects: dict[str, Suspicion]
    groups: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Suspect:
    """A cell that was set apart. `distance` is the largest of its runs' (see Suspicion), None where that is infinite."""

    levels: dict[str, str]
    records: tuple[str, ...]
    distance: float | None
    reason: str


def suspects(outputs: Mapping[str, Arrays], votes: Mapping[str, float] | None = None) -> Found:
    """Which of several runs of one task are not rounding of the others.

    Args:
        outputs: for each id its output arrays; all ids have equally many, of equal types and shapes.
        votes: for each id how much it counts; all alike where it is not given.
    """
    ids = sorted(outputs)
    counts = np.array([1.0 if votes is None else votes[name] for name in ids])
    distances = np.zeros(len(ids))
    for arrays in zip(*(outputs[name] for name in ids), strict=True):
        if arrays[0].dtype.kind in "fc":
            distances = np.maximum(distances, _from_median(arrays, counts))
    near = distances <= LIMIT
    if not ids or counts[near].sum() * 2 > counts.sum():
        far = {name: _suspicion(float(size)) for name, size, ok in zip(ids, distances, near, strict=True) if not ok}
        return Found(far)
    return Found({}, _groups(ids, counts, outputs))


def set_apart(
    observations: Iterable[Observation], load: Callable[[str], np.ndarray]
) -> tuple[list[Observation], tuple[Suspect, ...], tuple[str, ...]]:
    """One workload's observations, where suspects have the status `suspect`; those suspects; and sentences about both.

    Observations that are vouched for, references and integers pass through.
    """
    observations = list(observations)
    tasks: dict[tuple, list[Observation]] = {}
    for one in observations:
        if one.status == OK and not one.vouched and not one.reference and one.outputs:
            tasks.setdefault(tuple((ref.name, ref.dtype, ref.shape) for ref in _sorted(one)), []).append(one)
    distances: dict[int, Suspicion] = {}
    told = []
    for _, mine in sorted(tasks.items(), key=lambda item: repr(item[0])):
        found, cells = _judge(mine, load)
        far = {id(one): found.suspects[key] for one in mine if (key := _key(one)) in found.suspects}
        distances |= far
        if far:
            told.append(_told(far, mine, cells))
        if len(found.groups) > 1:
            told.append(_undecided(found.groups, mine))
    apart: dict[tuple, list[Observation]] = {}
    for one in observations:
        if id(one) in distances:
            apart.setdefault(_cell(one), []).append(one)
    kept = [
        replace(one, status=SUSPECT, reason=distances[id(one)].reason) if id(one) in distances else one
        for one in observations
    ]
    cells = tuple(_suspect(mine, [distances[id(one)] for one in mine]) for _, mine in sorted(apart.items()))
    return kept, cells, tuple(told)


def in_short(suspects: Mapping[str, Sequence[Suspect]]) -> list[str]:
    """A line over all workloads, by whose names the suspects stand; nothing where there are none."""
    some = {name: found for name, found in suspects.items() if found}
    if not some:
        return []
    count = sum(map(len, some.values()))
    listed = ", ".join(f"{len(found)} of {name}" for name, found in sorted(some.items()))
    cells = "1 cell is suspect and is" if count == 1 else f"{count} cells are suspect and are"
    return [f"Suspects: {cells} in no class ({REASON}): {listed}."]


def _judge(mine: list[Observation], load: Callable[[str], np.ndarray]) -> tuple[Found, int]:
    runs: dict[tuple, int] = {}
    for one in mine:
        runs[_cell(one)] = runs.get(_cell(one), 0) + 1
    outputs: dict[str, Arrays] = {}
    votes: dict[str, float] = {}
    for one in mine:
        key = _key(one)
        if key not in outputs:
            outputs[key] = [load(ref.tensor) for ref in _sorted(one)]
        votes[key] = votes.get(key, 0.0) + 1 / runs[_cell(one)]
    return suspects(outputs, votes), len(runs)


def _from_median(arrays: Arrays, counts: np.ndarray) -> np.ndarray:
    """Each array's distance from their elementwise median; zero where the median has no scale."""
    largest, scale = np.zeros(len(arrays)), 0.0
    for piece in _together(arrays):
        spend(_SORTED * piece.size)
        centre = _median(piece, counts)
        largest = np.maximum(largest, _gaps(piece, centre).max(axis=1))
        scale = max(scale, _scale(centre))
    # Inf over nothing stays what it is: a NaN needs no scale to be no rounding.
    with np.errstate(over="ignore"):
        return np.where(np.isinf(largest), np.inf, largest / scale if scale else 0.0)


def _gaps(piece: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Absolute differences; equal NaN and infinities are none, and others are infinite."""
    finite = np.isfinite(piece) & np.isfinite(centre)
    equal = (piece == centre) | (np.isnan(piece) & np.isnan(centre))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(finite, np.abs(piece - centre), np.where(equal, 0.0, np.inf))


def _scale(values: np.ndarray) -> float:
    return float(np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max())


def _median(piece: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The lower median of each column, rows counted `counts` times; NaN is larger than all numbers."""
    order = np.argsort(piece, axis=0, kind="stable")
    reached = np.cumsum(counts[order], axis=0) >= counts.sum() / 2 * (1 - 1e-12)
    middle = np.take_along_axis(order, reached.argmax(axis=0)[None], axis=0)
    return np.take_along_axis(piece, middle, axis=0)[0]


def _groups(ids: list[str], counts: np.ndarray, outputs: Mapping[str, Arrays]) -> tuple[tuple[str, ...], ...]:
    """Ids by the first leader that they are a rounding of; leaders are those with the most votes."""
    groups: list[list[str]] = []
    for place in sorted(range(len(ids)), key=lambda place: (-counts[place], ids[place])):
        name = ids[place]
        near = (group for group in groups if between(outputs[group[0]], outputs[name]) <= 2 * LIMIT)
        home = next(near, groups[-1] if len(groups) == MOST_GROUPS else None)
        if home is None:
            groups.append([name])
        else:
            home.append(name)
    weight = dict(zip(ids, counts, strict=True))
    groups.sort(key=lambda group: (-sum(weight[name] for name in group), group[0]))
    return tuple(tuple(sorted(group)) for group in groups)


def between(one: Arrays, other: Arrays) -> float:
    """The largest difference of two sets of float outputs, in units of the larger one's largest value; integers aside."""
    found = 0.0
    for first, second in zip(one, other, strict=True):
        if first.dtype.kind in "fc" and first.size:
            largest = scale = 0.0
            for pair in _together((first, second)):
                spend(pair.size)
                largest, scale = max(largest, float(_gaps(pair, pair[0]).max())), max(scale, _scale(pair))
            found = max(found, largest / (scale or 1.0))
    return found


def _together(arrays: Arrays) -> Iterator[np.ndarray]:
    """Arrays of one shape as rows of float64, of complex ones both parts, some columns at a time."""
    step = max(1, PIECE // len(arrays))
    flats = [flat(array, 8 * step) for array in arrays]
    for start in range(0, arrays[0].size, step):
        rows = [elements[start : start + step] for elements in flats]
        # What lies beyond float64 is infinite there.
        with np.errstate(over="ignore"):
            yield np.stack([_parts(row).astype(np.float64) for row in rows])


def _parts(row: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(row).view(row.real.dtype) if row.dtype.kind == "c" else row


def _suspicion(distance: float) -> Suspicion:
    return Suspicion(distance, REASON)


def _sorted(one: Observation) -> tuple[OutputRef, ...]:
    return tuple(sorted(one.outputs, key=lambda ref: ref.name))


def _key(one: Observation) -> str:
    return " ".join(ref.tensor for ref in _sorted(one))


def _cell(one: Observation) -> tuple:
    return tuple(sorted(one.factors.items()))


def _suspect(mine: list[Observation], found: list[Suspicion]) -> Suspect:
    distance = max(one.distance for one in found)
    return Suspect(
        levels=dict(mine[0].factors),
        records=tuple(dict.fromkeys(one.cell for one in mine)),
        distance=distance if math.isfinite(distance) else None,
        reason=found[0].reason,
    )


def _told(far: Mapping[int, Suspicion], mine: list[Observation], cells: int) -> str:
    apart = {_cell(one) for one in mine if id(one) in far}
    sizes = sorted(one.distance for one in far.values())
    span = " to ".join(dict.fromkeys(number(size) if math.isfinite(size) else "NaN" for size in (sizes[0], sizes[-1])))
    return f"{len(apart)} of {cells} cells set apart, in no class: {span} of the scale from the median, {REASON}"


def _undecided(groups: tuple[tuple[str, ...], ...], mine: list[Observation]) -> str:
    home = {key: place for place, group in enumerate(groups) for key in group}
    sizes: list[set[tuple]] = [set() for _ in groups]
    for one in mine:
        sizes[home[_key(one)]].add(_cell(one))
    counts = ", ".join(str(len(found)) for found in sizes)
    more = " or more" if len(groups) == MOST_GROUPS else ""
    return (
        f"{len(groups)}{more} groups that rounding does not connect, of {counts} cells: other weights or another input. "
        "No half agrees, so it cannot be told which is the workload; none is set apart"
    )
