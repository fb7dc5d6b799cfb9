"""The environment variables by which numerical libraries are told what to choose, whatever CPUID says."""

from __future__ import annotations

from collections.abc import Mapping

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
    "GLIBC_TUNABLES": "glibc",
}


def set_in(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """The knobs that an environment has set, each with the library that reads it; sorted."""
    return [(name, library) for name, library in sorted(KNOBS.items()) if environment.get(name)]
