"""What a processor computes where the manuals leave it free: the approximate instructions.

Intel and AMD give other bits for `rcpps` and `rsqrtps`; the AVX-512 ones are defined to the last bit and listed to be seen to be.
Two hosts with equal fingerprints and equal dispatch have no reason left to deviate.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Collection

import numpy as np

from numdev import digests

# The instruction on xmm0, and the features it needs.
INSTRUCTIONS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "rcpps": (bytes.fromhex("0f53c0"), ()),
    "rsqrtps": (bytes.fromhex("0f52c0"), ()),
    "sqrtps": (bytes.fromhex("0f51c0"), ()),
    "fma": (bytes.fromhex("c4e27998c0"), ("fma",)),  # vfmadd132ps xmm0, xmm0, xmm0: x * x + x
    "vrcp14ps": (bytes.fromhex("62f27d084cc0"), ("avx512f", "avx512vl")),
    "vrsqrt14ps": (bytes.fromhex("62f27d084ec0"), ("avx512f", "avx512vl")),
}


def _inputs() -> np.ndarray:
    """8192 float32: all mantissas' leading bits in several binades, and denormals, zeros, infinities and NaN."""
    mantissas = np.arange(2048, dtype=np.uint32) << np.uint32(12)
    binades = [np.uint32(exponent << 23) | mantissas for exponent in (0, 64, 127, 128)]
    values = np.concatenate(binades)
    values[:8] = (0, 0x80000000, 1, 0x007FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xBF800000)
    return values.view(np.float32)


def fingerprint(features: Collection[str]) -> dict[str, str]:
    """The SHA-256 of what each instruction gives for fixed inputs; only instructions that `features` allow."""
    inputs = _inputs()
    found = {}
    for name, (code, needed) in INSTRUCTIONS.items():
        if set(needed) <= set(features):
            found[name] = digests.of_bytes(_run(code, inputs).tobytes())
    return found


def _run(instruction: bytes, inputs: np.ndarray) -> np.ndarray:
    """Executes one instruction on four values at a time."""
    # void f(const float *in, float *out): movups xmm0,[rdi]; INSTRUCTION; movups [rsi],xmm0; ret
    code = bytes.fromhex("0f1007") + instruction + bytes.fromhex("0f1106c3")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    anchor = ctypes.c_char.from_buffer(page)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(ctypes.addressof(anchor))
    outputs = np.empty_like(inputs)
    for at in range(0, inputs.nbytes, 16):
        call(inputs.ctypes.data + at, outputs.ctypes.data + at)
    # The buffer's owner must be gone before the page can be.
    del call, anchor
    page.close()
    return outputs
