"""A bundle's cells made ready to run here: this host is shown as the recorded processor where they had none of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numdev import cpu
from numdev.bundle import stranger
from numdev.bundle.groups import Group, grouped, sample
from numdev.bundle.reading import Bundle
from numdev.bundle.workspace import Workspace, replaced
from numdev.errors import InvalidInput, NumdevError, Problem
from numdev.run.resolve import Resolved, resolve
from numdev.spec import architecture, identity
from numdev.spec.cell import DEFAULTS, EMULATED, Cell
from numdev.spec.matrix import Matrix
from numdev.spec.stack import load_stack
from numdev.workloads import Prepared, prepare

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """A cell of the bundle, and the one that answers it here; None where that cannot be, and `why`."""

    group: Group
    cell: Cell | None
    why: str = ""


@dataclass(frozen=True)
class Ready:
    """resolved: everything that can run. wanted: the cells that were chosen; left_out: the others. notes: what is not as it was."""

    resolved: Resolved | None
    wanted: list[Wanted]
    left_out: list[Group] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def cells(self) -> dict[int, Cell]:
        return {id(one.cell): one.cell for one in self.wanted if one.cell is not None}


def made_ready(
    bundle: Bundle,
    laid: Workspace,
    cache: Path,
    say: Say,
    *,
    select: Callable[[Cell], bool] = lambda cell: True,
    most: int | None = None,
    once: bool = False,
    dockerfiles: bool = False,
) -> Ready:
    """Resolves what can run here of a bundle that was laid out.

    Args:
        select: of the cells as the bundle names them.
        most: how many cells at most: a sample.
        once: one replicate instead of as many as were recorded.
        dockerfiles: whether stacks that are Dockerfiles may be built.

    Raises:
        InvalidInput: nothing is selected.
    """
    every = grouped(bundle)
    chosen = [group for group in every if select(Cell(group.workload, {**DEFAULTS, **group.factors}))]
    if not chosen:
        raise InvalidInput("Nothing matches.", [Problem("-k", f"none of {len(every)} cells")])
    picked = chosen if most is None else sample(chosen, most)
    notes = list(laid.notes)
    workloads, missing = _workloads(laid, {group.workload for group in picked}, cache, say, notes)
    unusable = _unusable_stacks(laid, {group.factors.get("stack", "") for group in every}, dockerfiles)
    host = cpu.host()
    cells: dict[Any, Cell] = {}
    profiles: dict[str, str] = {}
    known = {_key(cell): cell for cell in laid.matrix.cells} if laid.matrix else {}
    wanted = {id(group): _wanted(group, bundle, laid, known, cells, host.digest) for group in every}
    for at, one in list(wanted.items()):
        if one.cell is None:
            continue
        why = missing.get(one.cell.workload, "") or unusable.get(one.cell.stack, "")
        # What goes together on no machine is refused by the plan, as it was there.
        if not why and not one.cell.foreign and not identity.refusal(one.cell.factors):
            name = one.cell.profile
            if name not in profiles:
                profiles[name] = _unusable_profile(name, laid.folder)
            why = profiles[name]
        if why:
            wanted[at] = Wanted(one.group, None, why)
    # The two sides of `silicon` are made alike: whether there are two does not depend on what is chosen.
    runnable = list({id(one.cell): one.cell for one in wanted.values() if one.cell is not None}.values())
    ids = {id(group) for group in picked}
    result = [
        wanted[id(group)] if group.ran else Wanted(group, None, wanted[id(group)].why or "it was never run there")
        for group in picked
    ]
    left_out = [group for group in every if id(group) not in ids]
    if laid.matrix is None or not any(one.cell for one in result):
        return Ready(None, result, left_out, notes)
    # As often as there are records of, whatever the matrix says.
    repeats = 1 if once else max((line.replicate for group in picked for line in group.ran), default=1)
    matrix = _matrix(laid.matrix, runnable, repeats, host, notes)
    resolved = resolve(matrix, laid.images, cache, say, make=False)
    notes += _impersonated(resolved)
    used = {cell.workload for cell in runnable}
    return Ready(
        replace(resolved, workloads={name: one for name, one in workloads.items() if name in used}),
        result,
        left_out,
        notes,
    )


def _impersonated(resolved: Resolved) -> list[str]:
    """What is shown here as a recorded processor, how, and what of it no table can show."""
    said = []
    here = cpu.capture().fingerprint if not cpu.only_here() else {}
    ways = {cpu.CPUID: "by CPUID faulting", cpu.REWRITE: "by rewriting CPUID in memory", cpu.EMULATE: "by QEMU"}
    for name, shown in sorted(resolved.profiles.items()):
        if not name.startswith("platforms/") or shown.profile is None:
            continue
        without = f", without {', '.join(shown.dropped)}" if shown.dropped else ""
        how = ways.get(shown.rung, "by the libraries' own knobs")
        silicon = "the silicon is not compared, for one has no fingerprint"
        if here and (there := cpu.read_capture(resolved.matrix.path.parent / name).fingerprint):
            odd = cpu.silicon(there, here)
            silicon = (
                f"the silicon differs in {', '.join(odd)}, which no table shows" if odd else "the same fingerprint"
            )
        said.append(f"This processor is shown as the recorded one, {shown.profile.about}, {how}{without}; {silicon}.")
    return said


def _key(cell: Cell) -> tuple[str, frozenset[tuple[str, str]]]:
    return cell.workload, frozenset((key, str(level)) for key, level in cell.factors.items())


def _wanted(
    group: Group, bundle: Bundle, laid: Workspace, known: dict[Any, Cell], cells: dict[Any, Cell], host: str
) -> Wanted:
    """The cell that answers a group here, one object for equal cells."""
    if group.workload in laid.missing:
        return Wanted(group, None, laid.missing[group.workload])
    profile = replaced(group.factors.get("profile", cpu.HOST), laid.levels)
    asked = Cell(group.workload, {**DEFAULTS, **group.factors, "profile": profile})
    found = known.get(_key(asked))
    if found is None:
        return Wanted(group, None, "the bundle's matrix does not ask for it")
    factors = dict(found.factors)
    if machine := _architecture(group, bundle):
        factors["architecture"] = machine
    cell = Cell(found.workload, factors)
    if cell.profile == cpu.HOST and not cell.foreign and group.platform not in ("", host):
        level = laid.captures.get(group.platform)
        if level is None:
            lacks = laid.strange.get(group.platform, "the bundle has no capture of the processor that computed it")
            return Wanted(group, None, f"that processor cannot be shown here: {lacks}")
        cell = Cell(found.workload, {**factors, "profile": level})
    return Wanted(group, cells.setdefault(_key(cell), cell))


def _architecture(group: Group, bundle: Bundle) -> str:
    """That for which the cell's programs were: a matrix that does not vary it means its own machine's."""
    for line in group.ran:
        declared = bundle.facts.get(line.declared) if line.declared else None
        named = declared.get("architecture") if isinstance(declared, dict) else None
        if named in architecture.ARCHITECTURES:
            return str(named)
    return ""


def _workloads(
    laid: Workspace, used: set[str], cache: Path, say: Say, notes: list[str]
) -> tuple[dict[str, Prepared], dict[str, str]]:
    """Each workload's files, and why a workload has none; only those that are `used` are fetched or made."""
    found: dict[str, Prepared] = {}
    missing: dict[str, str] = {}
    for name, declared in (laid.matrix.workloads if laid.matrix else {}).items():
        try:
            found[name] = laid.ready.get(name) or prepare(declared, laid.folder, cache, say, name in used)
        except NumdevError as error:
            missing[name] = _why(error)
            continue
        told = laid.described.get(name)
        if told and name in used and told.digest != found[name].digest:
            notes.append(
                f"The workload {name} is not the one that was recorded: its digest is {found[name].digest[:12]} here, "
                f"{told.digest[:12]} there."
            )
    return found, missing


