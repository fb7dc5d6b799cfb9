"""TensorFlow 2.15 and 2.21: every operator is right, with oneDNN and without, and what is read back is true of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.spec.workload import DeclaredWorkload
from numdev.store import Store
from numdev.worker import net
from numdev.workloads import archive, prepare

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

ROOT = Path(__file__).resolve().parents[1]
MATRIX = """
numdev: 1
factors:
  stack: [tensorflow-2.15, tensorflow-2.21]
  env.TF_ENABLE_ONEDNN_OPTS: ["0", "1"]
workloads: [operators]
"""


def test_operators_with_onednn_and_without(tmp_path, real_cache):
    (tmp_path / "m.yaml").write_text(MATRIX)
    command = [sys.executable, "-m", "numdev", "matrix", "run", str(tmp_path / "m.yaml"), "--images", "images"]
    command += ["-e", "local", "-s", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    declared = DeclaredWorkload(name="operators", builtin="operators")
    workload = prepare(declared, real_cache, real_cache, lambda line: None)
    description, weights = net.load(str(workload.formats["net"].path))
    wide = {name: array.astype(np.float64) for name, array in weights.items()}
    given = {name: array.astype(np.float64) for name, array in archive.unpack(workload.inputs.path).items()}
    exact = net.run(description, wide, given)
    store, bits = Store.open(tmp_path / "store"), {}
    for record in store.records():
        assert record.status == "ok", record.reason
        name, onednn = record.factors["stack"], record.factors["env.TF_ENABLE_ONEDNN_OPTS"]
        assert record.realised["tensorflow_build"].startswith("v" + name.partition("-")[2])
        assert record.realised["tensorflow_onednn"] is (onednn == "1")
        there = {"avx", "avx2", "fma"} & cpu.host().features
        assert {"avx", "avx2", "fma"} & set(record.realised["tensorflow_features"]) == there
        for output in record.outputs:
            array, right = store.load(output.tensor), exact[output.name]
            assert np.abs(array - right).max() <= 2e-6 * np.abs(right).max(), output.name
        bits[name, onednn] = {output.name: output.tensor for output in record.outputs}
    assert len(bits) == 4
    # The factor does something: without this, a variable that nobody obeys would pass.
    assert all(bits[name, "0"] != bits[name, "1"] for name in ("tensorflow-2.15", "tensorflow-2.21"))
