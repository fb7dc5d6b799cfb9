"""The environment variables by which numerical libraries are told what to choose, whatever CPUID says."""

from __future__ import annotations

from collections.abc import Mapping

from numdev.cpu.features import NUMPY, simd_level
from numdev.cpu.profile import Profile

# By the library that reads them. Numbers of threads are no such knobs: they are a factor of their own.
KNOBS = {
    "OPENBLAS_CORETYPE": "OpenBLAS",
    "OPENBLAS_L2_SIZE": "OpenBLAS",
    "BLIS_ARCH_TYPE": "BLIS",
    "MKL_CBWR": "MKL",
    "MKL_DEBUG_CPU_TYPE": "MKL",
    "MKL_ENABLE_INSTRUCTIONS": "MKL",
    "DNNL_MAX_CPU_ISA": "oneDNN",
    "ONEDNN_MAX_CPU_ISA": "oneDNN",
    "ONEDNN_CPU_ISA_HINTS": "oneDNN",
    "ATEN_CPU_CAPABILITY": "torch",
    "NPY_DISABLE_CPU_FEATURES": "numpy",
    "NPY_ENABLE_CPU_FEATURES": "numpy",
    "TF_ENABLE_ONEDNN_OPTS": "TensorFlow",
    "XLA_FLAGS": "XLA",
    "GLIBC_TUNABLES": "glibc",
}

# By SIMD level: OpenBLAS's kernels where the profile names none, and what the others call the level.
_OPENBLAS = {"SSE2": "Prescott", "SSE4.2": "Nehalem", "AVX": "Sandybridge", "AVX2": "Haswell"}
_MKL = {"SSE2": "COMPATIBLE", "SSE4.2": "SSE4_2", "AVX": "AVX", "AVX2": "AVX2"}
_ONEDNN = {
    "SSE4.2": "SSE41",
    "AVX": "AVX",
    "AVX2": "AVX2",
    "AVX-512": "AVX512_CORE",
    "AVX-512 VNNI": "AVX512_CORE_VNNI",
    "AVX-512 AMX": "AVX512_CORE_AMX",
}
_GLIBC = {"avx": "AVX", "avx2": "AVX2", "fma": "FMA", "fma4": "FMA4", "avx512f": "AVX512F", "sse4_1": "SSE4_1"}


def set_in(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """The knobs that an environment has set, each with the library that reads it; sorted."""
    return [(name, library) for name, library in sorted(KNOBS.items()) if environment.get(name)]


def for_profile(profile: Profile) -> dict[str, str]:
    """The variables by which libraries are told to do as on this processor, by name.

    numpy's groups have other names in each version; a name that one does not know is passed over with a warning.
    """
    have = set(profile.features)
    simd = simd_level(have)
    # Whatever of AVX-512 there is beside the foundation, these two knobs have one word for it.
    above = "avx512f" in have
    disabled = sorted(name for name, feature in NUMPY.items() if feature not in have)
    hidden = sorted(name for feature, name in _GLIBC.items() if feature not in have)
    found = {
        "ATEN_CPU_CAPABILITY": "avx512" if "avx512bw" in have else "avx2" if {"avx2", "fma"} <= have else "default",
        "MKL_CBWR": "AVX512" if above else _MKL[simd],
        "OPENBLAS_CORETYPE": next(iter(profile.expect.openblas), "SkylakeX" if above else _OPENBLAS[simd]),
    }
    if simd in _ONEDNN:
        found["ONEDNN_MAX_CPU_ISA"] = _ONEDNN[simd]
    if disabled:
        found["NPY_DISABLE_CPU_FEATURES"] = " ".join(disabled)
    if hidden:
        found["GLIBC_TUNABLES"] = "glibc.cpu.hwcaps=" + ",".join(f"-{name}" for name in hidden)
    return {name: found[name] for name in sorted(found)}
