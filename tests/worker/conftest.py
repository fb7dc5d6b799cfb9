"""Programs under the launcher, by each way in which it can be told of a CPUID instruction."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from numdev.worker import launcher
from numdev.worker.cpuid import EVERY_LEAF, Cpuid, Table

ROOT = Path(__file__).resolve().parents[2]
# What programs find before their own lines: `cpuid`, by the instruction that is answered, and what the kernel says of SIGSEGV.
START = """
import ctypes, os, signal, sys, threading
sys.path.insert(0, {root!r})
from numdev.worker.cpuid import Cpuid
cpuid = Cpuid({instruction!r})
libc = ctypes.CDLL(None, use_errno=True)
def status(word):
    with open("/proc/thread-self/status") as file:
        return int(next(line for line in file if line.startswith(word)).split()[1], 16) >> 10 & 1
"""


class Under:
    """Runs programs under a table that passes every leaf but the first, whose EAX is 0x16."""

    def __init__(self, rewritten: bool) -> None:
        values = {(0, None): (0x16, *Cpuid()(0)[1:])}
        self.table = Table(values, {}, set(EVERY_LEAF) - {0}, rewritten)

    def __call__(self, code: str) -> int:
        """The exit code of these lines as a program, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(self.run(self.program(code)))

    def run(self, argv: list[str]) -> int:
        # Nothing in the system's files is rewritten: these programs have a trap of their own.
        return launcher.run(self.table, argv, find=lambda path, name: ())

    def program(self, code: str) -> list[str]:
        start = START.format(root=str(ROOT), instruction=self.table.instruction)
        return [sys.executable, "-S", "-c", start + textwrap.dedent(code)]

    def launching(self, *argv: str) -> list[str]:
        """The launcher as a program of its own, as `numdev as` is one."""
        script = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from numdev.worker import launcher, start; from numdev.worker.cpuid import parse\n"
            f"table = parse({self.table.text()!r})\n"
            "try: launcher.end_as(launcher.run(table, sys.argv[1:], find=lambda path, name: ()))\n"
            "except start.Failure as failure: print(failure, file=sys.stderr); sys.exit(failure.code)"
        )
        return [sys.executable, "-S", "-c", script, *argv]

    def apart(self, *argv: str, **options) -> subprocess.CompletedProcess[str]:
        """The launcher and what it runs, as a process of its own."""
        return subprocess.run(
            self.launching(*argv), capture_output=True, text=True, timeout=60, check=False, **options
        )  # fmt: skip


@pytest.fixture(
    params=[pytest.param(False, id="faulting", marks=pytest.mark.faulting), pytest.param(True, id="rewritten")]
)
def under(request) -> Under:
    return Under(request.param)
