"""torch on the CPU: networks in the `net` format, TorchScript files and exported programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from .. import net
from ..layers import Observe, Tapping, of_net
from ..tensors import Refused, named
from . import Task, Unsupported

# What a cell's session entries set: torch's own switches that can change which kernel computes. "1" is on.
_SWITCHES = ("deterministic", "mkldnn", "nnpack")


def preload() -> None:
    import torch

    torch.set_grad_enabled(False)


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    import torch

    torch.set_num_threads(task.threads)
    _switch(task.session)
    if task.precision not in ("float32", "float64"):
        raise Unsupported(f"torch does not compute in {task.precision} here")
    inputs = {name: _cast(torch.from_numpy(array), task.precision) for name, array in task.inputs.items()}
    with torch.inference_mode():
        if task.format == "net":
            infer = _net(task, inputs)
        else:
            if task.format == "torchscript":
                module = torch.jit.load(task.model, map_location="cpu")
                module.eval()
            else:
                module = torch.export.load(task.model).module()
            if task.precision == "float64":
                module = module.double()

            def infer() -> Dict[str, np.ndarray]:
                return named(module(*inputs.values()), [])

    def inferring() -> Dict[str, np.ndarray]:
        with torch.inference_mode():
            return infer()

    return inferring


def _switch(session: Dict[str, str]) -> None:
    import torch

    for key, level in sorted(session.items()):
        if key not in _SWITCHES or level not in ("0", "1"):
            raise Unsupported(f"torch has no session entry {key}={level}; it has {', '.join(_SWITCHES)}, each 0 or 1")
        on = level == "1"
        if key == "deterministic":
            torch.use_deterministic_algorithms(on)
        elif key == "mkldnn":
            torch.backends.mkldnn.set_flags(on)
        else:
            torch.backends.nnpack.set_flags(on)


def _cast(tensor: Any, precision: str) -> Any:
    return tensor.double() if precision == "float64" and tensor.is_floating_point() else tensor


def tapping(task: Task) -> Tapping:
    import torch

    if task.format != "net":
        raise Unsupported(f"the layers of a model in the format {task.format} cannot be looked at")
    description, weights = _loaded(task)
    inputs = {name: _cast(torch.from_numpy(array), task.precision) for name, array in task.inputs.items()}

    def prepared(names: Sequence[str], observe: Observe) -> Callable[[], Dict[str, np.ndarray]]:
        wanted = set(names)

        def seeing(name: str, value: Any) -> None:
            if name in wanted:
                observe(name, value.numpy())

        def inferring() -> Dict[str, np.ndarray]:
            with torch.inference_mode():
                return _layers(description, weights, dict(inputs), seeing)

        return inferring

    return Tapping(of_net(description, weights), prepared)


def _net(task: Task, inputs: Dict[str, Any]) -> Callable[[], Dict[str, np.ndarray]]:
    description, weights = _loaded(task)
    return lambda: _layers(description, weights, dict(inputs))


def _loaded(task: Task) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Description and weights, in the task's precision."""
    import torch

    description, arrays = net.load(str(task.model))
    return description, {name: _cast(torch.from_numpy(array), task.precision) for name, array in arrays.items()}


def _layers(
    description: Dict[str, Any],
    weights: Dict[str, Any],
    values: Dict[str, Any],
    observe: Optional[Callable[[str, Any], None]] = None,
) -> Dict[str, np.ndarray]:
    import torch
    from torch.nn import functional as F

    for layer in description["layers"]:
        w = {key: weights[layer[key]] for key in ("weight", "bias", "scale", "mean", "variance") if layer.get(key)}
        x, *others = (values[name] for name in net.names(layer))
        operation = layer["op"]
        top, left, bottom, right = layer.get("padding", (0, 0, 0, 0))
        stride = tuple(layer.get("stride", (1, 1)))
        if operation == "conv":
            padding: Any = (top, left)
            if (top, left) != (bottom, right):
                x, padding = F.pad(x, (left, right, top, bottom)), 0
            y = F.conv2d(x, w["weight"], w.get("bias"), stride=stride, padding=padding)
        elif operation == "maxpool":
            if any((top, left, bottom, right)):
                x = F.pad(x, (left, right, top, bottom), value=float("-inf"))
            y = F.max_pool2d(x, tuple(layer["kernel"]), stride)
        elif operation == "pad":
            y = F.pad(x, (left, right, top, bottom))
        elif operation == "dense":
            y = F.linear(x, w["weight"], w.get("bias"))
        elif operation == "batchnorm":
            y = F.batch_norm(x, w["mean"], w["variance"], w["scale"], w["bias"], False, 0.0, layer["epsilon"])
        elif operation == "softmax":
            y = F.softmax(x, dim=-1)
        elif operation in ("relu", "exp", "tanh", "sigmoid", "sqrt", "rsqrt", "reciprocal"):
            y = getattr(torch, operation)(x)
        elif operation == "flatten":
            y = torch.flatten(x, 1)
        elif operation == "add":
            y = x + others[0]
        elif operation == "global_average_pool":
            y = x.mean(dim=(2, 3))
        else:
            raise Refused(f"unknown operation {operation!r}")
        values[layer["output"]] = y
        if observe:
            observe(layer["output"], y)
    return {name: values[name].cpu().numpy() for name in description["outputs"]}
