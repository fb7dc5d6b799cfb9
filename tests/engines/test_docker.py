"""The Docker engine for real: what a container may not do, how it ends, and that nothing of it is left."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.engines import Launch, Limits, open_engine
from numdev.engines.outputs import read_result
from numdev.run import plan, resolve
from numdev.run.jobfolder import write_job
from numdev.spec.matrix import load_matrix
from numdev.worker.patches import Sites

pytestmark = [pytest.mark.docker, pytest.mark.network]

IMAGES = Path(__file__).resolve().parents[2] / "images"
MODEL = """
import glob, json, os, socket, subprocess, sys, time
import numpy as np

def text(value):
    return {"text": np.frombuffer(json.dumps(value).encode(), np.uint8)}

def status(inputs):
    lines = open("/proc/self/status").read().splitlines()
    return text(dict(line.split(":\\t", 1) for line in lines if ":\\t" in line))

def attempt(action):
    try:
        action()
        return "done"
    except OSError as error:
        return type(error).__name__ + " " + os.strerror(error.errno or 0)

def writes(inputs):
    places = ["/x", "/usr/x", "/etc/x", "/opt/numdev/site/x", "/numdev/x", "/numdev/job/x", "/tmp/x", "/numdev/out/x"]
    return text({place: attempt(lambda: open(place, "w").close()) for place in places})

def network(inputs):
    def connect(family, address):
        def action():
            with socket.socket(family, socket.SOCK_STREAM) as it:
                it.settimeout(3)
                it.connect(address)
        return attempt(action)
    def resolve():
        try:
            socket.getaddrinfo("localhost.invalid", 80)
        except socket.gaierror:
            raise OSError(0)
    return text({
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "out": connect(socket.AF_INET, ("192.0.2.1", 80)),
        "host": connect(socket.AF_INET, ("172.17.0.1", 22)),
        "socket": connect(socket.AF_UNIX, "/var/run/docker.sock"),
        "environment": dict(os.environ),
        "cgroup": attempt(lambda: open("/sys/fs/cgroup/memory/memory.limit_in_bytes", "w").write("1")),
    })

def rights(inputs):
    def raw():
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    setuid = [path for place in ("/usr/bin", "/usr/sbin") for path in glob.glob(place + "/*") if os.stat(path).st_mode & 0o6000]
    return text({
        "raw": attempt(raw), "setuid": attempt(lambda: os.setuid(0)), "chroot": attempt(lambda: os.chroot("/tmp")),
        "nice": attempt(lambda: os.nice(-5)), "devices": sorted(os.listdir("/dev")), "programs": setuid,
    })

def hog(inputs):
    kept = [np.ones(1 << 24) for _ in range(1000)]
    return text("survived")

def fast_hog(inputs):
    kept = bytearray(3 << 30)
    kept[::4096] = b"1" * len(kept[::4096])
    return text("survived")

def forks(inputs):
    children = []
    try:
        for _ in range(400):
            children.append(subprocess.Popen(["/bin/sleep", "20"]))
    except OSError as error:
        return text([len(children), os.strerror(error.errno)])
    return text([len(children), "no limit"])

def bomb(inputs):
    while True:
        try:
            os.fork()
        except OSError:
            pass

def hang(inputs):
    time.sleep(1000)

def kill_all(inputs):
    os.kill(1, 9)
    os.kill(os.getppid(), 9)
    time.sleep(1000)

def fine(inputs):
    return text("fine")
