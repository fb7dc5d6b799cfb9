"""What a matrix names, made real: stacks, workloads, profiles and the environments that an engine has for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numdev.worker
from numdev import cpu, digests
from numdev.engines import Engine, Environment, gpu
from numdev.engines.protocol import stack_digest
from numdev.errors import (
    DownloadFailed,
    EngineUnavailable,
    HashMismatch,
    InvalidInput,
    NoBase,
    NumdevError,
    Problem,
    ProfileRefused,
    StackFailed,
)
from numdev.run import identities
from numdev.spec import architecture, identity
from numdev.spec.cell import EMULATED, NATIVE, Cell
from numdev.spec.matrix import Matrix
from numdev.spec.stack import Stack, load_stack
from numdev.stacks import called, known_site
from numdev.workloads import Prepared, prepare

WORKER = Path(numdev.worker.__file__).parent
Say = Callable[[str], None]
# What is wrong with one stack, and not with the engine, the disk or what the user wrote.
_PACKAGES = (StackFailed, HashMismatch, DownloadFailed)


@dataclass(frozen=True)
class Resolved:
    """A matrix with everything it names.

    profiles: what each profile is on this processor; emulated: what it is on QEMU's. refused: profiles that this host cannot
    show in any way that the matrix asks for, with the reason; refusals: the same for one profile and level of `silicon`.
    stacks: by `Cell.software`; unlocked: those without what an architecture needs. foreign: what other architectures are here;
    apart: why they cannot run. Such cells are recorded as `unsupported`.
    """

    matrix: Matrix
    stacks: dict[str, Stack]
    workloads: dict[str, Prepared]
    profiles: dict[str, cpu.Shown]
    refused: dict[str, str]
    host: cpu.Host
    emulated: dict[str, cpu.Emulated] = field(default_factory=dict)
    refusals: dict[tuple[str, str], str] = field(default_factory=dict)
    unlocked: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, cpu.Foreign] = field(default_factory=dict)
    apart: dict[str, str] = field(default_factory=dict)

    def shown(self, cell: Cell) -> cpu.Shown | None:
        """What computes a cell, as its programs see it; None where it was refused."""
        if cell.foreign:
            return self.foreign.get(cell.architecture) if cell.profile == cpu.HOST else None
        return self.emulated.get(cell.profile) if cell.emulated else self.profiles.get(cell.profile)

    def misfit(self, cell: Cell) -> str:
        """Why a cell cannot run for the sake of its architecture, or ""."""
        if cell.architecture != architecture.X86 and cell.profile != cpu.HOST:
            return f"profiles are the CPUID of x86-64 processors: {cell.architecture} has none but `host`"
        if cell.foreign and cell.architecture in self.apart:
            return self.apart[cell.architecture]
        if cell.foreign and not cell.emulated and EMULATED in self.matrix.factors.get("silicon", []):
            return f"{cell.architecture} can only be emulated here, so there is no native side to compare the emulator with"
        return self.unlocked.get(cell.software, "")

    @property
    def paired(self) -> frozenset[str]:
        """Profiles whose two sides are made alike, to be compared."""
        return frozenset(name for name, shown in self.emulated.items() if shown.paired)

    @cached_property
    def worker(self) -> str:
        """The digest of the code that runs in a cell."""
        return digests.of_tree(WORKER, ".py")


def resolve(matrix: Matrix, images: Path, cache: Path, say: Say, make: bool = True) -> Resolved:
    """Loads and checks all that a matrix names; nothing is run.

    Args:
        make: whether built-in workloads that the cache lacks are fetched or made.

    Raises:
        InvalidInput: with the problems of all stacks, workloads and profiles at once.
        DownloadFailed, HashMismatch: a built-in workload cannot be had.
    """
    problems: list[Problem] = []
    stacks: dict[str, Stack] = {}
    asked = {cell.software: (cell.stack, cell.architecture) for cell in matrix.cells}
    if matrix.reference:
        asked[matrix.reference] = (matrix.reference, architecture.own())
    for software, (name, machine) in sorted(asked.items()):
        try:
            stacks[software] = load_stack(images, name, machine)
        except InvalidInput as error:
            problems += error.problems or [Problem(f"{matrix.path}: factors.stack", error.what)]
    unlocked = {software: why for software, stack in stacks.items() if (why := _unlocked(stack))}
    foreign, apart = _foreign({cell.architecture for cell in matrix.cells if cell.foreign})
    host = cpu.host()
    profiles: dict[str, cpu.Shown] = {}
    emulated: dict[str, cpu.Emulated] = {}
    refusals: dict[tuple[str, str], str] = {}
    sides: dict[str, set[str]] = {}
    factors: dict[str, Mapping[str, Any]] = {cpu.HOST: {}}
    for cell in matrix.cells:
        if not cell.foreign and not identity.refusal(cell.factors):
            sides.setdefault(cell.profile, set()).add(cell.factors["silicon"])
            factors[cell.profile] = cell.factors
    if matrix.reference:
        # The reference is computed by the real processor, whatever the cells are shown.
        sides.setdefault(cpu.HOST, set()).add(NATIVE)
    problems += identities.problems(matrix)
    for name, wanted in sorted(sides.items()):
        try:
            found, why = _sides(name, wanted, host, matrix)
        except InvalidInput as error:
            problems += identities.blamed(matrix, factors[name], error)
            continue
        for silicon, shown in found.items():
            if isinstance(shown, cpu.Emulated) and silicon == EMULATED:
                emulated[name] = shown
            else:
                profiles[name] = shown
        refusals.update({(name, silicon): reason for silicon, reason in why.items()})
    refused = {
        name: "; ".join(dict.fromkeys(refusals[name, silicon] for silicon in sorted(wanted)))
        for name, wanted in sorted(sides.items())
        if name != cpu.HOST and all((name, silicon) in refusals for silicon in wanted)
    }
    workloads: dict[str, Prepared] = {}
    for name in {cell.workload: None for cell in matrix.cells}:
        try:
            workloads[name] = prepare(matrix.workloads[name], matrix.path.parent, cache, say, make)
        except InvalidInput as error:
            problems += error.problems or [Problem(f"{matrix.path}: workloads.{name}", error.what)]
    if problems:
        raise InvalidInput(f"{matrix.path} cannot be run.", sorted(set(problems)))
    return Resolved(
        matrix,
        stacks,
        workloads,
        profiles,
        refused,
        host,
        emulated,
        refusals,
        unlocked=unlocked,
        foreign=foreign,
        apart=apart,
    )


def _unlocked(stack: Stack) -> str:
    """Why a stack cannot be made for an architecture other than that for which all are; or ""."""
    if stack.architecture == architecture.X86:
        return ""
    if stack.dockerfile:
        own = stack.architecture == architecture.own()
        return (
            ""
            if own
            else f"{stack.name} is a Dockerfile, and its image is only built for this machine's own architecture"
        )
    if stack.lock.is_file():
        return ""
    return f"{stack.name} has no {stack.lock.name}: make it with `numdev images lock {called(stack)}`"


def _foreign(wanted: set[str]) -> tuple[dict[str, cpu.Foreign], dict[str, str]]:
    """What other architectures are on this machine, and why they cannot be."""
    found: dict[str, cpu.Foreign] = {}
    why: dict[str, str] = {}
    for machine in sorted(wanted):
        try:
            found[machine] = cpu.foreign.shown(machine)
        except ProfileRefused as error:
            why[machine] = f"{error.why}. {error.remedy}"
    return found, why


def _sides(name: str, wanted: set[str], host: cpu.Host, matrix: Matrix) -> tuple[dict[str, cpu.Shown], dict[str, str]]:
    """A profile on each wanted level of `silicon`, and why not; both levels are made alike. Raises InvalidInput."""
    folder = matrix.path.parent
    if wanted == {NATIVE, EMULATED} and name != cpu.HOST:
        try:
            native, other = cpu.pair(name, host, matrix.enforce, folder, matrix.missing)
            return {NATIVE: native, EMULATED: other}, {}
        except ProfileRefused:
            # One side is missing at least: which one is said below.
            pass
    found: dict[str, cpu.Shown] = {}
    why: dict[str, str] = {}
    for silicon in sorted(wanted):
        if silicon == EMULATED and name == cpu.HOST:
            why[silicon] = "`host` is this very processor, and no other can be it: name a profile to emulate"
            continue
        try:
            rung = cpu.EMULATE if silicon == EMULATED else matrix.enforce
            shown = cpu.enforced(name, host, rung, folder, matrix.missing)
        except ProfileRefused as error:
            why[silicon] = error.why
            continue
        if silicon == NATIVE and shown.rung == cpu.EMULATE and EMULATED in wanted:
            why[silicon] = "it can only be emulated here, so there is no native side to compare the emulator with"
        else:
            found[silicon] = shown
    return found, why


def environments(resolved: Resolved, names: list[str], engine: Engine, say: Say) -> dict[str, Environment]:
    """The environment of each stack by `Cell.software`, made where it is missing, or why it cannot be.

    A stack that cannot be had is no reason to run none of the others: its cells are recorded as such.

    Raises:
        NumdevError: the first one that cannot be made, after all have been tried, where there is no other or it is no matter of
            one stack's packages.
    """
    made: dict[str, Environment] = {}
    failures: dict[str, NumdevError] = {}
    for name in names:
        stack = resolved.stacks[name]
        foreign = stack.architecture != architecture.own()
        if why := _not_made(resolved, name, engine):
            made[name] = Environment("", "", refusal=why)
            continue
        try:
            made[name] = engine.environment(stack, say)
        except NumdevError as error:
            if foreign and isinstance(error, NoBase):
                say(f"{name}: {error.what} {error.why}")
                made[name] = Environment("", "", refusal=f"{error.what} {error.why} {error.remedy}")
                continue
            failures[name] = error
    if grave := [error for error in failures.values() if isinstance(error, NoBase) or not isinstance(error, _PACKAGES)]:
        raise grave[0]
    # The reference alone is nothing to go on with.
    others = set(made) - {resolved.matrix.reference}
    if failures and all(made[name].refusal for name in others):
        for error in list(failures.values())[1:]:
            say(str(error))
        raise next(iter(failures.values()))
    for name, error in failures.items():
        say(f"{name} cannot be made, and the run goes on without it. {error}")
        why = " ".join(part.rstrip(".") + "." for part in (error.what, error.why) if part)
        made[name] = Environment("", "", refusal=f"the stack {name} cannot be made: {why}")
    return made


def _not_made(resolved: Resolved, name: str, engine: Engine) -> str:
    """Why there is no need to make an environment, for nothing could run in it; or ""."""
    machine = resolved.stacks[name].architecture
    if why := resolved.unlocked.get(name, "") or gpu.missing(resolved.stacks[name]):
        return why
    if machine == architecture.own():
        return ""
    if machine in resolved.apart:
        return resolved.apart[machine]
    if why := engine.refuses(machine):
        return why
    emulator = resolved.foreign[machine].emulator
    try:
        engine.emulator(emulator.path, emulator.static)
    except EngineUnavailable as error:
        return f"{error.what} {error.why}. {error.remedy}"
    return ""


def known_environments(resolved: Resolved, names: list[str], cache: Path) -> dict[str, Environment]:
    """The same without making anything: a stack that the cache lacks has the digest ""."""
    known = {}
    for name in names:
        if why := resolved.unlocked.get(name, "") or gpu.missing(resolved.stacks[name]):
            known[name] = Environment("", "", refusal=why)
            continue
        site = known_site(resolved.stacks[name], cache)
        known[name] = Environment("", stack_digest(resolved.stacks[name], site.digest) if site else "")
    return known
