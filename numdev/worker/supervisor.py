"""Runs a job's cells one after the other, watches each, and says what became of it.

    python -m numdev_worker.supervisor JOB OUT

The first replicate of a cell is forked from a process that has imported the framework (zygote.py); later ones and programs
start from a new interpreter, so that what differs between two processes (addresses above all) differs between replicates.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Dict, List, Optional, Tuple

from .formats import BACKENDS, THREAD_VARIABLES
from .job import Job, write_result

_TICK = 0.05
# Importing a framework from a cold disk may take long; a hang must still end.
_IMPORT_TIMEOUT = 300.0

Outcome = Tuple[str, str]


class Supervisor:
    """The cells of one job, each run to its end and recorded in `events.jsonl`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.zygotes: Dict[str, Zygote] = {}
        self.oom_kills = 0
        self.events = open(os.path.join(job.out, "events.jsonl"), "a", buffering=1, encoding="utf-8")  # noqa: SIM115

    def run(self) -> None:
        try:
            # Cells that can share a zygote one after the other: importing a framework costs more than they do.
            ordered = sorted(self.job.cells.items(), key=lambda pair: sorted(self.environment(pair[1]).items()))
            for cell_id, cell in ordered:
                self.say("start", cell_id)
                status, reason = self.one(cell_id, cell)
                if status:
                    folder = self.job.result_folder(cell_id)
                    write_result(folder, cut_short(folder, status, reason))
                self.say("end", cell_id)
        finally:
            for zygote in self.zygotes.values():
                zygote.close()

    def say(self, event: str, cell_id: str) -> None:
        self.events.write(json.dumps({"event": event, "cell": cell_id}) + "\n")

    def one(self, cell_id: str, cell: Dict[str, Any]) -> Outcome:
        """Runs one cell; ("", "") where it has written its result itself."""
        environment = self.environment(cell)
        self.oom_kills = oom_kills()
        if cell["replicate"] == 1 and cell["format"] not in ("module", "command"):
            key = json.dumps(environment, sort_keys=True)
            zygote = self.zygotes.get(key)
            if zygote is None or not zygote.usable:
                for other in self.zygotes.values():
                    other.close()
                # An emulated import takes long too: who waits longer for a cell waits as long for that.
                self.zygotes = {key: Zygote(self.job, environment, max(_IMPORT_TIMEOUT, cell["timeout"]))}
                zygote = self.zygotes[key]
            return self.judge(cell_id, cell, *zygote.run(cell_id, cell["timeout"], self.job.memory))
        return self.judge(cell_id, cell, *self.fresh(cell_id, cell, environment))

    def environment(self, cell: Dict[str, Any]) -> Dict[str, str]:
        environment = dict(os.environ)
        if BACKENDS[self.job.backend].threads_by_environment or cell["format"] in ("module", "command"):
            environment.update({name: str(cell["threads"]) for name in THREAD_VARIABLES})
        environment.update(cell["environment"])
        return environment

    def fresh(self, cell_id: str, cell: Dict[str, Any], environment: Dict[str, str]) -> Tuple[Optional[int], Outcome]:
        """Runs a cell in a new interpreter."""
        command = [*interpreter("cell", self.job.prefix), self.job.folder, self.job.out, cell_id]
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        watch = Watch(child.pid, cell["timeout"], self.job.memory)
        try:
            while True:
                # Not poll(): only the raw wait status tells a signal from an exit code in one way for all.
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    child.returncode = 0
                    return status, watch.verdict
                watch.look()
                time.sleep(watch.pause())
        finally:
            watch.end_group()

    def judge(self, cell_id: str, cell: Dict[str, Any], status: Optional[int], verdict: Outcome) -> Outcome:
        """What became of a cell, from its wait status and from what the watch did to it."""
        if verdict[0]:
            return verdict
        done = os.path.exists(os.path.join(self.job.result_folder(cell_id), "result.json"))
        if status is None:
            return "failed", "the process it was to be forked from is gone"
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number == signal.SIGKILL and oom_kills() > self.oom_kills:
                return "oom", "killed by the kernel: the container's memory limit was reached"
            name = signal.Signals(number).name if number in list(signal.Signals) else str(number)
            return f"signal:{number}", f"ended by {name}"
        if os.WEXITSTATUS(status):
            return "failed", f"the process ended with exit code {os.WEXITSTATUS(status)} and no result"
        return ("", "") if done else ("failed", "the process ended without a result")


