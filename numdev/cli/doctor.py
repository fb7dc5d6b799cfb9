"""`numdev doctor`: what this machine can do, before a matrix finds out."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass

import typer
from rich.console import Console

from numdev import cpu, files
from numdev.cli import options
from numdev.engines import open_engine
from numdev.errors import NumdevError, ProfileRefused
from numdev.spec.architecture import ARM, own
from numdev.stacks.bases import BINFMT


@dataclass(frozen=True)
class Check:
    """One thing looked at. `state` is ok, partly or missing."""

    name: str
    state: str
    found: str
    remedy: str = ""


def checks() -> list[Check]:
    """Everything that `doctor` looks at, in the order in which a user meets it."""
    return [_python(), *_processor(), _arm(), _docker(), _base(), _disk()]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    stacks = [minor for minor in ("3.9", "3.11", "3.13") if shutil.which(f"python{minor}")]
    return Check("Python", "ok", f"{version}; for local stacks there is CPython {', '.join(stacks) or 'none'}")


def _processor() -> list[Check]:
    host = cpu.host()
    facts = Check("processor", "ok", f"{host.brand}, {host.vendor}, {host.simd}")
    if why := cpu.only_here():
        return [
            facts,
            Check("CPU profiles", "missing", why, "The profile `host` is this processor; all others need x86-64."),
        ]
    faulting = Check(
        "CPUID faulting",
        "missing" if host.refusal else "ok",
        host.refusal or "programs can be shown another CPU",
        "It is rewritten in memory instead: `enforce: best` in a matrix; `numdev as` does so by itself."
        if host.refusal
        else "",
    )
    rewriting = Check(
        "CPUID rewriting",
        "missing" if host.rewriting else "ok",
        host.rewriting or "programs can be shown another CPU, as their code is mapped",
        "`enforce: best` takes the next rung: QEMU, then the libraries' own knobs."
        if host.rewriting and host.refusal
        else "",
    )
    emulator, why = cpu.emulated.find()
    emulation = Check(
        "QEMU",
        "missing" if emulator is None else "ok" if emulator.static else "partly",
        why if emulator is None else f"{emulator.version}, {'static' if emulator.static else 'not static'}",
        "`enforce: emulate` and `silicon: emulated` need it."
        if emulator is None
        else ""
        if emulator.static
        else "The Docker engine cannot use it: install the static one (qemu-user-static).",
    )
    knobs = Check(
        "library knobs",
        "ok",
        "`enforce: knobs` in a matrix: partial, and for profiles that hide no more than this processor has",
    )
    fit, unfit = [], []
    for name in cpu.names()[1:]:
        try:
            rung = cpu.enforced(name, host, cpu.BEST).rung
            fit.append(name + (f" (only by {rung})" if rung in (cpu.EMULATE, cpu.KNOBS) else ""))
        except NumdevError:
            unfit.append(name)
    lacking = f"; not {', '.join(unfit)}" if unfit else ""
    profiles = Check(
        "CPU profiles", "partly" if unfit else "ok", f"host{''.join(f', {name}' for name in fit)}{lacking}"
    )
    return [facts, faulting, rewriting, emulation, knobs, profiles]


def _arm() -> Check:
    """Whether programs for arm64 run here, and whether the base system that they need can be made."""
    if own() == ARM:
        return Check(ARM, "ok", "this machine's own architecture: it runs natively")
    try:
        shown = cpu.foreign.shown(ARM)
    except ProfileRefused as error:
        return Check(ARM, "missing", error.why, error.remedy)
    runs = f"emulated by {shown.emulator.version} as {shown.argument}, which a job is lent: `architecture: [{own()}, {ARM}]`"
    if not shown.emulator.static:
        return Check(ARM, "partly", f"{runs}; it is not static", "Containers need the static one (qemu-user-static).")
    if why := cpu.foreign.kernel():
        return Check(ARM, "partly", f"{runs}; but {why}", BINFMT)
    return Check(ARM, "ok", f"{runs}; binfmt_misc, which making its base system takes, is set up")


def _docker() -> Check:
    try:
        engine = open_engine("docker", files.cache_dir())
    except NumdevError as error:
        return Check("Docker", "missing", error.what, "Without it the local engine runs, which isolates nothing.")
    facts = engine.facts()
    return Check("Docker", "ok", f"version {facts['version']}")


def _base() -> Check:
    if found := shutil.which("mmdebstrap"):
        return Check("base images", "ok", f"mmdebstrap at {found}")
    return Check("base images", "missing", "mmdebstrap is not installed", "apt-get install mmdebstrap")


def _disk() -> Check:
    folder = files.cache_dir()
    while not folder.exists():
        folder = folder.parent
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    found = f"{free >> 30} GiB free for {files.cache_dir()}"
    return Check(
        "disk",
        "ok" if free > 8 << 30 else "partly",
        found,
        "" if free > 8 << 30 else "The stacks need about 5 GiB.",
    )


def doctor(as_json: options.Json = False) -> None:
    """Say what this machine can do: profiles, engines, disk."""
    found = checks()
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], indent=1))
        return
    console = Console(highlight=False)
    marks = {
        "ok": "[green]ok     [/green]",
        "partly": "[yellow]partly [/yellow]",
        "missing": "[red]missing[/red]",
    }
    for check in found:
        console.print(f"{marks[check.state]} [bold]{check.name}[/bold]: ", end="")
        console.print(check.found, markup=False)
        if check.remedy:
            console.print(f"        {check.remedy}", markup=False)
