"""The programs that stacks are made with: found, run with their output passed on, and never left behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from numdev.errors import StackFailed

Say = Callable[[str], None]
TAIL = 200


def run(
    command: Sequence[str],
    *,
    line: Callable[[str], None] = lambda text: None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, list[str]]:
    """Runs `command`; gives its exit status and the last lines of its output (both streams together).

    `line` receives each line as it comes. The program is ended where this one is interrupted.
    """
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **(environment or {})},
    )
    tail: list[str] = []
    try:
        assert process.stdout is not None
        for raw in process.stdout:
            text = raw.rstrip()
            line(text)
            tail.append(text[:2000])
            del tail[:-TAIL]
        return process.wait(), tail
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


@cache
def pip() -> tuple[str, ...]:
    """The command of a pip: this environment's own, else the one on PATH; raises StackFailed."""
    if importlib.util.find_spec("pip"):
        return (sys.executable, "-m", "pip")
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return (found,)
    raise StackFailed(
        "Packages cannot be fetched: there is no pip.",
        "Neither this environment nor PATH has one.",
        f"Install it: {sys.executable} -m ensurepip (or apt-get install python3-pip).",
    )


@cache
def uv() -> tuple[str, ...]:
    """The command of uv; raises StackFailed."""
    if found := shutil.which("uv"):
        return (found,)
    if importlib.util.find_spec("uv"):
        return (sys.executable, "-m", "uv")
    raise StackFailed(
        "Locks cannot be made: there is no uv.",
        "It resolves the packages and lists their hashes. (Only making a lock needs it, using one does not.)",
        "Install it: pip install uv (or pip install 'numdev[lock]').",
    )


@cache
def interpreter(version: str) -> tuple[str, str] | None:
    """A CPython `version` ("3.11") of this host: its command and full version ("3.11.2"), None without one.

    The system's own comes first: on Debian it is the one in the base, so bytecode is the same on all such hosts.
    """
    candidates = [f"/usr/bin/python{version}", shutil.which(f"python{version}"), sys.executable]
    candidates += [*pyenv(version), shutil.which("python3"), shutil.which("python")]
    program = "import sys, platform; print(platform.python_implementation(), platform.python_version())"
    for candidate in dict.fromkeys(candidates):
        if not candidate or not os.access(candidate, os.X_OK):
            continue
        try:
            status, lines = run([candidate, "-I", "-c", program])
        except OSError:
            continue
        words = lines[-1].split() if lines else []
        if status == 0 and len(words) == 2 and words[0] == "CPython" and words[1].startswith(f"{version}."):
            return candidate, words[1]
    return None


def pyenv(version: str) -> list[str]:
    """The CPythons of a minor version that pyenv has installed: on PATH it has only those that are switched on."""
    root = Path(os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"))
    return sorted(str(path) for path in root.glob(f"versions/{version}.*/bin/python{version}"))


def megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e6:.1f} MB"
