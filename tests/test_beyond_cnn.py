"""Networks beyond CNNs for real: one network in two formats and frameworks, and what leans on the silicon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from numdev import cpu
from numdev.errors import ProfileRefused
from numdev.spec.workload import DeclaredWorkload
from numdev.store import Store
from numdev.workloads import archive, prepare, speech

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

ROOT = Path(__file__).resolve().parents[1]


def run(matrix: Path, store: Path, *options: str) -> dict[str, dict]:
    """The answer by workload, on the local engine."""
    command = [sys.executable, "-m", "numdev", "matrix", "run", str(matrix), "--json", "-e", "local", "-s", str(store)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return {one["workload"]: one for one in json.loads(done.stdout)["workloads"]}


def test_the_script_is_the_network_of_the_onnx_file(tmp_path, real_cache):
    """The TorchScript starts without state and context; so does the ONNX file here."""
    factors = "numdev: 1\nfactors: {stack: [torch-2.13], profile: [host]}\nworkloads: [silero-vad-script]\n"
    (tmp_path / "m.yaml").write_text(factors)
    run(tmp_path / "m.yaml", tmp_path / "store", "--images", "images")
    store = Store.open(tmp_path / "store")
    (record,) = store.records()
    (output,) = record.outputs
    workload = prepare(DeclaredWorkload(name="v", builtin="silero-vad"), real_cache, real_cache, lambda line: None)
    session = onnxruntime.InferenceSession(str(workload.formats["onnx"].path), providers=["CPUExecutionProvider"])
    given = archive.unpack(workload.inputs.path)
    given["input"] = np.pad(speech.script_inputs()["input"], ((0, 0), (speech.CONTEXT, 0)))
    given["state"] = np.zeros_like(given["state"])
    (expected,) = session.run(["output"], given)
    assert np.allclose(store.load(output.tensor), expected, rtol=0, atol=1e-5)
    assert len(np.unique(expected)) == len(expected)


@pytest.mark.qemu
def test_layer_normalisation_leans_on_the_silicon_only_where_it_is_not_fused(tmp_path):
    try:
        cpu.shown("nehalem", cpu.host(), cpu.BEST)
    except ProfileRefused as error:
        pytest.skip(error.why)
    chosen = "nehalem and onnxruntime-1.17 and workload=sequence-operators"
    matrix = ROOT / "matrices" / "beyond-cnn-silicon.yaml"
    run(matrix, tmp_path / "store", "--images", "images", "-k", chosen)
    found = {}
    for record in Store.open(tmp_path / "store").records():
        if record.factors["stack"] == "onnxruntime-1.17":
            assert record.status == "ok", record.reason
            for output in record.outputs:
                found.setdefault((record.factors["optimization"], output.name), set()).add(str(output.tensor))
    assert len(found) == 20
    differ = {key for key, tensors in found.items() if len(tensors) > 1}
    assert differ == {("off", "layernorm"), ("off", "layernorm_sum")}
