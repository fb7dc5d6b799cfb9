"""Several inferences inside one process: one loaded model, and an outcome for each."""

import json
from pathlib import Path

import numpy as np
import pytest

from numdev import digests
from numdev.engines.outputs import read_result
from numdev.worker import cell
from numdev.worker.job import Job

STEADY = "import numpy as np\ndef f(inputs): return {'y': inputs['x'] * 2, 'a': np.ones(2)}\n"
# As a race does: now and then, another result from the same process.
RACY = "import numpy as np\ncalls = []\ndef f(inputs):\n    calls.append(1)\n    return {'y': np.float32([len(calls) % 3 == 0])}\n"


@pytest.fixture
def infer(tmp_path, monkeypatch):
    """Runs one cell of a module of the user's own in this process; its result.json and what the engine reads of it."""

    def run(code: str, **more):
        job, out = tmp_path / "job", tmp_path / "out"
        folder = job / "workloads" / "w"
        folder.mkdir(parents=True)
        (folder / "mine.py").write_text(code)
        np.savez(folder / "inputs.npz", x=np.ones(3, np.float32))
        one = {
            "id": "c", "workload": "w", "format": "module", "threads": 1, "optimization": "all", "precision": "float32",
            "batch": "all", "session": {}, "environment": {}, "replicate": 1, "timeout": 9.0, **more,
        }  # fmt: skip
        work = {"formats": {}, "entry": "mine.py:f", "command": [], "inputs": "inputs.npz", "outputs": []}
        described = {"protocol": 1, "backend": "numpy", "memory": 0, "cells": [one], "workloads": {"w": work}}
        (job / "job.json").write_text(json.dumps(described))
        out.mkdir()
        # The test's own output must not go to the cell's log.
        monkeypatch.setattr(cell, "_log_to", lambda path: None)
        cell.run(Job(str(job), str(out)), "c")
        return json.loads((Path(out) / "c" / "result.json").read_text()), read_result(out, "c")

    return run


def test_one_inference_is_as_it_always_was(infer):
    result, read = infer(STEADY)
    assert "rounds" not in result
    assert read.rounds == ()


def test_equal_inferences_have_equal_names_which_are_those_of_the_outputs(infer):
    result, read = infer(STEADY, rounds=4)
    assert [row["name"] for row in result["outputs"]] == ["a", "y"]
    named = sorted([row["name"], row["sha256"]] for row in result["outputs"])
    assert read.rounds == (digests.of_json(named),) * 4


def test_a_race_inside_the_process_is_seen(infer):
    _, read = infer(RACY, rounds=7)
    assert [read.rounds.index(one) for one in read.rounds] == [0, 0, 2, 0, 0, 2, 0]
    assert read.status == "ok"


def test_an_error_in_a_later_inference_is_the_cells(infer):
    _, read = infer(
        "import numpy as np\nleft = [1, 0]\ndef f(inputs): return {'y': np.ones(3) if left.pop(0) else None}\n",
        rounds=2,
    )
    assert read.status == "failed"
    assert read.outputs == read.rounds == ()


@pytest.mark.parametrize("count", [1, 3])
def test_every_inference_is_timed_without_what_was_before_it(infer, count):
    slow = "import time\ntime.sleep(0.2)\n" + STEADY
    result, read = infer(slow, rounds=count)
    took = read.realised["inference_seconds"]
    assert len(took) == count
    assert all(isinstance(one, float) and one >= 0 for both in took for one in both)
    assert took[0][0] <= result["seconds"] - 0.2
