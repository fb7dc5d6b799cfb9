"""Two sets of arrays, or two runs, against each other: what `numdev compare` says, as data with a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from numdev.analysis.agreement import Agreement, agreement
from numdev.analysis.classes import Cell, Load, partition
from numdev.analysis.decisions import TOP_K
from numdev.analysis.deviation import Deviation, combined, compare
from numdev.analysis.matched import Matched
from numdev.analysis.observation import Observation
from numdev.analysis.pairs import dtype_name
from numdev.analysis.result import _Model
from numdev.analysis.sizes import Sizes

VERSION = 1
UNSUPPORTED = "unsupported"
SAME, DIFFERS, NO_RESULT = "same", "differs", "no result"


@dataclass(frozen=True)
class Limits:
    """What is let pass: None is no limit. Of integers no ULP distance is known; they pass where they are equal."""

    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None

    @property
    def given(self) -> bool:
        return any(getattr(self, one.name) is not None for one in fields(self))

    def exceeded(self, size: Deviation) -> list[str]:
        """What is beyond, in words."""
        if not self.given:
            return []
        if size.incomparable:
            return [size.incomparable]
        said = []
        if size.nonfinite:
            said.append(f"{size.nonfinite} NaN or infinite on one side only")
        if self.max_abs is not None and (size.max_abs or 0) > self.max_abs:
            said.append(f"max abs {size.max_abs:.3g} > {self.max_abs:.3g}")
        if self.max_rel is not None:
            if size.from_zero:
                said.append(f"{size.from_zero} left zero, which no relative deviation describes")
            if (size.max_rel or 0) > self.max_rel:
                said.append(f"max rel {size.max_rel:.3g} > {self.max_rel:.3g}")
        if self.max_ulp is not None:
            if size.max_ulp is None and (size.max_abs or 0) > 0:
                said.append("there is no ULP distance between these types")
            elif (size.max_ulp or 0) > self.max_ulp:
                said.append(f"max ulp {size.max_ulp} > {self.max_ulp}")
        return said


class Side(_Model):
    """One of the two: `kind` is `file`, `cell` or `run`; `facts` describe it for people."""

    kind: str
    name: str
    facts: dict[str, str] = {}


class ArrayComparison(_Model):
    """Two arrays: the deviation of the second from the first. `outcome` is `same` (type, shape and bytes) or `differs`."""

    name: str
    types: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    outcome: str
    size: Deviation


class CellComparison(_Model):
    """A cell that both runs have. `name`: its workload and the levels that tell cells apart. `outcome`: `same`, `differs` or `no result`, with a reason where there is one.

    `classes` are its classes in the two runs, `~` where it is noisy and empty where there is none; `size` the
    deviation of the second from the first, where both gave outputs that differ.
    """

    workload: str
    name: str
    levels: dict[str, str]
    records: tuple[tuple[str, ...], tuple[str, ...]]
    classes: tuple[str, str]
    statuses: tuple[str, str]
    outcome: str
    reason: str
    size: Deviation | None
    exceeded: tuple[str, ...]


class WorkloadAgreement(_Model):
    """Whether the classes of a workload are the same partition of its cells, whatever their names; by cells' names."""

    workload: str
    partitions: Agreement


