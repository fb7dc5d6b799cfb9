"""The tap: what it sees, and that it proves that it changes nothing."""

from __future__ import annotations

import hashlib
import io
import json
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from numdev.engines.outputs import read_result
from numdev.worker import backends, cell, looking, onnxgraph, supervisor, tap, tensors
from numdev.worker.job import Job
from numdev.worker.layers import EXACT, LAYERS, Layer, Tapping
from numdev.worker.tensors import Refused
from numdev.workloads import net as nets
from numdev.workloads import onnxfile

NEVER = float("inf")


def sha(array: np.ndarray) -> str:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(1, 0))
    return hashlib.sha256(stream.getvalue()).hexdigest()


def normalised() -> tuple[nets.Net, dict[str, str]]:
    """Convolutions with batch normalisation, which onnxruntime folds into them, and what else networks have."""
    net = nets.Net(2, (3, 8, 8))
    start = net.conv(16, 7, 2)
    net.conv(16, 3)
    net.batchnorm()
    net.relu()
    net.conv(16, 3)
    net.batchnorm()
    net.add(net.last, start)
    net.global_average_pool()
    logits = net.dense(10)
    return net, {"logits": logits, "probabilities": net.softmax()}


def network(make=nets.small):
    net, outputs = make()
    return net.description(outputs), net.weights, net.shape["input"]


def task(tmp_path, format="net", make=nets.small, **more) -> backends.Task:
    description, weights, shape = network(make)
    data = nets.pack(description, weights) if format == "net" else onnxfile.from_net(description, weights)
    path = tmp_path / f"model.{format}"
    path.write_bytes(data)
    x = np.random.default_rng(3).standard_normal((2, *shape)).astype(np.float32)
    given = {
        "format": format, "model": str(path), "folder": str(tmp_path), "entry": None, "command": [], "inputs": {"input": x},
        "inputs_file": None, "threads": 1, "optimization": "all", "precision": "float32", "session": {}, "batch": "all",
        "scratch": str(tmp_path), **more,
    }  # fmt: skip
    return backends.Task(**given)


def tapped(tmp_path, name, one) -> dict:
    outputs = next(backends.rounds(name, one, 1))
    outcome = tap.outcome_of({name: sha(np.asarray(array, order="C")) for name, array in outputs.items()})
    return tap.run(name, one, outcome, str(tmp_path), NEVER)


@pytest.fixture
def infer(tmp_path, monkeypatch):
    """Runs the small network as a cell by numpy; what the engine reads of it."""

    def run(name: str, **more):
        one = task(tmp_path)
        job, out = tmp_path / f"job{name}", tmp_path / f"out{name}"
        folder = job / "workloads" / "w"
        folder.mkdir(parents=True)
        (folder / "model.npz").write_bytes((tmp_path / "model.net").read_bytes())
        np.savez(folder / "inputs.npz", **one.inputs)
        described = {
            "id": "c", "workload": "w", "format": "net", "threads": 1, "optimization": "all", "precision": "float32",
            "batch": "all", "session": {}, "environment": {}, "replicate": 1, "timeout": 90.0, **more,
        }  # fmt: skip
        work = {"formats": {"net": "model.npz"}, "entry": None, "command": [], "inputs": "inputs.npz", "outputs": []}
        data = {"protocol": 1, "backend": "numpy", "memory": 0, "cells": [described], "workloads": {"w": work}}
        (job / "job.json").write_text(json.dumps(data))
        out.mkdir()
        monkeypatch.setattr(cell, "_log_to", lambda path: None)
        cell.run(Job(str(job), str(out)), "c")
        return read_result(out, "c")

    return run


def test_a_cell_with_and_without_has_the_same_outputs(infer):
    plain, looked = infer("a"), infer("b", tap="layers")
    assert plain.tap is None
    assert [output.data for output in plain.outputs] == [output.data for output in looked.outputs]
    layers = {layer.name: layer for layer in looked.tap.tap.layers}
    assert looked.tap.tap.status == "same"
    assert list(layers) == [layer["output"] for layer in network()[0]["layers"]]
    # A layer that is an output has the name that the output has in the store.
    assert layers["logits"].sha256 == next(
        hashlib.sha256(one.data).hexdigest() for one in looked.outputs if one.name == "logits"
    )
    assert [(layers[name].multiplications, layers[name].roundings) for name in ("conv_0", "conv_3", "relu_1", "logits")] == [
        (27, 28), (75, 76), (0, 0), (128, 129),
    ]  # fmt: skip
    assert layers["conv_3"].inputs == ["maxpool_2"]
    assert len(looked.tap.samples) == len(layers)


