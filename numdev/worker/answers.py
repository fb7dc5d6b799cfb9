"""Answering a CPUID instruction at which a traced thread has faulted: the one path of the launcher that has to be fast.

Each answer costs the program two switches to the launcher and back, which no launcher can avoid. What is done between them is
kept small: five ptrace calls with buffers that are made once, and nothing is looked up that an earlier answer has told.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple, Optional

from . import cpuid as cpuids
from . import proc, tracing
from .patches import Patcher
from .tracees import Tracees


class Fault(NamedTuple):
    """How the instruction that stands for CPUID shows itself: a signal, its si_code, and the two bytes at fault."""

    signal: int
    code: int
    instruction: bytes


CPUID_FAULT = Fault(signal.SIGSEGV, tracing.SI_KERNEL, cpuids.INSTRUCTION)
REWRITTEN_FAULT = Fault(signal.SIGSEGV, tracing.SI_KERNEL, cpuids.TRAP)


class Answers:
    """Answers from a table, and counts them in `given`.

    Args:
        table: what CPUID answers.
        skip: parts of paths of files whose CPUID is answered by the real processor.
    """

    def __init__(
        self, table: cpuids.Table, fault: Fault, tracees: Tracees, patcher: Optional[Patcher], skip: Sequence[str]
    ) -> None:
        self.table = table
        self.real = cpuids.Kept()
        self.fault = fault
        self.tracees = tracees
        self.patcher = patcher
        self.skip = tuple(skip)
        self.given = 0
        self._stopped = tracing.Stopped()
        self._stats = proc.Files("stat")

    def give(self, pid: int) -> bool:
        """Answers the CPUID instruction at which `pid` has faulted; False for any other fault, which is its own."""
        state = self._stopped.look(pid)
        at = state.rip
        found = self._stopped.two_bytes(pid, at)
        if found != self.fault.instruction or self._stopped.signal_code(pid) != self.fault.code:
            if not found and self._stopped.signal_code(pid) == self.fault.code:
                print(
                    f"numdev: process {pid} may not be looked into: was it CPUID that it crashed at?", file=sys.stderr
                )
            self.tracees.crashes(pid)
            return False
        if not self.tracees.of(pid).cpuid:
            # The program has switched faulting on itself: it is its own fault.
            self.tracees.crashes(pid)
            return False
        self.given += 1
        leaf, subleaf = state.rax & 0xFFFFFFFF, state.rcx & 0xFFFFFFFF
        if leaf == cpuids.MAGIC:
            answer = (1, self.given & 0xFFFFFFFF, self.patcher.uncovered if self.patcher else 0, 0)
        elif self.skip and self._skipped(pid, at):
            answer = self.real(leaf, subleaf)
        else:
            answer = self.table.answer(leaf, subleaf, self.real, lambda: self._processor(pid))
        state.rax, state.rbx, state.rcx, state.rdx = answer
        state.rip = at + 2
        self._stopped.change(pid)
        self.tracees.restore(pid)
        return True

    def close(self) -> None:
        """Closes what it has open."""
        self._stats.close()

    def ended(self, pid: int) -> None:
        """The thread is no more."""
        self._stats.forget(pid)

    def _processor(self, pid: int) -> int:
        try:
            return proc.processor(self._stats.read(pid))
        except OSError:
            return -1

    def _skipped(self, pid: int, address: int) -> bool:
        paths = [one.path for one in proc.code_mappings(pid) if one.start <= address < one.end]
        return any(part in path for path in paths for part in self.skip)
