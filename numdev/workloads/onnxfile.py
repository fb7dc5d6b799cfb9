"""ONNX files from our own small networks: the few messages of onnx.proto3 that they need, written by hand.

Opset 13 and IR version 7, which onnxruntime reads since 1.8. The onnx package is not needed to write them; tests check the files with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

IR_VERSION, OPSET = 7, 13
# TensorProto.DataType
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
# Operations of the `net` format whose ONNX operator needs nothing but their inputs.
_NAMES = {"relu": "Relu", "add": "Add", "softmax": "Softmax", "flatten": "Flatten", "exp": "Exp", "tanh": "Tanh"}
_NAMES |= {"sigmoid": "Sigmoid", "sqrt": "Sqrt", "reciprocal": "Reciprocal"}


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, data: bytes | str) -> bytes:
    if isinstance(data, str):
        data = data.encode("utf-8")
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def tensor(name: str, array: np.ndarray) -> bytes:
    """A TensorProto."""
    dims = b"".join(_number(1, extent) for extent in array.shape)
    raw = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C").tobytes()
    return dims + _number(2, _TYPES[array.dtype.name]) + _bytes(8, name) + _bytes(9, raw)


def _attribute(name: str, value: Any) -> bytes:
    start = _bytes(1, name)
    if isinstance(value, float):
        return start + _float(2, value) + _number(20, 1)
    if isinstance(value, int):
        return start + _number(3, value) + _number(20, 2)
    return start + b"".join(_number(8, item) for item in value) + _number(20, 7)


def node(op: str, inputs: Iterable[str], outputs: Iterable[str], name: str, **attributes: Any) -> bytes:
    """A NodeProto; attributes are ints, floats or lists of ints."""
    parts = [_bytes(1, item) for item in inputs] + [_bytes(2, item) for item in outputs]
    parts += [_bytes(3, name), _bytes(4, op)]
    parts += [_bytes(5, _attribute(key, attributes[key])) for key in sorted(attributes)]
    return b"".join(parts)


def value(name: str, dtype: str, shape: Iterable[int | str]) -> bytes:
    """A ValueInfoProto; a name in the shape is a free extent."""
    dims = b"".join(_bytes(1, _bytes(2, extent) if isinstance(extent, str) else _number(1, extent)) for extent in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, _TYPES[dtype]) + _bytes(2, dims)))


def model(
    nodes: Iterable[bytes],
    weights: Mapping[str, np.ndarray],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
) -> bytes:
    """A ModelProto, its initializers sorted by name."""
    graph = [_bytes(1, item) for item in nodes]
    graph.append(_bytes(2, "numdev"))
    graph += [_bytes(5, tensor(name, weights[name])) for name in sorted(weights)]
    graph += [_bytes(11, item) for item in inputs]
    graph += [_bytes(12, item) for item in outputs]
    parts = [_number(1, IR_VERSION), _bytes(2, "numdev"), _bytes(7, b"".join(graph))]
    return b"".join(parts) + _bytes(8, _bytes(1, "") + _number(2, OPSET))


def from_net(description: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> bytes:
    """A network in the `net` format as ONNX, layer by layer."""
    nodes = [item for layer in description["layers"] for item in _layer(layer)]
    inputs = [value(name, item["dtype"], item["shape"]) for name, item in description["inputs"].items()]
    outputs = [value(name, "float32", ["N", *description["shapes"][name]]) for name in description["outputs"]]
    # What is an attribute elsewhere is a constant tensor here.
    amounts = {_amounts(layer): _pads(layer) for layer in description["layers"] if layer["op"] == "pad"}
    return model(nodes, {**weights, **amounts}, inputs, outputs)


def _amounts(layer: Mapping[str, Any]) -> str:
    return f"{layer['output']}_amounts"


def _pads(layer: Mapping[str, Any]) -> np.ndarray:
    top, left, bottom, right = layer["padding"]
    return np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)


def _layer(layer: Mapping[str, Any]) -> list[bytes]:
    given = [layer["input"]] if isinstance(layer["input"], str) else list(layer["input"])
    op, out = layer["op"], layer["output"]
    tensors = [layer[key] for key in ("weight", "scale", "bias", "mean", "variance") if key in layer]
    spatial = {"strides": layer.get("stride"), "pads": layer.get("padding")}
    if op == "conv":
        return [node("Conv", given + tensors, [out], out, **spatial)]
    if op == "maxpool":
        return [node("MaxPool", given, [out], out, kernel_shape=layer["kernel"], **spatial)]
    if op == "pad":
        return [node("Pad", [*given, _amounts(layer)], [out], out)]
    if op == "dense":
        return [node("Gemm", given + tensors, [out], out, transB=1)]
    if op == "batchnorm":
        return [node("BatchNormalization", given + tensors, [out], out, epsilon=float(layer["epsilon"]))]
    if op == "global_average_pool":
        return [node("ReduceMean", given, [out], out, axes=[2, 3], keepdims=0)]
    if op == "rsqrt":
        # ONNX has no such operator.
        root = f"{out}_root"
        return [node("Sqrt", given, [root], root), node("Reciprocal", [root], [out], out)]
    return [node(_NAMES[op], given, [out], out)]


def matmul_integer(b: np.ndarray, zero_points: bool) -> bytes:
    """MatMulInteger of a uint8 input A [N, K] with constant int8 weights B [K, M], with or without zero points."""
    weights = {"b": b}
    inputs = ["a", "b"]
    if zero_points:
        weights |= {"a_zero": np.zeros((), np.uint8), "b_zero": np.zeros((), np.int8)}
        inputs += ["a_zero", "b_zero"]
    return model(
        [node("MatMulInteger", inputs, ["y"], "product")],
        weights,
        [value("a", "uint8", ["N", b.shape[0]])],
        [value("y", "int32", ["N", b.shape[1]])],
    )


def qdq_conv(weight: np.ndarray, size: int) -> bytes:
    """DequantizeLinear - Conv - QuantizeLinear on uint8 activations and int8 weights, as quantisation tools write it.

    Args:
        weight: int8 [O, I, kh, kw].
        size: height and width of the input.
    """
    filters, channels, kernel, _ = weight.shape
    one = np.float32
    weights: dict[str, np.ndarray] = {
        "weight_q": weight,
        "x_scale": np.array(2.0**-6, one),
        "x_zero": np.array(128, np.uint8),
        "w_scale": np.array(2.0**-9, one),
        "w_zero": np.array(0, np.int8),
        "y_scale": np.array(2.0**-4, one),
        "y_zero": np.array(128, np.uint8),
    }
    pad = kernel // 2
    nodes = [
        node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"], "quantize_input"),
        node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_d"], "dequantize_input"),
        node("DequantizeLinear", ["weight_q", "w_scale", "w_zero"], ["w_d"], "dequantize_weight"),
        node("Conv", ["x_d", "w_d"], ["c"], "conv", pads=[pad] * 4, strides=[1, 1]),
        node("QuantizeLinear", ["c", "y_scale", "y_zero"], ["c_q"], "quantize_output"),
        node("DequantizeLinear", ["c_q", "y_scale", "y_zero"], ["y"], "dequantize_output"),
    ]
    shape: list[int | str] = ["N", channels, size, size]
    return model(nodes, weights, [value("x", "float32", shape)], [value("y", "float32", ["N", filters, size, size])])
