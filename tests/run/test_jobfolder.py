"""The job folder: all that a container needs, and nothing that it could change for others."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest

from numdev.engines import MemoryEngine, Played
from numdev.run import plan
from numdev.run.jobfolder import write_job
from numdev.run.resolve import WORKER

TEXT = """
factors: {stack: [ort-1], profile: [haswell], threads: [2], batch: [3], session.a: ["1"], env.B: [c], optimization: [basic]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
limits: {memory: 1GiB, timeout: 90s}
repeats: 2
"""


def written(bench, text, link=False):
    resolved = bench.resolve(text)
    made = bench.environments(resolved, MemoryEngine(lambda *_: Played()))
    items = [item for group in plan.make_plan(resolved, made, None).groups for item in group.items]
    folder = bench.folder / "job"
    folder.mkdir()
    write_job(folder, resolved, items, link=link)
    return folder, resolved, items


def test_layout(bench):
    folder, resolved, items = written(bench, TEXT)
    workload = resolved.workloads["own"].digest
    job = json.loads((folder / "job.json").read_text())
    assert (job["protocol"], job["backend"]) == (1, "onnxruntime")
    assert job["memory"] == (1 << 30) - (64 << 20)
    assert job["cells"] == [
        {
            "id": item.digest, "workload": workload, "format": "onnx", "threads": 2, "optimization": "basic",
            "precision": "float32", "batch": 3, "session": {"a": "1"}, "environment": {"B": "c"},
            "replicate": replicate, "rounds": 1, "timeout": 90.0,
        }
        for replicate, item in enumerate(items, 1)
    ]  # fmt: skip
    assert job["workloads"] == {
        workload: {
            "formats": {"onnx": "model.onnx"},
            "entry": None,
            "command": [],
            "inputs": "inputs.npz",
            "outputs": [],
        }
    }
    assert (folder / "workloads" / workload / "model.onnx").read_bytes() == (bench.folder / "model.onnx").read_bytes()
    assert np.load(folder / "workloads" / workload / "inputs.npz")["x"].shape == (6, 1)
    assert (folder / "table.txt").read_text() == resolved.profiles["haswell"].table.text()
    there = {path.relative_to(folder / "python" / "numdev_worker") for path in (folder / "python").rglob("*.py")}
    assert there == {path.relative_to(WORKER) for path in WORKER.rglob("*.py")}
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o444 == 0o444, path
        assert not path.is_dir() or mode == 0o755


def test_no_table_for_the_real_processor(bench):
    folder, _, _ = written(bench, TEXT.replace("haswell", "host"))
    assert not (folder / "table.txt").exists()


def test_programs_and_what_lies_beside_them(bench):
    (bench.folder / "tool").mkdir()
    (bench.folder / "tool" / "run.sh").write_text("#!/bin/sh\n")
    (bench.folder / "tool" / "run.sh").chmod(0o700)
    text = (
        "factors: {stack: [ort-1]}\nworkloads:\n"
        "  - {name: m, module: 'mine.py:function', files: [model.onnx]}\n"
        "  - {name: c, command: [./run.sh, word], files: [tool/run.sh]}\n"
    )
    folder, resolved, _ = written(bench, text)
    job = json.loads((folder / "job.json").read_text())
    module, command = resolved.workloads["m"].digest, resolved.workloads["c"].digest
    assert job["workloads"][module]["entry"] == "mine.py:function"
    assert {path.name for path in (folder / "workloads" / module).iterdir()} == {"mine.py", "model.onnx"}
    assert job["workloads"][command]["command"] == ["./run.sh", "word"]
    assert stat.S_IMODE((folder / "workloads" / command / "run.sh").stat().st_mode) == 0o755
    assert job["workloads"][command]["inputs"] is None


@pytest.mark.parametrize("link", [True, False])
def test_only_a_job_that_cannot_write_shares_files_with_the_cache(bench, link):
    folder, resolved, _ = written(bench, TEXT, link)
    inputs = resolved.workloads["own"].inputs.path
    placed = folder / "workloads" / resolved.workloads["own"].digest / "inputs.npz"
    assert (placed.stat().st_ino == inputs.stat().st_ino) is link
    assert placed.read_bytes() == inputs.read_bytes()


def test_a_users_own_files_are_never_changed(bench):
    (bench.folder / "model.onnx").chmod(0o600)
    folder, resolved, _ = written(bench, TEXT, link=True)
    placed = folder / "workloads" / resolved.workloads["own"].digest / "model.onnx"
    assert stat.S_IMODE((bench.folder / "model.onnx").stat().st_mode) == 0o600
    assert stat.S_IMODE(placed.stat().st_mode) == 0o644, "the container's user can read it"


def test_a_small_limit_leaves_the_cell_half_of_it(bench):
    folder, _, _ = written(bench, TEXT.replace("1GiB", "100MiB"))
    assert json.loads((folder / "job.json").read_text())["memory"] == 50 << 20


def test_two_names_of_one_workload_are_one(bench):
    """Equal models and inputs have one digest, and are placed once."""
    text = """
factors: {stack: [ort-1]}
workloads: [{name: a, model: model.onnx, inputs: x.npz}, {name: b, model: model.onnx, inputs: x.npz}]
"""
    ran = bench.run(text, MemoryEngine(lambda *_: Played({"y": np.zeros(2)})))
    assert [one.cell_count for one in ran.answer.workloads] == [1, 1]
