"""What the libraries in this process really chose: declared is not realised."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import sys
from typing import Any, Dict, List, Optional

from . import cpuid as cpuids
from . import gemm

# The leaves by which libraries dispatch; checking all of them costs a trap each.
_CHECKED = (
    (0, 0),
    (1, 0),
    (4, 0),
    (4, 1),
    (4, 2),
    (4, 3),
    (7, 0),
    (7, 1),
    (0x80000000, 0),
    (0x80000001, 0),
    (0x80000006, 0),
)

# The leaves that tell a processor: what it is called, and all that it has.
_IDENTITY = (
    (0, 0),
    (1, 0),
    (7, 0),
    (7, 1),
    (0xD, 1),
    (0x80000000, 0),
    (0x80000001, 0),
    (0x80000008, 0),
)
_NUMPY = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")
# The numbers of features in TensorFlow's tensorflow/core/platform/cpu_info.h that its code is chosen by, and the function
# that it asks; newer versions have it in another namespace.
_TENSORFLOW = {12: "avx", 14: "avx2", 15: "fma", 27: "avx512f", 32: "avx512bw"}
_TEST_FEATURE = (
    "_ZN10tensorflow4port14TestCPUFeatureENS0_10CPUFeatureE",
    "_ZN3tsl4port14TestCPUFeatureENS0_10CPUFeatureE",
)


def read(table_file: Optional[str], emulated: bool = False) -> Dict[str, Any]:
    """Everything found, as plain JSON data.

    Args:
        table_file: the CPUID table that should be in force, or None under the profile `host`.
        emulated: whether an emulator computes, whose own CPUID is then read.
    """
    found: Dict[str, Any] = {"python": platform.python_version(), "libc": " ".join(platform.libc_ver())}
    found["machine"] = platform.machine()
    if table_file:
        found["cpuid"] = _cpuid(table_file)
    if emulated and found["machine"] == "x86_64":
        found["identity"] = _identity()
    if found["machine"] == "aarch64":
        found["hwcap"] = _hwcap()
    found["versions"] = {
        name: str(getattr(sys.modules[name], "__version__", ""))
        for name in (
            "numpy",
            "onnxruntime",
            "torch",
            "tensorflow",
            "onnx",
            "openvino",
            "ai_edge_litert",
            "jax",
            "jaxlib",
        )
        if name in sys.modules
    }
    if "numpy" in sys.modules:
        found["numpy_features"] = _numpy_features()
        found["numpy_dispatch"] = _numpy_dispatch(found["numpy_features"])
        found["gemm"] = gemm.read()
    found["blas"] = _blas()
    if "torch" in sys.modules:
        found.update(_torch())
    if "tensorflow" in sys.modules:
        found.update(_tensorflow())
    if "jax" in sys.modules and (chosen := _module("jax_", "CHOSEN")):
        found.update(chosen)
    if "openvino" in sys.modules and (chosen := _module("openvino_", "CHOSEN")):
        found["openvino"] = dict(chosen)
    if "torch" in sys.modules and (chosen := _module("torch_cuda_", "CHOSEN")):
        found["gpu"] = dict(chosen)
    return found


def _module(name: str, what: str) -> Any:
    """What a backend has noted, where it was used."""
    return getattr(sys.modules.get(f"{__package__}.backends.{name}"), what, None)


def _cpuid(table_file: str) -> Dict[str, Any]:
    """Executes CPUID: how often the launcher was asked so far, and which leaves do not answer as the table says."""
    table = cpuids.read_table(table_file)
    real = cpuids.Cpuid(table.instruction)
    in_force, traps, uncovered, _ = real(cpuids.MAGIC)
    if in_force != 1:
        return {"traps": 0, "mismatches": []}
    mismatches: List[str] = []
    for leaf, subleaf in _CHECKED:
        key = (leaf, subleaf) if (leaf, subleaf) in table.values else (leaf, None)
        expected, mask = table.values.get(key, (0, 0, 0, 0)), table.masks.get(key, (0, 0, 0, 0))
        if leaf in table.passed:
            continue
        if any((e ^ r) & ~m & 0xFFFFFFFF for e, r, m in zip(expected, real(leaf, subleaf), mask)):
            mismatches.append(f"{leaf:#x}.{subleaf}")
    return {"traps": traps, "mismatches": mismatches, "uncovered": uncovered}


def _identity() -> List[List[int]]:
    """The leaves that say which processor this is and what it has: leaf, subleaf and four registers each."""
    real = cpuids.Cpuid()
    return [[leaf, subleaf, *real(leaf, subleaf)] for leaf, subleaf in _IDENTITY]


def _hwcap() -> List[str]:
    """What an arm64 program knows its processor by: AT_HWCAP and AT_HWCAP2."""
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return [hex(getauxval(key)) for key in (16, 26)]


def _numpy_dispatch(features: List[str]) -> List[str]:
    """Of the features that numpy found, those for which it has kernels of their own: these it uses."""
    for name in _NUMPY:
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "__cpu_dispatch__"):
            return sorted(set(features) & set(module.__cpu_dispatch__))
    return []


def _numpy_features() -> List[str]:
    for name in _NUMPY:
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "__cpu_features__"):
            return sorted(feature for feature, present in module.__cpu_features__.items() if present)
    return []


def _blas() -> List[Dict[str, Any]]:
    """threadpoolctl's view of the BLAS and OpenMP libraries in the process, without their paths."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    keys = ("user_api", "internal_api", "version", "architecture", "num_threads", "threading_layer")
    rows = [{key: row[key] for key in keys if row.get(key) is not None} for row in threadpool_info()]
    return sorted(rows, key=lambda row: sorted(map(str, row.items())))


def _torch() -> Dict[str, Any]:
    torch = sys.modules["torch"]
    return {
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_threads": torch.get_num_threads(),
    }


def _tensorflow() -> Dict[str, Any]:
    tensorflow = sys.modules["tensorflow"]
    version = tensorflow.version
    return {
        "tensorflow_build": f"{version.GIT_VERSION}, compiler {version.COMPILER_VERSION}",
        "tensorflow_threads": tensorflow.config.threading.get_intra_op_parallelism_threads(),
        "tensorflow_features": _tensorflow_features(str(tensorflow.__file__)),
        "tensorflow_onednn": _tensorflow_onednn(),
    }


def _tensorflow_onednn() -> Optional[bool]:
    """Whether TensorFlow gives its operators to oneDNN; None where it does not say, as before 2.6."""
    try:
        return bool(importlib.import_module("tensorflow.python.util._pywrap_util_port").IsMklEnabled())
    except (ImportError, AttributeError):
        return None


def _tensorflow_features(module: str) -> Optional[List[str]]:
    """The processor's features as TensorFlow's own code knows them; None where its library does not say."""
    try:
        library = ctypes.CDLL(os.path.join(os.path.dirname(module), "libtensorflow_framework.so.2"))
        test = next(getattr(library, name) for name in _TEST_FEATURE if hasattr(library, name))
    except (OSError, StopIteration):
        return None
    test.restype, test.argtypes = ctypes.c_bool, [ctypes.c_int]
    return sorted(name for number, name in _TENSORFLOW.items() if test(number))
