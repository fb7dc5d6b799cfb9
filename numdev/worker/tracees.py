"""What each traced process and thread has set up for itself, and the launcher's work would disturb.

A fault whose signal the thread blocks, or the program ignores, is forced upon it: the kernel unblocks the signal and takes the
program's handler away. Whoever answers the fault has to put both back (rr does: src/record_signal.cc), and has to have watched to know
them. A program may also ask the kernel about CPUID faulting itself; it is told what it would be told without a launcher.
"""

from __future__ import annotations

import errno
import signal
import struct
from typing import Dict

from . import filter as filters
from . import inject, proc, tracing

_BIT = 1 << (signal.SIGSEGV - 1)
_HANDLER, _FLAGS, _SIZE = 0, 8, 32
_DEFAULT, _IGNORE, _RESET_HAND = 0, 1, 0x80000000
_BLOCK, _UNBLOCK = 0, 1
_SIGACTION_SIZE = 8
# So far below the stack pointer a function's own data may lie (the System V ABI); what is further down is the kernel's to overwrite
# with a handler's frame at any time. Not further than needed: a handler's own stack is small.
_RED_ZONE = 128


class Process:
    """What the threads of a process share: `action`, the kernel's struct sigaction for SIGSEGV, and the `handler` in it."""

    def __init__(self, action: bytes = b"\0" * _SIZE) -> None:
        self.act(action)

    def act(self, action: bytes) -> None:
        self.action = action
        self.handler = struct.unpack_from("=Q", action, _HANDLER)[0]


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
        self._statuses = proc.Files("status")

    def of(self, pid: int) -> Thread:
        """The thread, which is new where it was not seen before: the kernel tells its mask, its parent's state the rest."""
        known = self._threads.get(pid)
        if known is None:
            status = self._status(pid)
            leader, parent = proc.number(status, b"Tgid") or pid, proc.number(status, b"PPid")
            origin = self._threads.get(leader) or self._threads.get(parent)
            blocked = bool(tracing.blocked_signals(pid) & _BIT)
            if origin is None:
                known = Thread(Process(), blocked, True)
            elif leader != pid and leader in self._threads:
                known = Thread(origin.process, blocked, origin.cpuid)
            else:
                # clone(2) can make a process whose handlers are gone.
                caught = (proc.signals(status, b"SigCgt") | proc.signals(status, b"SigIgn")) & _BIT
                known = Thread(Process(origin.process.action) if caught else Process(), blocked, origin.cpuid)
            self._threads[pid] = known
        return known

    def executed(self, pid: int) -> None:
        """A new program: handlers are gone, what was ignored or blocked stays so, CPUID is allowed again."""
        before = self.of(pid)
        action = b"\0" * _SIZE
        if before.process.handler == _IGNORE:
            action = struct.pack("=Q", _IGNORE) + action[8:]
        # Whichever thread made the call has left its mask to the program.
        blocked = bool(tracing.blocked_signals(pid) & _BIT)
        self._threads[pid] = Thread(Process(action), blocked, True)

    def ended(self, pid: int) -> None:
        self._threads.pop(pid, None)
        self._statuses.forget(pid)

    def close(self) -> None:
        """Closes what it has open."""
        self._statuses.close()

    def called(self, pid: int, state: tracing.Registers) -> None:
        """Before a system call of `pid` that the filter stops for its own sake: SIGSEGV's state, or CPUID's."""
        thread = self.of(pid)
        if state.orig_rax == filters.SIGACTION:
            action = tracing.read_memory(pid, state.rsi, _SIZE) if state.rsi else b""
            if len(action) == _SIZE and state.r10 == _SIGACTION_SIZE:
                thread.process.act(action)
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
            process.act(b"\0" * _SIZE)

    def restore(self, pid: int) -> None:
        """After a fault was answered: the mask and the handler that the kernel has reset, where it has."""
        thread = self.of(pid)
        handler, blocked = thread.process.handler, thread.blocked
        reset = blocked or handler == _IGNORE
        if not reset and handler != _DEFAULT:
            # A handler's own mask may block it, which no call has told; the handler's end restores the mask.
            reset = not proc.signals(self._status(pid), b"SigCgt") & _BIT
            # Or the fault of another thread, which comes next, has reset it.
            blocked = reset and not any(one.blocked and one.process is thread.process for one in self._threads.values())
        if reset and handler != _DEFAULT:
            self._restore_action(pid, thread.process.action)
        if blocked:
            tracing.set_blocked_signals(pid, tracing.blocked_signals(pid) | _BIT)

    def _status(self, pid: int) -> bytes:
        try:
            return self._statuses.read(pid)
        except OSError:
            return b""

    @staticmethod
    def _restore_action(pid: int, action: bytes) -> None:
        address = (tracing.registers(pid).rsp - _RED_ZONE - _SIZE) & ~15
        before = tracing.read_memory(pid, address, _SIZE)
        if len(before) < _SIZE:
            raise inject.CannotInject("there is no room on its stack to restore its handler of SIGSEGV")
        _write(pid, address, action)
        inject.call(pid, filters.SIGACTION, signal.SIGSEGV, address, 0, _SIGACTION_SIZE)
        _write(pid, address, before)


def _write(pid: int, address: int, data: bytes) -> None:
    for offset in range(0, len(data), 8):
        tracing.write_bytes(pid, address + offset, data[offset : offset + 8])
