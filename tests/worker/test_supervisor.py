"""Supervisor, zygote and cells as the processes they are, without an engine: what becomes of every kind of cell."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import numdev.worker
from numdev.worker import supervisor, tensors
from numdev.worker.backends import command_

WORKER = Path(numdev.worker.__file__).parent
MODEL = """
import ctypes, os, signal, subprocess, sys, time
import numpy as np

def double(x):
    return {"y": x["x"] * 2}

def pid(x):
    return np.array([os.getpid(), os.getppid()])

def threads(x):
    return np.array([int(os.environ[name]) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")])

def said(x):
    print("printed by the model")
    os.write(2, b"written by native code")
    raise ValueError("this model does not like it")

def text(x): return "no number"
def leave(x): sys.exit(3)
def leave_now(x): os._exit(4)
def leave_quietly(x): os._exit(0)
def abort(x): os.abort()
def crash(x): ctypes.string_at(0)
def kill(x): os.kill(os.getpid(), signal.SIGKILL)
def interrupt(x): raise KeyboardInterrupt

def hang(x):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)

def hog(x):
    kept = []
    while True:
        kept.append(np.ones(1 << 21))
        time.sleep(0.01)

def hog_in_a_child(x):
    code = "import time; kept = bytearray(b'1') * (400 << 20); time.sleep(100)"
    subprocess.run([sys.executable, "-S", "-c", code])

def python_memory(x): raise MemoryError("so it says")

def leave_a_child(x):
    child = subprocess.Popen(["/bin/sleep", "1000"])
    return np.array([child.pid])

def hang_with_a_child(x):
    child = subprocess.Popen(["/bin/sleep", "1000"])
    with open(os.environ["PIDS"], "w") as file: file.write(str(child.pid))
    time.sleep(1000)

def beside(x):
    import helper
    return np.array([helper.VALUE])

def environment(x): return np.array([float(os.environ["FACTOR"])])
value = 3
"""
COMMAND = """
import os, sys, time, subprocess
import numpy as np
what = sys.argv[1]
if what == "ok":
    given = np.load(os.environ["NUMDEV_INPUTS"])
    np.savez(os.environ["NUMDEV_OUTPUTS"], y=given["x"] + 1, threads=np.array([int(os.environ["NUMDEV_THREADS"])]))
elif what == "nothing": print("nothing written")
elif what == "garbage": open(os.environ["NUMDEV_OUTPUTS"], "wb").write(b"no archive")
elif what == "pickle": np.savez(os.environ["NUMDEV_OUTPUTS"], y=np.array([{}], dtype=object))
elif what == "fails": sys.exit("the last line of its words")
elif what == "abort": os.abort()
elif what == "hang":
    child = subprocess.Popen(["/bin/sleep", "1000"])
    open(os.environ["PIDS"], "w").write(f"{child.pid} {os.getpid()}")
    time.sleep(1000)
"""


class Jobs:
    """A job folder by hand, and its run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job, self.out = folder / "job", folder / "out"
        shutil.copytree(WORKER, self.job / "python" / "numdev_worker", ignore=shutil.ignore_patterns("__pycache__"))
        self.out.mkdir()
        self.pids = folder / "pids"
        self.workloads: dict[str, dict] = {}
        self.cells: list[dict] = []
        self.prefix: list[str] = []

    def workload(self, name: str, **what) -> Path:
        """Adds a workload; its folder."""
        folder = self.job / "workloads" / name
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(MODEL)
        (folder / "helper.py").write_text("VALUE = 17")
        (folder / "program.py").write_text(COMMAND)
        np.savez(folder / "inputs.npz", x=np.arange(4, dtype=np.float32).reshape(4, 1))
        self.workloads[name] = {
            "formats": {}, "entry": None, "command": [], "inputs": "inputs.npz", "outputs": [], **what
        }  # fmt: skip
        return folder

    def module(self, function: str, id: str = "", **options) -> str:
        name = f"module-{function}"
        if name not in self.workloads:
            self.workload(name, entry=f"model.py:{function}")
        return self.cell(name, "module", id or function, **options)

    def command(self, *words: str, **options) -> str:
        name = f"command-{words[0]}"
        if name not in self.workloads:
            self.workload(name, command=["python3", "program.py", *words])
        return self.cell(name, "command", name, **options)

    def cell(self, workload: str, format: str, id: str, **options) -> str:
        self.cells.append({
            "id": id, "workload": workload, "format": format, "threads": 1, "optimization": "all", "precision": "float32",
            "batch": "all", "session": {}, "environment": {"PIDS": str(self.pids)}, "replicate": 1, "timeout": 30.0, **options,
        })  # fmt: skip
        return id

    def start(self, backend: str = "onnxruntime", memory: int = 0) -> subprocess.Popen:
        data = {"protocol": 1, "backend": backend, "memory": memory, "cells": self.cells, "workloads": self.workloads}
        data["prefix"] = self.prefix
        (self.job / "job.json").write_text(json.dumps(data))
        site = next(path for path in sys.path if (Path(path) / "numpy").is_dir())
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{self.job / 'python'}:{site}",
            "TMPDIR": str(self.folder),
        }
        command = [sys.executable, "-S", "-B", "-m", "numdev_worker.supervisor", str(self.job), str(self.out)]
        with open(self.folder / "said", "wb") as said:
            return subprocess.Popen(command, env=environment, stdout=said, stderr=said)

    def run(self, backend: str = "onnxruntime", memory: int = 0) -> dict[str, dict]:
        process = self.start(backend, memory)
        assert process.wait(120) == 0, (self.folder / "said").read_text()
        return {cell["id"]: self.result(cell["id"]) for cell in self.cells}

    def result(self, id: str) -> dict:
        return json.loads((self.out / id / "result.json").read_text())

    def output(self, id: str, index: int = 0) -> np.ndarray:
        row = self.result(id)["outputs"][index]
        path = self.out / id / row["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
        return np.load(path, allow_pickle=False)

    def events(self) -> list[tuple[str, str]]:
        lines = (self.out / "events.jsonl").read_text().splitlines()
        return [(event["event"], event["cell"]) for event in map(json.loads, lines)]


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def gone(pid: int) -> bool:
    """Whether a process ends within a second; one that waits to be reaped has ended."""
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    return False


def add_model(jobs: Jobs, name: str = "net", data: bytes | None = None) -> None:
    """An ONNX model y = x * 3 on batches of any size."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", ["x", "three"], ["y"])],
        "g",
        [value("x", 1, ["n", 1])],
        [value("y", 1, ["n", 1])],
        [onnx.numpy_helper.from_array(np.array([3], np.float32), "three")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8)
    folder = jobs.workload(name, formats={"onnx": "model.onnx"})
    (folder / "model.onnx").write_bytes(model.SerializeToString() if data is None else data)


def test_every_end_is_told_apart_and_the_matrix_goes_on(jobs):
    expected = {
        jobs.module("double"): ("ok", ""),
        jobs.module("said"): ("failed", "ValueError: this model does not like it"),
        jobs.module("text"): ("failed", "not an array of numbers"),
        jobs.module("value"): ("failed", "has no function 'value'"),
        jobs.module("absent"): ("failed", "has no function 'absent'"),
        jobs.module("leave"): ("failed", "ended the process: SystemExit(3)"),
        jobs.module("leave_now"): ("failed", "exit code 4 and no result"),
        jobs.module("leave_quietly"): ("failed", "ended without a result"),
        jobs.module("interrupt"): ("failed", "KeyboardInterrupt"),
        jobs.module("abort"): ("signal:6", "SIGABRT"),
        jobs.module("crash"): ("signal:11", "SIGSEGV"),
        jobs.module("kill"): ("signal:9", "SIGKILL"),
        jobs.module("python_memory"): ("oom", "so it says"),
        jobs.module("hang", timeout=0.7): ("timeout", "longer than 0.7 s"),
        jobs.command("ok"): ("ok", ""),
        jobs.command("nothing"): ("failed", "did not write the file named by NUMDEV_OUTPUTS"),
        jobs.command("garbage"): ("failed", "cannot be read as .npz"),
        jobs.command("pickle"): ("failed", "cannot be read as .npz"),
        jobs.command("fails"): ("failed", "exit code 1: the last line of its words"),
        jobs.command("abort"): ("signal:6", "SIGABRT"),
        jobs.module("double", id="the last"): ("ok", ""),
    }
    found = jobs.run()
    wrong = {
        id: found[id]
        for id, (status, reason) in expected.items()
        if found[id]["status"] != status or reason not in found[id]["reason"]
    }
    assert wrong == {}
    assert all(not found[id]["outputs"] for id, (status, _) in expected.items() if status != "ok")
    assert jobs.events() == [(kind, cell["id"]) for cell in jobs.cells for kind in ("start", "end")]
    assert jobs.output("double").tolist() == [[0], [2], [4], [6]]
    assert jobs.output("command-ok", 1).tolist() == [[1], [2], [3], [4]]
    assert [row["name"] for row in jobs.result("command-ok")["outputs"]] == ["threads", "y"]
    log = (jobs.out / "said" / "log.txt").read_text()
    assert "printed by the model" in log
    assert "written by native code" in log
    assert "nothing written" in (jobs.out / "command-nothing" / "log.txt").read_text()


def test_a_command_that_crashes_ends_the_cell_by_its_signal(jobs):
    jobs.workload("killed", command=["/bin/sh", "-c", "kill -SEGV $$"])
    jobs.cell("killed", "command", "killed")
    jobs.workload("missing", command=["/nowhere/program"])
    jobs.cell("missing", "command", "missing")
    found = jobs.run()
    assert found["killed"]["status"] == "signal:11"
    assert found["missing"]["status"] == "failed"
    assert "/nowhere/program" in found["missing"]["reason"]


@pytest.mark.parametrize("function", ["hog", "hog_in_a_child"])
def test_too_much_memory(jobs, function):
    jobs.module(function)
    jobs.module("double")
    found = jobs.run(memory=300 << 20)
    assert (found[function]["status"], found["double"]["status"]) == ("oom", "ok")
    assert "more than the limit of 300 MiB" in found[function]["reason"]


def test_what_a_cell_leaves_running_is_ended(jobs):
    jobs.module("leave_a_child")
    jobs.command("hang", timeout=4.0)
    found = jobs.run()
    assert found["leave_a_child"]["status"] == "ok"
    assert gone(int(jobs.output("leave_a_child")[0]))
    assert found["command-hang"]["status"] == "timeout"
    assert [gone(int(pid)) for pid in jobs.pids.read_text().split()] == [True, True]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_ending_the_supervisor_ends_its_cell(jobs, end):
    jobs.module("pid")
    jobs.module("hang_with_a_child", timeout=100.0)
    process = jobs.start()
    while not (jobs.pids.exists() and jobs.pids.read_text()):
        assert process.poll() is None, (jobs.folder / "said").read_text()
        time.sleep(0.01)
    cell = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_cell(path, jobs.job)]
    process.send_signal(end)
    assert process.wait(20) in (128 + signal.SIGTERM, -signal.SIGKILL)
    assert cell
    assert all(gone(pid) for pid in cell)
    ended = gone(int(jobs.pids.read_text()))
    # Nothing can be done about grandchildren where the supervisor itself is killed outright; a container ends them.
    assert ended or end == signal.SIGKILL


def _is_cell(process: Path, job: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"numdev_worker.cell" in words and str(job).encode() in words


def test_the_options_reach_the_model(jobs):
    jobs.module("threads", threads=3)
    jobs.module("beside")
    jobs.module("environment", environment={"FACTOR": "2.5"})
    jobs.module("double", batch=6)
    found = jobs.run()
    assert {row["status"] for row in found.values()} == {"ok"}, found
    assert jobs.output("threads").tolist() == [3, 3, 3]
    assert jobs.output("beside").tolist() == [17]
    assert jobs.output("environment").tolist() == [2.5]
    assert jobs.output("double")[:, 0].tolist() == [0, 2, 4, 6, 0, 2]


def test_every_replicate_has_a_process_of_its_own(jobs):
    for replicate in (1, 2, 3):
        jobs.module("pid", id=str(replicate), replicate=replicate)
    jobs.run()
    assert len({int(jobs.output(id)[0]) for id in "123"}) == 3


class TestOnnxruntime:
    def test_forked_and_fresh_replicates_agree(self, jobs):
        add_model(jobs)
        for replicate in (1, 2, 3):
            jobs.cell("net", "onnx", str(replicate), replicate=replicate)
        jobs.cell("net", "onnx", "batch", batch=2)
        jobs.cell("net", "onnx", "off", optimization="off", threads=2, session={"intra_op.allow_spinning": "0"})
        found = jobs.run()
        assert {row["status"] for row in found.values()} == {"ok"}, found
        assert len({found[id]["outputs"][0]["sha256"] for id in (*"123", "off")}) == 1
        assert jobs.output("1")[:, 0].tolist() == [0, 3, 6, 9]
        assert jobs.output("batch")[:, 0].tolist() == [0, 3]
        realised = found["1"]["realised"]
        assert realised["versions"].keys() >= {"numpy", "onnxruntime"}
        assert found["1"]["seconds"] > 0

    def test_later_replicates_start_from_a_new_interpreter(self, jobs):
        """A forked cell has its zygote's command line, a fresh one its own."""
        add_model(jobs)
        folder = jobs.job / "python" / "numdev_worker" / "backends" / "onnxruntime_.py"
        folder.write_text(
            folder.read_text()
            + "\n_plain = prepare\ndef prepare(task):\n"
            + "    words, infer = open('/proc/self/cmdline', 'rb').read(), _plain(task)\n"
            + "    return lambda: {**infer(), 'fresh': np.array([b'numdev_worker.cell' in words])}\n"
        )
        for replicate in (1, 2, 3):
            jobs.cell("net", "onnx", str(replicate), replicate=replicate)
        jobs.run()
        assert [bool(jobs.output(id)[0]) for id in "123"] == [False, True, True]

    def test_a_model_that_is_refused(self, jobs):
        add_model(jobs)
        add_model(jobs, "garbage", b"no model at all")
        wrong = jobs.workload("wrong", formats={"onnx": "model.onnx"})
        shutil.copyfile(jobs.job / "workloads" / "net" / "model.onnx", wrong / "model.onnx")
        np.savez(wrong / "inputs.npz", other=np.zeros((1, 1), np.float32))
        for id in ("garbage", "wrong", "net"):
            jobs.cell(id, "onnx", id)
        jobs.cell("net", "onnx", "double", precision="float64")
        jobs.cell("net", "onnx", "entry", session={"x" * 2000: "1"})
        found = jobs.run()
        assert found["garbage"]["status"] == "failed"
        assert "InvalidProtobuf" in found["garbage"]["reason"]
        assert found["wrong"]["status"] == "failed"
        assert "the model's inputs are ['x'], the workload gives ['other']" in found["wrong"]["reason"]
        assert found["net"]["status"] == "ok"
        assert found["double"]["status"] == "unsupported"
        assert found["entry"]["status"] == "failed"

    def test_a_zygote_that_dies_is_replaced(self, jobs):
        """A cell that kills the process it was forked from takes itself along, not the rest."""
        add_model(jobs)
        file = jobs.job / "python" / "numdev_worker" / "backends" / "onnxruntime_.py"
        killing = "    import os\n    if task.threads == 7:\n        os.kill(os.getppid(), 9)\n        import time; time.sleep(9)\n"
        text = file.read_text().replace("    import onnxruntime as ort\n", killing + "    import onnxruntime as ort\n")
        file.write_text(text)
        jobs.cell("net", "onnx", "first")
        jobs.cell("net", "onnx", "killer", threads=7)
        jobs.cell("net", "onnx", "last")
        found = jobs.run()
        assert [found[id]["status"] for id in ("first", "killer", "last")] == ["ok", "failed", "ok"]
        assert "is gone" in found["killer"]["reason"]

    @pytest.mark.parametrize(
        ("code", "status", "reason"),
        [
            (
                "raise ImportError('libfoo.so.1 is missing')",
                "failed",
                "while importing onnxruntime: ImportError: libfoo",
            ),
            ("import os; os.abort()", "signal:6", "SIGABRT while importing"),
            ("import os; os._exit(9)", "failed", "exit code 9 while importing"),
        ],
    )
    def test_a_framework_that_cannot_be_imported(self, jobs, code, status, reason):
        add_model(jobs)
        (jobs.job / "python" / "onnxruntime.py").write_text(code)
        jobs.cell("net", "onnx", "one")
        jobs.cell("net", "onnx", "two", batch=2)
        jobs.module("double")
        found = jobs.run()
        assert [found[id]["status"] for id in ("one", "two", "double")] == [status, status, "ok"]
        assert reason in found["two"]["reason"]

    def test_what_a_framework_prints_is_no_answer(self, jobs):
        add_model(jobs)
        file = jobs.job / "python" / "numdev_worker" / "backends" / "onnxruntime_.py"
        file.write_text(file.read_text().replace("    import onnxruntime\n", "    print('end 0\\npid 1')\n    import onnxruntime\n"))  # fmt: skip
        jobs.cell("net", "onnx", "one")
        assert jobs.run()["one"]["status"] == "ok"


def test_another_protocol_is_refused(jobs):
    jobs.start().wait(20)
    data = json.loads((jobs.job / "job.json").read_text())
    (jobs.job / "job.json").write_text(json.dumps({**data, "protocol": 2}))
    with pytest.raises(SystemExit, match="protocol 2"):
        supervisor.Job(str(jobs.job), str(jobs.out))


class TestJudge:
    """The kernel's own kills for want of memory, which a test should not bring about."""

    def judge(self, monkeypatch, jobs, before: int, after: int) -> tuple[str, str]:
        jobs.start().wait(20)
        made = supervisor.Supervisor(supervisor.Job(str(jobs.job), str(jobs.out)))
        counts = iter([before, after])
        monkeypatch.setattr(supervisor, "oom_kills", lambda: next(counts))
        cell = {"replicate": 2, "format": "onnx", "environment": {}, "timeout": 1, "threads": 1}
        monkeypatch.setattr(made, "fresh", lambda *_: (signal.SIGKILL, ("", "")))
        with made.events:
            return made.one("some", cell)

    def test_a_kill_that_the_kernel_counts_is_want_of_memory(self, monkeypatch, jobs):
        assert self.judge(monkeypatch, jobs, 0, 1)[0] == "oom"

    def test_an_earlier_kill_says_nothing_about_this_one(self, monkeypatch, jobs):
        assert self.judge(monkeypatch, jobs, 3, 3) == ("signal:9", "ended by SIGKILL")


def test_memory_of_descendants_counts():
    code = "import time; kept = bytearray(b'1') * (80 << 20); print(flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {code!r}])"
    process = subprocess.Popen([sys.executable, "-S", "-c", parent], stdout=subprocess.PIPE, start_new_session=True)
    try:
        process.stdout.readline()
        assert supervisor.resident(process.pid) > 80 << 20
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert supervisor.resident(process.pid) == 0


def test_everything_that_computes_runs_by_the_prefix(jobs, tmp_path):
    """An emulator does not follow a program into those it starts: each has to be started by it."""
    recorder, seen = tmp_path / "emulator", tmp_path / "seen"
    recorder.write_text(f'#!/bin/sh\necho "$@" >> {seen}\nshift 2\nexec "$@"\n')
    recorder.chmod(0o755)
    jobs.prefix = [str(recorder), "-cpu", "some"]
    add_model(jobs)
    script = jobs.workload("script", command=["./run.sh", "1"])
    (script / "run.sh").write_text("#!/usr/bin/env -S sh -e\nexec python3 -c 'import sys; sys.exit(3)'\n")
    (script / "run.sh").chmod(0o755)
    cells = [
        jobs.module("double"),
        jobs.cell("net", "onnx", "net"),
        jobs.command("ok"),
        jobs.cell("script", "command", "s"),
    ]
    results = jobs.run()
    assert [results[cell]["status"] for cell in cells] == ["ok", "ok", "ok", "failed"]
    assert results["s"]["reason"] == "Refused: ./run.sh ended with exit code 3"
    lines = seen.read_text().splitlines()
    assert all(line.startswith("-cpu some /") for line in lines), "an emulator searches no PATH"
    started = sorted(line.split(" ", 2)[2] for line in lines)
    assert sum("numdev_worker.zygote" in line for line in started) == 1
    assert sum("numdev_worker.cell" in line for line in started) == 3
    assert sum("program.py ok" in line for line in started) == 1
    assert sum(line.endswith("/script/./run.sh 1") and line.split()[0].endswith("/sh") for line in started) == 1
    assert len(started) == 6
    for cell in cells[:3]:
        leaves = {(row[0], row[1]) for row in results[cell]["realised"]["identity"]}
        assert {(0, 0), (1, 0), (7, 0)} <= leaves, "the processor that computed is read back"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing", None, FileNotFoundError),
        ("empty", "#!\n", tensors.Refused),
        ("only-env", "#!/usr/bin/env\n", tensors.Refused),
        ("itself", "#!./itself\n", tensors.Refused),
    ],
)
def test_a_script_that_leads_to_no_program_is_not_run_unemulated(tmp_path, name, content, expected):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(expected):
        command_.emulated(["/emulator"], [f"./{name}"], str(tmp_path))


def test_without_an_emulator_commands_stay_as_they_are(tmp_path):
    assert command_.emulated([], ["no-such-program", "x"], str(tmp_path)) == ["no-such-program", "x"]
