"""The few calls of ptrace(2) that the launcher needs, by ctypes.

Linux on x86-64 only. The layout is that of <sys/user.h> and <linux/ptrace.h>.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from typing import List, NamedTuple

PEEKTEXT, POKETEXT, CONT, SINGLESTEP, GETREGS, SETREGS, SYSCALL = 1, 4, 7, 9, 12, 13, 24
GETSIGINFO, SEIZE, LISTEN, GETSIGMASK, SETSIGMASK = 0x4202, 0x4206, 0x4208, 0x420A, 0x420B

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
    ptrace(SEIZE, pid, 0, ctypes.c_void_p(OPTIONS | OPTION_EXITKILL))


def resume(pid: int, signal: int = 0, request: int = CONT) -> None:
    ptrace(request, pid, 0, ctypes.c_void_p(signal))


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


class Mapping(NamedTuple):
    """A part of a file that a process has mapped as code: addresses, offset in the file, path in its own world."""

    start: int
    end: int
    offset: int
    path: str


def code_mappings(pid: int) -> List[Mapping]:
    """The files that `pid` has mapped as code; anonymous memory is none."""
    found = []
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            lines = file.read().splitlines()
    except (ProcessLookupError, FileNotFoundError):
        raise Gone(pid) from None
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[1][2:3] == b"x" and fields[5][:1] == b"/":
            start, _, end = fields[0].partition(b"-")
            found.append(Mapping(int(start, 16), int(end, 16), int(fields[2], 16), os.fsdecode(fields[5])))
    return found


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
