"""Small networks that every backend runs from the same bytes: the `net` format, and its evaluation by numpy.

One .npz whose entry `__net__` is JSON in a uint8 array and whose other entries are weights; docs/workloads.md
describes it. Convolutions are sums of matrix products over unfolded patches, so that BLAS does the arithmetic.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from .tensors import Refused, load_inputs


def load(path: str) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    """The description and the weights; raises Refused."""
    arrays = load_inputs(path)
    try:
        description = json.loads(bytes(arrays.pop("__net__")))
        if not description["layers"] or not description["outputs"]:
            raise Refused("the network has no layers or no outputs")
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"not a network in the `net` format: {error!r}") from None
    return description, arrays


def names(layer: Dict[str, Any]) -> List[str]:
    """A layer's inputs."""
    given = layer["input"]
    return [given] if isinstance(given, str) else list(given)


def run(
    description: Dict[str, Any],
    weights: Dict[str, np.ndarray],
    inputs: Dict[str, np.ndarray],
    observe: Optional[Callable[[str, np.ndarray], None]] = None,
) -> Dict[str, np.ndarray]:
    """The network's outputs by name, in the precision of weights and inputs. `observe` is told each layer's name and output."""
    values = dict(inputs)
    for layer in description["layers"]:
        arrays = {key: weights[layer[key]] for key in ("weight", "bias", "scale", "mean", "variance") if layer.get(key)}
        operation = _OPERATIONS.get(layer["op"])
        if operation is None:
            raise Refused(f"unknown operation {layer['op']!r}")
        values[layer["output"]] = operation(layer, arrays, *(values[name] for name in names(layer)))
        if observe:
            observe(layer["output"], values[layer["output"]])
    return {name: values[name] for name in description["outputs"]}


def _patches(layer: Dict[str, Any], x: np.ndarray, kernel: Tuple[int, int], fill: float) -> np.ndarray:
    """[N, C, height, width, kh, kw] views of the padded input."""
    top, left, bottom, right = layer.get("padding", (0, 0, 0, 0))
    strides = layer.get("stride", (1, 1))
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1]]


def _conv(layer: Dict[str, Any], w: Dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    weight = w["weight"]
    patches = _patches(layer, x, weight.shape[2:], 0).transpose(0, 2, 3, 1, 4, 5)
    n, height, width = patches.shape[:3]
    columns = np.ascontiguousarray(patches).reshape(n * height * width, -1)
    y = columns @ weight.reshape(weight.shape[0], -1).T
    if "bias" in w:
        y = y + w["bias"]
    return np.ascontiguousarray(y.reshape(n, height, width, -1).transpose(0, 3, 1, 2))


def _maxpool(layer: Dict[str, Any], w: Dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return _patches(layer, x, tuple(layer["kernel"]), -np.inf).max(axis=(4, 5))


def _pad(layer: Dict[str, Any], w: Dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    top, left, bottom, right = layer["padding"]
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def _dense(layer: Dict[str, Any], w: Dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    y = x @ w["weight"].T
    return y + w["bias"] if "bias" in w else y


def _batchnorm(layer: Dict[str, Any], w: Dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    def channel(array: np.ndarray) -> np.ndarray:
        return array[None, :, None, None]

    factor = w["scale"] / np.sqrt(w["variance"] + x.dtype.type(layer["epsilon"]))
    return (x - channel(w["mean"])) * channel(factor) + channel(w["bias"])


def _softmax(layer: Dict[str, Any], w: Dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


_OPERATIONS = {
    "conv": _conv,
    "maxpool": _maxpool,
    "pad": _pad,
    "dense": _dense,
    "batchnorm": _batchnorm,
    "softmax": _softmax,
    "relu": lambda layer, w, x: np.maximum(x, x.dtype.type(0)),
    "exp": lambda layer, w, x: np.exp(x),
    "tanh": lambda layer, w, x: np.tanh(x),
    "sigmoid": lambda layer, w, x: 1 / (1 + np.exp(-x)),
    "sqrt": lambda layer, w, x: np.sqrt(x),
    "rsqrt": lambda layer, w, x: 1 / np.sqrt(x),
    "reciprocal": lambda layer, w, x: 1 / x,
    "flatten": lambda layer, w, x: np.ascontiguousarray(x).reshape(x.shape[0], -1),
    "add": lambda layer, w, x, y: x + y,
    "global_average_pool": lambda layer, w, x: x.mean(axis=(2, 3)),
}