def test_what_is_said_of_an_array():
    values = np.arange(-3000, 6000, dtype=np.float32).reshape(2, -1)
    values[0, 0], values[1, 1] = np.nan, -np.inf
    found = looking.look_at(values)
    finite = values[np.isfinite(values)]
    assert found["sha256"] == sha(values)
    assert (found["shape"], found["dtype"], found["nonfinite"]) == ([2, 4500], "float32", 2)
    assert found["max_abs"] == 5999
    assert found["mean"] == pytest.approx(finite.mean(dtype=np.float64))
    assert found["sample"].tolist()[1:] == values.reshape(-1)[3::3].tolist()
    assert looking.look_at(np.zeros((0, 3), np.int8))["max_abs"] is None
    assert looking.look_at(np.float32(-2))["max_abs"] == 2
    # A view that lies otherwise is the same array.
    assert looking.look_at(np.asfortranarray(values))["sha256"] == found["sha256"]


@settings(deadline=None)
@example(np.full(2, 1.3e308 + 1.3e308j))
@example(np.full(2, 3e38 + 3e38j, np.complex64))
@given(
    arrays.arrays(
        st.one_of(
            arrays.floating_dtypes(endianness="?"), arrays.integer_dtypes(), arrays.boolean_dtypes(), arrays.complex_number_dtypes()
        ),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0),
    )
)  # fmt: skip
def test_one_pass_says_what_numpy_says(array):
    found = looking.look_at(array)
    with np.errstate(all="ignore"):
        magnitudes = np.abs(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))
        finite = magnitudes[np.isfinite(magnitudes)]
    assert found["sha256"] == sha(tensors.plain(array)) == tensors.digest(array)
    assert found["nonfinite"] == array.size - finite.size
    if finite.size:
        assert found["max_abs"] == pytest.approx(finite.max(), rel=1e-6)
    else:
        assert found["max_abs"] is None


def test_large_layers_are_shared_out_and_none_is_lost(monkeypatch):
    monkeypatch.setattr(looking.os, "sched_getaffinity", lambda pid: {0, 1, 2})
    values = {f"l{index}": np.full(1 << (10 + index % 2 * 8), index, np.float32) for index in range(9)}
    values["text"] = np.array(["a"])
    found = looking.look_at_all(values)
    assert list(found) == [f"l{index}" for index in range(9)]
    assert [seen["mean"] for seen in found.values()] == list(range(9))
    assert [seen["sha256"] for seen in found.values()] == [sha(value) for value in list(values.values())[:9]]


class Fake:
    """A model of eight layers whose output depends on which of them are looked at."""

    def __init__(self, monkeypatch, outputs, layers=8, plain=lambda: 0.0, ops=("op0", "op1")):
        self.made = []
        names = [f"l{index}" for index in range(layers)]
        every = [
            Layer(name, ops[index % len(ops)], names[max(0, index - 1) : index], lambda shapes: EXACT)
            for index, name in enumerate(names)
        ]

        def prepare(wanted, observe):
            def infer():
                for name in wanted:
                    observe(name, np.float32([1]))
                self.made.append(list(wanted))
                return {"y": np.float32([outputs(set(wanted), len(self.made))])}

            return infer

        monkeypatch.setattr(backends, "tapping", lambda name, task: Tapping(every, prepare))
        monkeypatch.setattr(backends, "rounds", lambda name, task, count: iter([{"y": np.float32([plain()])}]))

    def __call__(self, tmp_path, deadline=NEVER):
        return tap.run("fake", task(tmp_path), tap.outcome_of({"y": sha(np.float32([0]))}), str(tmp_path), deadline)


@pytest.mark.parametrize(
    "harmful", [{"l3"}, {"l0", "l7"}, {"l1", "l2", "l3"}, {f"l{index}" for index in range(0, 8, 2)}]
)
def test_layers_whose_tapping_changes_the_result_are_left_out(tmp_path, monkeypatch, harmful):
    found = Fake(monkeypatch, lambda names, _: bool(names & harmful))(tmp_path)
    assert found["status"] == "partly"
    assert {row["name"] for row in found["layers"] if "sha256" not in row} == harmful
    assert len(found["layers"]) == 8
    assert f"looking at {len(harmful)} of 8 layers" in found["reason"]


