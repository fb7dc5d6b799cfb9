"""Running a plan: everything that becomes of a cell is recorded, and nothing runs twice."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from numdev import cpu, files
from numdev.engines import Ending, MemoryEngine, Played
from numdev.errors import StorageFailed
from numdev.run import execute, runfile
from numdev.run.runfile import not_run, read_run
from numdev.spec.architecture import own
from numdev.store import Store

WORKLOAD = "workloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"
SIX = "factors: {stack: [ort-1, ort-2], threads: [1, 2, 3]}\n" + WORKLOAD
TRAPPED = {"cpuid": {"traps": 9, "mismatches": []}}


def ok(*values: float, realised=None) -> Played:
    return Played({"y": np.array(values, np.float32)}, realised=realised or {})


def by_threads(**played: Played) -> MemoryEngine:
    """An engine whose cells do what is said for their number of threads, e.g. t2=..."""
    return MemoryEngine(lambda stack, cell, table: played.get(f"t{cell['threads']}", ok(1)))


def threads_and_stack(item):
    return item.cell.factors["threads"], item.cell.stack


class TestRecords:
    @pytest.mark.parametrize("status", ["failed", "timeout", "oom", "signal:6", "unsupported", "lost"])
    def test_every_status_is_recorded_and_the_rest_goes_on(self, bench, status):
        ran = bench.run(SIX, by_threads(t2=Played({"y": np.zeros(3)}, status, "because")))
        assert ran.statuses(threads_and_stack) == {
            (threads, stack): status if threads == 2 else "ok" for threads in (1, 2, 3) for stack in ("ort-1", "ort-2")
        }
        bad = [ran.store.record(item.digest) for item in ran.plan.items if item.cell.factors["threads"] == 2]
        assert [(record.reason, record.outputs) for record in bad] == [("because", [])] * 2

    def test_a_record_says_all_there_is(self, bench):
        text = SIX.replace("1, 2, 3", "2").replace("[ort-1, ort-2]", "[ort-1], profile: [haswell]")
        ran = bench.run(text, MemoryEngine(lambda *_: ok(1, 2, realised={**TRAPPED, "x": [float("nan")]})))
        record = ran.store.record(ran.plan.items[0].digest)
        assert (record.status, record.workload, record.replicate, record.reference) == ("ok", "own", 1, False)
        assert record.factors == {
            "stack": "ort-1", "profile": "haswell", "features": "own", "vendor": "own", "model": "own", "caches": "own",
            "threads": 2, "optimization": "all", "precision": "float32", "batch": "all", "silicon": "native",
            "architecture": own(),
        }  # fmt: skip
        assert record.causes.keys() == {"stack", "platform", "table", "workload", "worker"}
        assert record.environment["engine"] == "memory"
        assert record.environment["environment"] == "memory:ort-1"
        assert record.environment["profile"] == {"profile": "haswell", "simd": "AVX2", "dropped": [], "rung": "cpuid"}
        assert record.environment["platform"]["vendor"] == "GenuineIntel"
        assert record.realised == {**TRAPPED, "x": ["NaN"]}
        output = record.outputs[0]
        assert (output.name, output.dtype, output.shape) == ("y", "float32", [2])
        assert ran.store.load(output.tensor).tolist() == [1, 2]

    def test_equal_tensors_are_stored_once(self, bench):
        ran = bench.run(SIX, by_threads(t3=ok(7)))
        tensors = list((bench.folder / "store" / "tensors").rglob("*.npy"))
        assert len(tensors) == 2
        assert len({ran.store.record(item.digest).outputs[0].tensor for item in ran.plan.items}) == 2
        assert ran.store.verify() == []

    def test_what_cannot_run_is_recorded_with_the_reason(self, bench):
        bench.host = replace(bench.host, refusal="it does not want to")
        text = SIX.replace("[ort-1, ort-2]", "[ort-1, np-1], profile: [host, haswell]")
        ran = bench.run(text, by_threads())
        found = Counter(
            (item.cell.stack, item.cell.profile, ran.store.record(item.digest).status) for item in ran.plan.items
        )
        assert found == {
            ("ort-1", "host", "ok"): 3, ("ort-1", "haswell", "unsupported"): 3,
            ("np-1", "host", "unsupported"): 3, ("np-1", "haswell", "unsupported"): 3,
        }  # fmt: skip
        assert ran.run.refused == {"haswell": "it does not want to"}
        assert not ran.answer.complete

    def test_progress_is_told_of_each_cell_once(self, bench):
        ran = bench.run(SIX, by_threads(t2=Played(status="failed")))
        assert Counter(item.digest for item in ran.started) == {item.digest: 1 for item in ran.plan.items}
        assert {item.digest: record.status for item, record in ran.ended} == ran.statuses(lambda item: item.digest)

    def test_groups_run_side_by_side(self, bench):
        meeting = threading.Barrier(2, timeout=20)
        engine = MemoryEngine(lambda stack, cell, table: ok(meeting.wait() * 0))
        ran = bench.run(SIX.replace("1, 2, 3", "1"), engine, jobs=2)
        assert set(ran.statuses().values()) == {"ok"}

    def test_the_reference_runs_where_the_matrix_never_shows_the_real_processor(self, bench):
        text = SIX.replace("1, 2, 3", "1").replace("stack:", "profile: [haswell], stack:") + "reference: ref\n"
        ran = bench.run(text, MemoryEngine(lambda stack, cell, table: ok(1, realised=TRAPPED if table else {})))
        assert set(ran.statuses().values()) == {"ok"}
        assert [ran.store.record(item.digest).reference for item in ran.plan.items] == [False, False, True]

    def test_nothing_is_left_in_the_cache(self, bench):
        bench.run(SIX, by_threads())
        assert list((bench.cache / "jobs").iterdir()) == []


class TestUnrealised:
    TEXT = SIX.replace("1, 2, 3", "1").replace("stack: [ort-1, ort-2]", "stack: [ort-1], profile: [host, x86-64-v2]")

    @pytest.mark.parametrize(
        ("realised", "reason"),
        [
            ({}, "the CPUID table was not in force"),
            ({"cpuid": {"traps": 0, "mismatches": []}}, "the CPUID table was not in force"),
            ({"cpuid": {"traps": 3, "mismatches": ["0x7.0"]}}, "0x7.0"),
            ({**TRAPPED, "numpy_features": ["SSE2", "AVX2"]}, "numpy uses AVX2"),
            ({**TRAPPED, "torch_capability": "AVX512"}, "torch uses AVX512"),
        ],
    )
    def test_what_contradicts_the_profile(self, bench, realised, reason):
        ran = bench.run(self.TEXT, MemoryEngine(lambda *_: ok(1, realised=realised)))
        assert ran.statuses(lambda item: item.cell.profile) == {"host": "ok", "x86-64-v2": "unrealised"}
        record = ran.store.record(ran.plan.items[1].digest)
        assert reason in record.reason
        assert len(record.outputs) == 1, "what it computed is kept"

    def test_what_agrees_is_ok(self, bench):
        ran = bench.run(self.TEXT, MemoryEngine(lambda *_: ok(1, realised={**TRAPPED, "numpy_features": ["SSE2"]})))
        assert set(ran.statuses().values()) == {"ok"}

    @pytest.mark.parametrize("realised", [{"cpuid": [1]}, {"cpuid": {"traps": "x" * 10, "mismatches": 3}}, {"blas": 3}, {"blas": [3, None, {"architecture": []}]}, {"numpy_features": {"a": 1}}, {"torch_capability": [1]}])  # fmt: skip
    def test_what_makes_no_sense_is_not_believed(self, bench, realised):
        ran = bench.run(self.TEXT, MemoryEngine(lambda *_: ok(1, realised={**TRAPPED, **realised})))
        assert ran.statuses()["own ort-1 host"] in ("ok", "failed")
        assert ran.statuses()["own ort-1 x86-64-v2"] in ("ok", "failed", "unrealised")


class Ends(MemoryEngine):
    """Containers that end after `count` cells (the next has begun), with the given endings in turn."""

    def __init__(self, *endings: Ending, count: int = 1, begun: bool = True) -> None:
        super().__init__(lambda *_: ok(1))
        self.endings = list(endings)
        self.count, self.begun = count, begun

    def run(self, launch, poll):
        if not self.endings:
            return super().run(launch, poll)
        job = json.loads((launch.job / "job.json").read_text())
        kept = {**job, "cells": job["cells"][: self.count]}
        (launch.job / "job.json").write_text(json.dumps(kept))
        super().run(launch, poll)
        if self.begun and len(job["cells"]) > self.count:
            with open(launch.out / "events.jsonl", "a") as file:
                file.write(json.dumps({"event": "start", "cell": job["cells"][self.count]["id"]}) + "\n")
        return self.endings.pop(0)


class TestLost:
    ONE_GROUP = SIX.replace(", ort-2", "").replace("1, 2, 3", "1, 2, 3, 4, 5")

    def test_what_never_began_runs_in_another_job(self, bench):
        engine = Ends(Ending("oom", "the container's memory limit was reached"))
        ran = bench.run(self.ONE_GROUP, engine)
        assert list(ran.statuses().values()) == ["ok", "oom", "ok", "ok", "ok"]
        assert ran.store.record(ran.plan.items[1].digest).reason == "the container's memory limit was reached"
        assert len(engine.launches) == 2
        second = engine.launches[1].label
        assert second == engine.launches[0].label

    def test_every_container_costs_at_most_one_cell(self, bench):
        ran = bench.run(self.ONE_GROUP, Ends(*[Ending("signal:9", "killed")] * 9, count=0))
        assert set(ran.statuses().values()) == {"signal:9"}

    def test_a_container_that_does_not_even_begin_is_not_tried_for_ever(self, bench):
        engine = Ends(*[Ending("failed", "no such image")] * 50, count=0, begun=False)
        ran = bench.run(self.ONE_GROUP, engine)
        assert set(ran.statuses().values()) == {"failed"}
        assert len(engine.launches) == 1

    def test_a_job_that_ends_well_and_left_cells_out(self, bench):
        ran = bench.run(self.ONE_GROUP, Ends(Ending("ok"), count=3, begun=False))
        assert list(ran.statuses().values()) == ["ok", "ok", "ok", "lost", "lost"]

    def test_lost_cells_run_again_the_next_time(self, bench):
        ran = bench.run(self.ONE_GROUP, Ends(Ending("ok"), count=3, begun=False))
        again = bench.run(self.ONE_GROUP, by_threads(), Store.open(bench.folder / "store"))
        assert [item.cell.factors["threads"] for item in again.started] == [4, 5]
        assert set(again.statuses().values()) == {"ok"}
        assert ran.run.cells == again.run.cells

    def test_results_count_and_not_what_is_said_of_them(self, bench):
        """A result that no event announces is read at the end of the job; an end without a result is a failure."""

        class Mute(MemoryEngine):
            def run(self, launch, poll):
                first = json.loads((launch.job / "job.json").read_text())["cells"][0]["id"]
                ending = super().run(launch, lambda: None)
                (launch.out / "events.jsonl").write_bytes(
                    b'{"event": "start", "cell": 3}\n[]\nnonsense\n{"event": "end", "cell": "unknown"}\n'
                    + b"[" * 100_000 + b'\n{"event": "end"}\n'
                    + json.dumps({"event": "end", "cell": first}).encode() + b"\n" + b'{"event": "end", "cell": "cut'
                )  # fmt: skip
                (launch.out / first / "result.json").unlink()
                return ending

        ran = bench.run(self.ONE_GROUP, Mute(lambda *_: ok(1)))
        assert list(ran.statuses().values()) == ["failed", "ok", "ok", "ok", "ok"]

    @pytest.mark.parametrize("kind", ["link", "fifo", "folder", "unreadable"])
    def test_events_that_are_no_file(self, bench, kind, monkeypatch):
        class Hostile(MemoryEngine):
            def run(self, launch, poll):
                ending = super().run(launch, lambda: None)
                events = launch.out / "events.jsonl"
                if kind != "unreadable":
                    events.unlink()
                {
                    "link": lambda: events.symlink_to("/etc/passwd"),
                    "fifo": lambda: os.mkfifo(events),
                    "folder": events.mkdir,
                    "unreadable": lambda: None,
                }[kind]()
                poll()
                return ending

        if kind == "unreadable":

            def refused(path, *_):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))

            monkeypatch.setattr(execute, "open", refused, raising=False)
        ran = bench.run(self.ONE_GROUP, Hostile(lambda *_: ok(1)))
        assert set(ran.statuses().values()) == {"ok"}


class TestResume:
    def test_nothing_runs_twice(self, bench):
        first, second = by_threads(t2=Played(status="failed")), by_threads()
        bench.run(SIX, first)
        again = bench.run(SIX, second, Store.open(bench.folder / "store"))
        assert (len(first.launches), second.launches, again.started) == (2, [], [])
        assert Counter(again.statuses().values()) == {"ok": 4, "failed": 2}

    def test_failed_cells_run_again_where_that_is_asked_for(self, bench):
        bench.run(SIX, by_threads(t2=Played(status="failed")))
        again = bench.run(SIX, by_threads(), Store.open(bench.folder / "store"), retry=True)
        assert {item.cell.factors["threads"] for item in again.started} == {2}
        assert set(again.statuses().values()) == {"ok"}
        assert len(list((bench.folder / "store" / "records").rglob("*.json"))) == 8, "the failures are kept"

    def test_a_larger_matrix_runs_what_is_new(self, bench):
        bench.run(SIX, by_threads())
        again = bench.run(SIX.replace("1, 2, 3", "1, 2, 3, 4"), by_threads(), Store.open(bench.folder / "store"))
        assert [threads_and_stack(item) for item in again.started] == [(4, "ort-1"), (4, "ort-2")]


class TestStops:
    def test_a_full_disk_stops_everything_and_is_told(self, bench, monkeypatch):
        store = bench.store()
        put, kept = Store.put, []

        def full(self, record):
            if len(kept) == 2:
                with files.storage_errors(self.folder):
                    raise OSError(errno.ENOSPC, "No space left on device")
            kept.append(record.digest)
            put(self, record)

        monkeypatch.setattr(Store, "put", full)
        engine = by_threads()
        with pytest.raises(StorageFailed, match="disk is full"):
            bench.run(SIX, engine, store)
        assert engine.stopped
        assert list((bench.cache / "jobs").iterdir()) == []
        monkeypatch.setattr(Store, "put", put)
        again = bench.run(SIX, by_threads(), Store.open(bench.folder / "store"))
        assert len(again.plan.stored) == 2
        assert set(again.statuses().values()) == {"ok"}
        assert again.store.verify() == []

    def test_ctrl_c_stops_everything_and_what_was_finished_is_kept(self, bench, monkeypatch):
        finished = threading.Event()

        class Slow(MemoryEngine):
            def run(self, launch, poll):
                def poll_and_wait():
                    poll()
                    finished.set()
                    assert waiting.wait(20)

                return super().run(launch, poll_and_wait)

            def stop(self):
                super().stop()
                waiting.set()

        waiting = threading.Event()

        def interrupted(*_, **__):
            assert finished.wait(20)
            raise KeyboardInterrupt

        monkeypatch.setattr(execute, "wait", interrupted)
        engine = Slow(lambda *_: ok(1))
        with pytest.raises(KeyboardInterrupt):
            bench.run(SIX, engine)
        assert engine.stopped
        assert list((bench.cache / "jobs").iterdir()) == []
        monkeypatch.undo()
        monkeypatch.setattr("numdev.cpu.host", lambda: bench.host)
        store = Store.open(bench.folder / "store")
        assert {record.status for record in store.records()} == {"ok"}
        again = bench.run(SIX, by_threads(), store)
        assert len(again.plan.stored) == 1
        assert set(again.statuses().values()) == {"ok"}

    def test_an_engine_that_breaks_is_not_hidden(self, bench):
        def broken(*_):
            raise RuntimeError("a mistake of ours")

        engine = MemoryEngine(broken)
        with pytest.raises(RuntimeError, match="a mistake of ours"):
            bench.run(SIX, engine)
        assert engine.stopped


class TestRunFile:
    def test_it_comes_back_from_the_store(self, bench):
        ran = bench.run(SIX + "baseline: {stack: ort-2}\n", by_threads())
        ran.store.write_run("m", ran.run.model_dump(mode="json"))
        found = read_run(Store.open(bench.folder / "store"), "m")
        assert found == ran.run
        assert list(found.factors) == list(ran.run.factors) == ["stack", "profile", "threads"]
        assert found.baseline == {"stack": "ort-2", "profile": "host", "threads": "1"}
        assert not_run(found, ran.store) == 0
        assert not_run(found, bench.store("empty")) == 6

    def test_levels_stand_in_the_order_of_the_matrix(self, bench):
        ran = bench.run(SIX.replace("1, 2, 3", "3, 1").replace("ort-1, ort-2", "ort-2, ort-1"), by_threads())
        assert ran.run.factors == {"stack": ["ort-2", "ort-1"], "profile": ["host"], "threads": ["3", "1"]}


def test_levels_that_come_to_the_same_thing_are_run_once_and_answered_apart(bench):
    """A capture of a processor beside the catalogue's own entry: one table, one record, two levels."""
    text = "factors: {stack: [ort-1], profile: [haswell, same.json]}\nworkloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"
    profile = cpu.load("haswell")
    found = cpu.find

    def find(name, folder):
        return profile if name == "same.json" else found(name, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("numdev.cpu.table.find", find)
        ran = bench.run(text, MemoryEngine(lambda *_: ok(1, 2, realised=TRAPPED)))
    assert sum(len(group.items) for group in ran.plan.groups) == 1
    assert len(list(ran.store.records())) == 1
    assert len(ran.run.cells) == 2
    answer = runfile.answer_of(ran.run, ran.store)
    assert [one.cell_count for one in answer.workloads] == [2]
