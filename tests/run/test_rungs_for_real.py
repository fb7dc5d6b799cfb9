"""Emulation and knobs with real libraries: what differs on another silicon, who obeys, and who does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.cpu.fingerprint import _run as executed
from numdev.engines import open_engine
from numdev.files import cache_dir
from numdev.run import execute, plan, resolve, runfile
from numdev.spec.matrix import load_matrix
from numdev.store import Store

pytestmark = [pytest.mark.network, pytest.mark.frameworks]

IMAGES = Path(__file__).resolve().parents[2] / "images"
BOTH = [pytest.param("docker", marks=pytest.mark.docker), "local"]
SILICON = """
numdev: 1
enforce: best
factors: {stack: [onnxruntime-1.17], profile: [nehalem], silicon: [native, emulated]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
"""
KNOBS = """
numdev: 1
enforce: knobs
factors: {stack: [numpy-2.4], profile: [haswell], env.OPENBLAS_CORETYPE: [Haswell, Nehalem]}
workloads: [cnn-small]
"""
RSQRTPS = bytes.fromhex("0f52c0")


def run(folder: Path, text: str, engine_name: str) -> tuple[Store, runfile.Run]:
    (folder / "m.yaml").write_text(text)
    resolved = resolve.resolve(load_matrix(folder / "m.yaml"), IMAGES, cache_dir(), print)
    if resolved.refusals:
        pytest.skip("; ".join(resolved.refusals.values()))
    engine = open_engine(engine_name, cache_dir())
    made = resolve.environments(resolved, sorted(resolved.stacks), engine, print)
    store = Store.open(folder / "store", create=True)
    planned = plan.make_plan(resolved, made, store)
    execute.Execution(resolved, engine, made, store, cache_dir(), execute.Progress()).run(planned, 2)
    return store, runfile.make_run(resolved, planned, engine.facts())


def with_a_root(folder: Path) -> np.ndarray:
    """A model of a square root and a ramp; its input."""
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Sqrt", ["x"], ["root"]), onnx.helper.make_node("Relu", ["x"], ["ramp"])],
        "g",
        [value("x", 1, ["n"])],
        [value("root", 1, ["n"]), value("ramp", 1, ["n"])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    x = np.random.default_rng(0).uniform(0.1, 10, 4096).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    return x


def newton(x: np.ndarray, approximate: np.ndarray) -> np.ndarray:
    """x / sqrt(x) with one step of Newton's from an approximate 1 / sqrt(x), as Eigen's psqrt takes it in float32."""
    f = np.float32
    return x * (approximate * (x * f(-0.5) * (approximate * approximate) + f(1.5)))


@pytest.mark.qemu
@pytest.mark.parametrize("engine", BOTH)
def test_a_root_made_of_rsqrtps_leans_on_the_silicon(tmp_path, engine):
    """onnxruntime 1.17 takes its roots by Eigen: each side's bits follow from that side's rsqrtps, and nothing else."""
    x = with_a_root(tmp_path)
    store, described = run(tmp_path, SILICON, engine)
    records = {record.factors["silicon"]: record for record in store.records()}
    assert {side: (record.status, record.reason) for side, record in records.items()} == {
        "native": ("ok", ""),
        "emulated": ("ok", ""),
    }
    found = {
        side: {output.name: store.load(output.tensor) for output in record.outputs} for side, record in records.items()
    }
    assert np.array_equal(found["native"]["ramp"], found["emulated"]["ramp"])
    assert np.array_equal(found["native"]["root"], newton(x, executed(RSQRTPS, x)))
    assert np.array_equal(found["emulated"]["root"], newton(x, np.float32(1) / np.sqrt(x)))
    facts = records["emulated"].environment["profile"]
    assert (facts["rung"], facts["not_shown"]) == (cpu.EMULATE, ["caches", "topology"])
    assert records["native"].environment["profile"]["paired"] is True

    answer = runfile.answer_of(described, store)
    texts = [one.text for one in answer.workloads[0].sentences if one.about == "silicon"]
    if np.array_equal(found["native"]["root"], found["emulated"]["root"]):
        pytest.skip("this processor's rsqrtps is exact")
    assert any("root leans on instructions that processors approximate differently" in text for text in texts)
    assert "ramp does not" in texts
    assert any(line.startswith("Emulated by qemu-x86_64") and "times as long" in line for line in answer.short)


@pytest.mark.parametrize("engine", BOTH)
def test_knobs_that_are_obeyed_and_one_that_is_not(tmp_path, engine):
    """The cell's own variable overrules the profile's: OpenBLAS then does otherwise, and the cell does not count."""
    store, described = run(tmp_path, KNOBS, engine)
    records = {record.factors["env.OPENBLAS_CORETYPE"]: record for record in store.records()}
    good, odd = records["Haswell"], records["Nehalem"]
    assert (good.status, good.reason) == ("ok", "")
    assert good.environment["profile"]["knobs"] == {
        "OpenBLAS": "obeyed",
        "glibc": "cannot be told: it does not say what it chose",
        "numpy": "obeyed",
    }
    assert good.realised["numpy_dispatch"] == ["X86_V3"], "NPY_DISABLE_CPU_FEATURES has hidden what is above"
    assert (odd.status, odd.reason) == ("unrealised", "OpenBLAS chose Nehalem, whatever its knob says")
    assert odd.environment["profile"]["knobs"]["numpy"] == "obeyed"
    short = runfile.answer_of(described, store).short
    assert any("knobs, which is partial: haswell in numpy-2.4 (OpenBLAS, numpy obeyed" in line for line in short)
