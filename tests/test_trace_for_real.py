"""S14 for real: the first layer whose bits differ between two cells, found across two containers, in several frameworks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.frameworks, pytest.mark.network, pytest.mark.docker]

IMAGES = Path(__file__).resolve().parents[1] / "images"
MATRIX = """
numdev: 1
enforce: best
tap: layers
factors: {stack: [onnxruntime-1.32, torch-2.13], profile: [host, x86-64-v2]}
workloads: [cnn-five]
"""


def test_the_first_layer_across_two_containers(tmp_path, monkeypatch, real_cache):
    monkeypatch.setenv("NUMDEV_CACHE", str(real_cache))
    (tmp_path / "m.yaml").write_text(MATRIX)

    def numdev(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "numdev", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)

    ran = numdev("matrix", "run", "m.yaml", "--engine", "docker", "--images", str(IMAGES))
    assert ran.returncode == 0, ran.stderr
    for stack in ("onnxruntime", "torch"):
        done = numdev("trace", "--json", "--between", f"{stack} and profile=host", f"{stack} and profile=x86-64-v2")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["workloads"][0]
        assert {tap["status"] for tap in found["taps"]} == {"same"}
        (pair,) = found["pairs"]
        first = next(step for step in pair["layers"] if step["effect"] != "same")
        assert pair["first"] == first["name"]
        assert first["name"].startswith("conv"), "an activation is exact"
        assert 0 < first["size"]["max_abs"] < 1e-4
