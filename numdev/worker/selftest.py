"""Whether this host can show a program another CPUID, by doing it: flags and versions have been wrong."""

from __future__ import annotations

import os
import sys
import tempfile

from . import cpuid as cpuids
from . import launcher
from .start import Failure

# A leaf that no processor has: only the table can have put this there.
_LEAF, _MARKER = 0x4E554D45, (0x4E554D44, 0x45563031, 0x53454C46, 0x54455354)
_PROGRAM = """
import ctypes, mmap, sys
with open(sys.argv[1], "rb") as file:
    page = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
call = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))(ctypes.addressof(ctypes.c_char.from_buffer(page)))
registers = (ctypes.c_uint32 * 4)({leaf}, 0, 0, 0)
call(registers)
sys.exit(0 if tuple(registers) == {marker} else 9)
"""


def check(rewritten: bool = False) -> str:
    """Executes CPUID in a program under a table of its own: "" if it is answered from there, else the reason.

    Args:
        rewritten: by traps in the place of CPUID, instead of by a CPUID that faults.
    """
    table = cpuids.Table({(_LEAF, None): _MARKER}, {}, cpuids.EVERY_LEAF, rewritten)
    program = _PROGRAM.format(leaf=_LEAF, marker=_MARKER)
    try:
        with tempfile.NamedTemporaryFile(prefix="numdev-") as file:
            file.write(cpuids.CODE.ljust(4096, b"\xcc"))
            file.flush()
            path = os.path.realpath(file.name)
            argv = [sys.executable, "-S", "-I", "-c", program, path]
            # The system's own files are not what is tested: none of them has any, as far as this goes.
            at = (cpuids.CODE.index(cpuids.INSTRUCTION),)
            status = launcher.run(table, argv, find=lambda _, name: at if name == path else ())
    except (Failure, OSError) as error:
        return str(error)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return ""
    mechanism = "a trap in the place of CPUID" if rewritten else "CPUID faulting"
    return f"{mechanism} is there, but a program under it did not see the table (wait status {status})"
