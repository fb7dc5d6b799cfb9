"""Instructions that an emulator gets wrong, found by executing them: what it computes with them is no processor's.

Known of QEMU 7.2, the first that has AVX2: where the index of a gather lies in register 4 it takes that for no index, as it would
be in an address without vectors, and reads from wherever it then points.
"""

from __future__ import annotations

import ctypes
import os
import resource
from typing import List

from . import cpuid as cpuids
from .machinecode import function

GATHER = "gather by register 4"
_AVX2 = 1 << 5
# void f(double *out, const double *from, const int64_t *index): vpcmpeqd ymm1, ymm1, ymm1; vmovdqu ymm4, [rdx];
# vxorpd ymm0, ymm0, ymm0; vgatherqpd ymm0, [rsi+ymm4*8], ymm1; vmovupd [rdi], ymm0; vzeroupper; ret
_CODE = bytes.fromhex("c5f576c9 c5fe6f22 c5fd57c0 c4e2f59304e6 c5fd1107 c5f877 c3")
_INDEX = (3, 5, 7, 9)


def found() -> List[str]:
    """The known defects of what executes this process; a processor has none."""
    ask = cpuids.Cpuid()
    if ask(0)[0] < 7 or not ask(7)[1] & _AVX2:
        return []
    # In a process of its own, for where it points there may be nothing.
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os._exit(gathered() != [float(one) for one in _INDEX])
    return [GATHER] if os.waitpid(child, 0)[1] else []


def gathered() -> List[float]:
    """The elements of 0, 1, 2, ... at _INDEX, gathered by an index in register 4."""
    out, values = (ctypes.c_double * 4)(), (ctypes.c_double * 16)(*range(16))
    index = (ctypes.c_int64 * 4)(*_INDEX)
    with function(_CODE) as call:
        call(ctypes.addressof(out), ctypes.addressof(values), ctypes.addressof(index))
    return list(out)
