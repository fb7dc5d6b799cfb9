"""The main job on real frameworks: stacks, cells, store and answer, on both engines; and Ctrl-C in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from numdev.store import Store

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

NUMDEV = [sys.executable, "-c", "from numdev.cli import main; main()"]
IMAGES = Path(__file__).resolve().parents[1] / "images"
MATRIX = """
numdev: 1
factors: {stack: [onnxruntime-1.17, onnxruntime-1.32]}
workloads: [cnn-five, matmul-integer]
reference: reference
repeats: 2
"""
BOTH = [pytest.param("docker", marks=pytest.mark.docker), "local"]


@pytest.fixture
def numdev(tmp_path, monkeypatch, real_cache):
    """Runs a command of numdev in an empty folder with the user's own cache."""
    monkeypatch.setenv("NUMDEV_CACHE", str(real_cache))
    (tmp_path / "m.yaml").write_text(MATRIX)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        if arguments[0] == "matrix":
            arguments = (*arguments, "--images", str(IMAGES))
        done = subprocess.run(
            [*NUMDEV, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def contents(store: Path) -> dict[str, list[tuple[str, str]]]:
    """The outputs of every record by the record's digest."""
    return {
        record.digest: [(output.name, output.tensor) for output in record.outputs]
        for record in Store.open(store).records()
        if record.status == "ok"
    }


@pytest.mark.parametrize("engine", BOTH)
def test_a_matrix_from_end_to_end(numdev, tmp_path, engine):
    first = numdev("matrix", "run", "m.yaml", "-e", engine)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "10 cells run: 10 ok." in first.stderr
    assert "exact" in first.stdout

    second = numdev("matrix", "run", "m.yaml", "-e", engine)
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert "10 results are stored already." in second.stderr
    assert "cells run" not in second.stderr
    planned = numdev("matrix", "plan", "m.yaml")
    assert "0 to run in 0 containers, 10 stored" in planned.stdout
    assert numdev("report").stdout == first.stdout
    assert numdev("store", "verify").returncode == 0

    found = json.loads(numdev("report", "--json").stdout)
    assert {one["workload"] for one in found["workloads"]} == {"cnn-five", "matmul-integer"}
    assert all(one["repeats"] and not one["without_class"] for one in found["workloads"])
    records = list(Store.open(tmp_path / "numdev-store").records())
    assert {record.environment["engine"] for record in records} == {engine}
    versions = {record.realised["versions"]["onnxruntime"] for record in records if not record.reference}
    assert versions == {"1.17.3", "1.32.0"} or {version[:4] for version in versions} == {"1.17", "1.32"}


@pytest.mark.docker
def test_both_engines_name_and_compute_the_same(numdev, tmp_path):
    for engine in ("docker", "local"):
        done = numdev("matrix", "run", "m.yaml", "-e", engine, "--store", engine)
        assert done.returncode == 0, done.stderr
    docker, local = contents(tmp_path / "docker"), contents(tmp_path / "local")
    assert len(docker) == 10
    assert docker.keys() == local.keys()
    assert docker == local


@pytest.mark.parametrize("engine", BOTH)
def test_a_model_its_framework_refuses_is_a_failed_cell(numdev, tmp_path, engine):
    (tmp_path / "model.onnx").write_bytes(b"no model at all")
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 1), np.float32))
    (tmp_path / "m.yaml").write_text(
        "numdev: 1\nfactors: {stack: [onnxruntime-1.32]}\n"
        "workloads: [matmul-integer, {name: own, model: model.onnx, inputs: x.npz}]\n"
    )
    done = numdev("matrix", "run", "m.yaml", "-e", engine)
    assert done.returncode == 4
    assert "failed: own onnxruntime-1.32 host (repeat 1): InvalidProtobuf" in " ".join(done.stderr.split())
    assert {record.workload: record.status for record in Store.open(tmp_path / "numdev-store").records()} == {
        "matmul-integer": "ok", "own": "failed",
    }  # fmt: skip


@pytest.mark.parametrize("engine", BOTH)
def test_ctrl_c_stops_cleanly_and_running_again_goes_on(numdev, tmp_path, engine):
    (tmp_path / "slow.py").write_text(
        "import os, time\nimport numpy as np\n"
        "def run(inputs):\n    time.sleep(float(os.environ['PAUSE']))\n    return np.zeros(1)\n"
    )
    (tmp_path / "m.yaml").write_text(
        "numdev: 1\nfactors: {stack: [onnxruntime-1.32], env.PAUSE: ['0', '0.1', '40']}\n"
        "workloads: [{name: slow, module: 'slow.py:run'}]\n"
    )
    command = [*NUMDEV, "matrix", "run", "m.yaml", "-e", engine, "--images", str(IMAGES)]
    before = _containers() if engine == "docker" else []
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    store = tmp_path / "numdev-store" / "records"
    while len(list(store.rglob("*-1.json"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "run the same command again to go on" in said
    if engine == "docker":
        assert _containers() == before
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if _names(path, str(tmp_path))]
    assert {record.status for record in Store.open(tmp_path / "numdev-store").records()} == {"ok"}

    again = numdev("matrix", "run", "m.yaml", "-e", engine, "-k", "not 40")
    assert again.returncode == 0, again.stderr
    assert "2 results are stored already." in again.stderr
    assert numdev("store", "verify").returncode == 0


def _containers() -> list[str]:
    done = subprocess.run(
        ["docker", "ps", "-aq", "--filter", "label=org.numdev.run"], capture_output=True, text=True, check=True
    )
    return sorted(done.stdout.split())


def _names(cmdline: Path, word: str) -> bool:
    try:
        return int(cmdline.parent.name) != os.getpid() and word in cmdline.read_text(errors="replace")
    except OSError:
        return False
