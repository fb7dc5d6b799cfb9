"""Recurrent cells, and single operators of transformers and recurrent networks, as seeded ONNX."""

from __future__ import annotations

import numpy as np

from numdev.workloads import onnxfile, transformer
from numdev.workloads.graph import Graph
from numdev.workloads.seeded import Seeded

SAMPLES, STEPS, FEATURES, HIDDEN = 4, 64, 32, 64
# Gates of one cell: input, output, forget and cell; update, reset and hidden.
_GATES = {"LSTM": 4, "GRU": 3}


def cell(graph: Graph, op: str, x: str, random: Seeded, features: int, output: str, states: list[str]) -> None:
    """An LSTM or GRU over x [T, N, features] as ONNX has it: [T, 1, N, HIDDEN], and the last states [1, N, HIDDEN].

    The GRU multiplies by the reset gate after the product with its recurrent weights, as PyTorch and cuDNN do.
    """
    rows = _GATES[op] * HIDDEN
    name = output or states[0]
    weights = [
        graph.weight(f"{name}_w", random.scaled((1, rows, features), features * 2)),
        graph.weight(f"{name}_r", random.scaled((1, rows, HIDDEN), HIDDEN * 2)),
        graph.weight(f"{name}_b", random.normal((1, 2 * rows), -3)),
    ]
    extra = {"linear_before_reset": 1} if op == "GRU" else {}
    node = onnxfile.node(op, [x, *weights], [output, *states], f"{name}_cell", hidden_size=HIDDEN, **extra)
    graph.nodes.append(node)


def small() -> tuple[bytes, dict[str, np.ndarray]]:
    """An LSTM and a GRU side by side over 64 steps, and four seeded sequences [N, T, features].

    Outputs: what each gives at every step, [N, T, HIDDEN], and its last state, [1, N, HIDDEN].
    """
    graph, random = Graph(), Seeded(20)
    x = graph.add("Transpose", "x", perm=[1, 0, 2])
    for op, states in (("LSTM", ["lstm_hidden", "lstm_state"]), ("GRU", ["gru_hidden"])):
        low = op.lower()
        cell(graph, op, x, random, FEATURES, f"{low}_y", states)
        flat = graph.add("Squeeze", f"{low}_y", graph.numbers(1))
        graph.add("Transpose", flat, output=f"{low}_steps", perm=[1, 0, 2])
    inputs = {"x": Seeded(21).normal((SAMPLES, STEPS, FEATURES))}
    steps = [onnxfile.value(f"{low}_steps", "float32", ["N", STEPS, HIDDEN]) for low in ("lstm", "gru")]
    last = [onnxfile.value(name, "float32", [1, "N", HIDDEN]) for name in ("lstm_hidden", "lstm_state", "gru_hidden")]
    return onnxfile.model(graph.nodes, graph.weights, _inputs(inputs), [*steps, *last]), inputs


WIDTH, LENGTH = 64, 16


def sequence_operators() -> tuple[bytes, dict[str, np.ndarray]]:
    """One operator an output on `x` [N, LENGTH, WIDTH], none reading another's; and the input.

    `attention` has four heads and no mask; `lstm` and `gru` take one step, from zero.
    """
    graph, random = Graph(), Seeded(22)
    shape = transformer.Shape(LENGTH, WIDTH, 4, 1, 2.0**-40)
    weights = {**transformer.norm(random, "layernorm", WIDTH), **transformer.norm(random, "layernorm_sum", WIDTH)}
    for part in ("query", "key", "value"):
        weights[f"attention.{part}.weight"] = random.scaled((WIDTH, WIDTH), WIDTH)
        weights[f"attention.{part}.bias"] = random.normal((WIDTH,), -4)
    weights["matmul.weight"] = random.scaled((WIDTH, WIDTH), WIDTH)
    weights["matmul.bias"] = random.normal((WIDTH,), -4)
    transformer.normalise(graph, "x", "layernorm", weights, shape.epsilon, "layernorm")
    # A sum before it, as behind every residual connection, is another fused operator.
    residual = graph.add("Add", "x", graph.weight("residual", random.normal((LENGTH, WIDTH))))
    transformer.normalise(graph, residual, "layernorm_sum", weights, shape.epsilon, "layernorm_sum")
    transformer.gelu(graph, "x", "gelu")
    graph.add("Erf", "x", output="erf")
    graph.add("Softmax", "x", output="softmax", axis=-1)
    transformer.linear(graph, "x", "matmul", weights, "matmul")
    transformer.attention(graph, "x", "", "attention", weights, shape, "attention")
    graph.add("ReduceMean", "x", output="mean", axes=[-1])
    # [T, N, features], of which one step is a sequence of its own.
    first = graph.add("Transpose", graph.add("Slice", "x", *map(graph.numbers, (0, 1, 1))), perm=[1, 0, 2])
    for op in ("LSTM", "GRU"):
        cell(graph, op, first, random, WIDTH, "", [op.lower()])
    wide = ("layernorm", "layernorm_sum", "gelu", "erf", "softmax", "matmul", "attention")
    outputs = [onnxfile.value(name, "float32", ["N", LENGTH, WIDTH]) for name in wide]
    outputs += [onnxfile.value("mean", "float32", ["N", LENGTH, 1])]
    outputs += [onnxfile.value(name, "float32", [1, "N", HIDDEN]) for name in ("lstm", "gru")]
    inputs = {"x": Seeded(23).normal((SAMPLES, LENGTH, WIDTH))}
    return onnxfile.model(graph.nodes, graph.weights, _inputs(inputs), outputs), inputs


def _inputs(arrays: dict[str, np.ndarray]) -> list[bytes]:
    return [onnxfile.value(name, array.dtype.name, ["N", *array.shape[1:]]) for name, array in arrays.items()]
