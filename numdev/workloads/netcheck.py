"""Whether a network of docs/workloads.md's `net` format is whole: names, weights, attributes and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Shape = tuple[int, ...]
_WEIGHTS = {
    "conv": (("weight",), ("bias",)),
    "dense": (("weight",), ("bias",)),
    "batchnorm": (("scale", "bias", "mean", "variance"), ()),
}
_ATTRIBUTES = {
    "conv": {"stride": 2, "padding": 4},
    "maxpool": {"kernel": 2, "stride": 2, "padding": 4},
    "pad": {"padding": 4},
}
_ELEMENTWISE = {"relu", "exp", "tanh", "sigmoid", "sqrt", "rsqrt", "reciprocal"}
_OPERATIONS = {*_WEIGHTS, *_ATTRIBUTES, *_ELEMENTWISE, "add", "flatten", "global_average_pool", "softmax"}


def check(description: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> list[str]:
    """Everything that is wrong with a network; empty where nothing is.

    Args:
        description: the JSON of `__net__`.
        weights: the other arrays, by name.
    """
    shapes: dict[str, Shape] = {name: tuple(item["shape"][1:]) for name, item in description["inputs"].items()}
    wrong: list[str] = []
    used: set[str] = set()
    for index, layer in enumerate(description["layers"]):
        where = f"layer {index} ({layer.get('op')})"
        found = _layer(layer, shapes, weights)
        wrong += [f"{where}: {problem}" for problem in found if isinstance(problem, str)]
        used |= {layer[key] for key in ("weight", "bias", "scale", "mean", "variance") if key in layer}
        if layer["output"] in shapes:
            wrong.append(f"{where}: {layer['output']!r} is written twice")
        shapes[layer["output"]] = next((item for item in found if isinstance(item, tuple)), ())
    wrong += [f"the output {name!r} is no layer's" for name in description["outputs"] if name not in shapes]
    wrong += [f"the array {name!r} is used by no layer" for name in sorted(set(weights) - used)]
    wrong += [f"the array {name!r} is {array.dtype}" for name, array in weights.items() if array.dtype != np.float32]
    if not wrong:
        declared = {name: tuple(shape) for name, shape in description["shapes"].items()}
        wrong += [
            f"shapes: {name!r} is {declared.get(name)} and should be {shape}"
            for name, shape in shapes.items()
            if declared.get(name) != shape
        ]
    return wrong


def _layer(layer: Mapping[str, Any], shapes: Mapping[str, Shape], weights: Mapping[str, np.ndarray]) -> list[Any]:
    """The layer's output shape, or what is wrong with it as texts."""
    op = layer["op"]
    if op not in _OPERATIONS:
        return ["unknown operation"]
    names = [layer["input"]] if isinstance(layer["input"], str) else list(layer["input"])
    needed, optional = _WEIGHTS.get(op, ((), ()))
    attributes = _ATTRIBUTES.get(op, {})
    wrong = [f"{name!r} is not there yet" for name in names if name not in shapes]
    wrong += [f"has no {key}" for key in needed if key not in layer]
    given_weights = [key for key in (*needed, *optional) if key in layer]
    wrong += [f"there is no array {layer[key]!r}" for key in given_weights if layer[key] not in weights]
    wrong += [
        f"{key} must be {count} whole numbers" for key, count in attributes.items() if not _whole(layer.get(key), count)
    ]
    if len(names) != (2 if op == "add" else 1):
        wrong.append(f"has {len(names)} inputs")
    if wrong:
        return wrong
    given = [shapes[name] for name in names]
    arrays = {key: weights[layer[key]].shape for key in given_weights}
    return [_shape_of(layer, given, arrays)]


def _whole(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(item) is int and item >= 0 for item in value)


def _shape_of(layer: Mapping[str, Any], given: list[Shape], arrays: Mapping[str, Shape]) -> Shape | str:
    """The shape of what a layer gives, or why it gives nothing."""
    op, shape = layer["op"], given[0]
    if op == "dense":
        if (
            len(shape) != 1
            or arrays["weight"][1:] != shape
            or arrays.get("bias", arrays["weight"][:1]) != arrays["weight"][:1]
        ):
            return f"weights {dict(arrays)} do not fit {shape}"
        return arrays["weight"][:1]
    if op == "add":
        return shape if given[1] == shape else f"adds {shape} and {given[1]}"
    if op in _ELEMENTWISE or op == "softmax":
        return shape
    if len(shape) != 3:
        return f"needs [C, H, W], not {shape}"
    if op == "flatten":
        return (shape[0] * shape[1] * shape[2],)
    if op == "global_average_pool":
        return shape[:1]
    if op == "pad":
        top, left, bottom, right = layer["padding"]
        return (shape[0], shape[1] + top + bottom, shape[2] + left + right)
    if op == "batchnorm":
        fits = all(array == shape[:1] for array in arrays.values()) and float(layer.get("epsilon", 0)) > 0
        return shape if fits else f"weights {dict(arrays)} do not fit {shape}, or epsilon is not positive"
    return _windows(layer, shape, arrays)


def _windows(layer: Mapping[str, Any], shape: Shape, arrays: Mapping[str, Shape]) -> Shape | str:
    """The shape of a convolution's or a pooling's output."""
    channels, kernel = shape[0], tuple(layer.get("kernel", ()))
    if layer["op"] == "conv":
        weight = arrays["weight"]
        if len(weight) != 4 or weight[1] != channels or arrays.get("bias", weight[:1]) != weight[:1]:
            return f"weights {dict(arrays)} do not fit {shape}"
        channels, kernel = weight[0], weight[2:]
    top, left, bottom, right = layer["padding"]
    if 0 in (*layer["stride"], *kernel):
        return "stride and kernel must not be zero"
    height = (shape[1] + top + bottom - kernel[0]) // layer["stride"][0] + 1
    width = (shape[2] + left + right - kernel[1]) // layer["stride"][1] + 1
    return (channels, height, width) if height > 0 and width > 0 else f"the kernel {kernel} is larger than {shape}"
