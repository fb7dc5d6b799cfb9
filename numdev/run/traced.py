"""What a store knows of the layers of a run's models, as `numdev trace` wants it."""

from __future__ import annotations

from collections.abc import Sequence

from numdev.analysis.layers import Layer, Tapped
from numdev.analysis.trace import trace
from numdev.analysis.tracing import Trace
from numdev.errors import InvalidInput, Problem
from numdev.run.runfile import Run, RunCell
from numdev.spec.cell import Cell
from numdev.spec.select import selector
from numdev.store import Record, Store
from numdev.store.record import Layer as StoredLayer

_MOST = 8


def trace_of(run: Run, store: Store, between: Sequence[str] = (), workload: str = "") -> Trace:
    """The trace of a run from what is stored.

    Args:
        between: two expressions as `-k` takes them, each for one cell of every workload that has any.
        workload: the only one to look at, or "".

    Raises:
        InvalidInput: the run was not tapped, or an expression does not choose one cell.
        StoreFailed: a record or a sample is damaged.
    """
    cells = [cell for cell in run.cells if not cell.reference and workload in ("", cell.workload)]
    if not cells:
        known = ", ".join(dict.fromkeys(cell.workload for cell in run.cells))
        raise InvalidInput(
            "There is nothing to trace.", [Problem(f"--workload {workload}", "not in this run", f"there are: {known}")]
        )
    if run.source.get("tap", "none") == "none":
        raise InvalidInput(
            f"The layers of the run {run.matrix!r} were not looked at.",
            [Problem(run.matrix, "its matrix has no `tap: layers`", "add it, and run the matrix again")],
        )
    first = {
        cell.digest for cell in cells if all(run.baseline.get(key) == level for key, level in cell.factors.items())
    }
    ordered = [cell for _, cell in sorted(enumerate(cells), key=lambda pair: (pair[1].digest not in first, pair[0]))]
    varied = [key for key in run.order if len(run.factors[key]) > 1]
    names = {id(cell): _name(cell, varied) for cell in ordered}
    chosen = _between(ordered, names, between) if between else None
    found = [tapped(cell, names[id(cell)], store.record(cell.digest)) for cell in ordered if store.has(cell.digest)]
    store.flush()
    missing = sum(not store.has(cell.digest) for cell in ordered)
    return trace(run.matrix, found, store.load, chosen, missing)


def _name(cell: RunCell, varied: list[str]) -> str:
    """The levels that tell cells of this run apart."""
    return " ".join(cell.factors.get(key, "-") for key in varied) or cell.factors.get("stack", cell.workload)


def _between(cells: list[RunCell], names: dict[int, str], between: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The two cells of each workload; InvalidInput where an expression chooses none at all, or several of one workload."""
    problems, sides = [], []
    for text in between:
        wanted = selector(text)
        found: dict[str, list[str]] = {}
        for cell in cells:
            if wanted(Cell(cell.workload, cell.factors)):
                found.setdefault(cell.workload, []).append(names[id(cell)])
        chosen = {workload: list(dict.fromkeys(some)) for workload, some in found.items()}
        if not chosen:
            known = ", ".join(list(dict.fromkeys(names[id(cell)] for cell in cells))[:_MOST])
            problems.append(Problem(f"--between {text!r}", "no cell matches", f"some are: {known}"))
        for workload, some in chosen.items():
            if len(some) > 1:
                what = f"{len(some)} cells of {workload} match: {', '.join(some[:_MOST])}"
                problems.append(Problem(f"--between {text!r}", what, "say more: 'haswell and threads=1'"))
        sides.append({workload: some[0] for workload, some in chosen.items()})
    if not problems and not sides[0].keys() & sides[1].keys():
        problems.append(Problem("--between", "the two cells are of different workloads"))
    if problems:
        raise InvalidInput("The two cells cannot be found.", problems)
    return {workload: (sides[0][workload], sides[1][workload]) for workload in sides[0] if workload in sides[1]}


def tapped(cell: RunCell, name: str, record: Record) -> Tapped:
    """A record as the analysis sees it. A cell without a result was not tapped, and its own status says why."""
    tap = record.tap if record.status == "ok" else None
    return Tapped(
        workload=cell.workload,
        name=name,
        levels=cell.factors,
        replicate=cell.replicate,
        status=tap.status if tap else "none",
        reason=tap.reason if tap else f"{record.status}: {record.reason}" if record.reason else record.status,
        layers=tuple(_layer(layer) for layer in tap.layers) if tap else (),
        record=record.digest,
    )


def _layer(layer: StoredLayer) -> Layer:
    return Layer(
        name=layer.name,
        op=layer.op,
        inputs=tuple(layer.inputs),
        multiplications=layer.multiplications,
        roundings=layer.roundings,
        # What has no sample has nothing to be measured by.
        digest=layer.sha256 if layer.sample else "",
        dtype=layer.dtype,
        shape=tuple(layer.shape),
        sample=layer.sample,
    )
