"""Many operations in one process, each with the digest of its bytes: what two ways of showing a processor are compared by."""

from __future__ import annotations

import hashlib
import importlib.util
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


def torch_operations() -> Dict[str, Callable[[], Any]]:
    """Operations of torch by name, and in brackets the library that computes them where it is not ATen itself."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    whole = np.arange(1, 65537, dtype=np.int64) * 7919 % 1048573
    positive = torch.from_numpy((whole + 1).astype(np.float32) / np.float32(262144))
    x = positive - 2
    square, image = x[:16384].reshape(128, 128), x.reshape(2, 32, 32, 32)
    kernel, scale = x[:9216].reshape(32, 32, 3, 3), positive[:32]
    heads = x[:24576].reshape(3, 2, 4, 32, 32)
    operations: Dict[str, Callable[[], Any]] = {
        "torch mm (MKL)": lambda: square @ square,
        "torch addmm (MKL)": lambda: F.linear(square, square, x[:128]),
        "torch bmm (MKL)": lambda: torch.bmm(image[:, :, :, 0], image[:, :, :, 1]),
        "torch mv (MKL)": lambda: square @ x[:128],
        "torch mm float64 (MKL)": lambda: square.double() @ square.double(),
        "torch conv2d (oneDNN)": lambda: F.conv2d(image, kernel, padding=1),
        "torch conv1d (oneDNN)": lambda: F.conv1d(image[:, :, :, 0], kernel[:, :, :, 0], padding=1),
        "torch batch_norm": lambda: F.batch_norm(image, x[:32], scale, scale, x[:32]),
        "torch layer_norm": lambda: F.layer_norm(square, (128,)),
        "torch softmax": lambda: F.softmax(square, -1),
        "torch attention (MKL)": lambda: F.scaled_dot_product_attention(*heads),
        "torch gelu": lambda: F.gelu(x),
        "torch sum": lambda: x.sum(),
        "torch cumsum": lambda: x.cumsum(0),
        "torch var": lambda: x.var(),
    }
    # ATen hands these to MKL's vector library (aten/src/ATen/cpu/vml.h), which chooses by the vendor too.
    for name in ("exp", "erf", "sin"):
        operations[f"torch {name} (MKL)"] = lambda name=name: getattr(torch, name)(x)
    for name in ("log", "sqrt"):
        operations[f"torch {name} (MKL)"] = lambda name=name: getattr(torch, name)(positive)
    for name in ("tanh", "sigmoid", "expm1"):
        operations[f"torch {name}"] = lambda name=name: getattr(torch, name)(x)
    for name in ("rsqrt", "reciprocal"):
        operations[f"torch {name}"] = lambda name=name: getattr(torch, name)(positive)
    return operations


def run(models: List[str]) -> Dict[str, str]:
    """The digest of each operation and of each model's outputs; `models` are pairs of model and inputs.

    torch's operations are run where there is a torch.
    """
    operations = numpy_operations()
    if importlib.util.find_spec("torch"):
        operations.update(torch_operations())
    found = {name: digest(operation()) for name, operation in operations.items()}
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
            if len(outputs) == 1:
                found[f"onnxruntime {name}"] = hashlib.sha256(digest(outputs[0]).encode()).hexdigest()
                continue
            # One operator an output.
            for output, value in zip(session.get_outputs(), outputs):
                found[f"onnxruntime {output.name}"] = digest(value)
    return found
