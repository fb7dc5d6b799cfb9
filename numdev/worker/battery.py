"""Many operations in one process, each with the digest of its bytes: what two ways of showing a processor are compared by.

python -m numdev_worker.battery OUT [MODEL INPUTS]...
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any, Callable, Dict, List

import numpy as np

_UNARY = [
    "exp",
    "log",
    "log1p",
    "expm1",
    "sqrt",
    "cbrt",
    "sin",
    "cos",
    "tan",
    "tanh",
    "sinh",
    "arctan",
    "arcsinh",
    "reciprocal",
    "square",
    "rint",
    "floor",
    "absolute",
]


def digest(value: Any) -> str:
    array = np.asarray(value)
    return hashlib.sha256(np.asarray(array, order="C").tobytes()).hexdigest()


def numpy_operations() -> Dict[str, Callable[[], Any]]:
    """Operations by name; their inputs come from integers, so that they are the same everywhere."""
    whole = np.arange(1, 40001, dtype=np.int64) * 7919 % 1048573
    x64 = (whole + 1).astype(np.float64) / 262144
    x32 = x64.astype(np.float32)
    m32, m64 = x32[:10000].reshape(100, 100), x64[:10000].reshape(100, 100)
    well = m64 + 400 * np.eye(100)
    operations: Dict[str, Callable[[], Any]] = {}
    for name in _UNARY:
        for label, x in (("float32", x32), ("float64", x64)):
            operations[f"numpy {name} {label}"] = lambda name=name, x=x: getattr(np, name)(x)
    operations.update(
        {
            "numpy power float32": lambda: np.power(x32, np.float32(1.7)),
            "numpy power float64": lambda: np.power(x64, 1.7),
            "numpy sum float32": lambda: x32.sum(),
            "numpy var float32": lambda: x32.var(),
            "numpy cumsum float32": lambda: np.cumsum(x32),
            "numpy sort float32": lambda: np.sort(x32),
            "numpy fft float64": lambda: np.fft.fft(x64[:1024]),
            "numpy einsum float32": lambda: np.einsum("ij,jk", m32, m32),
            "BLAS sgemm": lambda: m32 @ m32,
            "BLAS dgemm": lambda: m64 @ m64,
            "BLAS sgemv": lambda: m32 @ m32[0],
            "BLAS sdot": lambda: m32[0] @ m32[1],
            "LAPACK solve": lambda: np.linalg.solve(well, m64[0]),
            "LAPACK svd": lambda: np.linalg.svd(m64[:20, :20])[1],
            "LAPACK cholesky": lambda: np.linalg.cholesky(well @ well.T),
        }
    )
    return operations


def run(models: List[str]) -> Dict[str, str]:
    """The digest of each operation and of each model's outputs; `models` are pairs of model and inputs."""
    found = {name: digest(operation()) for name, operation in numpy_operations().items()}
    if models:
        import onnxruntime as ort

        ort.set_default_logger_severity(3)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        for model, inputs in zip(models[::2], models[1::2]):
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            with np.load(inputs, allow_pickle=False) as archive:
                outputs = session.run(None, {name: archive[name] for name in archive.files})
            name = model.replace("\\", "/").split("/")[-1].split(".")[0]
            found[f"onnxruntime {name}"] = hashlib.sha256("".join(map(digest, outputs)).encode()).hexdigest()
    return found


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        result = run(sys.argv[2:])
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(result, file, sort_keys=True)
