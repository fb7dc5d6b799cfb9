"""Where in a network two cells first differ, and what becomes of the deviation on its way through the layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from numdev.analysis.classes import letters
from numdev.analysis.deviation import Deviation
from numdev.analysis.kinds import by_kind, sentences
from numdev.analysis.layers import Layer, Load, Tapped, apart, bound
from numdev.analysis.tracing import (
    ABSORBS,
    AMPLIFIES,
    BEGINS,
    CHANGE,
    KEEPS,
    LAYERS,
    NOISY,
    PAIRS,
    SAME,
    UNSEEN,
    VANISHES,
    LayerClasses,
    LayerStep,
    Pair,
    Path,
    Tap,
    Trace,
    WorkloadTrace,
)


def trace(
    run: str,
    cells: Iterable[Tapped],
    load: Load,
    between: Mapping[str, tuple[str, str]] | None = None,
    missing: int = 0,
) -> Trace:
    """The trace of a run.

    Args:
        cells: every replicate; cells come in this order, the one that others are measured from first.
        load: the array of a sample.
        between: the names of two cells to be compared, by workload, of which the others are left out; without, the first cell
            is compared with one of every other path.
        missing: cells that have no record.
    """
    by: dict[str, list[Tapped]] = {}
    for cell in cells:
        if between is None or cell.workload in between:
            by.setdefault(cell.workload, []).append(cell)
    found = tuple(_workload(name, some, load, between[name] if between else None) for name, some in by.items())
    complete = (
        not missing and bool(found) and all(tap.status in ("same", "partly") for one in found for tap in one.taps)
    )
    return Trace(run=run, workloads=found, missing=missing, complete=complete)


class _Cell:
    """All replicates of one cell: its layers by name, and those in which the replicates differ."""

    def __init__(self, runs: list[Tapped]) -> None:
        self.name, self.levels = runs[0].name, runs[0].levels
        seen = [run for run in runs if run.seen]
        worst = min(runs, key=lambda run: ("partly", "same").index(run.status) + 1 if run.seen else 0)
        self.status, self.reason = worst.status, worst.reason
        self.record = runs[0].record
        # Of replicates that are tapped in part, each may have other parts.
        self.layers: dict[str, Layer] = {}
        self.noisy: set[str] = set()
        for run in seen:
            for layer in run.layers:
                known = self.layers.get(layer.name)
                if known is None or not known.digest:
                    self.layers[layer.name] = layer
                elif layer.digest and layer.digest != known.digest:
                    self.noisy.add(layer.name)

    def digest(self, name: str) -> str:
        """Of a layer; `~` where replicates differ, "" where it was not looked at."""
        layer = self.layers.get(name)
        return "" if layer is None else NOISY if name in self.noisy else layer.digest


def _workload(name: str, runs: list[Tapped], load: Load, between: tuple[str, str] | None) -> WorkloadTrace:
    grouped: dict[str, list[Tapped]] = {}
    for run in runs:
        grouped.setdefault(run.name, []).append(run)
    every = [_Cell(some) for some in grouped.values()]
    cells = [cell for cell in every if cell.layers]
    order = _order(cells)
    paths: dict[tuple[str, ...], list[_Cell]] = {}
    for cell in cells:
        paths.setdefault(tuple(cell.digest(layer) for layer in order), []).append(cell)
    rows = [_classes(layer, cells, [some[0] for some in paths.values()]) for layer in order]
    if between:
        chosen = [
            (one, other) for one in cells if one.name == between[0] for other in cells if other.name == between[1]
        ]
        left = 0
    else:
        firsts = [some[0] for some in paths.values()]
        chosen = [(firsts[0], other) for other in firsts[1 : PAIRS + 1]]
        left = max(0, len(firsts) - 1 - PAIRS)
    return WorkloadTrace(
        workload=name,
        taps=tuple(
            Tap(cell=cell.name, levels=cell.levels, record=cell.record, status=cell.status, reason=cell.reason)
            for cell in every
        ),
        paths=tuple(
            Path(name=f"p{number}", cells=tuple(cell.name for cell in some), levels=tuple(cell.levels for cell in some))
            for number, some in enumerate(paths.values(), 1)
        ),
        layers=tuple(rows[:LAYERS]),
        first=next((row.name for row in rows if row.count > 1), ""),
        noisy=tuple(layer for layer in order if any(layer in cell.noisy for cell in cells)),
        pairs=tuple(_pair(one, other, load) for one, other in chosen),
        left_out=left,
    )


def _order(cells: list[_Cell]) -> list[str]:
    """The layers of all cells: in the first one's order, those that it lacks after the layer that they follow elsewhere."""
    order: list[str] = []
    for cell in cells:
        known, at = set(order), 0
        if cell.layers.keys() <= known:
            continue
        for name in cell.layers:
            if name in known:
                at = order.index(name) + 1
            else:
                order.insert(at, name)
                at += 1
    return order


