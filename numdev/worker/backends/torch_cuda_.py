"""torch on a GPU: what torch_.py does on the CPU, with what is chosen there at run time set by `session` entries.

benchmark: "1" tries cuDNN's algorithms and takes the fastest. deterministic: "1" takes only those that give the same bits each time.
tf32: "1" multiplies float32 in 19 bits where the GPU can. algorithm: "auto", "native" (torch's own, without cuDNN), or one of cuDNN's by name.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Callable, Dict

import numpy as np

from ..tensors import Refused, named
from . import Task, Unsupported, cudnn, torch_

_LEVELS = {
    "benchmark": ("0", "1"),
    "deterministic": ("0", "1"),
    "tf32": ("0", "1"),
    "algorithm": ("auto", "native", *cudnn.ALGORITHMS),
}
# What was set, and what computes; see readback.py.
CHOSEN: Dict[str, Any] = {}


def preload() -> None:
    """Only the import: a process that has used a GPU cannot be forked from."""
    torch_.preload()


def settings(session: Dict[str, str]) -> Dict[str, str]:
    """Every entry with its level, the first where it is left out; raises Unsupported."""
    for key, value in sorted(session.items()):
        if value not in _LEVELS.get(key, ()):
            known = "; ".join(f"{name}: {', '.join(levels)}" for name, levels in _LEVELS.items())
            raise Unsupported(f"torch on a GPU has no session entry {key} {value!r}; there are {known}")
    return {key: session.get(key, levels[0]) for key, levels in _LEVELS.items()}


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    chosen = settings(task.session)
    forced = chosen["algorithm"] in cudnn.ALGORITHMS
    if task.precision not in ("float32", "float64"):
        raise Unsupported(f"torch does not compute in {task.precision} here")
    if forced and task.format != "net":
        raise Unsupported(f"an algorithm is only forced on networks in the net format, not on {task.format}")
    if chosen["deterministic"] == "1":
        # cuBLAS asks for this before its first product.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch

    if not torch.cuda.is_available():
        raise Unsupported("torch finds no GPU that it can use")
    torch.set_num_threads(task.threads)
    torch.backends.cudnn.enabled = chosen["algorithm"] != "native"
    torch.backends.cudnn.benchmark = chosen["benchmark"] == "1"
    torch.backends.cudnn.deterministic = chosen["deterministic"] == "1"
    torch.use_deterministic_algorithms(chosen["deterministic"] == "1")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = chosen["tf32"] == "1"
    device = torch.device("cuda:0")
    _note(torch, chosen)
    inputs = {name: torch_._cast(torch.from_numpy(x), task.precision).to(device) for name, x in task.inputs.items()}
    with torch.inference_mode():
        infer = _loaded(task, inputs, device)
        mode = _forcing(_library(), chosen, task.precision) if forced else None

    def inferring() -> Dict[str, np.ndarray]:
        with torch.inference_mode():
            if mode is None:
                return infer()
            with mode:
                return infer()

    return inferring


def _note(torch: Any, chosen: Dict[str, str]) -> None:
    CHOSEN.clear()
    CHOSEN.update(chosen)
    CHOSEN["gpu"] = torch.cuda.get_device_name(0)
    CHOSEN["capability"] = ".".join(map(str, torch.cuda.get_device_capability(0)))
    CHOSEN["cuda"] = str(torch.version.cuda)
    CHOSEN["cudnn"] = torch.backends.cudnn.version()


def _loaded(task: Task, inputs: Dict[str, Any], device: Any) -> Callable[[], Dict[str, np.ndarray]]:
    import torch

    if task.format == "net":
        description, arrays = torch_.net.load(str(task.model))
        weights = {
            name: torch_._cast(torch.from_numpy(array), task.precision).to(device) for name, array in arrays.items()
        }
        return lambda: torch_._layers(description, weights, dict(inputs))
    if task.format == "torchscript":
        module = torch.jit.load(task.model, map_location=device)
        module.eval()
    else:
        module = torch.export.load(task.model).module().to(device)
    if task.precision == "float64":
        module = module.double()
    return lambda: named(module(*inputs.values()), [])


def _library() -> ctypes.CDLL:
    """The libcudnn that torch has loaded."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")
            if os.path.basename(path[2]).startswith("libcudnn.so"):
                return ctypes.CDLL("/" + path[2])
    raise Refused("torch has not loaded a libcudnn.so in which an algorithm could be chosen")


def _forcing(library: ctypes.CDLL, chosen: Dict[str, str], precision: str) -> Any:
    """A mode in which every two-dimensional convolution is cuDNN's by one algorithm."""
    import torch
    from torch.overrides import TorchFunctionMode

    stream = torch.cuda.current_stream().cuda_stream if torch.cuda.is_available() else 0
    handle = cudnn.Cudnn(library, stream)

    class Forced(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is not torch.nn.functional.conv2d:
                return function(*args, **(kwargs or {}))
            x, w, bias = args
            strides, padding = kwargs["stride"], kwargs["padding"]
            padding = (padding, padding) if isinstance(padding, int) else padding
            x, w = x.contiguous(), w.contiguous()
            y = torch.empty(cudnn.output_shape(x.shape, w.shape, padding, strides), dtype=x.dtype, device=x.device)
            task = {"x": (x.data_ptr(), x.shape), "w": (w.data_ptr(), w.shape), "y": (y.data_ptr(), y.shape)}
            task.update(padding=padding, stride=strides, precision=precision)
            task.update(algorithm=chosen["algorithm"], tf32=chosen["tf32"] == "1")
            held = []

            def workspace(size: int) -> int:
                held.append(torch.empty(size, dtype=torch.uint8, device=x.device))
                return held[0].data_ptr()

            try:
                handle.convolve(task, workspace)
            except cudnn.NotOffered as error:
                raise Unsupported(f"cuDNN has no {chosen['algorithm']} for a layer of this network ({error})") from None
            return y if bias is None else y + bias.reshape(1, -1, 1, 1)

    return Forced()