def _unusable_stacks(laid: Workspace, names: Iterable[str], dockerfiles: bool) -> dict[str, str]:
    """Why a stack cannot be made here."""
    why: dict[str, str] = {}
    for name in sorted(names):
        try:
            stack = load_stack(laid.images, name)
        except InvalidInput as error:
            why[name] = _why(error)
            continue
        if stack.dockerfile and not dockerfiles:
            why[name] = (
                f"{name} is a Dockerfile of a stranger's, and building it runs its commands with a network: "
                "allow that with --allow-dockerfile"
            )
    return why


def _unusable_profile(name: str, folder: Path) -> str:
    if name == cpu.HOST:
        return ""
    try:
        cpu.find(name, folder)
    except InvalidInput as error:
        return _why(error)
    return ""


def _why(error: NumdevError) -> str:
    problems = [f"{one.where}: {one.what}" for one in getattr(error, "problems", [])[:3]]
    return stranger.plain("; ".join(problems) or f"{error.what} {error.why}".strip(), 400)


def _matrix(matrix: Matrix, cells: Sequence[Cell], repeats: int, host: cpu.Host, notes: list[str]) -> Matrix:
    """The matrix with these cells, by a rung that shows the same table here."""
    enforce = matrix.enforce
    shown = any(cell.profile != cpu.HOST and not cell.foreign for cell in cells)
    if shown and enforce in (cpu.CPUID, cpu.REWRITE):
        refusals = {cpu.CPUID: host.refusal, cpu.REWRITE: host.rewriting}
        other = cpu.REWRITE if enforce == cpu.CPUID else cpu.CPUID
        if refusals[enforce] and not refusals[other]:
            notes.append(
                f"Profiles are shown by `{other}`, for here they cannot be by `{enforce}`: {refusals[enforce]}."
            )
            enforce = other
    if shown and enforce == cpu.EMULATE and not any(cell.factors["silicon"] == EMULATED for cell in cells):
        notes.append("The bundle's profiles are emulated, by this machine's QEMU.")
    factors = {
        key: list(dict.fromkeys(cell.factors[key] for cell in cells)) for key in matrix.factors if key != "profile"
    }
    levels = list(dict.fromkeys(cell.factors["profile"] for cell in cells))
    factors = {"stack": factors.pop("stack"), "profile": levels, **factors}
    baseline = {key: level for key, level in matrix.baseline.items() if level in factors.get(key, [])}
    return replace(
        matrix,
        cells=list(cells),
        factors=factors,
        baseline=baseline,
        reference=None,
        reference_cell=None,
        enforce=enforce,
        repeats=max(1, min(repeats, matrix.repeats)),
    )
