"""What an engine is: it makes a stack's environment and runs jobs in it. It never learns what a factor is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numdev import digests
from numdev.spec.architecture import X86
from numdev.spec.stack import Stack

Say = Callable[[str], None]


@dataclass(frozen=True)
class Environment:
    """Where a stack's cells run. `id` is the engine's own name for it, `facts` go into every record.

    site: where its packages are, as its programs see it. based: whether the stack's own base system is around them.
    variables: by which its programs find its libraries. gpu: whether they need one.
    architecture: where it is not this machine's. refusal: why there is none here, so that its cells are unsupported.
    """

    id: str
    digest: str
    facts: dict[str, Any] = field(default_factory=dict)
    site: str = ""
    python: str = ""
    based: bool = False
    architecture: str = ""
    refusal: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    gpu: bool = False


@dataclass(frozen=True)
class Limits:
    """For a container: bytes of memory, processes, CPUs (None: as many as there are)."""

    memory: int
    pids: int
    cpus: int | None = None


@dataclass(frozen=True)
class Launch:
    """One job: an environment, the job's folder, the folder for what it writes, and whether table.txt is shown.

    rewritten: whether CPUID is replaced in memory, where sites.txt says. variables: added to the job's.
    emulator: a program of this machine that the job has to find where `Engine.emulator` says, or "".
    prefix: words before the job's own interpreter, where that is for another architecture. stand_ins: files and folders of the
    system in whose place the job sees others, by their paths there and here.
    """

    environment: Environment
    job: Path
    out: Path
    profiled: bool
    limits: Limits
    label: str
    rewritten: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    emulator: str = ""
    prefix: tuple[str, ...] = ()
    stand_ins: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True)
class Ending:
    """How the container itself ended: "ok", or a status and a reason for the cells it still owed."""

    status: str
    reason: str = ""


class Engine(Protocol):
    name: str

    def environment(self, stack: Stack, say: Say) -> Environment:
        """The stack's environment, made where it is missing. `digest` is the stack digest.

        Raises:
            StackFailed, HashMismatch, DownloadFailed: it cannot be made.
        """

    def emulator(self, path: str, static: bool) -> str:
        """Where a job finds the emulator that lies at `path` here. `static`: it needs no libraries.

        Raises:
            EngineUnavailable: it could not run there.
        """

    def refuses(self, architecture: str) -> str:
        """Why programs for another architecture than this machine's cannot run here, with whatever emulator; or ""."""

    def run(self, launch: Launch, poll: Callable[[], None]) -> Ending:
        """Runs a job to its end; calls `poll` a few times a second. May be called from several threads."""

    def stop(self) -> None:
        """Ends and removes all that this engine has running; may be called at any time, more than once."""

    def facts(self) -> dict[str, Any]:
        """What a record says of the engine."""


def supervisor(python: str, job: str, out: str) -> list[str]:
    """What runs a job's cells, with the paths as they are in the environment."""
    return [python, "-S", "-B", "-m", "numdev_worker.supervisor", job, out]


def shown(launch: Launch, launcher: list[str], job: str, command: list[str]) -> list[str]:
    """What runs a command as `launch` wants it shown to.

    Args:
        launcher: what runs the launcher.
        job: the job's folder, as it is in the environment.
    """
    if not launch.profiled:
        return command
    sites = ["--sites", f"{job}/sites.txt"] if launch.rewritten else []
    return [*launcher, "--table", f"{job}/table.txt", *sites, "--", *command]


def variables(job: str, site: str, scratch: str) -> dict[str, str]:
    """The whole environment of a job: nothing of the user's own reaches a cell."""
    return {
        "HOME": scratch,
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": f"{job}/python:{site}",
        "TMPDIR": scratch,
        "TZ": "UTC",
    }


def stack_digest(stack: Stack, site: str) -> str:
    """The stack's part of a cell's digest: the same on every engine, for it is the same software.

    Args:
        site: digest of the unpacked wheels, or of what else is installed.
    """
    parts = {"site": site, "base": stack.base, "python": stack.python, "backend": stack.backend}
    # Stores from before there was another architecture are still good.
    other = {} if stack.architecture == X86 else {"architecture": stack.architecture}
    # Nor do stacks of old have these.
    linked = {"preload": list(stack.preload)} if stack.preload else {}
    expected = {"blas": stack.blas} if stack.blas else {}
    return digests.of_json({**parts, **other, **linked, **expected})
