"""The plan: every replicate of every cell, what it is called, what is already there, and what runs together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numdev import digests
from numdev.cpu import HOST, REWRITE
from numdev.engines import Environment
from numdev.run.resolve import Resolved
from numdev.spec import identity
from numdev.spec.cell import DEFAULTS, NATIVE, Cell
from numdev.spec.matrix import is_reference
from numdev.store import Record, Store
from numdev.worker.formats import BACKENDS, PROGRAM_FORMATS

# A container that ended before the cell did says nothing about the cell: such cells run again.
TRANSIENT = frozenset({"lost"})
# What begins the digest of a stack or a workload that is not there yet.
NOT_MADE = "not made"


@dataclass(frozen=True)
class Item:
    """One replicate of one cell. `refusal` is set where it cannot run: recorded, and not tried."""

    cell: Cell
    replicate: int
    digest: str
    format: str
    causes: dict[str, Any]
    reference: bool = False
    refusal: str = ""
    rounds: int = 1
    tap: str = ""


@dataclass(frozen=True)
class Group:
    """Cells that one container serves: one stack (by `Cell.software`) under one profile, native or emulated."""

    stack: str
    profile: str
    items: list[Item]
    silicon: str = NATIVE


@dataclass(frozen=True)
class Plan:
    """items: all of them. groups: what has to run. refused: what cannot. stored: digests of what is there.

    apart: architectures whose programs this host or engine cannot run, and stacks that cannot be had here, and why.
    """

    items: list[Item]
    groups: list[Group]
    refused: list[Item]
    stored: set[str] = field(default_factory=set)
    apart: dict[str, str] = field(default_factory=dict)


def reference_cells(resolved: Resolved, cells: Iterable[Cell]) -> Iterator[Cell]:
    """The cells whose results are compared with: one for each workload and batch that `cells` have."""
    if resolved.matrix.reference_cell is not None:
        named = {
            (cell.workload, cell.factors["batch"]): cell
            for cell in resolved.matrix.cells
            if is_reference(cell, resolved.matrix.reference_cell)
        }
        wanted = dict.fromkeys((cell.workload, cell.factors["batch"]) for cell in cells)
        yield from (named[key] for key in wanted if key in named)
        return
    if resolved.matrix.reference is None:
        return
    backend = BACKENDS[resolved.stacks[resolved.matrix.reference].backend]
    seen = set()
    for cell in cells:
        key = (cell.workload, cell.factors["batch"])
        if key not in seen and set(backend.formats) & set(resolved.workloads[cell.workload].formats):
            seen.add(key)
            factors = {
                **DEFAULTS,
                "stack": resolved.matrix.reference,
                "precision": "float64",
                "batch": key[1],
            }
            yield Cell(cell.workload, factors)


def make_plan(
    resolved: Resolved,
    environments: Mapping[str, Environment],
    store: Store | None,
    *,
    select: Callable[[Cell], bool] = lambda cell: True,
    retry: bool = False,
) -> Plan:
    """Names every replicate and sorts them into what is stored, what cannot run and what has to.

    Args:
        environments: by stack; only their digests are used here.
        select: which cells of the matrix; the reference follows from them.
        retry: whether cells that have failed before run again.
    """
    cells = [cell for cell in resolved.matrix.cells if select(cell)]
    items = [
        _item(resolved, environments, cell, replicate, reference)
        for reference, some in ((False, cells), (True, list(reference_cells(resolved, cells))))
        for cell in some
        for replicate in range(1, (1 if reference else resolved.matrix.repeats) + 1)
    ]
    stored = {item.digest for item in items if store and _settled(store, item.digest, retry)}
    groups: dict[tuple[str, str, str], list[Item]] = {}
    refused = []
    named = set(stored)
    for item in items:
        # Equal causes have one name: two levels may come to the same thing, and are run once.
        if item.digest in named:
            continue
        named.add(item.digest)
        if item.refusal:
            refused.append(item)
        else:
            key = item.cell.software, item.cell.profile, item.cell.factors["silicon"]
            groups.setdefault(key, []).append(item)
    ordered = [Group(stack, profile, some, silicon) for (stack, profile, silicon), some in groups.items()]
    apart = {
        item.cell.architecture if item.cell.foreign else item.cell.software: why
        for item in items
        if item.cell.software not in resolved.unlocked and (why := environments[item.cell.software].refusal)
    }
    return Plan(items, ordered, refused, stored, apart)


def _settled(store: Store, digest: str, retry: bool) -> bool:
    if not store.has(digest):
        return False
    status = store.record(digest).status
    return status not in TRANSIENT and (status == "ok" or not retry)


def _item(
    resolved: Resolved, environments: Mapping[str, Environment], cell: Cell, replicate: int, reference: bool
) -> Item:
    workload = resolved.workloads[cell.workload]
    # What is computed exactly is computed by the real processor; a reference that is a cell is as any cell.
    exact = reference and resolved.matrix.reference_cell is None
    silicon = cell.factors["silicon"]
    shown = resolved.shown(cell)
    table = shown.digest if shown else f"refused {cell.profile} {silicon}"
    environment = environments[cell.software]
    causes = {
        # What is not made yet has no digest, and must not be taken for something else that has none.
        "stack": environment.digest or f"{NOT_MADE}: {cell.software}",
        "platform": resolved.host.digest,
        "table": HOST if exact else table,
        "workload": workload.digest or f"{NOT_MADE}: {workload.name}",
        "worker": resolved.worker,
    }
    format, refusal = choose_format(resolved, cell)
    if impossible := identity.refusal(cell.factors):
        refusal = impossible
    elif misfit := resolved.misfit(cell) or environment.refusal:
        refusal = misfit
    elif not cell.foreign and (cell.profile, silicon) in resolved.refusals and not exact:
        what = "emulate" if cell.emulated else "show"
        refusal = f"this host cannot {what} the profile {cell.profile}: {resolved.refusals[cell.profile, silicon]}"
    elif resolved.stacks[cell.software].dockerfile and shown and shown.rung == REWRITE:
        refusal = "what is in a stack that is a Dockerfile is not known beforehand: this needs CPUID faulting"
    # The reference is computed once; a program of its own ends with its inference.
    rounds = 1 if reference or format == "command" else resolved.matrix.rounds
    tap = "" if reference or resolved.matrix.tap == "none" else resolved.matrix.tap
    digest = cell.digest(**causes, replicate=replicate, rounds=rounds, tap=tap)
    return Item(cell, replicate, digest, format, causes, reference, refusal, rounds, tap)


def choose_format(resolved: Resolved, cell: Cell) -> tuple[str, str]:
    """The format in which a stack runs a workload, and why it cannot, or ""."""
    name = resolved.stacks[cell.software].backend
    backend, workload = BACKENDS[name], resolved.workloads[cell.workload]
    for format in PROGRAM_FORMATS:
        if getattr(workload, "entry" if format == "module" else "command"):
            refusal = "a program of your own computes in its own way: no optimization, precision or session entries"
            varied = any(cell.factors[key] != DEFAULTS[key] for key in ("optimization", "precision"))
            return format, refusal if varied or cell.prefixed("session") else ""
    format = next((format for format in backend.formats if format in workload.formats), "")
    if not format:
        has = ", ".join(sorted(workload.formats)) or "nothing"
        return "", f"{name} runs {', '.join(backend.formats)}; {workload.name} is there as {has}"
    for key, levels in (("optimization", backend.optimizations), ("precision", backend.precisions)):
        if cell.factors[key] not in levels:
            return format, f"{name} has no {key} {cell.factors[key]!r}; it has {', '.join(levels)}"
    if cell.prefixed("session") and not backend.session_entries:
        return format, f"{name} has no session entries"
    return format, ""


def refusal_record(item: Item, environment: dict[str, Any]) -> Record:
    """The record of a cell that cannot run here."""
    return Record(
        record=1,
        digest=item.digest,
        workload=item.cell.workload,
        factors=dict(item.cell.factors),
        replicate=item.replicate,
        reference=item.reference,
        status="unsupported",
        reason=item.refusal,
        causes=item.causes,
        environment=environment,
    )


def plan_digest(plan: Plan) -> str:
    """A digest over all that a plan would run: equal plans ask for equal results."""
    return digests.of_json(sorted(item.digest for item in plan.items))
