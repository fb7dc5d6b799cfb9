"""The `net` format: every operation against slow loops, and a whole network against onnxruntime."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from numdev.worker import net
from numdev.worker.tensors import Refused

RANDOM = np.random.default_rng(5)


def one(op: str, weights: dict[str, np.ndarray], *inputs: np.ndarray, **attributes) -> np.ndarray:
    """The output of a network of one layer."""
    names = [f"x{index}" for index in range(len(inputs))]
    layer = {"op": op, "input": names if len(names) > 1 else names[0], "output": "y", **attributes}
    layer.update({key: key for key in weights})
    return net.run({"layers": [layer], "outputs": ["y"]}, weights, dict(zip(names, inputs, strict=True)))["y"]


def normal(*shape: int, dtype=np.float64) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(dtype)


def windows(x, kernel, stride, padding, fill):
    """Every window of the padded image: (row, column, values of one sample and channel set)."""
    top, left, bottom, right = padding
    n, c, h, w = x.shape
    padded = np.full((n, c, h + top + bottom, w + left + right), fill, x.dtype)
    padded[:, :, top : top + h, left : left + w] = x
    rows = (padded.shape[2] - kernel[0]) // stride[0] + 1
    columns = (padded.shape[3] - kernel[1]) // stride[1] + 1
    for i, j in itertools.product(range(rows), range(columns)):
        a, b = i * stride[0], j * stride[1]
        yield i, j, padded[:, :, a : a + kernel[0], b : b + kernel[1]]


def slow_conv(x, weight, bias, stride, padding):
    found = list(windows(x, weight.shape[2:], stride, padding, 0))
    y = np.zeros((x.shape[0], weight.shape[0], found[-1][0] + 1, found[-1][1] + 1))
    for i, j, window in found:
        for n, o in itertools.product(range(x.shape[0]), range(weight.shape[0])):
            total = 0.0
            for index in np.ndindex(*weight.shape[1:]):
                total += window[n][index] * weight[o][index]
            y[n, o, i, j] = total + (bias[o] if bias is not None else 0)
    return y


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3), (1, 1), (1, 1, 1, 1)), ((3, 2), (2, 1), (0, 1, 1, 0)), ((1, 1), (1, 1), (0, 0, 0, 0)), ((2, 5), (3, 2), (1, 0, 0, 3))],
)  # fmt: skip
def test_conv(kernel, stride, padding, bias):
    x, weight = normal(2, 3, 7, 6), normal(4, 3, *kernel)
    weights = {"weight": weight, **({"bias": normal(4)} if bias else {})}
    y = one("conv", weights, x, stride=stride, padding=padding)
    expected = slow_conv(x, weight, weights.get("bias"), stride, padding)
    assert y.shape == expected.shape
    assert y.flags.c_contiguous
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


def test_conv_without_stride_and_padding_has_none():
    x, weight = normal(1, 1, 4, 4), normal(1, 1, 3, 3)
    np.testing.assert_allclose(
        one("conv", {"weight": weight}, x), slow_conv(x, weight, None, (1, 1), (0, 0, 0, 0)), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((2, 2), (2, 2), (0, 0, 0, 0)), ((3, 3), (2, 1), (1, 1, 1, 0))]
)
def test_maxpool(kernel, stride, padding):
    x = normal(2, 3, 6, 7) - 10
    y = one("maxpool", {}, x, kernel=kernel, stride=stride, padding=padding)
    for i, j, window in windows(x, kernel, stride, padding, -np.inf):
        for n, c in itertools.product(range(2), range(3)):
            assert y[n, c, i, j] == max(window[n, c].flatten())
    assert np.isfinite(y).all(), "padding never wins"


@pytest.mark.parametrize("bias", [True, False])
def test_dense(bias):
    x, weight, offset = normal(3, 5), normal(4, 5), normal(4)
    y = one("dense", {"weight": weight, **({"bias": offset} if bias else {})}, x)
    for n, o in itertools.product(range(3), range(4)):
        expected = sum(float(x[n, i]) * float(weight[o, i]) for i in range(5)) + (offset[o] if bias else 0)
        assert y[n, o] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_batchnorm():
    x, scale, mean, bias = normal(2, 3, 2, 2), normal(3), normal(3), normal(3)
    variance = np.abs(normal(3)) + 0.1
    weights = {"scale": scale, "mean": mean, "bias": bias, "variance": variance}
    y = one("batchnorm", weights, x, epsilon=0.25)
    for n, c, i, j in np.ndindex(*x.shape):
        expected = (x[n, c, i, j] - mean[c]) / (variance[c] + 0.25) ** 0.5 * scale[c] + bias[c]
        assert y[n, c, i, j] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_softmax_does_not_overflow():
    x = np.array([[1000.0, 999.0], [-1000.0, -1001.0]])
    expected = [1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0))]
    np.testing.assert_allclose(one("softmax", {}, x), [expected, expected], rtol=1e-12)


def test_relu_passes_nan():
    y = one("relu", {}, np.array([-1.5, 0.0, 2.0, np.nan]))
    assert y[:3].tolist() == [0, 0, 2]
    assert np.isnan(y[3])


@pytest.mark.parametrize(
    ("op", "exact"),
    [
        ("exp", math.exp),
        ("tanh", math.tanh),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("sqrt", math.sqrt),
        ("rsqrt", lambda x: 1 / math.sqrt(x)),
        ("reciprocal", lambda x: 1 / x),
    ],
)
def test_element_by_element(op, exact):
    x = np.abs(normal(2, 3, 2, 2)) + 0.1
    y = one(op, {}, x)
    assert y.shape == x.shape
    assert [float(value) for value in y.flat] == pytest.approx([exact(float(value)) for value in x.flat], rel=1e-12)
    assert one(op, {}, x.astype(np.float32)).dtype == np.float32


def test_add_flatten_and_average():
    x, z = normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    assert one("add", {}, x, z).tolist() == [
        [[[p + q for p, q in zip(r, s, strict=True)] for r, s in zip(c, d, strict=True)] for c, d in zip(a, b, strict=True)]
        for a, b in zip(x.tolist(), z.tolist(), strict=True)
    ]  # fmt: skip
    assert one("flatten", {}, x)[1].tolist() == [value for channel in x[1] for row in channel for value in row]
    assert one("global_average_pool", {}, x)[1, 2] == pytest.approx(sum(x[1, 2].flatten().tolist()) / 20)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_stays(dtype):
    x = normal(1, 2, 4, 4, dtype=dtype)
    ones = np.ones(2, dtype)
    weights = {"scale": ones, "mean": ones, "bias": ones, "variance": ones}
    assert one("batchnorm", weights, x, epsilon=0.001).dtype == dtype
    assert one("conv", {"weight": normal(1, 2, 3, 3, dtype=dtype)}, x).dtype == dtype
    assert one("relu", {}, x).dtype == dtype
    assert one("softmax", {}, x).dtype == dtype


def test_a_residual_network_agrees_with_onnxruntime():
    """conv, batchnorm, relu, maxpool, add, average, flatten and dense in one graph."""
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    x = normal(2, 3, 9, 9, dtype=np.float32)
    weights = {
        "w1": normal(4, 3, 3, 3, dtype=np.float32),
        "b1": normal(4, dtype=np.float32),
        "w2": normal(4, 4, 3, 3, dtype=np.float32),
        "scale": normal(4, dtype=np.float32),
        "mean": normal(4, dtype=np.float32),
        "bias": normal(4, dtype=np.float32),
        "variance": np.abs(normal(4, dtype=np.float32)) + np.float32(0.5),
        "w3": normal(5, 4, dtype=np.float32),
        "b3": normal(5, dtype=np.float32),
    }
    norm = {"scale": "scale", "mean": "mean", "bias": "bias", "variance": "variance", "epsilon": 0.001}
    description = {
        "layers": [
            {"op": "conv", "input": "x", "output": "c1", "weight": "w1", "bias": "b1", "stride": [2, 2], "padding": [1, 1, 1, 1]},
            {"op": "relu", "input": "c1", "output": "r1"},
            {"op": "conv", "input": "r1", "output": "c2", "weight": "w2", "padding": [1, 1, 1, 1]},
            {"op": "batchnorm", "input": "c2", "output": "n2", **norm},
            {"op": "add", "input": ["r1", "n2"], "output": "s"},
            {"op": "maxpool", "input": "s", "output": "m", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1, 1, 1]},
            {"op": "global_average_pool", "input": "m", "output": "g"},
            {"op": "flatten", "input": "g", "output": "f"},
            {"op": "dense", "input": "f", "output": "d", "weight": "w3", "bias": "b3"},
            {"op": "softmax", "input": "d", "output": "p"},
        ],
        "outputs": ["p", "d"],
    }  # fmt: skip
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c2", "scale", "bias", "mean", "variance"], ["n2"], epsilon=0.001),
        node("Add", ["r1", "n2"], ["s"]),
        node("MaxPool", ["s"], ["m"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["m"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["d"], transB=1),
        node("Softmax", ["d"], ["p"], axis=-1),
    ]
    kind = onnx.TensorProto.FLOAT
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [value("x", kind, list(x.shape))],
        [value("p", kind, None), value("d", kind, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = net.run(description, weights, {"x": x})
    for name, expected in zip(["p", "d"], session.run(["p", "d"], {"x": x}), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


def packed(path, description, **weights) -> str:
    np.savez(path, __net__=np.frombuffer(json.dumps(description).encode(), np.uint8), **weights)
    return str(path)


def test_a_file_is_read_back(tmp_path):
    description = {"layers": [{"op": "relu", "input": "x", "output": "y"}], "outputs": ["y"]}
    found, weights = net.load(packed(tmp_path / "n.npz", description, w=np.arange(3)))
    assert found == description
    assert weights["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("description", [{}, {"layers": [], "outputs": ["y"]}, {"layers": [1], "outputs": []}, [], 3])
def test_a_description_that_is_none(tmp_path, description):
    with pytest.raises(Refused):
        net.load(packed(tmp_path / "n.npz", description))


def test_a_file_without_a_description(tmp_path):
    np.savez(tmp_path / "n.npz", w=np.zeros(1))
    with pytest.raises(Refused, match="not a network"):
        net.load(str(tmp_path / "n.npz"))


def test_an_unknown_operation():
    with pytest.raises(Refused, match="unknown operation 'lstm'"):
        one("lstm", {}, np.zeros(1))
