"""The few calls of ptrace(2) that the launcher needs, by ctypes.

Linux on x86-64 only. The layout is that of <sys/user.h> and <linux/ptrace.h>.
"""

from __future__ import annotations

import ctypes
import os
import struct

SINGLESTEP, CONT, GETREGS, SETREGS = 9, 7, 12, 13
GETSIGINFO, SEIZE, LISTEN = 0x4202, 0x4206, 0x4208

OPTION_FORK, OPTION_VFORK, OPTION_CLONE, OPTION_EXEC, OPTION_EXITKILL = 2, 4, 8, 16, 0x100000
EVENT_EXEC, EVENT_STOP = 4, 128
# A fault that the kernel raised itself, without an address: what a faulting CPUID gives.
SI_KERNEL = 0x80

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_ptrace.restype = ctypes.c_long

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


class Gone(Exception):
    """The process ended while it was being looked at; its end is reported by waitpid in its turn."""


def ptrace(request: int, pid: int, address: int = 0, data: object = None) -> None:
    """One ptrace call.

    Raises:
        Gone: there is no such stopped process any more.
        OSError: anything else that went wrong.
    """
    if _ptrace(request, pid, address, data) == -1:
        code = ctypes.get_errno()
        if code == 3:
            raise Gone(pid)
        raise OSError(code, f"ptrace({request:#x}): {os.strerror(code)}")


def seize(pid: int) -> None:
    options = OPTION_FORK | OPTION_VFORK | OPTION_CLONE | OPTION_EXEC | OPTION_EXITKILL
    ptrace(SEIZE, pid, 0, ctypes.c_void_p(options))


def resume(pid: int, signal: int = 0) -> None:
    ptrace(CONT, pid, 0, ctypes.c_void_p(signal))


def registers(pid: int) -> Registers:
    result = Registers()
    ptrace(GETREGS, pid, 0, ctypes.addressof(result))
    return result


def set_registers(pid: int, values: Registers) -> None:
    ptrace(SETREGS, pid, 0, ctypes.addressof(values))


def signal_code(pid: int) -> int:
    """si_code of the signal that stopped `pid`."""
    info = ctypes.create_string_buffer(128)
    ptrace(GETSIGINFO, pid, 0, ctypes.addressof(info))
    return struct.unpack_from("=iii", info.raw)[2]


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
    PEEKTEXT = 1
    ctypes.set_errno(0)
    word = _ptrace(PEEKTEXT, pid, address, None)
    if word == -1 and ctypes.get_errno():
        return b""
    return struct.pack("=q", word)


def vdso(pid: int) -> int:
    """Where the kernel mapped the vDSO: it holds a `syscall` instruction in every process, static ones too."""
    AT_SYSINFO_EHDR = 33
    try:
        with open(f"/proc/{pid}/auxv", "rb") as file:
            data = file.read(4096)
    except OSError:
        raise Gone(pid) from None
    for key, value in struct.iter_unpack("=QQ", data[: len(data) // 16 * 16]):
        if key == AT_SYSINFO_EHDR:
            return value
    return 0


def processor_of(pid: int) -> int:
    """The processor the thread last ran on, or -1."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read(4096).rpartition(b")")[2].split()[36])
    except (OSError, IndexError, ValueError):
        return -1
