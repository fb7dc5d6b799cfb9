"""Mitigations on real frameworks: one small network, three CPUs, a cell a second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

NUMDEV = [sys.executable, "-c", "from numdev.cli import main; main()"]
IMAGES = Path(__file__).resolve().parents[1] / "images"
MATRIX = """
numdev: 1
enforce: best
factors: {{stack: [{stack}], profile: [nehalem, haswell, "haswell@vendor=AMD"]}}
workloads: [cnn-small]
"""


@pytest.fixture
def mitigated(tmp_path, monkeypatch, real_cache):
    monkeypatch.setenv("NUMDEV_CACHE", str(real_cache))

    def run(stack: str) -> dict:
        (tmp_path / "m.yaml").write_text(MATRIX.format(stack=stack))
        command = [*NUMDEV, "mitigate", "m.yaml", "--images", str(IMAGES), "--json", "-j", "2"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr
        (subject,) = json.loads(done.stdout)["subjects"]
        return subject

    return run


def test_torch_is_one_class_under_the_pins_that_are_found(mitigated):
    one = mitigated("torch-2.13")
    assert one["base"]["classes"] > 1
    best = one["solutions"][0]
    assert best["kind"] == "pins"
    assert best["measured"]["classes"] == 1
    assert best["measured"]["slower"] > 0
    assert any(line.startswith("export MKL_CBWR=") for line in best["snippet"]["shell"])
    capability = next(row for row in one["rows"] if row["pins"] == ["ATEN=default"])
    assert capability["took"] == {"ATEN=default": "yes"}
    assert capability["measured"]["odd"] == []


def test_onnxruntime_has_no_pin_for_its_kernels_and_every_set_says_so(mitigated):
    one = mitigated("onnxruntime-1.32")
    assert one["base"]["classes"] == 2
    assert {solution["kind"] for solution in one["solutions"]} <= {"rounding"}
    tried = [row for row in one["rows"] if not row["unsupported"]]
    assert len(tried) > 5
    assert all(row["measured"]["classes"] > 1 and not row["measured"]["odd"] for row in tried)
    assert next(row for row in one["rows"] if row["pins"] == ["float64"])["unsupported"]
