"""The engines' own behaviour: memory, local, and which one is chosen."""

from __future__ import annotations

import gc
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from numdev.engines import (
    Ending,
    Environment,
    Launch,
    Limits,
    LocalEngine,
    MemoryEngine,
    Played,
    choose_engine,
    local,
    open_engine,
    protocol,
)
from numdev.engines.outputs import read_result
from numdev.errors import EngineUnavailable, InvalidInput, StackFailed
from numdev.spec.stack import Stack


def stack(**changes) -> Stack:
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    plain = {"base": "b", "python": python, "backend": "numpy", "pins": {}, "dockerfile": None, "lock": Path("lock")}
    return Stack(name="some", folder=Path("images/some"), **{**plain, **changes})


def launch(folder: Path, environment: Environment, *cells: str, profiled: bool = False) -> Launch:
    job, out = folder / "job", folder / "out"
    job.mkdir()
    out.mkdir()
    (job / "job.json").write_text(json.dumps({"cells": [{"id": cell} for cell in cells]}))
    if profiled:
        (job / "table.txt").write_text("a table")
    return Launch(environment, job, out, profiled, Limits(1 << 30, 100), "label")


class TestMemory:
    def test_it_plays_what_it_is_told(self, tmp_path):
        asked = []

        def player(name, cell, table):
            asked.append((name, cell["id"], table))
            status = {"b": "timeout", "c": "missing"}.get(cell["id"], "ok")
            return Played({"y": np.arange(3)}, status, "because", {"blas": []})

        engine = MemoryEngine(player, Ending("oom", "too much"))
        environment = engine.environment(stack(), lambda line: None)
        polls = []
        task = launch(tmp_path, environment, "a", "b", "c", profiled=True)
        assert engine.run(task, lambda: polls.append(1)) == Ending("oom", "too much")
        assert asked == [("some", cell, "a table") for cell in "abc"]
        assert len(polls) == 3
        assert engine.launches == [task]
        found = [read_result(task.out, cell) for cell in "abc"]
        assert [each and each.status for each in found] == ["ok", "timeout", None]
        assert np.frombuffer(found[0].outputs[0].data[-24:], np.int64).tolist() == [0, 1, 2]
        assert found[0].realised == {"blas": []}
        assert (found[1].outputs, found[1].reason) == ((), "because")
        events = [json.loads(line) for line in (task.out / "events.jsonl").read_text().splitlines()]
        assert [(each["event"], each["cell"]) for each in events] == [
            ("start", "a"), ("end", "a"), ("start", "b"), ("end", "b"), ("start", "c"),
        ]  # fmt: skip

    def test_stopped_it_runs_nothing_more(self, tmp_path):
        engine = MemoryEngine(lambda *_: engine.stop() or Played())
        task = launch(tmp_path, engine.environment(stack(), print), "a", "b")
        assert engine.run(task, lambda: None) == Ending("lost", "stopped")
        assert read_result(task.out, "a").status == "ok"
        assert read_result(task.out, "b") is None


def test_stacks_have_one_digest_on_every_engine():
    plain = protocol.stack_digest(stack(), "site")
    assert plain == protocol.stack_digest(stack(name="other", pins={"x": "1"}) if False else stack(), "site")
    for other in (stack(base="c"), stack(python="3.9"), stack(backend="torch")):
        assert protocol.stack_digest(other, "site") != plain
    assert protocol.stack_digest(stack(), "another site") != plain


def test_nothing_of_the_users_environment_reaches_a_job(monkeypatch):
    monkeypatch.setenv("SECRET", "value")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = protocol.variables("/job", "/site", "/scratch")
    assert not {"SECRET", "OMP_NUM_THREADS", "USER"} & found.keys()
    assert found["PYTHONPATH"] == "/job/python:/site"
    assert found["HOME"] == found["TMPDIR"] == "/scratch"


