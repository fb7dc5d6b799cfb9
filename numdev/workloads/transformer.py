"""Transformer encoders as ONNX: attention, layer normalisation and GELU as PyTorch exports them.

Each is written in the elementary operators of opset 13, which has no LayerNormalization and no Gelu: onnxruntime finds
the patterns and fuses them, as it does with what users export, or runs them one by one with `optimization: "off"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from numdev.workloads import onnxfile
from numdev.workloads.graph import Graph
from numdev.workloads.seeded import Seeded

# What a masked position's score is lowered by: exp of it is exactly zero.
_MASKED = -10000.0


@dataclass(frozen=True)
class Shape:
    """The extents of an encoder: tokens in a sequence, width, heads, and the epsilon of its normalisations."""

    length: int
    width: int
    heads: int
    layers: int
    epsilon: float


def linear(graph: Graph, x: str, name: str, weights: Mapping[str, np.ndarray], output: str = "") -> str:
    """x [..., in] times the weight [out, in] of a Linear layer, plus its bias [out]."""
    weight = graph.weight(f"{name}.weight", np.ascontiguousarray(weights[f"{name}.weight"].T))
    product = graph.add("MatMul", x, weight)
    return graph.add("Add", product, _kept(graph, f"{name}.bias", weights), output=output)


def normalise(
    graph: Graph, x: str, name: str, weights: Mapping[str, np.ndarray], epsilon: float, output: str = ""
) -> str:
    """Layer normalisation over the last axis."""
    mean = graph.add("ReduceMean", x, axes=[-1])
    centred = graph.add("Sub", x, mean)
    variance = graph.add("ReduceMean", graph.add("Pow", centred, graph.real(2)), axes=[-1])
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.real(epsilon)))
    scaled = graph.add("Mul", graph.add("Div", centred, deviation), _kept(graph, f"{name}.weight", weights))
    return graph.add("Add", scaled, _kept(graph, f"{name}.bias", weights), output=output)


def _kept(graph: Graph, name: str, weights: Mapping[str, np.ndarray]) -> str:
    return graph.weight(name, weights[name])


def gelu(graph: Graph, x: str, output: str = "") -> str:
    """x * (1 + erf(x / sqrt 2)) / 2."""
    # The square root of two, as PyTorch writes it into an export.
    error = graph.add("Erf", graph.add("Div", x, graph.real(1.4142135381698608)))
    product = graph.add("Mul", x, graph.add("Add", error, graph.real(1)))
    return graph.add("Mul", product, graph.real(0.5), output=output)


def attention(
    graph: Graph, x: str, mask: str, name: str, weights: Mapping[str, np.ndarray], shape: Shape, output: str = ""
) -> str:
    """Scaled dot products of queries and keys, softmax, and the weighted sum of values: [N, length, width].

    mask: what is added to the scores, broadcast to [N, heads, length, length]; "" for nothing.
    """
    size = shape.width // shape.heads
    split = graph.numbers(0, 0, shape.heads, size)

    def heads(part: str, order: list[int]) -> str:
        projected = graph.add("Reshape", linear(graph, x, f"{name}.{part}", weights), split)
        return graph.add("Transpose", projected, perm=order)

    query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    scores = graph.add("Div", graph.add("MatMul", query, key), graph.real(float(np.sqrt(np.float64(size)))))
    if mask:
        scores = graph.add("Add", scores, mask)
    attended = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    together = graph.add("Transpose", attended, perm=[0, 2, 1, 3])
    return graph.add("Reshape", together, graph.numbers(0, 0, shape.width), output=output)


def encoder(weights: Mapping[str, np.ndarray], shape: Shape) -> bytes:
    """A sentence encoder as ONNX: `input_ids` and `attention_mask` (int64, [N, length]) to `tokens` [N, length, width]
    and `embedding` [N, width], the mean over the tokens that count, of length one.

    Args:
        weights: by the names of a BERT model in PyTorch, float32.
    """
    graph = Graph()
    words = graph.weight("embeddings.word_embeddings.weight", weights["embeddings.word_embeddings.weight"])
    # Positions start at zero and all tokens are of the first type, so that their rows are constants.
    positions = weights["embeddings.position_embeddings.weight"][: shape.length]
    x = graph.add("Gather", words, "input_ids", axis=0)
    x = graph.add("Add", x, graph.weight("token_type", weights["embeddings.token_type_embeddings.weight"][0]))
    x = graph.add("Add", x, graph.weight("positions", np.ascontiguousarray(positions)))
    x = normalise(graph, x, "embeddings.LayerNorm", weights, shape.epsilon)
    counted = graph.add("Cast", "attention_mask", to=1)
    absent = graph.add("Sub", graph.real(1), graph.add("Unsqueeze", counted, graph.numbers(1, 2)))
    mask = graph.add("Mul", absent, graph.real(_MASKED))
    for index in range(shape.layers):
        layer = f"encoder.layer.{index}"
        last = "tokens" if index == shape.layers - 1 else ""
        attended = attention(graph, x, mask, f"{layer}.attention.self", weights, shape)
        attended = linear(graph, attended, f"{layer}.attention.output.dense", weights)
        named = f"{layer}.attention.output.LayerNorm"
        x = normalise(graph, graph.add("Add", attended, x), named, weights, shape.epsilon)
        between = gelu(graph, linear(graph, x, f"{layer}.intermediate.dense", weights))
        between = linear(graph, between, f"{layer}.output.dense", weights)
        named = f"{layer}.output.LayerNorm"
        x = normalise(graph, graph.add("Add", between, x), named, weights, shape.epsilon, last)
    _pool(graph, x, counted)
    length = shape.length
    return onnxfile.model(
        graph.nodes,
        graph.weights,
        [onnxfile.value(name, "int64", ["N", length]) for name in ("input_ids", "attention_mask")],
        [
            onnxfile.value("tokens", "float32", ["N", length, shape.width]),
            onnxfile.value("embedding", "float32", ["N", shape.width]),
        ],
    )


def _pool(graph: Graph, x: str, counted: str) -> None:
    counted = graph.add("Unsqueeze", counted, graph.numbers(2))
    total = graph.add("ReduceSum", graph.add("Mul", x, counted), graph.numbers(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", counted, graph.numbers(1), keepdims=0))
    square = graph.add("ReduceSum", graph.add("Mul", mean, mean), graph.numbers(1))
    graph.add("Div", mean, graph.add("Sqrt", square), output="embedding")


SMALL = Shape(length=16, width=64, heads=4, layers=2, epsilon=2.0**-40)
_WORDS, _BETWEEN = 97, 256


def small() -> tuple[bytes, dict[str, np.ndarray]]:
    """A seeded encoder of two layers as ONNX, and its inputs: four sequences, the later ones shorter."""
    weights = small_weights()
    random = Seeded(17)
    ids = random.integers(1, _WORDS - 1, (4, SMALL.length))
    mask = (np.arange(SMALL.length)[None] < np.array([16, 13, 9, 4])[:, None]).astype(np.int64)
    return encoder(weights, SMALL), {"input_ids": ids * mask, "attention_mask": mask}


def small_weights() -> dict[str, np.ndarray]:
    """The seeded encoder's weights by the names of a BERT model in PyTorch."""
    random, width = Seeded(16), SMALL.width
    weights = {
        "embeddings.word_embeddings.weight": random.normal((_WORDS, width)),
        "embeddings.position_embeddings.weight": random.normal((SMALL.length, width), -2),
        "embeddings.token_type_embeddings.weight": random.normal((2, width), -2),
        **norm(random, "embeddings.LayerNorm", width),
    }
    for index in range(SMALL.layers):
        layer = f"encoder.layer.{index}"
        for part in ("query", "key", "value"):
            weights |= _linear(random, f"{layer}.attention.self.{part}", width, width)
        weights |= _linear(random, f"{layer}.attention.output.dense", width, width)
        weights |= norm(random, f"{layer}.attention.output.LayerNorm", width)
        weights |= _linear(random, f"{layer}.intermediate.dense", _BETWEEN, width)
        weights |= _linear(random, f"{layer}.output.dense", width, _BETWEEN)
        weights |= norm(random, f"{layer}.output.LayerNorm", width)
    return weights


def norm(random: Seeded, name: str, width: int) -> dict[str, np.ndarray]:
    """Weight and bias of a layer normalisation."""
    weight = random.normal((width,), -3) + np.float32(1)
    return {f"{name}.weight": weight, f"{name}.bias": random.normal((width,), -3)}


def _linear(random: Seeded, name: str, outputs: int, inputs: int) -> dict[str, np.ndarray]:
    return {
        f"{name}.weight": random.scaled((outputs, inputs), inputs),
        f"{name}.bias": random.normal((outputs,), -4),
    }
