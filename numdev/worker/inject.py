"""System calls made inside a traced program, whose state is as before afterwards."""

from __future__ import annotations

import os
import signal
from typing import List

from . import proc, tracing

_SYSCALL = b"\x0f\x05"
_WALL = 0x40000000


class CannotInject(Exception):
    """The call could not be made; the message says why."""


class Ended(Exception):
    """The program was ended meanwhile: `status` is its wait status, which nobody else will be told."""

    def __init__(self, status: int) -> None:
        super().__init__(f"wait status {status}")
        self.status = status


def call(pid: int, number: int, *arguments: int) -> int:
    """The result of a system call made by `pid`, which is stopped outside of any other.

    Raises:
        CannotInject: it could not be made.
        Ended: something has ended the program.
    """
    saved = tracing.registers(pid)
    state = tracing.registers(pid)
    at = _find_syscall(pid)
    state.rip, state.rax, state.orig_rax = at, number, 0xFFFFFFFFFFFFFFFF
    for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments):
        setattr(state, name, value)
    tracing.set_registers(pid, state)
    step(pid)
    after = tracing.registers(pid)
    tracing.set_registers(pid, saved)
    if after.rip != at + 2:
        raise CannotInject("a system call could not be made inside the program")
    return after.rax - (1 << 64) if after.rax >> 63 else after.rax


def step(pid: int) -> None:
    """One step; signals that arrive meanwhile are given back afterwards. At an exec event it completes the execve."""
    waiting: List[int] = []
    tracing.ptrace(tracing.SINGLESTEP, pid)
    while True:
        _, status = os.waitpid(pid, _WALL)
        if not os.WIFSTOPPED(status):
            raise Ended(status)
        number = os.WSTOPSIG(status)
        if status >> 16 == 0:
            if number == signal.SIGTRAP:
                break
            waiting.append(number)
        # A stop by the program's own filter, or by the kernel's: the step is still to come.
        tracing.ptrace(tracing.SINGLESTEP, pid)
    for number in waiting:
        send(pid, number)


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _find_syscall(pid: int) -> int:
    start = proc.vdso(pid)
    offset = tracing.read_memory(pid, start, 8192).find(_SYSCALL) if start else -1
    if offset < 0:
        tracing.registers(pid)  # Gone, where it has no memory because it was ended
        raise CannotInject("no system call instruction was found in the program (no vDSO)")
    return start + offset