@pytest.mark.parametrize(
    ("how", "before"),
    [
        ({}, []),
        ({"profiled": True}, ["launcher", "--table", "/job/table.txt", "--"]),
        (
            {"profiled": True, "rewritten": True},
            ["launcher", "--table", "/job/table.txt", "--sites", "/job/sites.txt", "--"],
        ),
    ],
)
def test_the_launcher_stands_before_the_supervisor_only_under_a_profile(how, before, tmp_path):
    task = replace(launch(tmp_path, Environment("e", "d"), "a"), **{"profiled": False, **how})
    cells = protocol.supervisor("python", "/job", "/out")
    assert cells == ["python", "-S", "-B", "-m", "numdev_worker.supervisor", "/job", "/out"]
    assert protocol.shown(task, ["launcher"], "/job", cells) == [*before, *cells]


class TestInterpreter:
    def test_this_one_is_found(self):
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        found = subprocess.run(
            [local.interpreter(version), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert found.stdout.strip() == version

    def test_one_that_is_not_there(self):
        with pytest.raises(StackFailed) as caught:
            local.interpreter("3.3")
        assert caught.value.what == "There is no CPython 3.3 here."
        assert "apt-get install python3.3" in caught.value.remedy

    @pytest.mark.parametrize(
        "script",
        [
            "#!/bin/sh\necho cpython 3.4\n",
            "#!/bin/sh\necho pypy 3.3\n",
            "#!/bin/sh\nexit 1\n",
            "no program",
            "#!/nowhere\n",
        ],
    )
    def test_one_that_only_has_the_name(self, tmp_path, monkeypatch, script):
        program = tmp_path / "python3.3"
        program.write_text(script)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(StackFailed):
            local.interpreter("3.3")

    def test_one_on_the_path(self, tmp_path, monkeypatch):
        program = tmp_path / "python3.3"
        program.write_text("#!/bin/sh\necho cpython 3.3\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert local.interpreter("3.3") == str(program)

    def test_one_that_pyenv_has_and_not_switched_on(self, tmp_path, monkeypatch):
        program = tmp_path / "versions" / "3.3.7" / "bin" / "python3.3"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\necho cpython 3.3\n")
        program.chmod(0o755)
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
        assert local.interpreter("3.3") == str(program)


class TestLocal:
    def task(self, folder: Path, code: str) -> Launch:
        """A job whose supervisor is `code`."""
        made = launch(folder, Environment("e", "d", {}, "", sys.executable))
        package = made.job / "python" / "numdev_worker"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "supervisor.py").write_text(code)
        return made

    @pytest.mark.parametrize(
        ("code", "status", "reason"),
        [
            ("pass", "ok", ""),
            ("import sys; sys.exit('these were its words')", "failed", "exit code 1. these were its words"),
            ("import os; os.abort()", "signal:6", "ended by signal 6"),
            ("print('x' * 100000); raise SystemExit(2)", "failed", "exit code 2. xxx"),
        ],
    )
    def test_how_a_job_ends(self, tmp_path, code, status, reason):
        ending = LocalEngine(tmp_path).run(self.task(tmp_path, code), lambda: None)
        assert ending.status == status
        assert reason in ending.reason
        assert len(ending.reason) < 2000

    def test_it_is_told_apart_from_the_users_own_shell(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SECRET", "value")
        task = self.task(tmp_path, "import json, os, sys; json.dump([dict(os.environ), os.getcwd(), sys.stdin.read()], open(sys.argv[2] + '/seen', 'w'))")  # fmt: skip
        assert LocalEngine(tmp_path).run(task, lambda: None) == Ending("ok")
        environment, folder, given = json.loads((task.out / "seen").read_text())
        assert "SECRET" not in environment
        assert not os.path.exists(folder), "the scratch folder is gone"
        assert given == ""

    @pytest.mark.parametrize("stubborn", [False, True])
    def test_stop_ends_what_runs_and_nothing_starts_afterwards(self, tmp_path, stubborn):
        ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else "pass"
        task = self.task(
            tmp_path,
            f"import os, signal, sys, time; {ignore}; open(sys.argv[2] + '/pid', 'w').write(str(os.getpid())); time.sleep(100)",
        )
        engine = LocalEngine(tmp_path)
        endings = []
        thread = threading.Thread(target=lambda: endings.append(engine.run(task, lambda: None)))
        thread.start()
        while not ((task.out / "pid").exists() and (task.out / "pid").read_text()):
            time.sleep(0.01)
        engine.stop()
        thread.join(20)
        assert endings == [Ending("lost", "stopped")]
        with pytest.raises(ProcessLookupError):
            os.kill(int((task.out / "pid").read_text()), 0)
        engine.stop()
        assert engine.run(task, lambda: None) == Ending("lost", "stopped")

    def test_what_poll_raises_ends_the_job(self, tmp_path):
        task = self.task(tmp_path, "import os, sys, time; open(sys.argv[2] + '/pid', 'w').write(str(os.getpid())); time.sleep(100)")  # fmt: skip

        def poll():
            if (task.out / "pid").exists() and (task.out / "pid").read_text():
                raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            LocalEngine(tmp_path).run(task, poll)
        with pytest.raises(ProcessLookupError):
            os.kill(int((task.out / "pid").read_text()), signal.SIG_DFL)

    def test_it_builds_no_dockerfile(self, tmp_path):
        with pytest.raises(StackFailed, match="is a Dockerfile"):
            LocalEngine(tmp_path).environment(stack(dockerfile=Path("Dockerfile")), print)

    def test_a_stack_whose_cpython_is_not_there(self, tmp_path):
        with pytest.raises(StackFailed, match=r"no CPython 3\.3"):
            LocalEngine(tmp_path).environment(stack(python="3.3"), print)


# docker-py leaves sockets to the garbage collector where nobody answers.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
class TestChoice:
    @pytest.fixture(autouse=True)
    def _no_docker(self, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
        yield
        gc.collect()

    def test_auto_falls_back_and_says_so(self, tmp_path):
        engine, why = choose_engine("auto", tmp_path)
        assert isinstance(engine, LocalEngine)
        assert why.startswith("No Docker engine answers at unix:///nonexistent.")
        assert "local engine" in why
        assert "without any isolation" in why
        assert "\n" not in why

    def test_local_needs_no_docker_and_no_words(self, tmp_path):
        engine, why = choose_engine("local", tmp_path)
        assert (engine.name, why) == ("local", "")
        assert engine.facts()["isolation"] == "none"

    @pytest.mark.parametrize(
        "host", ["unix:///nonexistent", "tcp://127.0.0.1:1", "nonsense", "unix:///etc/passwd", "ssh://nowhere.invalid"]
    )
    def test_docker_by_name_does_not_fall_back(self, tmp_path, monkeypatch, host):
        monkeypatch.setenv("DOCKER_HOST", host)
        with pytest.raises(EngineUnavailable) as caught:
            choose_engine("docker", tmp_path)
        assert caught.value.code == 6
        assert "--engine local" in caught.value.remedy
        assert host in caught.value.what

    @pytest.mark.parametrize("name", ["podman", "", "memory"])
    def test_an_unknown_engine(self, tmp_path, name):
        with pytest.raises(InvalidInput, match="docker, local, auto"):
            open_engine(name, tmp_path)


def test_jobs_are_readable_for_others(tmp_path):
    """The container's user is another one: what a job folder is made with has to let it in."""
    from numdev import files

    files.write_bytes(tmp_path / "a" / "b", b"")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o644


def test_an_emulator_that_needs_libraries_is_refused_in_a_container():
    from numdev.engines.docker import EMULATOR, DockerEngine

    engine = object.__new__(DockerEngine)
    assert engine.emulator("/usr/bin/qemu-x86_64-static", True) == EMULATOR
    with pytest.raises(EngineUnavailable, match="cannot run in a container") as caught:
        engine.emulator("/usr/bin/qemu-x86_64", False)
    assert "qemu-user-static" in caught.value.remedy
    assert "--engine local" in caught.value.remedy
