"""Attention, layer normalisation and recurrent cells: against plain numpy written for these tests, in float64."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from numdev.workloads import recurrent, sentence, speech, transformer
from numdev.workloads.graph import Graph


def run(model: bytes, inputs: dict[str, np.ndarray], optimise: bool = True) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def initializers(model: bytes) -> dict[str, np.ndarray]:
    tensors = onnx.load_from_string(model).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in tensors}


def layer_norm(x, weight, bias, epsilon):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon) * weight + bias


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def softmax(x):
    shifted = np.exp(x - x.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def encoded(weights, ids, count, shape):
    """The tokens of one sequence of which `count` matter, head by head."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], shape.epsilon)

    x = w["embeddings.word_embeddings.weight"][ids[:count]]
    x = x + w["embeddings.position_embeddings.weight"][:count] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    size = shape.width // shape.heads
    for index in range(shape.layers):
        layer = f"encoder.layer.{index}"
        q, k, v = (linear(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        heads = [slice(head * size, (head + 1) * size) for head in range(shape.heads)]
        attended = [softmax(q[:, one] @ k[:, one].T / math.sqrt(size)) @ v[:, one] for one in heads]
        mixed = linear(np.concatenate(attended, axis=1), f"{layer}.attention.output.dense")
        x = norm(mixed + x, f"{layer}.attention.output.LayerNorm")
        between = linear(gelu(linear(x, f"{layer}.intermediate.dense")), f"{layer}.output.dense")
        x = norm(between + x, f"{layer}.output.LayerNorm")
    return x


@pytest.mark.parametrize("optimise", [True, False])
def test_the_encoder_against_numpy(optimise):
    model, inputs = transformer.small()
    found = run(model, inputs, optimise)
    counts = inputs["attention_mask"].sum(axis=1)
    assert counts.tolist() == [16, 13, 9, 4]
    for index, count in enumerate(counts):
        tokens = encoded(transformer.small_weights(), inputs["input_ids"][index], count, transformer.SMALL)
        assert np.allclose(found["tokens"][index, :count], tokens, rtol=0, atol=1e-5)
        mean = tokens.mean(axis=0)
        assert np.allclose(found["embedding"][index], mean / np.linalg.norm(mean), rtol=0, atol=1e-6)


def test_what_is_masked_changes_nothing():
    """Its score is so low that its share is exactly zero: not a bit moves."""
    model, inputs = transformer.small()
    absent = inputs["attention_mask"] == 0
    others = {**inputs, "input_ids": np.where(absent, 5, inputs["input_ids"])}
    assert (others["input_ids"] != inputs["input_ids"]).any()
    one, two = run(model, inputs), run(model, others)
    assert one["embedding"].tobytes() == two["embedding"].tobytes()
    assert one["tokens"][~absent].tobytes() == two["tokens"][~absent].tobytes()
    assert one["tokens"][absent].tobytes() != two["tokens"][absent].tobytes()


def lstm(x, w, r, b, h, c):
    """All hidden states, and the last cell state; ONNX orders the gates input, output, forget, cell."""
    hidden, steps = h.shape[1], []
    for step in x:
        gates = step @ w.T + h @ r.T + b[: 4 * hidden] + b[4 * hidden :]
        i, o, f, g = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        steps.append(h)
    return np.stack(steps), c


def gru(x, w, r, b, h):
    """All hidden states; ONNX orders the gates update, reset, hidden."""
    steps = []
    for step in x:
        zx, rx, hx = np.split(step @ w.T + b[: w.shape[0]], 3, axis=1)
        zh, rh, hh = np.split(h @ r.T + b[w.shape[0] :], 3, axis=1)
        z = sigmoid(zx + zh)
        h = (1 - z) * np.tanh(hx + sigmoid(rx + rh) * hh) + z * h
        steps.append(h)
    return np.stack(steps)


def test_recurrent_cells_against_numpy():
    model, inputs = recurrent.small()
    found, w = run(model, inputs), initializers(model)
    x = inputs["x"].astype(np.float64).transpose(1, 0, 2)
    start = np.zeros((recurrent.SAMPLES, recurrent.HIDDEN))
    steps, state = lstm(x, w["lstm_y_w"][0], w["lstm_y_r"][0], w["lstm_y_b"][0], start, start)
    expected = {"lstm_steps": steps.transpose(1, 0, 2), "lstm_hidden": steps[-1:], "lstm_state": state[None]}
    steps = gru(x, w["gru_y_w"][0], w["gru_y_r"][0], w["gru_y_b"][0], start)
    expected |= {"gru_steps": steps.transpose(1, 0, 2), "gru_hidden": steps[-1:]}
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert np.allclose(found[name], array, rtol=0, atol=2e-6), name


@pytest.mark.parametrize("optimise", [True, False])
def test_single_operators_against_numpy(optimise):
    model, inputs = recurrent.sequence_operators()
    found, w = run(model, inputs, optimise), initializers(model)
    x, epsilon = inputs["x"].astype(np.float64), 2.0**-40
    size = recurrent.WIDTH // 4
    parts = [x @ w[f"attention.{part}.weight"] + w[f"attention.{part}.bias"] for part in ("query", "key", "value")]
    q, k, v = (part.reshape(*part.shape[:2], 4, size).transpose(0, 2, 1, 3) for part in parts)
    attended = softmax(q @ k.swapaxes(-1, -2) / math.sqrt(size)) @ v
    start = np.zeros((len(x), recurrent.HIDDEN))
    expected = {
        "layernorm": layer_norm(x, w["layernorm.weight"], w["layernorm.bias"], epsilon),
        "layernorm_sum": layer_norm(x + w["residual"], w["layernorm_sum.weight"], w["layernorm_sum.bias"], epsilon),
        "gelu": gelu(x),
        "erf": np.vectorize(math.erf)(x),
        "softmax": softmax(x),
        "matmul": x @ w["matmul.weight"] + w["matmul.bias"],
        "attention": attended.transpose(0, 2, 1, 3).reshape(x.shape),
        "mean": x.mean(-1, keepdims=True),
        "lstm": lstm(x[:, 0][None], w["lstm_w"][0], w["lstm_r"][0], w["lstm_b"][0], start, start)[0],
        "gru": gru(x[:, 0][None], w["gru_w"][0], w["gru_r"][0], w["gru_b"][0], start),
    }
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert np.allclose(found[name], array, rtol=0, atol=5e-6), name


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##believ", "##able", "##a", "able", "it", ",", "##s", "##l"]


def test_token_ids():
    found = sentence.token_ids(("It, able!", "unbelievable", "xit"), VOCABULARY)
    assert found["input_ids"].tolist() == [[2, 9, 10, 8, 1, 3], [2, 4, 5, 6, 3, 0], [2, 1, 3, 0, 0, 0]]
    assert found["attention_mask"].sum(axis=1).tolist() == [6, 5, 3]
    assert all(array.dtype == np.int64 for array in found.values())


@given(st.text("abl", min_size=1, max_size=12))
def test_pieces_make_the_word_or_nothing_does(word):
    """Greedy from the left: each piece is the longest that fits, and together they are the word."""
    pieces = ["ab", "##ab", "##l", "a", "##a", "b", "##bl"]
    found = sentence._pieces(word, {piece: index for index, piece in enumerate(pieces)})
    if found == ["[UNK]"]:
        return
    assert "".join(piece.removeprefix("##") for piece in found) == word
    start = 0
    for index, piece in enumerate(found):
        length = len(piece.removeprefix("##"))
        longer = [("##" if index else "") + word[start:end] for end in range(start + length + 1, len(word) + 1)]
        assert not set(longer) & set(pieces)
        start += length


def test_safetensors():
    numbers = np.arange(6, dtype="<f4").reshape(2, 3)
    header = (
        b'{"__metadata__": {"format": "pt"}, "ids": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},'
        b' "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]}}'
    )
    data = len(header).to_bytes(8, "little") + header + bytes(8) + numbers.tobytes()
    found = sentence.tensors(data)
    assert list(found) == ["w"]
    assert np.array_equal(found["w"], numbers)


def test_audio_is_syllables_and_pauses():
    samples = speech.audio(4 * 4096)
    assert np.abs(samples).max() <= 32768
    for start in range(0, len(samples), 4096):
        assert len(np.unique(samples[start : start + 3072])) > 80
        assert not samples[start + 3072 : start + 4096].any()


def test_frames_overlap():
    framed = speech.frames(5)
    assert (framed.shape, framed.dtype) == ((5, speech.CONTEXT + speech.FRAME), np.float32)
    assert not framed[0, : speech.CONTEXT].any()
    assert np.array_equal(framed[1:, : speech.CONTEXT], framed[:-1, -speech.CONTEXT :])
    whole = (framed[:, speech.CONTEXT :] * np.float32(32768)).astype(np.int64).ravel()
    assert np.array_equal(whole, speech.audio(5 * speech.FRAME))


def test_a_graph_has_each_weight_once():
    graph = Graph()
    assert graph.numbers(1, 2) == graph.numbers(1, 2) != graph.numbers(1)
    assert graph.real(1) != graph.numbers(1)
    graph.weight("w", np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="'w' is there twice"):
        graph.weight("w", np.zeros(2, np.float32))
