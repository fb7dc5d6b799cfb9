"""What a processor computes where the manuals leave it free, and where the mode it computes in could change it.

Intel and AMD give other bits for `rcpps` and `rsqrtps`; the AVX-512 ones are defined to the last bit and listed to be seen to be.
So are the results that denormals have in each of the four modes of MXCSR: an emulator, or a translator to another
architecture, may flush where x86 does not. Two hosts with equal fingerprints and equal dispatch have no reason left to deviate.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from numdev import digests
from numdev.cpu.host import need_x86
from numdev.worker.machinecode import function

# The instruction on xmm0, and the features it needs.
INSTRUCTIONS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "rcpps": (bytes.fromhex("0f53c0"), ()),
    "rsqrtps": (bytes.fromhex("0f52c0"), ()),
    "sqrtps": (bytes.fromhex("0f51c0"), ()),
    "fma": (bytes.fromhex("c4e27998c0"), ("fma",)),  # vfmadd132ps xmm0, xmm0, xmm0: x * x + x
    "vrcp14ps": (bytes.fromhex("62f27d084cc0"), ("avx512f", "avx512vl")),
    "vrsqrt14ps": (bytes.fromhex("62f27d084ec0"), ("avx512f", "avx512vl")),
}

# MXCSR: all exceptions masked, rounding to nearest; flush-to-zero; denormals-are-zero.
DEFAULT, FTZ, DAZ = 0x1F80, 0x8000, 0x0040
MODES = (DEFAULT, DEFAULT | FTZ, DEFAULT | DAZ, DEFAULT | FTZ | DAZ)


class _Width(NamedTuple):
    """A vector of `size` bytes in register 0: how it is loaded from [rdi], stored to [rsi], and what ends the function."""

    size: int
    load: bytes
    store: bytes
    end: bytes


_XMM = _Width(16, bytes.fromhex("0f1007"), bytes.fromhex("0f1106"), b"")
_YMM = _Width(32, bytes.fromhex("c5fc1007"), bytes.fromhex("c5fc1106"), bytes.fromhex("c5f877"))
_ZMM = _Width(64, bytes.fromhex("62f17c481007"), bytes.fromhex("62f17c481106"), bytes.fromhex("c5f877"))

# Product, sum and root of register 0 with itself: products of these inputs underflow, sums and roots begin with denormals.
DENORMALS: dict[str, tuple[_Width, tuple[bytes, ...], tuple[str, ...]]] = {
    "denormals": (_XMM, (bytes.fromhex("0f59c0"), bytes.fromhex("0f58c0"), bytes.fromhex("0f51c0")), ()),
    "denormals-fma": (_XMM, (bytes.fromhex("c4e27998c0"),), ("fma",)),
    "denormals-avx": (
        _YMM,
        (bytes.fromhex("c5fc59c0"), bytes.fromhex("c5fc58c0"), bytes.fromhex("c5fc51c0")),
        ("avx",),
    ),
    "denormals-avx512": (
        _ZMM,
        (bytes.fromhex("62f17c4859c0"), bytes.fromhex("62f17c4858c0"), bytes.fromhex("62f17c4851c0")),
        ("avx512f",),
    ),
}


def _inputs() -> np.ndarray:
    """8192 float32: all mantissas' leading bits in several binades, and denormals, zeros, infinities and NaN."""
    mantissas = np.arange(2048, dtype=np.uint32) << np.uint32(12)
    binades = [np.uint32(exponent << 23) | mantissas for exponent in (0, 64, 127, 128)]
    values = np.concatenate(binades)
    values[:8] = (0, 0x80000000, 1, 0x007FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xBF800000)
    return values.view(np.float32)


def _tiny() -> np.ndarray:
    """512 float32 of both signs: denormals, the smallest normal numbers, and those whose squares are denormal or vanish."""
    steps = np.arange(64, dtype=np.uint32)
    positive = np.concatenate(
        [
            steps,  # zero and the smallest denormals
            np.uint32(0x007FFFFF) - steps * np.uint32(130_003),  # denormals down from the largest
            np.uint32(0x00800000) + steps * np.uint32(131_071),  # normal, but their halves are not
            np.uint32(52 << 23) + steps * np.uint32(1_500_007),  # 2^-75 to 2^-64: squares from nothing to denormal
        ]
    )
    return np.concatenate([positive, positive | np.uint32(0x80000000)]).view(np.float32)


def fingerprint(features: Collection[str]) -> dict[str, str]:
    """The SHA-256 of what each instruction gives for fixed inputs; only instructions that `features` allow.

    Raises ProfileRefused where these are not this machine's instructions.
    """
    need_x86("The arithmetic fingerprint")
    inputs, tiny = _inputs(), _tiny()
    found = {}
    for name, (code, needed) in INSTRUCTIONS.items():
        if set(needed) <= set(features):
            found[name] = digests.of_bytes(_run(code, inputs).tobytes())
    for name, (width, codes, needed) in DENORMALS.items():
        if set(needed) <= set(features):
            parts = [_run(code, tiny, mode, width).tobytes() for code in codes for mode in MODES]
            found[name] = hashlib.sha256(b"".join(parts)).hexdigest()
    return found


def _run(instruction: bytes, inputs: np.ndarray, mode: int = DEFAULT, width: _Width = _XMM) -> np.ndarray:
    """Executes one instruction on a vector at a time, in a mode of MXCSR that is set for it alone."""
    # void f(const float *in, float *out, const uint32_t *mxcsr)
    save, load = bytes.fromhex("0fae5c24f8"), bytes.fromhex("0fae12")  # stmxcsr [rsp-8]; ldmxcsr [rdx]
    restore = bytes.fromhex("0fae5424f8c3")  # ldmxcsr [rsp-8]; ret
    code = save + load + width.load + instruction + width.store + width.end + restore
    outputs = np.empty_like(inputs)
    mxcsr = ctypes.c_uint32(mode)
    with function(code) as call:
        for at in range(0, inputs.nbytes, width.size):
            call(inputs.ctypes.data + at, outputs.ctypes.data + at, ctypes.addressof(mxcsr))
    return outputs