class Watch:
    """Ends a process that takes too long or too much memory."""

    def __init__(self, pid: int, timeout: float, memory: int) -> None:
        self.pid = pid
        self.timeout = timeout
        self.memory = memory
        self.started = time.monotonic()
        self.verdict: Outcome = ("", "")

    def look(self) -> None:
        if self.verdict[0]:
            return
        if time.monotonic() - self.started > self.timeout:
            self.verdict = ("timeout", f"ran longer than {self.timeout:g} s")
        elif self.memory and (used := resident(self.pid)) > self.memory:
            self.verdict = (
                "oom",
                f"used {used >> 20} MiB of memory, more than the limit of {self.memory >> 20} MiB",
            )
        if self.verdict[0]:
            self.end_group(self.pid)

    def pause(self) -> float:
        """Seconds until the next look: short at first, so that short cells do not wait for it."""
        return min(_TICK, 0.001 + (time.monotonic() - self.started) / 10)

    def end_group(self, also: int = 0) -> None:
        """Ends what the cell started; its session is its own."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        if also:
            try:
                os.kill(also, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Zygote:
    """The supervisor's side of zygote.py."""

    def __init__(self, job: Job, environment: Dict[str, str], timeout: float = _IMPORT_TIMEOUT) -> None:
        self.process = subprocess.Popen(
            [*interpreter("zygote", job.prefix), job.folder, job.out],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.buffer = b""
        self.failure: Outcome = ("", "")
        first = self.line(timeout)
        if first is None:
            self.failure = ("timeout", f"importing {job.backend} took longer than {timeout:g} s")
        elif first != "ready":
            self.failure = self.death(f"while importing {job.backend}", first)
        if self.failure[0]:
            self.close()

    @property
    def usable(self) -> bool:
        return bool(self.failure[0]) or self.process.poll() is None

    def death(self, when: str, said: str) -> Outcome:
        if said.startswith("failed "):
            return "failed", f"{when}: {said[7:]}"
        code = self.process.wait()
        if code < 0:
            return f"signal:{-code}", f"ended by {signal.Signals(-code).name} {when}"
        return "failed", f"ended with exit code {code} {when}"

    def line(self, timeout: float) -> Optional[str]:
        """The next line it says; "" at its end, None after `timeout` seconds."""
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                return None
            piece = os.read(handle, 4096)
            if not piece:
                return ""
            self.buffer += piece
        text, _, self.buffer = self.buffer.partition(b"\n")
        return text.decode("utf-8", "replace")

    def run(self, cell_id: str, timeout: float, memory: int) -> Tuple[Optional[int], Outcome]:
        if self.failure[0]:
            return None, self.failure
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{cell_id}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return self.gone()
        first = self.line(_IMPORT_TIMEOUT) or ""
        if not first.startswith("pid "):
            return self.gone()
        watch = Watch(int(first[4:]), timeout, memory)
        try:
            while True:
                said = self.line(watch.pause())
                if said is not None:
                    return (int(said[4:]), watch.verdict) if said.startswith("end ") else self.gone(watch.verdict)
                watch.look()
        finally:
            watch.end_group()

    def gone(self, verdict: Outcome = ("", "")) -> Tuple[Optional[int], Outcome]:
        """It has closed its pipe: waited for, so that the next cell does not find it on its way out."""
        self.close()
        return None, verdict

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                if pipe:
                    pipe.close()
            except BrokenPipeError:
                pass


def cut_short(folder: str, status: str, reason: str) -> Dict[str, Any]:
    """What a cell whose process was ended leaves behind: its result, where it was ended while tapping."""
    try:
        with open(os.path.join(folder, "result.json"), encoding="utf-8") as file:
            result = json.load(file)
        result["tap"]["reason"] = f"its process was ended while tapping: {status}, {reason}"
        return result
    except (OSError, ValueError, TypeError, LookupError):
        return {"status": status, "reason": reason, "outputs": [], "realised": {}}


def interpreter(module: str, prefix: Sequence[str] = ()) -> List[str]:
    """The command that runs another module of this package with the same interpreter, by an emulator where there is one."""
    return [*prefix, sys.executable, "-S", "-B", "-m", f"{__package__}.{module}"]


def resident(pid: int) -> int:
    """Bytes of memory that a process and its descendants hold; 0 where it is gone."""
    total = 0
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            with open(f"/proc/{current}/statm") as file:
                total += int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for thread in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{thread}/children") as file:
                    waiting += [int(child) for child in file.read().split()]
        except (OSError, IndexError, ValueError):
            continue
    return total


def oom_kills() -> int:
    """How many processes the kernel has killed in this container for want of memory; 0 where it does not say."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path) as file:
                for line in file:
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        except (OSError, ValueError):
            continue
    return 0


def main(folder: str, out: str) -> None:
    # The engine stops the job by this signal: everything that runs is in sessions of its own and ended with it.
    supervisor = Supervisor(Job(folder, out))

    def stop(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    supervisor.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