"""


@pytest.fixture(scope="module")
def engine(real_cache):
    made = open_engine("docker", real_cache)
    yield made
    made.stop()
    made.client.close()


class Job:
    """Functions of MODEL as the cells of one container on onnxruntime-1.32."""

    def __init__(self, folder: Path, engine, *functions: str, memory="1GiB", pids=128, timeout="60s", rung="") -> None:
        self.engine = engine
        (folder / "model.py").write_text(MODEL)
        listed = "".join(f"  - {{name: w{i}, module: 'model.py:{name}'}}\n" for i, name in enumerate(functions))
        (folder / "m.yaml").write_text(
            f"numdev: 1\nfactors: {{stack: [onnxruntime-1.32], profile: [{'x86-64-v2' if rung else 'host'}]}}\nlimits: {{memory: {memory}, pids: {pids}, timeout: {timeout}}}\n"
            f"enforce: {rung or 'cpuid'}\nworkloads:\n{listed}"
        )
        self.resolved = resolve.resolve(load_matrix(folder / "m.yaml"), IMAGES, folder / "cache", lambda line: None)
        made = resolve.environments(self.resolved, ["onnxruntime-1.32"], engine, lambda line: None)
        self.items = plan.make_plan(self.resolved, made, None).items
        self.job, self.out = folder / "job", folder / "out"
        self.job.mkdir()
        self.out.mkdir()
        write_job(self.job, self.resolved, self.items, link=True)
        if rung == cpu.REWRITE:
            (self.job / "sites.txt").write_text(Sites({}).text())
        limits = Limits(resolve_memory(memory), pids, 1)
        self.launch = Launch(
            made["onnxruntime-1.32"], self.job, self.out, bool(rung), limits, "test", rewritten=rung == cpu.REWRITE
        )

    def run(self):
        return self.engine.run(self.launch, lambda: None)

    def results(self):
        return [read_result(self.out, item.digest) for item in self.items]

    def said(self, index=0):
        """What a function reported."""
        import json

        found = self.results()[index]
        assert found.status == "ok", found
        data = found.outputs[0].data
        return json.loads(np.frombuffer(data[data.index(b"\n") + 1 :], np.uint8).tobytes())


def resolve_memory(text: str) -> int:
    from numdev.spec.quantities import memory

    return memory(text)


@pytest.fixture
def left(engine):
    """Containers of this engine that there are."""

    def ask() -> list[str]:
        found = engine.client.containers.list(all=True, filters={"label": f"org.numdev.run={engine.run_id}"})
        return [container.name for container in found]

    yield ask
    assert ask() == []


def test_what_a_container_may_not_do(tmp_path, engine, left):
    job = Job(tmp_path, engine, "status", "writes", "network", "rights")
    polls = []
    assert engine.run(job.launch, lambda: polls.append(len(left()))).status == "ok"
    assert max(polls) == 1

    status = job.said(0)
    assert all(uid != "0" for uid in status["Uid"].split())
    assert all(gid != "0" for gid in status["Gid"].split())
    assert {key: int(status[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0,
    }  # fmt: skip
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"

    writes = job.said(1)
    allowed = {place for place, became in writes.items() if became == "done"}
    assert allowed == {"/tmp/x", "/numdev/out/x"}
    assert all("Read-only" in writes[place] or "Permission" in writes[place] for place in writes.keys() - allowed)
    assert not (tmp_path / "job" / "x").exists()

    network = job.said(2)
    assert network["interfaces"] == ["lo"]
    assert "done" not in (network["out"], network["host"], network["socket"], network["cgroup"])
    assert "unreachable" in network["out"]
    assert not any("DOCKER" in name or "NUMDEV" in name for name in network["environment"])

    rights = job.said(3)
    assert {rights[key].split()[0] for key in ("raw", "setuid", "chroot", "nice")} == {"PermissionError"}
    assert not {"sda", "vda", "mem", "kmsg", "kvm"} & set(rights["devices"])


@pytest.mark.parametrize("function", ["hog", "fast_hog"])
def test_too_much_memory_is_a_status_and_the_rest_goes_on(tmp_path, engine, left, function):
    job = Job(tmp_path, engine, function, "fine", memory="512MiB")
    began = time.monotonic()
    job.run()
    assert time.monotonic() - began < 40
    assert [result.status for result in job.results()] == ["oom", "ok"]


def test_processes_are_limited(tmp_path, engine, left):
    job = Job(tmp_path, engine, "forks", "fine", pids=32)
    assert job.run().status == "ok"
    count, reason = job.said(0)
    assert count < 32
    assert "unavailable" in reason
    assert job.said(1) == "fine"


@pytest.mark.parametrize("rung", ["", pytest.param(cpu.CPUID, marks=pytest.mark.faulting), cpu.REWRITE])
def test_a_fork_bomb_ends(tmp_path, engine, left, rung):
    """It cannot grow beyond the limit, every process of it is traced, and all of it ends with its cell."""
    job = Job(tmp_path, engine, "bomb", "fine", memory="4GiB", pids=64, timeout="4s", rung=rung)
    job.run()
    found = [result.status for result in job.results()]
    assert found[0] == "timeout", job.results()
    assert found[1] in ("ok", "unrealised"), job.results()


def test_a_hang_ends_in_time(tmp_path, engine, left):
    job = Job(tmp_path, engine, "hang", "fine", timeout="2s")
    assert job.run().status == "ok"
    assert [result.status for result in job.results()] == ["timeout", "ok"]


def test_a_cell_cannot_end_its_container_unseen(tmp_path, engine, left):
    """PID 1 ignores what comes from inside, so the cell goes on until its time is over."""
    job = Job(tmp_path, engine, "kill_all", "fine", timeout="3s")
    job.run()
    assert [result.status for result in job.results()] == ["timeout", "ok"]


def test_stop_removes_what_runs(tmp_path, real_cache):
    engine = open_engine("docker", real_cache)
    job = Job(tmp_path, engine, "hang", timeout="90s")
    endings = []
    thread = threading.Thread(target=lambda: endings.append(job.run()))
    thread.start()

    def running():
        return engine.client.containers.list(all=True, filters={"label": f"org.numdev.run={engine.run_id}"})

    deadline = time.monotonic() + 30
    while not (job.out / "events.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(running()) == 1
    engine.stop()
    thread.join(30)
    assert [ending.status for ending in endings] == ["lost"]
    assert running() == []
    engine.stop()
    assert job.run().status == "lost", "nothing starts after a stop"
    assert running() == []
    engine.client.close()


def test_what_poll_raises_removes_the_container(tmp_path, engine, left):
    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        engine.run(Job(tmp_path, engine, "hang").launch, full)
    assert left() == []


def test_an_image_that_is_gone(tmp_path, engine, left):
    job = Job(tmp_path, engine, "fine")
    environment = job.launch.environment.__class__("sha256:" + "0" * 64, "d")
    job.launch = Launch(environment, job.job, job.out, False, job.launch.limits, "test")
    ending = job.run()
    assert ending.status == "lost"
    assert "No such image" in ending.reason


def test_a_job_that_cannot_even_begin_says_why(tmp_path, engine, left):
    job = Job(tmp_path, engine, "fine")
    (job.job / "job.json").write_text("{}")
    ending = job.run()
    assert ending.status == "failed"
    assert "KeyError" in ending.reason


@pytest.mark.faulting
def test_the_whole_container_sees_the_profile(tmp_path, engine, left):
    job = Job(tmp_path, engine, "fine")
    shown = cpu.shown("x86-64-v2", cpu.host())
    (job.job / "table.txt").write_text(shown.table.text())
    job.launch = Launch(job.launch.environment, job.job, job.out, True, job.launch.limits, "test")
    assert job.run().status == "ok"
    assert cpu.contradictions(shown, job.results()[0].realised) == []
