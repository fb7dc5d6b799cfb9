"""The few calls of ptrace(2) that the launcher needs, by ctypes.

Linux on x86-64 only. The layout is that of <sys/user.h> and <linux/ptrace.h>.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from typing import NoReturn

PEEKTEXT, POKETEXT, CONT, SINGLESTEP, GETREGS, SETREGS, SYSCALL = 1, 4, 7, 9, 12, 13, 24
GETEVENTMSG, GETSIGINFO, SEIZE, LISTEN, GETSIGMASK, SETSIGMASK = 0x4201, 0x4202, 0x4206, 0x4208, 0x420A, 0x420B

# Fork, vfork, clone and exec are events; system calls are told from signals, and stop where a filter says so.
OPTIONS = 1 | 2 | 4 | 8 | 16 | 0x80
OPTION_EXITKILL = 0x100000
EVENT_EXEC, EVENT_SECCOMP, EVENT_STOP = 4, 7, 128
# How a stop at the end of a system call shows itself (PTRACE_O_TRACESYSGOOD).
SYSCALL_STOP = signal.SIGTRAP | 0x80
# A fault that the kernel raised itself, without an address: what a faulting CPUID gives.
SI_KERNEL = 0x80

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_ptrace.restype = ctypes.c_long
# The same without the conversions, which take as long as the call: what is no small number has to be a ctypes object.
_bare_ptrace = _libc["ptrace"]
_bare_ptrace.restype = ctypes.c_long

_NAMES = [
    "r15",
    "r14",
    "r13",
    "r12",
    "rbp",
    "rbx",
    "r11",
    "r10",
    "r9",
    "r8",
    "rax",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "orig_rax",
    "rip",
    "cs",
    "eflags",
    "rsp",
    "ss",
    "fs_base",
    "gs_base",
    "ds",
    "es",
    "fs",
    "gs",
]


class Registers(ctypes.Structure):
    """struct user_regs_struct."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in _NAMES]


class SignalInfo(ctypes.Structure):
    """The start of siginfo_t, with room for the rest."""

    _fields_ = [
        ("signal", ctypes.c_int),
        ("errno", ctypes.c_int),
        ("code", ctypes.c_int),
        ("rest", ctypes.c_char * 116),
    ]


class Gone(Exception):
    """The process ended while it was being looked at; its end is reported by waitpid in its turn."""


def ptrace(request: int, pid: int, address: int = 0, data: object = None) -> None:
    """One ptrace call.

    Raises:
        Gone: there is no such stopped process any more.
        OSError: anything else that went wrong.
    """
    if _ptrace(request, pid, address, data) == -1:
        _failed(request, pid)


def _failed(request: int, pid: int) -> NoReturn:
    code = ctypes.get_errno()
    if code == errno.ESRCH:
        raise Gone(pid)
    raise OSError(code, f"ptrace({request:#x}): {os.strerror(code)}")


def seize(pid: int) -> None:
    ptrace(SEIZE, pid, 0, ctypes.c_void_p(OPTIONS | OPTION_EXITKILL))


def resume(pid: int, signal: int = 0, request: int = CONT) -> None:
    ptrace(request, pid, 0, ctypes.c_void_p(signal))


def registers(pid: int) -> Registers:
    result = Registers()
    ptrace(GETREGS, pid, 0, ctypes.addressof(result))
    return result


def set_registers(pid: int, values: Registers) -> None:
    ptrace(SETREGS, pid, 0, ctypes.addressof(values))


class Stopped:
    """The thread that is answered, by the fewest calls: `registers` as it has stopped, with buffers that are made once."""

    def __init__(self) -> None:
        self.registers = Registers()
        self._info = SignalInfo()
        self._address = ctypes.c_void_p()
        self._to_registers = ctypes.byref(self.registers)
        self._to_info = ctypes.byref(self._info)

    def look(self, pid: int) -> Registers:
        if _bare_ptrace(GETREGS, pid, None, self._to_registers) == -1:
            _failed(GETREGS, pid)
        return self.registers

    def change(self, pid: int) -> None:
        """Gives the thread these `registers`."""
        if _bare_ptrace(SETREGS, pid, None, self._to_registers) == -1:
            _failed(SETREGS, pid)

    def signal_code(self, pid: int) -> int:
        """si_code of the signal that stopped it."""
        if _bare_ptrace(GETSIGINFO, pid, None, self._to_info) == -1:
            _failed(GETSIGINFO, pid)
        return self._info.code

    def two_bytes(self, pid: int, address: int) -> bytes:
        """What it has at `address`; fewer bytes where they are not mapped."""
        self._address.value = address
        word = _bare_ptrace(PEEKTEXT, pid, self._address, None)
        if word == -1:
            # Or it is the very end of a mapping, where eight bytes cannot be read, but two can.
            return read_memory(pid, address, 2)
        return (word & 0xFFFF).to_bytes(2, "little")


def event_message(pid: int) -> int:
    """What belongs to the event that stopped `pid`: at an exec, the number that the thread had before."""
    message = ctypes.c_ulong()
    ptrace(GETEVENTMSG, pid, 0, ctypes.addressof(message))
    return message.value


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Up to `size` bytes at `address`; fewer, or none, where they are not mapped."""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            file.seek(address)
            return file.read(size) or b""
    except ProcessLookupError:
        raise Gone(pid) from None
    except (OSError, ValueError, OverflowError):
        return b""


def bytes_at(pid: int, address: int) -> bytes:
    """The eight bytes at `address`, by one call; b"" where they are not all mapped."""
    ctypes.set_errno(0)
    word = _ptrace(PEEKTEXT, pid, address, None)
    if word == -1 and ctypes.get_errno():
        return b""
    return struct.pack("=q", word)


def write_bytes(pid: int, address: int, data: bytes) -> bool:
    """Writes up to eight bytes, into code too; False where that cannot be done."""
    # The word must not reach into a page that is not there.
    start = address & ~7
    size = 8 if address + len(data) <= start + 8 else 16
    words = [bytes_at(pid, start + offset) for offset in range(0, size, 8)]
    if not all(words):
        return False
    changed = bytearray(b"".join(words))
    changed[address - start : address - start + len(data)] = data
    try:
        for offset in range(0, size, 8):
            word = struct.unpack_from("=Q", changed, offset)[0]
            ptrace(POKETEXT, pid, start + offset, ctypes.c_void_p(word))
    except OSError:
        return False
    return True


def blocked_signals(pid: int) -> int:
    """The thread's mask of blocked signals; bit N-1 is signal N."""
    mask = ctypes.c_uint64()
    ptrace(GETSIGMASK, pid, 8, ctypes.addressof(mask))
    return mask.value


def set_blocked_signals(pid: int, mask: int) -> None:
    ptrace(SETSIGMASK, pid, 8, ctypes.addressof(ctypes.c_uint64(mask)))
