"""Which system calls of a traced program stop it, so that the launcher can look: a seccomp filter, by prctl(2).

All other calls pass without a stop, at their usual speed. Linux on x86-64 only; see <linux/filter.h>, <linux/seccomp.h>.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import List, Tuple

MMAP, MPROTECT, SIGACTION, SIGPROCMASK, ARCH_PRCTL, PKEY_MPROTECT = 9, 10, 13, 14, 158, 329
PROT_EXEC, MAP_ANONYMOUS, SIGSEGV = 4, 0x20, 11
ARCH_GET_CPUID, ARCH_SET_CPUID = 0x1011, 0x1012

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_X86_64 = 0xC000003E
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4

# A jump's targets, in words: the next instruction, or one of the two ends of the filter.
_Test = Tuple[int, int, str, str]

_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


class Filter:
    """A filter, made before fork so that the child has only to install it.

    Args:
        mappings: whether code that is mapped stops the program.
    """

    def __init__(self, mappings: bool) -> None:
        rules: List[Tuple[int, List[_Test]]] = [
            (SIGACTION, [(_low(0), SIGSEGV, "trace", "allow")]),
            # With no new mask it only reads the old one.
            (SIGPROCMASK, [(_low(1), 0, "next", "trace"), (_low(1) + 4, 0, "allow", "trace")]),
            (ARCH_PRCTL, [(_low(0), ARCH_GET_CPUID, "trace", "next"), (_low(0), ARCH_SET_CPUID, "trace", "allow")]),
        ]
        if mappings:
            executable = (_low(2), -PROT_EXEC, "next", "allow")
            rules += [
                (MMAP, [executable, (_low(3), -MAP_ANONYMOUS, "allow", "trace")]),
                (MPROTECT, [(_low(2), -PROT_EXEC, "trace", "allow")]),
                (PKEY_MPROTECT, [(_low(2), -PROT_EXEC, "trace", "allow")]),
            ]
        self._code = _assemble(rules)
        self._program = _Program(len(self._code) // 8, self._code)

    def install(self) -> None:
        """For this process and all it starts. OSError where that is forbidden."""
        for option, value, address in (
            (_PR_SET_NO_NEW_PRIVS, 1, None),
            (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(self._program)),
        ):
            if _prctl(option, value, address, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _low(argument: int) -> int:
    """Where the low half of a system call's argument lies in struct seccomp_data; the high half follows."""
    return 16 + 8 * argument


def _assemble(rules: List[Tuple[int, List[_Test]]]) -> bytes:
    """Blocks of tests, one for each system call; a test of a negative value asks for a bit, others for equality."""
    code: List[_Test] = [(_ARCHITECTURE_AT, _X86_64, "next", "allow")]
    for number, block in rules:
        code += [(_NUMBER_AT, number, "next", f"skip {len(block)}"), *block]
    # Each test is two instructions, and the two returns stand after all of them.
    lines = []
    for index, (at, value, yes, no) in enumerate(code):
        left = 2 * (len(code) - index - 1)
        jumps = []
        for word in (yes, no):
            ends = {"next": 0, "allow": left, "trace": left + 1}
            jumps.append(ends[word] if word in ends else 2 * int(word[5:]))
        lines.append(struct.pack("=HBBI", _LOAD, 0, 0, at))
        lines.append(struct.pack("=HBBI", _IF_ANY_BIT if value < 0 else _IF_EQUAL, *jumps, abs(value)))
    lines += [struct.pack("=HBBI", _RETURN, 0, 0, end) for end in (_ALLOW, _TRACE)]
    return b"".join(lines)
