"""What each backend can do, as data: the orchestrator validates with it, the worker runs by it."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple


class Backend(NamedTuple):
    """The abilities of one backend.

    formats: model formats in order of preference. threads_by_environment: the thread count is read when the
    library is imported, so it has to stand in the environment before.
    """

    formats: Tuple[str, ...]
    precisions: Tuple[str, ...] = ("float32",)
    optimizations: Tuple[str, ...] = ("all",)
    threads_by_environment: bool = False
    session_entries: bool = False


BACKENDS: Dict[str, Backend] = {
    "onnxruntime": Backend(("onnx",), optimizations=("off", "basic", "extended", "all"), session_entries=True),
    "torch": Backend(
        ("net", "torchscript", "export"),
        precisions=("float32", "float64"),
        threads_by_environment=True,
        session_entries=True,
    ),
    "numpy": Backend(("net",), precisions=("float32", "float64"), threads_by_environment=True),
    "reference": Backend(("onnx",), precisions=("float64",), threads_by_environment=True),
    "openvino": Backend(("onnx",), session_entries=True),
    "litert": Backend(("tflite",), optimizations=("off", "all")),
    "torch_cuda": Backend(("net", "torchscript", "export"), precisions=("float32", "float64"), session_entries=True),
    "tensorflow": Backend(("net",), precisions=("float32", "float64"), optimizations=("off", "all")),
    "jax": Backend(("net",), precisions=("float32", "float64"), optimizations=("off", "all"), session_entries=True),
}

# Any backend's stack can run these: they are the user's own programs in the stack's environment.
PROGRAM_FORMATS = ("module", "command")

# How BLAS and OpenMP libraries are told their number of threads before they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# The libraries that numpy's matrix products may be computed by, as gemm.py tells them.
BLAS_LIBRARIES = ("ATLAS", "BLIS", "MKL", "OpenBLAS", "reference")