def test_what_is_usually_folded_is_left_out_at_once(tmp_path, monkeypatch):
    """Of a fused normalisation: all, all but the convolutions before it, and what is reported is of that attempt."""
    fake = Fake(monkeypatch, lambda names, _: bool(names & {"l0", "l2"}), ops=["Conv", "BatchNormalization"])
    found = fake(tmp_path)
    assert (found["status"], found["reason"]) == ("partly", "looking at 4 of 8 layers changes the outputs")
    likely = ["l1", "l3", "l5", "l7"]
    assert fake.made == [[f"l{index}" for index in range(8)], likely]
    fake = Fake(monkeypatch, lambda names, _: "l0" in names, ops=["Conv", "BatchNormalization", "Conv", "Add"])
    found = fake(tmp_path)
    assert [row["name"] for row in found["layers"] if "sha256" not in row] == ["l0", "l4"]
    assert fake.made[1:] == [likely, [*likely, "l0", "l4"], [*likely, "l2", "l6"]]


def test_no_claim_where_any_tapping_changes_the_result(tmp_path, monkeypatch):
    found = Fake(monkeypatch, lambda names, _: 1)(tmp_path)
    assert (found["status"], found["layers"]) == ("changes", [])


def test_the_search_ends_in_time(tmp_path, monkeypatch):
    fake = Fake(monkeypatch, lambda names, _: 1, layers=500)
    assert fake(tmp_path)["status"] == "changes"
    assert len(fake.made) <= tap.ATTEMPTS + 4
    fake = Fake(monkeypatch, lambda names, _: 1)
    assert fake(tmp_path, time.perf_counter() - 1)["status"] == "changes"
    assert len(fake.made) <= 4


def test_noise_is_not_blamed_on_the_tap(tmp_path, monkeypatch):
    values = iter(range(1, 100))
    found = Fake(monkeypatch, lambda names, _: 1, plain=lambda: next(values))(tmp_path)
    assert (found["status"], found["layers"]) == ("noisy", [])
    found = Fake(monkeypatch, lambda names, count: count)(tmp_path)
    assert found["status"] == "noisy"
    assert found["reason"].endswith("of the layers, none does")


def test_too_deep(tmp_path, monkeypatch):
    fake = Fake(monkeypatch, lambda names, _: 0, layers=LAYERS + 1)
    assert fake(tmp_path)["status"] == "too deep"
    assert fake.made == []
    assert Fake(monkeypatch, lambda names, _: 0, layers=LAYERS)(tmp_path)["status"] == "same"


def test_what_fails_is_the_taps_own(tmp_path, monkeypatch):
    def fails(names, count):
        raise MemoryError("no more")

    found = Fake(monkeypatch, fails)(tmp_path)
    assert (found["status"], found["reason"]) == ("failed", "MemoryError: no more")
    monkeypatch.undo()
    assert tap.run("reference", task(tmp_path), "", str(tmp_path), NEVER)["status"] == "unsupported"
    assert (
        tap.run("numpy", task(tmp_path, format="module", make=nets.small), "", str(tmp_path), NEVER)["status"]
        == "unsupported"
    )
    assert tap.run("numpy", task(tmp_path)._replace(model="/nowhere"), "", str(tmp_path), NEVER)["status"] == "failed"


def test_a_cell_that_is_ended_while_tapping_keeps_its_result(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({"status": "ok", "outputs": [1], "tap": tap.ENDED}))
    kept = supervisor.cut_short(str(tmp_path), "oom", "too much")
    assert (kept["status"], kept["outputs"]) == ("ok", [1])
    assert kept["tap"]["reason"] == "its process was ended while tapping: oom, too much"
    (tmp_path / "result.json").write_text("{}")
    assert supervisor.cut_short(str(tmp_path), "oom", "too much")["status"] == "oom"
    assert supervisor.cut_short(str(tmp_path / "none"), "oom", "too much")["status"] == "oom"


