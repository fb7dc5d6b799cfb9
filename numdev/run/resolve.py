"""What a matrix names, made real: stacks, workloads, profiles and the environments that an engine has for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numdev.worker
from numdev import cpu, digests
from numdev.engines import Engine, Environment
from numdev.engines.protocol import stack_digest
from numdev.errors import InvalidInput, NumdevError, Problem, ProfileRefused
from numdev.run import identities
from numdev.spec import identity
from numdev.spec.matrix import Matrix
from numdev.spec.stack import Stack, load_stack
from numdev.stacks import known_site
from numdev.workloads import Prepared, prepare

WORKER = Path(numdev.worker.__file__).parent
Say = Callable[[str], None]


@dataclass(frozen=True)
class Resolved:
    """A matrix with everything it names.

    refused: profiles that this host cannot show, with the reason; their cells are recorded as `unsupported`.
    """

    matrix: Matrix
    stacks: dict[str, Stack]
    workloads: dict[str, Prepared]
    profiles: dict[str, cpu.Shown]
    refused: dict[str, str]
    host: cpu.Host

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
    names = sorted({cell.stack for cell in matrix.cells} | ({matrix.reference} if matrix.reference else set()))
    for name in names:
        try:
            stacks[name] = load_stack(images, name)
        except InvalidInput as error:
            problems += error.problems or [Problem(f"{matrix.path}: factors.stack", error.what)]
    host = cpu.host()
    profiles: dict[str, cpu.Shown] = {}
    refused: dict[str, str] = {}
    # The reference is computed by the real processor, whatever the cells are shown.
    shown_here = {cell.profile: cell.factors for cell in matrix.cells if not identity.refusal(cell.factors)}
    shown_here |= {cpu.HOST: {}} if matrix.reference else {}
    problems += identities.problems(matrix)
    for name in sorted(shown_here):
        try:
            profiles[name] = cpu.shown(name, host, matrix.enforce, matrix.path.parent, matrix.missing)
        except ProfileRefused as error:
            refused[name] = error.why
        except InvalidInput as error:
            problems += identities.blamed(matrix, shown_here[name], error)
    workloads: dict[str, Prepared] = {}
    for name in {cell.workload: None for cell in matrix.cells}:
        try:
            workloads[name] = prepare(matrix.workloads[name], matrix.path.parent, cache, say, make)
        except InvalidInput as error:
            problems += error.problems or [Problem(f"{matrix.path}: workloads.{name}", error.what)]
    if problems:
        raise InvalidInput(f"{matrix.path} cannot be run.", sorted(set(problems)))
    return Resolved(matrix, stacks, workloads, profiles, refused, host)


def environments(resolved: Resolved, names: list[str], engine: Engine, say: Say) -> dict[str, Environment]:
    """The environment of each named stack, made where it is missing.

    Raises:
        NumdevError: the first one that cannot be made, after all have been tried.
    """
    made: dict[str, Environment] = {}
    failures: list[NumdevError] = []
    for name in names:
        try:
            made[name] = engine.environment(resolved.stacks[name], say)
        except NumdevError as error:
            failures.append(error)
    for error in failures[1:]:
        say(str(error))
    if failures:
        raise failures[0]
    return made


def known_environments(resolved: Resolved, names: list[str], cache: Path) -> dict[str, Environment]:
    """The same without making anything: a stack that the cache lacks has the digest ""."""
    known = {}
    for name in names:
        site = known_site(resolved.stacks[name], cache)
        known[name] = Environment("", stack_digest(resolved.stacks[name], site.digest) if site else "")
    return known
