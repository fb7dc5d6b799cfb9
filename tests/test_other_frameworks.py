"""OpenVINO and LiteRT: one trained network in two formats, near the reference, and what is read back of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numdev.store import Store

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

ROOT = Path(__file__).resolve().parents[1]
MATRIX = """
numdev: 1
factors: {stack: [openvino-2023.3, openvino-2026.4, litert-2.3], optimization: [all, "off"]}
workloads: [basic-pitch]
reference: reference
"""


def test_one_network_in_two_formats(tmp_path):
    (tmp_path / "m.yaml").write_text(MATRIX)
    command = [sys.executable, "-m", "numdev", "matrix", "run", str(tmp_path / "m.yaml"), "--images", "images"]
    command += ["-e", "local", "-s", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    store = Store.open(tmp_path / "store")
    found = {(record.factors["stack"], record.factors["optimization"]): record for record in store.records()}
    outputs = {
        key: {output.name: store.load(output.tensor) for output in record.outputs} for key, record in found.items()
    }
    exact = outputs["reference", "all"]
    for key in (("openvino-2023.3", "all"), ("openvino-2026.4", "all"), ("litert-2.3", "all"), ("litert-2.3", "off")):
        assert found[key].status == "ok", found[key].reason
        assert set(outputs[key]) == set(exact)
        for name, array in outputs[key].items():
            assert np.abs(array - exact[name]).max() < 0.01, (key, name)
    for version in ("2023.3", "2026.4"):
        # It has no switch for its optimisations.
        refused = found[f"openvino-{version}", "off"]
        assert (refused.status, refused.outputs) == ("unsupported", [])
        chosen = found[f"openvino-{version}", "all"].realised["openvino"]
        assert chosen["INFERENCE_NUM_THREADS"] == "1"
        assert "float32" in chosen["INFERENCE_PRECISION_HINT"]
    assert "isa=" in found["openvino-2026.4", "all"].realised["openvino"]["RUNTIME_REQUIREMENTS"]
    # XNNPACK or its own kernels.
    assert any(
        outputs["litert-2.3", "all"][name].tobytes() != outputs["litert-2.3", "off"][name].tobytes() for name in exact
    )
