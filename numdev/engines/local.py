"""The local engine: a stack's own site folder under this machine's CPython. It isolates nothing: for one's own models."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numdev import stacks
from numdev.engines.protocol import Ending, Environment, Launch, Say, shown, stack_digest, supervisor, variables
from numdev.errors import StackFailed
from numdev.spec.stack import Stack
from numdev.stacks import tools

_ENV = "/usr/bin/env"
_TICK = 0.05
_LOG_TAIL = 1500


def interpreter(version: str) -> str:
    """The path of a CPython of this minor version.

    Raises:
        StackFailed: there is none.
    """
    candidates = [shutil.which(f"python{version}"), f"/usr/bin/python{version}", sys.executable, *tools.pyenv(version)]
    for candidate in candidates:
        if candidate and os.path.exists(candidate):
            found, executable = _ask(candidate)
            if found == version:
                return executable
    raise StackFailed(
        f"There is no CPython {version} here.",
        f"none of python{version} on the PATH, {sys.executable} and pyenv's versions is one",
        f"Install it (for example `apt-get install python{version}`), or use the Docker engine, which brings its own.",
    )


def _ask(python: str) -> tuple[str, str]:
    """Its version and its own path: what is on the PATH may be a script that only finds it."""
    code = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    name, _, rest = done.stdout.strip().partition(" ")
    version, _, executable = rest.partition(" ")
    return (version, executable or python) if name == "cpython" else ("", "")


class LocalEngine:
    """Runs jobs as processes of the user's own."""

    name = "local"

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def facts(self) -> dict[str, Any]:
        return {"engine": self.name, "isolation": "none", "kernel": os.uname().release}

    def environment(self, stack: Stack, say: Say) -> Environment:
        if stack.dockerfile is not None:
            raise StackFailed(
                f"The stack {stack.name} is a Dockerfile.",
                "the local engine builds none",
                "Use the Docker engine.",
            )
        python = interpreter(stack.python)
        site = stacks.site_for(stack, self.cache, say)
        return Environment(
            f"local:{site.digest}",
            stack_digest(stack, site.digest),
            {"site": site.digest},
            str(site.path),
            python,
            variables=stacks.linked(stack, str(site.path)),
            gpu=stack.gpu,
        )

    def emulator(self, path: str, static: bool) -> str:
        return path

    def refuses(self, architecture: str) -> str:
        return (
            f"the local engine runs programs on this machine's own base system, which is not {architecture}: use Docker"
        )

    def run(self, launch: Launch, poll: Callable[[], None]) -> Ending:
        with tempfile.TemporaryDirectory(prefix="numdev-") as scratch, tempfile.TemporaryFile() as log:
            with self._lock:
                if self._stopping:
                    return Ending("lost", "stopped")
                process = subprocess.Popen(
                    _command(launch, _variables(launch, scratch)),
                    env=os.environ,
                    cwd=scratch,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                while process.poll() is None:
                    poll()
                    try:
                        process.wait(_TICK)
                    except subprocess.TimeoutExpired:
                        continue
            finally:
                _end(process)
                with self._lock:
                    self._running.discard(process)
            poll()
            if self._stopping:
                return Ending("lost", "stopped")
            if process.returncode == 0:
                return Ending("ok")
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
            said = log.read().decode("utf-8", "replace").strip()
            if process.returncode < 0:
                number = -process.returncode
                return Ending(f"signal:{number}", f"the job was ended by signal {number}. {said}".strip())
            return Ending("failed", f"the job ended with exit code {process.returncode}. {said}".strip())

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            running = list(self._running)
        for process in running:
            _end(process)


def _variables(launch: Launch, scratch: str) -> dict[str, str]:
    environment = launch.environment
    return {
        **variables(str(launch.job), environment.site, scratch),
        **environment.variables,
        **launch.variables,
    }


def _command(launch: Launch, environment: dict[str, str]) -> list[str]:
    """The job's supervisor in an environment of its own, and around it the launcher, which is numdev's own process."""
    own = [_ENV, "-i", *(f"{name}={value}" for name, value in environment.items())]
    cells = supervisor(launch.environment.python, str(launch.job), str(launch.out))
    # It finds out what is in this machine's own libraries, which nobody has looked into beforehand.
    launcher = [sys.executable, "-m", "numdev.stacks.launch"]
    return shown(launch, launcher, str(launch.job), [*own, *cells])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the job to end its cells, then makes sure: the supervisor's cells are in sessions of their own."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait()
