"""What each traced process and thread has set up for itself, and the launcher's work would disturb.

A fault whose signal the thread blocks, or the program ignores, is forced upon it: the kernel unblocks the signal and takes the
program's handler away. Whoever answers the fault has to put both back (rr does: src/record_signal.cc), and has to have watched to know
them. A program may also ask the kernel about CPUID faulting itself; it is told what it would be told without a launcher.
"""

from __future__ import annotations

import errno
import signal
import struct
from typing import Dict, Tuple

from . import filter as filters
from . import inject, tracing

_BIT = 1 << (signal.SIGSEGV - 1)
_HANDLER, _FLAGS, _SIZE = 0, 8, 32
_DEFAULT, _IGNORE, _RESET_HAND = 0, 1, 0x80000000
_BLOCK, _UNBLOCK = 0, 1
_SIGACTION_SIZE = 8
# Below this many bytes under the stack pointer a function's own data may lie (the red zone of the System V ABI).
_RED_ZONE = 128 + 4096


class Process:
    """What the threads of a process share: `action`, the kernel's struct sigaction for SIGSEGV."""

    def __init__(self, action: bytes = b"\0" * _SIZE) -> None:
        self.action = action

    @property
    def handler(self) -> int:
        return struct.unpack_from("=Q", self.action, _HANDLER)[0]


class Thread:
    """One thread: whether it blocks SIGSEGV, and whether it has let CPUID be (False: it wants the fault itself)."""

    def __init__(self, process: Process, blocked: bool, cpuid: bool) -> None:
        self.process = process
        self.blocked = blocked
        self.cpuid = cpuid


class Tracees:
    """All that is traced, by thread.

    Args:
        faulting: whether this host's CPUID can fault, as programs may ask.
    """

    def __init__(self, faulting: bool) -> None:
        self.faulting = faulting
        self._threads: Dict[int, Thread] = {}

    def of(self, pid: int) -> Thread:
        """The thread, which is new where it was not seen before: the kernel tells its mask, its parent's state the rest."""
        known = self._threads.get(pid)
        if known is None:
            leader, parent = _relatives(pid)
            origin = self._threads.get(leader) or self._threads.get(parent)
            blocked = bool(tracing.blocked_signals(pid) & _BIT)
            if origin is None:
                known = Thread(Process(), blocked, True)
            elif leader != pid and leader in self._threads:
                known = Thread(origin.process, blocked, origin.cpuid)
            else:
                known = Thread(Process(origin.process.action), blocked, origin.cpuid)
            self._threads[pid] = known
        return known

    def executed(self, pid: int) -> None:
        """A new program: handlers are gone, what was ignored or blocked stays so, CPUID is allowed again."""
        before = self.of(pid)
        action = b"\0" * _SIZE
        if before.process.handler == _IGNORE:
            action = struct.pack("=Q", _IGNORE) + action[8:]
        self._threads[pid] = Thread(Process(action), before.blocked, True)

    def ended(self, pid: int) -> None:
        self._threads.pop(pid, None)

    def called(self, pid: int, state: tracing.Registers) -> None:
        """Before a system call of `pid` that the filter stops for its own sake: SIGSEGV's state, or CPUID's."""
        thread = self.of(pid)
        if state.orig_rax == filters.SIGACTION:
            action = tracing.read_memory(pid, state.rsi, _SIZE) if state.rsi else b""
            if len(action) == _SIZE and state.r10 == _SIGACTION_SIZE:
                thread.process.action = action
        elif state.orig_rax == filters.SIGPROCMASK:
            mask = tracing.read_memory(pid, state.rsi, 8)
            if len(mask) == 8:
                has = bool(struct.unpack("=Q", mask)[0] & _BIT)
                if state.rdi == _BLOCK:
                    thread.blocked = thread.blocked or has
                elif state.rdi == _UNBLOCK:
                    thread.blocked = thread.blocked and not has
                else:
                    thread.blocked = has
        else:
            result = int(thread.cpuid)
            if state.rdi == filters.ARCH_SET_CPUID:
                result = 0 if self.faulting else -errno.ENODEV
                if self.faulting:
                    thread.cpuid = bool(state.rsi)
            # Number -1 is no call: the kernel goes on with what stands in rax.
            state.orig_rax, state.rax = 0xFFFFFFFFFFFFFFFF, result & 0xFFFFFFFFFFFFFFFF
            tracing.set_registers(pid, state)

    def crashes(self, pid: int) -> None:
        """A SIGSEGV of the program's own is delivered: a handler for one time only is used up."""
        process = self.of(pid).process
        if struct.unpack_from("=Q", process.action, _FLAGS)[0] & _RESET_HAND:
            process.action = b"\0" * _SIZE

    def restore(self, pid: int) -> None:
        """After a fault was answered: the mask and the handler that the kernel has reset, where it has."""
        thread = self.of(pid)
        ignored = thread.process.handler == _IGNORE
        if not thread.blocked and not ignored:
            return
        if thread.process.handler != _DEFAULT:
            self._restore_action(pid, thread.process.action)
        if thread.blocked:
            tracing.set_blocked_signals(pid, tracing.blocked_signals(pid) | _BIT)

    @staticmethod
    def _restore_action(pid: int, action: bytes) -> None:
        address = (tracing.registers(pid).rsp - _RED_ZONE) & ~15
        before = tracing.read_memory(pid, address, _SIZE)
        if len(before) < _SIZE:
            raise inject.CannotInject("there is no room on its stack to restore its handler of SIGSEGV")
        _write(pid, address, action)
        inject.call(pid, filters.SIGACTION, signal.SIGSEGV, address, 0, _SIGACTION_SIZE)
        _write(pid, address, before)


def _write(pid: int, address: int, data: bytes) -> None:
    for offset in range(0, len(data), 8):
        tracing.write_bytes(pid, address + offset, data[offset : offset + 8])


def _relatives(pid: int) -> Tuple[int, int]:
    """The thread group's leader and the parent process."""
    leader, parent = pid, 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file.read(4096).splitlines():
                if line.startswith(b"Tgid:"):
                    leader = int(line.split()[1])
                elif line.startswith(b"PPid:"):
                    parent = int(line.split()[1])
    except (OSError, ValueError):
        pass
    return leader, parent
