"""TensorFlow 2.5 in its own CPython: what it computes, what cache sizes do to it, and what leans on the silicon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.engines.local import interpreter
from numdev.errors import ProfileRefused, StackFailed
from numdev.run.jobfolder import copy_worker
from numdev.spec.stack import load_stack
from numdev.spec.workload import DeclaredWorkload
from numdev.stacks import site_for
from numdev.store import Store
from numdev.worker import net
from numdev.worker.looking import SAMPLE
from numdev.workloads import archive, prepare

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

ROOT = Path(__file__).resolve().parents[1]
SILICON = {"batchnorm", "rsqrt", "sqrt"}
# Runs the worker's backend on a model and writes the outputs.
PROGRAM = """
import os, sys
import numpy as np
from numdev_worker import backends, tensors
backend = backends.backend("tensorflow")
backend.preload()
model, inputs, out = sys.argv[1:]
task = backends.Task("net", model, ".", None, [], tensors.load_inputs(inputs), inputs, 1, "all", "float32", {}, "all", ".")
np.savez(out, **backend.prepare(task)())
os._exit(0)
"""


@pytest.fixture(autouse=True)
def _python() -> None:
    try:
        interpreter("3.9")
    except StackFailed as error:
        pytest.skip(error.what)


@pytest.fixture(scope="module")
def operators(real_cache):
    """The built-in workload of single operators: model, inputs, and outputs in float64 by numpy."""
    workload = prepare(
        DeclaredWorkload(name="operators", builtin="operators"), real_cache, real_cache, lambda line: None
    )
    model, inputs = workload.formats["net"].path, workload.inputs.path
    description, weights = net.load(str(model))
    wide = {name: array.astype(np.float64) for name, array in weights.items()}
    given = {name: array.astype(np.float64) for name, array in archive.unpack(inputs).items()}
    return model, inputs, net.run(description, wide, given)


def needs(name: str) -> None:
    try:
        cpu.shown(name, cpu.host(), cpu.BEST)
    except ProfileRefused as error:
        pytest.skip(error.why)


def run(matrix: Path, store: Path, *options: str) -> dict[str, dict]:
    """The answer by workload."""
    command = [sys.executable, "-m", "numdev", "matrix", "run", str(matrix), "--images", "images", "--json", *options]
    done = subprocess.run(
        [*command, "-s", str(store)], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode in (0, 4), done.stderr
    return {one["workload"]: one for one in json.loads(done.stdout)["workloads"]}


MATRIX = """
numdev: 1
enforce: best
factors: {stack: [tensorflow-2.5], profile: [host, x86-64-v2], precision: [float32, float64]}
workloads: [operators]
"""


@pytest.mark.parametrize("engine", [pytest.param("docker", marks=pytest.mark.docker), "local"])
def test_every_operator_is_right_and_without_avx_it_aborts(tmp_path, operators, engine):
    if engine == "docker":
        listed = subprocess.run(["docker", "images", "-q", "numdev/tensorflow-2.5"], capture_output=True, check=True)
        if not listed.stdout:
            pytest.skip("the image of tensorflow-2.5 is large and not here: numdev images build tensorflow-2.5")
    (tmp_path / "m.yaml").write_text(MATRIX)
    run(tmp_path / "m.yaml", tmp_path / "store", "-e", engine)
    store = Store.open(tmp_path / "store")
    found = {(record.factors["profile"], record.factors["precision"]): record for record in store.records()}
    for precision, bound in (("float32", 2e-6), ("float64", 1e-14)):
        record = found["host", precision]
        assert record.status == "ok", record.reason
        assert record.realised["tensorflow_build"].startswith("v2.5.0")
        assert record.realised["tensorflow_threads"] == 1
        assert {"avx", "avx2"} & set(record.realised["tensorflow_features"]) == {"avx", "avx2"} & cpu.host().features
        assert {output.name for output in record.outputs} == set(operators[2])
        for output in record.outputs:
            exact, array = operators[2][output.name], store.load(output.tensor)
            assert (array.dtype, array.shape) == (np.dtype(precision), exact.shape)
            assert np.abs(array - exact).max() <= bound * np.abs(exact).max(), output.name
    # Its wheels are compiled for AVX, and end the process where there is none.
    refused = found["x86-64-v2", "float32"]
    assert (refused.status, refused.outputs) in (("signal:6", []), ("unsupported", []))


TAPPED = """
numdev: 1
tap: layers
factors: {stack: [tensorflow-2.5], threads: [2]}
workloads: [cnn-small]
"""


def test_the_tap_sees_every_layer_and_changes_nothing(tmp_path, real_cache):
    (tmp_path / "m.yaml").write_text(TAPPED)
    run(tmp_path / "m.yaml", tmp_path / "tapped", "-e", "local")
    (tmp_path / "m.yaml").write_text(TAPPED.replace("tap: layers", "tap: none"))
    run(tmp_path / "m.yaml", tmp_path / "plain", "-e", "local")
    store = Store.open(tmp_path / "tapped")
    (tapped,), (plain,) = store.records(), Store.open(tmp_path / "plain").records()
    assert tapped.status == "ok", tapped.reason
    assert tapped.outputs == plain.outputs
    assert tapped.tap.status == "same", tapped.tap.reason
    layers = {layer.name: layer for layer in tapped.tap.layers}
    assert {name: layers[name].sha256 for name in ("logits", "probabilities")} == {
        output.name: output.tensor for output in tapped.outputs
    }
    # Laid out as everywhere, whatever TensorFlow has inside: shapes, and numbers in the same places as numpy's.
    declared = DeclaredWorkload(name="cnn-small", builtin="cnn-small")
    workload = prepare(declared, real_cache, real_cache, lambda line: None)
    description, weights = net.load(str(workload.formats["net"].path))
    exact: dict[str, np.ndarray] = {}
    wide = {name: array.astype(np.float64) for name, array in weights.items()}
    given = {name: array.astype(np.float64) for name, array in archive.unpack(workload.inputs.path).items()}
    net.run(description, wide, given, exact.__setitem__)
    assert list(layers) == list(exact)
    for name, right in exact.items():
        step = -(-right.size // SAMPLE) | 1
        sample = right.reshape(-1)[::step]
        assert layers[name].shape == list(right.shape), name
        assert np.abs(store.load(layers[name].sample) - sample).max() <= 1e-5 * np.abs(right).max(), name


def test_a_late_feature_map_follows_the_cache_alone(tmp_path):
    for size in ("", "@l1d=16KiB", "@l1d=48KiB"):
        needs(f"haswell{size}")
    answer = run(ROOT / "matrices" / "caches.yaml", tmp_path / "store", "-e", "local", "-k", "haswell")["cnn-late"]
    assert not answer["without_class"]
    found = {
        (levels["profile"], levels["threads"]): one["name"] for one in answer["classes"] for levels in one["levels"]
    }
    one = [found[f"haswell{size}", "1"] for size in ("", "@l1d=16KiB", "@l1d=48KiB")]
    two = [found[f"haswell{size}", "2"] for size in ("", "@l1d=16KiB", "@l1d=48KiB")]
    assert len(set(one)) == 3
    assert two[0] == two[2] != two[1]


@pytest.mark.skipif(not shutil.which("qemu-x86_64-static"), reason="there is no qemu-x86_64-static")
def test_what_leans_on_the_silicon(tmp_path, real_cache, operators):
    """Under one and the same dispatch, only approximate instructions can differ between this processor and QEMU's."""
    needs("haswell")
    (tmp_path / "program.py").write_text(PROGRAM)
    copy_worker(tmp_path / "numdev_worker")
    model, inputs, exact = operators
    arguments = [str(tmp_path / "program.py"), str(model), str(inputs)]
    stack = load_stack(ROOT / "images", "tensorflow-2.5")
    site = site_for(stack, real_cache, lambda line: None).path
    shown = [sys.executable, "-m", "numdev", "as", "--stack", stack.name, "--images", str(ROOT / "images"), "haswell"]
    emulated = [shutil.which("qemu-x86_64-static"), "-cpu", "Haswell", interpreter(stack.python), "-S"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command, variables in (
        ([*shown, "--", "python", *arguments, "shown.npz"], environment),
        ([*emulated, *arguments, "qemu.npz"], {"PYTHONPATH": f"{tmp_path}:{site}", "OPENBLAS_NUM_THREADS": "1"}),
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "shown.npz") as one, np.load(tmp_path / "qemu.npz") as other:
        assert set(one) == set(other) == set(exact)
        assert {name for name in one if one[name].tobytes() != other[name].tobytes()} == SILICON
