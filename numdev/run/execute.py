"""Running a plan: groups of cells in parallel, each result stored as soon as it is there."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numdev import cpu, files
from numdev.engines import Ending, Engine, Environment, Launch, Limits
from numdev.engines.outputs import CellResult, read_result
from numdev.run.jobfolder import write_job
from numdev.run.plan import Group, Item, Plan, refusal_record
from numdev.run.resolve import Resolved
from numdev.spec.cell import NATIVE
from numdev.spec.quantities import memory
from numdev.stacks import cpuid_sites, realised
from numdev.store import Output, Record, Store
from numdev.store.record import SCHEMA

_EVENTS_LIMIT = 64 << 20
_REASON_LIMIT = 4000


@dataclass(frozen=True)
class Progress:
    """Told of everything as it happens; the defaults do nothing."""

    started: Callable[[Item], None] = lambda item: None
    ended: Callable[[Item, Record], None] = lambda item, record: None
    said: Callable[[str], None] = lambda line: None


class Execution:
    """One run of a plan on an engine into a store."""

    def __init__(
        self,
        resolved: Resolved,
        engine: Engine,
        environments: Mapping[str, Environment],
        store: Store,
        cache: Path,
        progress: Progress,
    ) -> None:
        self.resolved = resolved
        self.engine = engine
        self.engine_facts = engine.facts()
        self.environments = environments
        self.store = store
        self.cache = cache
        self.progress = progress
        self.sites: dict[str, tuple[str, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def run(self, plan: Plan, jobs: int) -> None:
        """Runs everything in the plan, `jobs` groups at a time.

        Whatever interrupts it (Ctrl-C, a full disk), the engine's containers are gone when it returns or raises.
        """
        for group in plan.groups:
            # An emulator that this engine cannot use is found out before anything is recorded.
            self._prefix(group)
        for item in plan.refused:
            self._keep(item, refusal_record(item, {"platform": self.resolved.host.facts()}))
        self._find_cpuid(plan)
        pool = ThreadPoolExecutor(max(1, jobs), thread_name_prefix="numdev")
        try:
            futures = [pool.submit(self._group, group) for group in plan.groups]
            # Woken now and then, because a wait without an end does not notice Ctrl-C on all systems.
            while not wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION).done >= set(futures):
                if any(future.done() and future.exception() for future in futures):
                    break
            for future in futures:
                if future.done():
                    future.result()
        finally:
            self._stopped.set()
            self.engine.stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def _find_cpuid(self, plan: Plan) -> None:
        """Finds the CPUID instructions of every stack that is run under a profile by rewriting them."""
        for group in plan.groups:
            if self._shown(group).rung == cpu.REWRITE and group.stack not in self.sites:
                environment = self.environments[group.stack]
                stack, say = self.resolved.stacks[group.stack], self.progress.said
                sites, facts = cpuid_sites(stack, environment.site, self.cache, say, based=environment.based)
                self.sites[group.stack] = (sites.text(), facts)

    def _shown(self, group: Group) -> cpu.Shown:
        shown = self.resolved.shown(group.items[0].cell)
        assert shown is not None, "what was refused is in no group"
        return shown

    def _prefix(self, group: Group) -> list[str]:
        """The words before every program of a group that computes: the emulator, where the engine has it."""
        shown = self._shown(group)
        if not isinstance(shown, (cpu.Emulated, cpu.Foreign)):
            return []
        return [self.engine.emulator(shown.emulator.path, shown.emulator.static), "-cpu", shown.argument]

    def _group(self, group: Group) -> None:
        """Runs a group's cells; where its container ends early, what is left runs in another one."""
        left = list(group.items)
        while left and not self._stopped.is_set():
            before = len(left)
            left = self._job(group, left)
            if len(left) == before:
                break

    def _job(self, group: Group, items: list[Item]) -> list[Item]:
        """Runs one job; returns the cells it never came to."""
        jobs = self.cache / "jobs"
        with files.storage_errors(jobs):
            jobs.mkdir(parents=True, exist_ok=True)
            temporary = tempfile.TemporaryDirectory(dir=jobs, prefix="job-", ignore_cleanup_errors=True)
        with temporary as name:
            job, out = Path(name) / "job", Path(name) / "out"
            job.mkdir()
            out.mkdir()
            prefix = self._prefix(group)
            write_job(job, self.resolved, items, link=self.engine.name == "docker", prefix=prefix)
            follow = _Follower(out, {item.digest: item for item in items}, self.progress.started, self._finish)
            limits = self.resolved.matrix.limits
            shown = self._shown(group)
            if shown.rung == cpu.REWRITE:
                files.write_bytes(job / "sites.txt", self.sites[group.stack][0].encode("utf-8", "surrogateescape"))
            launch = Launch(
                environment=self.environments[group.stack],
                job=job,
                out=out,
                profiled=shown.table is not None,
                limits=Limits(memory(limits.memory), limits.pids, limits.cpus),
                label=f"{group.stack} {group.profile}" + (f" {group.silicon}" if group.silicon != NATIVE else ""),
                rewritten=shown.rung == cpu.REWRITE,
                variables=dict(shown.settings) if isinstance(shown, cpu.Knobbed) else {},
                emulator=shown.emulator.path if isinstance(shown, (cpu.Emulated, cpu.Foreign)) else "",
                # The supervisor is its base system's, too, and so for the other architecture.
                prefix=tuple(prefix) if isinstance(shown, cpu.Foreign) else (),
                stand_ins=shown.system(Path(name) / "system") if isinstance(shown, cpu.Foreign) else (),
            )
            ending = self.engine.run(launch, follow.poll)
            if self._stopped.is_set():
                return []
            follow.poll()
            return self._settle(follow, out, ending)

    def _settle(self, follow: _Follower, out: Path, ending: Ending) -> list[Item]:
        """Records what a job left behind when it ended, and whose fault that was."""
        left = []
        for digest, item in follow.open.items():
            result = read_result(out, digest)
            if result is None and ending.status != "ok" and digest not in follow.started and follow.progressed:
                left.append(item)
                continue
            if result is None:
                reason = ending.reason or "the job ended without a result for it"
                result = CellResult("lost" if ending.status == "ok" else ending.status, reason)
            self._record(item, result)
        return left

    def _finish(self, item: Item, out: Path) -> None:
        result = read_result(out, item.digest)
        self._record(item, result or CellResult("failed", "the job says it is done and left no result"))

    def _record(self, item: Item, result: CellResult) -> None:
        status, reason = result.status, result.reason
        shown = self.resolved.shown(item.cell)
        assert shown is not None, "what was refused is not run"
        found = cpu.foreign.misplaced(item.cell.architecture, result.realised)
        told = item.cell.prefixed("env")
        found += cpu.contradictions(shown, result.realised, item.format == "command", told)
        found += realised.misfits(self.resolved.stacks[item.cell.software], result.realised, item.format == "command")
        if status == "ok" and found:
            status, reason = "unrealised", "; ".join(found)[:_REASON_LIMIT]
        outputs = []
        if status in ("ok", "unrealised"):
            for tensor in result.outputs:
                with self._lock:
                    name = self.store.put_tensor(tensor.data)
                outputs.append(Output(name=tensor.name, dtype=tensor.dtype, shape=list(tensor.shape), tensor=name))
        for sample in result.tap.samples if result.tap else ():
            with self._lock:
                self.store.put_tensor(sample)
        environment: dict[str, Any] = {
            **self.engine_facts,
            **self.environments[item.cell.software].facts,
            "environment": self.environments[item.cell.software].id,
            "profile": self._profile_facts(item, shown, result.realised),
            "platform": self.resolved.host.facts(),
        }
        record = Record(
            record=SCHEMA if result.tap else 2 if result.rounds else 1,
            digest=item.digest,
            workload=item.cell.workload,
            factors=dict(item.cell.factors),
            replicate=item.replicate,
            reference=item.reference,
            status=status,
            reason=reason,
            outputs=outputs,
            seconds=result.seconds,
            realised=_plain(result.realised),
            causes=item.causes,
            environment=environment,
            log="" if status == "ok" else result.log,
            rounds=list(result.rounds),
            tap=result.tap.tap if result.tap else None,
        )
        self._keep(item, record)

    def _profile_facts(self, item: Item, shown: cpu.Shown, found: Mapping[str, Any]) -> dict[str, Any]:
        facts = shown.facts()
        if isinstance(shown, cpu.Knobbed):
            facts["knobs"] = cpu.obedience(shown, found)
        if item.cell.profile in self.resolved.paired:
            # To be compared with the emulated side, the native one has its caches and lacks what it lacks.
            facts["paired"] = True
        if shown.rung == cpu.REWRITE:
            facts["rewriting"] = self.sites[item.cell.software][1]
        return facts

    def _keep(self, item: Item, record: Record) -> None:
        with self._lock:
            self.store.put(record)
        self.progress.ended(item, record)