def _classes(name: str, cells: list[_Cell], firsts: list[_Cell]) -> LayerClasses:
    names: dict[str, str] = {}
    for cell in cells:
        digest = cell.digest(name)
        if digest and digest != NOISY:
            names.setdefault(digest, letters(len(names)))
    layer = next(cell.layers[name] for cell in cells if name in cell.layers)
    return LayerClasses(
        name=name,
        op=layer.op,
        multiplications=layer.multiplications,
        bound=bound(layer),
        classes=tuple(names.get(cell.digest(name), NOISY if cell.digest(name) else "") for cell in firsts),
        count=len(names),
    )


def _pair(one: _Cell, other: _Cell, load: Load) -> Pair:
    """The second cell against the first, layer by layer in the first one's order."""
    steps: list[LayerStep] = []
    done: dict[str, LayerStep] = {}
    for name, layer in one.layers.items():
        step = _step(layer, one, other, load, done)
        steps.append(step)
        done[name] = step
    first = next((step.name for step in steps if step.effect == BEGINS), "")
    only = tuple(
        tuple(name for name in mine.layers if name not in theirs.layers)
        for mine, theirs in ((one, other), (other, one))
    )
    unseen = _unseen_before(first, one, done) if first else ()
    kinds = by_kind(steps)
    return Pair(
        between=(one.name, other.name),
        first=first,
        unseen=unseen,
        layers=tuple(steps),
        kinds=kinds,
        only=(only[0], only[1]),
        said=sentences(steps, kinds, first, unseen),
    )


def _step(layer: Layer, one: _Cell, other: _Cell, load: Load, done: Mapping[str, LayerStep]) -> LayerStep:
    digests = one.digest(layer.name), other.digest(layer.name)
    size: Deviation | None = None
    relative = factor = None
    if NOISY in digests:
        effect = NOISY
    elif "" in digests:
        effect = UNSEEN
    else:
        before = _before(layer, one, done)
        differ = digests[0] != digests[1]
        if differ:
            size, relative = apart(layer, other.layers[layer.name], load)
            if not size.differ:
                # It deviates outside of the sample: how far is not known.
                relative = None
        given = [step for step in before if step.differs]
        if not differ:
            effect = VANISHES if given else SAME
        elif any(step.effect == NOISY for step in before):
            effect = NOISY
        elif not given:
            effect = BEGINS
        else:
            most = max((step.relative for step in given if step.relative is not None), default=None)
            factor = relative / most if relative is not None and most else None
            effect = (
                KEEPS if factor is None or 1 / CHANGE <= factor <= CHANGE else AMPLIFIES if factor > CHANGE else ABSORBS
            )
            if factor is not None and not math.isfinite(factor):
                factor = None
    return LayerStep(
        name=layer.name,
        op=layer.op,
        multiplications=layer.multiplications,
        bound=bound(layer),
        differs=effect in (BEGINS, AMPLIFIES, KEEPS, ABSORBS),
        effect=effect,
        size=size,
        relative=relative,
        factor=factor,
    )


def _before(layer: Layer, cell: _Cell, done: Mapping[str, LayerStep]) -> list[LayerStep]:
    """The nearest layers before one that were looked at in both cells: over those that were not, to what these were given."""
    found: dict[str, LayerStep] = {}
    waiting, met = list(layer.inputs), set(layer.inputs)
    while waiting:
        name = waiting.pop()
        step = done.get(name)
        if step is None:
            continue
        if step.effect != UNSEEN:
            found[name] = step
            continue
        for far in cell.layers[name].inputs:
            if far not in met:
                met.add(far)
                waiting.append(far)
    return list(found.values())


def _unseen_before(first: str, cell: _Cell, done: Mapping[str, LayerStep]) -> tuple[str, ...]:
    """Layers between the first that differs and those that were looked at before it: it may have begun in one of them."""
    found: list[str] = []
    waiting = list(cell.layers[first].inputs)
    while waiting:
        name = waiting.pop()
        if name in done and done[name].effect == UNSEEN and name not in found:
            found.append(name)
            waiting += cell.layers[name].inputs
    return tuple(name for name in cell.layers if name in found)