class Comparison(_Model):
    """The second of two sides against the first.

    Of files and cells there are `arrays`, of runs `cells`, `only` (names of cells that one of them lacks) and
    `agreements`; of runs that are matched by a correspondence, `matched` alone, and what that names and neither has in `unused`.
    `deviates`: something differs in its bytes, or matched partitions do. `complete`: every cell of both had a result to compare,
    or is unsupported in both, and there was at least one. `exceeded`: what is beyond a limit that was given.
    """

    version: int = VERSION
    sides: tuple[Side, Side]
    arrays: tuple[ArrayComparison, ...] = ()
    missing: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    cells: tuple[CellComparison, ...] = ()
    only: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    agreements: tuple[WorkloadAgreement, ...] = ()
    matched: tuple[Matched, ...] = ()
    unused: tuple[str, ...] = ()
    deviates: bool
    complete: bool
    limited: bool
    exceeded: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Plain JSON data: no NaN, no infinity."""
        return self.model_dump(mode="json")


def schema() -> dict[str, Any]:
    """The JSON Schema of `Comparison.json()`; docs/compare.schema.json is this."""
    return Comparison.model_json_schema(mode="serialization")


def compare_arrays(
    sides: tuple[Side, Side],
    one: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    limits: Limits = Limits(),
    top_k: int = TOP_K,
) -> Comparison:
    """Arrays by name; where each side has a single one, whatever these are called. What one side lacks deviates."""
    if len(one) == len(other) == 1:
        ((name, first),), (second,) = one.items(), other.values()
        one, other = {name: first}, {name: second}
    found, exceeded = [], []
    for name in sorted(set(one) & set(other)):
        first, second = one[name], other[name]
        size = compare(second, first, top_k=top_k)
        types = dtype_name(first.dtype), dtype_name(second.dtype)
        differs = size.incomparable or size.differ or types[0] != types[1]
        found.append(
            ArrayComparison(
                name=name,
                types=types,
                shapes=(first.shape, second.shape),
                outcome=DIFFERS if differs else SAME,
                size=size,
            )
        )
        exceeded += [f"{name}: {what}" for what in limits.exceeded(size)]
    missing = tuple(sorted(set(one) - set(other))), tuple(sorted(set(other) - set(one)))
    if limits.given:
        exceeded += [f"{name}: only one side has it" for name in (*missing[0], *missing[1])]
    return Comparison(
        sides=sides,
        arrays=tuple(found),
        missing=missing,
        deviates=any(missing) or any(each.outcome == DIFFERS for each in found),
        complete=bool(found),
        limited=limits.given,
        exceeded=tuple(exceeded),
    )


def compare_runs(
    sides: tuple[Side, Side],
    one: Sequence[Observation],
    other: Sequence[Observation],
    load: Load,
    order: Mapping[str, Sequence[str]],
    labels: Mapping[str, Sequence[str]],
    limits: Limits = Limits(),
    top_k: int = TOP_K,
) -> Comparison:
    """Cells of two runs, matched by workload and levels; the observations of both must have the same factors."""
    cells: list[CellComparison] = []
    only: tuple[list[str], list[str]] = ([], [])
    agreements = []
    for workload in sorted({each.workload for each in (*one, *other)}):
        parts = [partition(workload, each, load, order) for each in (one, other)]
        factors = _telling([cell.levels for part in parts for cell in part.cells])
        found = [{_named(workload, cell, factors): cell for cell in part.cells} for part in parts]
        sizes = Sizes(load, labels.get(workload, ()), top_k)
        classes: list[dict[str, str]] = [{}, {}]
        for side, part in enumerate(parts):
            for name, cell in found[side].items():
                if name not in found[1 - side]:
                    only[side].append(name)
                elif cell.comparable:
                    classes[side][name] = part.name(cell)
        for name, cell in found[0].items():
            if name in found[1]:
                both = cell, found[1][name]
                names = parts[0].name(both[0]), parts[1].name(both[1])
                cells.append(_cell(workload, name, both, names, sizes, limits))
        agreements.append(WorkloadAgreement(workload=workload, partitions=agreement(*classes)))
    return Comparison(
        sides=sides,
        cells=tuple(cells),
        only=(tuple(only[0]), tuple(only[1])),
        agreements=tuple(agreements),
        deviates=any(each.outcome == DIFFERS for each in cells),
        complete=bool(cells)
        and all(each.outcome != NO_RESULT or set(each.statuses) == {UNSUPPORTED} for each in cells),
        limited=limits.given,
        exceeded=tuple(f"{each.name}: {what}" for each in cells for what in each.exceeded),
    )


def _cell(
    workload: str, name: str, both: tuple[Cell, Cell], classes: tuple[str, str], sizes: Sizes, limits: Limits
) -> CellComparison:
    one, other = both
    outcome, reason, size = SAME, "", None
    exceeded: list[str] = []
    gaps = [
        f"{side} {cell.status} {cell.reason}".strip()
        for side, cell in zip("AB", both, strict=True)
        if cell.kind == "gap"
    ]
    noisy = [f"{side} is noisy: {cell.reason}" for side, cell in zip("AB", both, strict=True) if cell.kind == "noisy"]
    if gaps:
        outcome, reason = NO_RESULT, "; ".join(gaps)
    elif noisy or one.status != other.status:
        outcome, reason = DIFFERS, "; ".join(noisy) or f"{one.status} against {other.status}"
        exceeded = [reason] if limits.given else []
    elif one.outputs != other.outputs:
        outcome, size = DIFFERS, combined(list(sizes.outputs(other.outputs, one.outputs).values()))
        exceeded = limits.exceeded(size)
    return CellComparison(
        workload=workload,
        name=name,
        levels=dict(one.levels),
        records=(one.ids, other.ids),
        classes=classes,
        statuses=(one.status, other.status),
        outcome=outcome,
        reason=reason,
        size=size,
        exceeded=tuple(exceeded),
    )


def _telling(cells: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The factors that tell cells apart; all where there are no two."""
    names = list(dict.fromkeys(name for levels in cells for name in levels))
    return tuple(name for name in names if len({levels.get(name) for levels in cells}) > 1)


def _named(workload: str, cell: Cell, factors: Sequence[str]) -> str:
    return " ".join([workload, *(cell.levels[name] for name in factors)])