class _Follower:
    """Follows a job's events.jsonl. Lines that are no events are passed over: results are what counts."""

    def __init__(
        self,
        out: Path,
        items: dict[str, Item],
        on_start: Callable[[Item], None],
        on_end: Callable[[Item, Path], None],
    ) -> None:
        self.out = out
        self.open = dict(items)
        self.started: set[str] = set()
        self.progressed = False
        self._on_start = on_start
        self._on_end = on_end
        self._offset = 0
        self._rest = b""

    def poll(self) -> None:
        path = self.out / "events.jsonl"
        if path.is_symlink() or not path.is_file():
            return
        try:
            with open(path, "rb") as file:
                file.seek(self._offset)
                data = file.read(1 << 20)
        except OSError:
            # The cell's own doing: it may change what is its user's.
            return
        self._offset += len(data)
        if self._offset > _EVENTS_LIMIT:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._event(line)

    def _event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, digest = event["event"], event["cell"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if not isinstance(digest, str) or digest not in self.open:
            return
        if kind == "start" and digest not in self.started:
            self.started.add(digest)
            self.progressed = True
            self._on_start(self.open[digest])
        elif kind == "end":
            self._on_end(self.open.pop(digest), self.out)


def _plain(value: Any) -> dict[str, Any]:
    """What a worker says it read back, without NaN and the like, which are no JSON."""
    text = json.dumps(value, allow_nan=True)
    return json.loads(text, parse_constant=lambda name: name)
