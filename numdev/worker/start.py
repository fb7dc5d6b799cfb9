"""Starting a program under trace: stopped before its first instruction, or the reason why it cannot be."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from typing import Dict

from . import tracing
from .filter import Filter

# Exit codes, as those of env(1) and timeout(1): of the launcher itself, the program's own are passed on.
REFUSED, CANNOT_RUN, NOT_FOUND = 125, 126, 127


class Failure(Exception):
    """The launcher cannot do its work; `code` is the exit code to end with."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code


class Start:
    """A program that is about to begin: `pid` stops at its exec event, or ends before it."""

    def __init__(self, argv: Sequence[str], environment: Dict[str, str], rules: Filter) -> None:
        """Raises Failure where it is known beforehand that it cannot begin."""
        _check_program(argv[0], environment)
        if not os.path.exists("/proc/self/auxv"):
            raise Failure("/proc is not mounted here; tracing needs it")
        gate_read, gate_write = os.pipe()
        failed_read, failed_write = os.pipe()
        try:
            child = os.fork()
        except OSError as error:
            for file in (gate_read, gate_write, failed_read, failed_write):
                os.close(file)
            raise Failure(f"no process can be made for it: {error.strerror}") from None
        if child == 0:
            os.close(gate_write)
            os.close(failed_read)
            code, forbidden = errno.EINTR, b""
            try:
                if os.read(gate_read, 1):
                    forbidden = b"filter "
                    rules.install()
                    forbidden = b""
                    os.execvpe(argv[0], list(argv), environment)
            except OSError as error:
                code = error.errno or errno.EINTR
            finally:
                os.write(failed_write, forbidden + str(code).encode())
                os._exit(NOT_FOUND)
        os.close(gate_read)
        os.close(failed_write)
        try:
            tracing.seize(child)
        except (OSError, tracing.Gone) as error:
            os.close(gate_write)
            os.waitpid(child, 0)
            os.close(failed_read)
            raise Failure(_why_not_traced(error)) from None
        os.write(gate_write, b"g")
        os.close(gate_write)
        self.pid = child
        self.has_begun = False
        self._failed = failed_read

    def begun(self) -> None:
        """It has: what tells why it could not is not needed any more."""
        if not self.has_begun:
            self.has_begun = True
            os.close(self._failed)

    def failure(self, status: int) -> Failure:
        """Why it has ended before it began, with this wait status."""
        text = os.read(self._failed, 32)
        os.close(self._failed)
        if not text:
            return Failure(f"the program ended before it began (wait status {status})")
        forbidden, _, code = text.rpartition(b" ")
        why = os.strerror(int(code))
        if forbidden:
            return Failure(f"this process may not filter the system calls of its children: {why}")
        return Failure(why, NOT_FOUND if int(code) == errno.ENOENT else CANNOT_RUN)


def _check_program(name: str, environment: Dict[str, str]) -> None:
    """Refuses a program for other processors before it is tried: the system may have an emulator for it."""
    path = shutil.which(name, path=environment.get("PATH", os.defpath))
    try:
        with open(path or name, "rb") as file:
            head = file.read(20)
    except OSError:
        return
    if head[:4] == b"\x7fELF" and len(head) == 20 and (head[4] != 2 or head[18:20] != b"\x3e\0"):
        machine = {b"\xb7\0": "aarch64", b"\x03\0": "32-bit x86", b"\x3e\0": "32-bit x86-64"}.get(
            head[18:20], "another processor"
        )
        raise Failure(f"it is a program for {machine}; profiles are shown to x86-64 programs only")


def _why_not_traced(error: Exception) -> str:
    """Why a child may not be traced, as far as the system says it."""
    tracer, scope = "0", ""
    try:
        with open("/proc/self/status") as file:
            tracer = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)["TracerPid"].strip()
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            scope = file.read().strip()
    except (OSError, KeyError):
        pass
    if tracer != "0":
        return f"it would be traced twice: process {tracer} (a debugger, strace or another launcher) traces it already"
    if scope == "3":
        return "tracing is forbidden on this system (/proc/sys/kernel/yama/ptrace_scope is 3)"
    return f"this process may not trace its children (ptrace: {error})"