class TestOnnx:
    def test_added_outputs_are_read_by_onnx(self):
        onnx = pytest.importorskip("onnx")
        description, weights, _ = network(normalised)
        data = onnxfile.from_net(description, weights)
        names = [layer["output"] for layer in description["layers"]]
        graph = onnxgraph.read(data, LAYERS)
        assert [layer.name for layer in onnxgraph.layers(graph)] == names
        model = onnx.load_from_string(data + onnxgraph.more_outputs(names[:3]))
        assert [one.name for one in model.graph.output] == [*description["outputs"], *names[:3]]
        assert len(model.graph.node) == len(names)
        assert onnxgraph.more_outputs([]) == b""

    def test_counts(self):
        description, weights, _ = network(normalised)
        shapes = {name: [2, *extent] for name, extent in description["shapes"].items()}
        layers = onnxgraph.layers(onnxgraph.read(onnxfile.from_net(description, weights), LAYERS))
        counts = {layer.name: layer.counts(shapes) for layer in layers}
        assert counts["global_average_pool_7"] == (1, 16)
        assert counts["batchnorm_5"] == (1, 6)
        assert counts["conv_0"] == (3 * 7 * 7, 3 * 7 * 7 + 1)
        assert counts["logits"] == (16, 17)
        assert counts["relu_3"] == (0, 0)
        assert counts["add_6"] == (0, 1)
        assert counts["probabilities"] == (None, None)

    def test_what_is_computed_of_weights_alone_is_none(self):
        onnx = pytest.importorskip("onnx")
        node = onnx.helper.make_node
        nodes = [
            node("Constant", [], ["k"], value=onnx.numpy_helper.from_array(np.ones((4, 3), np.float32))),
            node("Identity", ["k"], ["k2"]), node("MatMul", ["x", "k"], ["m"]), node("Split", ["m"], ["a", ""], num_outputs=2),
        ]  # fmt: skip
        info = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(nodes, "g", [info("x", 1, [2, 4])], [info("a", 1, None)])
        read = onnxgraph.read(onnx.helper.make_model(graph).SerializeToString(), LAYERS)
        assert [(layer.name, layer.inputs, layer.counts({})) for layer in onnxgraph.layers(read)] == [
            ("m", ["x"], (4, 4)),
            ("a", ["m"], (0, 0)),
        ]

    def test_constants_among_the_nodes(self, tmp_path):
        pytest.importorskip("onnxruntime")
        onnx = pytest.importorskip("onnx")
        node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
        nodes = [
            node("Constant", [], ["k"], value=onnx.numpy_helper.from_array(np.ones((4, 3), np.float32))),
            node("MatMul", ["input", "k"], ["m"]), node("Relu", ["m"], ["y"]),
        ]  # fmt: skip
        graph = onnx.helper.make_graph(nodes, "g", [info("input", 1, [2, 4])], [info("y", 1, None)])
        opset = [onnx.helper.make_opsetid("", 17)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
        one = task(tmp_path, "onnx")._replace(inputs={"input": np.float32([[1, 2, 3, 4], [-1, -2, -3, -4]])})
        (tmp_path / "model.onnx").write_bytes(model)
        found = tapped(tmp_path, "onnxruntime", one)
        assert [(row["name"], row["max_abs"]) for row in found["layers"]] == [("m", 10), ("y", 10)]
        assert (tmp_path / "model.onnx").read_bytes() == model

    def test_no_more_nodes_are_kept_than_are_allowed(self):
        description, weights, _ = network(normalised)
        read = onnxgraph.read(onnxfile.from_net(description, weights), 5)
        assert (len(read.nodes), read.count) == (5, len(description["layers"]))

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def test_damage_is_refused_or_read(self, data):
        whole = bytearray(onnxfile.matmul_integer(np.ones((2, 3), np.int8), True))
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(whole) - 1))
            whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        try:
            read = onnxgraph.read(bytes(whole), LAYERS)
        except Refused:
            return
        assert all(layer.name for layer in onnxgraph.layers(read))

    @pytest.mark.parametrize("make", [nets.small, normalised])
    def test_by_onnxruntime(self, tmp_path, make):
        """Layers that it folds into others cannot be looked at; most can, with equal outputs."""
        pytest.importorskip("onnxruntime")
        found = tapped(tmp_path, "onnxruntime", task(tmp_path, "onnx", make))
        assert found["status"] in ("same", "partly")
        left = [row["name"] for row in found["layers"] if "sha256" not in row]
        assert len(left) < len(found["layers"]) / 2
        assert bool(left) == (found["status"] == "partly")
        off = tapped(tmp_path, "onnxruntime", task(tmp_path, "onnx", make, optimization="off"))
        assert off["status"] == "same"


def test_by_torch(tmp_path):
    pytest.importorskip("torch")
    assert tapped(tmp_path, "torch", task(tmp_path))["status"] == "same"
