"""The plan: names, what is stored, what cannot run, what runs together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from numdev import cpu
from numdev.engines import MemoryEngine, Played
from numdev.run import plan
from numdev.store import Record

ONE = "factors: {stack: [ort-1]}\nworkloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"
TWO = (
    "factors: {stack: [ort-1, ort-2], profile: [host, haswell], threads: [1, 2]}\n"
    "workloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"
)


def planned(bench, text, store=None, **options):
    resolved = bench.resolve(text)
    made = bench.environments(resolved, MemoryEngine(lambda *_: Played()))
    return plan.make_plan(resolved, made, store, **options)


def digest(bench, text=ONE) -> str:
    items = planned(bench, text).items
    assert len(items) == 1
    return items[0].digest


def record(item, status: str) -> Record:
    return Record(record=1, digest=item.digest, workload="own", factors={}, replicate=1, status=status)


class TestDigests:
    def test_equal_causes_have_equal_names(self, bench):
        assert digest(bench) == digest(bench)
        assert digest(bench) == digest(bench, ONE.replace("own", "renamed")), "a name is no cause"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("stack: [ort-1]", "stack: [ort-2]"),
            ("stack: [ort-1]", "stack: [ort-1], profile: [haswell]"),
            ("stack: [ort-1]", "stack: [ort-1], threads: [2]"),
            ("stack: [ort-1]", 'stack: [ort-1], optimization: ["off"]'),
            ("stack: [ort-1]", "stack: [ort-1], batch: [1]"),
            ("stack: [ort-1]", 'stack: [ort-1], session.x: ["1"]'),
            ("stack: [ort-1]", 'stack: [ort-1], env.X: ["1"]'),
        ],
    )
    def test_every_factor_is_a_cause(self, bench, old, new):
        assert digest(bench, ONE.replace(old, new)) != digest(bench)

    def test_so_are_model_inputs_worker_platform_and_table(self, bench, monkeypatch):
        seen = {digest(bench)}
        (bench.folder / "model.onnx").write_bytes(b"another model")
        seen.add(digest(bench))
        np.savez(bench.folder / "x.npz", x=np.zeros((6, 1), np.float32))
        seen.add(digest(bench))
        bench.host = replace(bench.host, leaves={**bench.host.leaves, (1, 0): (0x306C3, *[0xFFFFFFFF] * 3)})
        seen.add(digest(bench))
        monkeypatch.setattr("numdev.run.resolve.WORKER", bench.images)
        seen.add(digest(bench))
        assert len(seen) == 5

    def test_a_profiles_table_is_a_cause_and_not_its_name(self, bench, monkeypatch):
        text = ONE.replace("[ort-1]", "[ort-1], profile: [haswell]")
        first = digest(bench, text)
        monkeypatch.setattr(cpu.load("haswell").__class__, "signature", 0x12345)
        assert digest(bench, text) != first

    def test_repeats_have_names_of_their_own(self, bench):
        items = planned(bench, ONE + "repeats: 3\n").items
        assert [item.replicate for item in items] == [1, 2, 3]
        assert len({item.digest for item in items}) == 3
        assert items[0].digest == digest(bench)

    def test_the_digest_of_a_plan(self, bench):
        assert plan.plan_digest(planned(bench, TWO)) == plan.plan_digest(planned(bench, TWO))
        assert plan.plan_digest(planned(bench, TWO)) != plan.plan_digest(planned(bench, ONE))


class TestSorting:
    def test_one_group_for_a_stack_and_profile(self, bench):
        found = planned(bench, TWO + "repeats: 2\n")
        assert [(group.stack, group.profile, len(group.items)) for group in found.groups] == [
            ("ort-1", "host", 4), ("ort-1", "haswell", 4), ("ort-2", "host", 4), ("ort-2", "haswell", 4),
        ]  # fmt: skip
        assert sorted(item.digest for group in found.groups for item in group.items) == sorted(
            item.digest for item in found.items
        )

    def test_select(self, bench):
        found = planned(bench, TWO, select=lambda cell: cell.profile == "host" and cell.factors["threads"] == 2)
        assert [(item.cell.stack, item.cell.profile) for item in found.items] == [("ort-1", "host"), ("ort-2", "host")]

    @pytest.mark.parametrize(
        ("status", "retry", "again"),
        [
            ("ok", False, False), ("ok", True, False), ("failed", False, False), ("failed", True, True),
            ("timeout", True, True), ("lost", False, True), ("lost", True, True), ("unrealised", False, False),
            ("unsupported", False, False),
        ],
    )  # fmt: skip
    def test_what_is_stored_does_not_run_again(self, bench, status, retry, again):
        store = bench.store()
        store.put(record(planned(bench, ONE).items[0], status))
        found = planned(bench, ONE, store, retry=retry)
        assert bool(found.groups) is again
        assert (found.items[0].digest in found.stored) is not again

    def test_profiles_that_cannot_be_shown(self, bench):
        bench.host = replace(bench.host, refusal="it does not want to")
        found = planned(bench, TWO)
        assert Counter(item.cell.profile for item in found.refused) == {"haswell": 4}
        assert {item.refusal for item in found.refused} == {
            "this host cannot show the profile haswell: it does not want to"
        }
        assert [group.profile for group in found.groups] == ["host", "host"]

    def test_a_refused_cell_has_another_name_where_it_can_be_shown(self, bench):
        shown = {item.digest for item in planned(bench, TWO).items}
        bench.host = replace(bench.host, refusal="it does not want to")
        assert not shown & {item.digest for item in planned(bench, TWO).refused}


class TestReference:
    def test_once_for_each_workload_and_batch(self, bench):
        text = TWO.replace("threads: [1, 2]", "batch: [all, 2]").replace(
            "workloads: [", "workloads: [{name: mine, module: 'mine.py:function'}, "
        )
        found = planned(bench, text + "reference: ref\nrepeats: 2\n")
        references = [item for item in found.items if item.reference]
        assert [(item.cell.workload, item.cell.factors["batch"], item.replicate) for item in references] == [
            ("own", "all", 1), ("own", 2, 1),
        ]  # fmt: skip
        assert all(item.cell.stack == "ref" and item.cell.profile == "host" for item in references)
        assert all(item.cell.factors["precision"] == "float64" and not item.refusal for item in references)

    def test_it_follows_what_is_selected(self, bench):
        text = TWO.replace("threads: [1, 2]", "batch: [all, 2]") + "reference: ref\n"
        found = planned(bench, text, select=lambda cell: cell.factors["batch"] == 2)
        assert [item.cell.factors["batch"] for item in found.items if item.reference] == [2]

    def test_it_is_run_where_no_profile_can_be_shown(self, bench):
        bench.host = replace(bench.host, refusal="it does not want to")
        found = planned(bench, TWO.replace("[host, haswell]", "[haswell]") + "reference: ref\n")
        assert [item.reference for group in found.groups for item in group.items] == [True]
        assert len(found.refused) == 4


class TestUnsupported:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (ONE.replace("ort-1", "np-1"), "numpy runs net; own is there as onnx"),
            (ONE.replace("[ort-1]", "[ort-1], precision: [float64]"), "onnxruntime has no precision 'float64'; it has float32"),
            (ONE.replace("model.onnx", "x.npz").replace("ort-1", "np-1").replace("inputs", "format: net, inputs").replace("]}", '], optimization: ["off"]}'), "numpy has no optimization 'off'; it has all"),
            (ONE.replace("model.onnx", "x.npz").replace("ort-1", "np-1").replace("inputs", "format: net, inputs").replace("]}", '], session.a: ["1"]}'), "numpy has no session entries"),
            ("factors: {stack: [ort-1], precision: [float64]}\nworkloads: [{name: m, module: 'mine.py:function'}]\n", "a program of your own computes in its own way"),
            ("factors: {stack: [ort-1], optimization: [basic]}\nworkloads: [{name: m, command: [a]}]\n", "a program of your own computes in its own way"),
            ("factors: {stack: [ort-1], session.a: [b]}\nworkloads: [{name: m, command: [a]}]\n", "a program of your own computes in its own way"),
        ],
    )  # fmt: skip
    def test_what_a_stack_cannot_do_is_refused_with_the_reason(self, bench, text, reason):
        found = planned(bench, text)
        assert len(found.refused) == 1
        assert reason in found.refused[0].refusal
        assert found.groups == []

    @pytest.mark.parametrize(
        ("text", "format"),
        [
            (ONE, "onnx"),
            (ONE.replace("[ort-1]", '[ort-1], optimization: [basic], session.a: ["1"]'), "onnx"),
            (ONE.replace("model.onnx", "x.npz").replace("ort-1", "np-1").replace("inputs", "format: net, inputs").replace("]}", "], precision: [float64]}"), "net"),
            ("factors: {stack: [np-1], threads: [2], batch: [3]}\nworkloads: [{name: m, module: 'mine.py:function', inputs: x.npz}]\n", "module"),
            ("factors: {stack: [ort-1], env.A: [b]}\nworkloads: [{name: m, command: [a]}]\n", "command"),
        ],
    )  # fmt: skip
    def test_what_it_can_do_runs(self, bench, text, format):
        found = planned(bench, text)
        assert [item.format for group in found.groups for item in group.items] == [format]

    def test_the_record_of_a_refusal(self, bench):
        item = planned(bench, ONE.replace("ort-1", "np-1")).refused[0]
        made = plan.refusal_record(item, {"platform": {}})
        assert (made.status, made.reason, made.digest) == ("unsupported", item.refusal, item.digest)
