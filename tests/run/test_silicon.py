"""The lower rungs and the factor `silicon` through resolve, plan, run and answer, with made-up hosts and emulators."""

from __future__ import annotations

import json

import numpy as np
import pytest

from numdev import cpu
from numdev.cpu import emulated
from numdev.cpu.emulated import Emulator
from numdev.cpu.features import FEATURES
from numdev.engines import MemoryEngine, Played
from numdev.errors import EngineUnavailable
from numdev.run import plan, told

WORKLOADS = "workloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"
BOTH = "enforce: best\nfactors: {stack: [ort-1], profile: [haswell], silicon: [native, emulated]}\n" + WORKLOADS
FAKE = Emulator("/nowhere/qemu", "qemu-x86_64 version 0 (a test's)", "0" * 64, True)
AVX2 = frozenset(name for name in FEATURES if "512" not in name and name != "rtm")
TRAPPED = {"cpuid": {"traps": 9, "mismatches": []}}


def leaves_of(profile: cpu.Profile) -> dict:
    """CPUID of a processor that is exactly that."""
    table = cpu.table.build(profile, cpu.Host(dict.fromkeys(CPUID, (4294967295,) * 4), ""))
    return {key: table.answer(*key, lambda leaf, subleaf: (0, 0, 0, 0)) for key in CPUID}


CPUID = [(leaf, subleaf) for leaf in (*range(0x25), *range(0x80000000, 0x8000001F)) for subleaf in range(8)]


@pytest.fixture
def qemu(monkeypatch):
    """A QEMU with all but AVX-512 and transactions; it is whatever it is told to be."""
    monkeypatch.setattr(emulated, "find", lambda: (FAKE, ""))
    monkeypatch.setattr(emulated, "features", lambda emulator: AVX2)
    monkeypatch.setattr(emulated, "names", lambda emulator: {name: name for name in AVX2})
    monkeypatch.setattr(emulated, "processor", lambda emulator, argument: cpu.Host(leaves_of(cpu.load("haswell")), ""))


def identity(name: str, without: str = "rtm") -> list:
    profile = cpu.load(name)
    kept = [feature for feature in profile.features if feature != without]
    leaves = leaves_of(profile.model_copy(update={"features": kept}))
    return [
        [*key, *leaves[key]] for key in ((0, 0), (1, 0), (7, 0), (7, 1), (0xD, 1), (0x80000000, 0), (0x80000001, 0))
    ]


def player(native: float = 1, other: float = 1, **realised):
    """Cells that do as their profile says; those without a table are emulated."""

    def play(stack, cell, table):
        found = dict(TRAPPED) if table else {"identity": identity("haswell")}
        y = np.array([native if table else other], np.float32)
        return Played({"y": y}, realised={**found, "numpy_dispatch": ["X86_V3"], **realised})

    return play


class Watched(MemoryEngine):
    """Keeps what each job was told."""

    def __init__(self, play) -> None:
        super().__init__(play)
        self.jobs = []

    def run(self, launch, poll):
        self.jobs.append(json.loads((launch.job / "job.json").read_text()))
        return super().run(launch, poll)


@pytest.mark.usefixtures("qemu")
class TestSilicon:
    def test_each_side_is_a_job_of_its_own(self, bench):
        engine = Watched(player())
        ran = bench.run(BOTH, engine)
        assert set(ran.statuses().values()) == {"ok"}
        (native, other), (first, second) = engine.launches, engine.jobs
        assert (native.profiled, native.emulator, first["prefix"]) == (True, "", [])
        assert (other.profiled, other.emulator) == (False, FAKE.path)
        assert second["prefix"][:2] == [FAKE.path, "-cpu"]
        assert "+avx2" in second["prefix"][2]
        assert "+rtm" not in second["prefix"][2]
        assert other.label.endswith("emulated")

    def test_the_records_say_how(self, bench):
        ran = bench.run(BOTH, MemoryEngine(player()))
        by = {record.factors["silicon"]: record.environment["profile"] for record in ran.store.records()}
        assert (by["native"]["rung"], by["emulated"]["rung"]) == ("cpuid", "emulate")
        assert by["native"]["paired"] is by["emulated"]["paired"] is True
        assert "rtm" in by["native"]["dropped"]
        assert by["native"]["dropped"] == by["emulated"]["dropped"]
        assert by["emulated"]["emulator"] == FAKE.version

    def test_one_side_alone_is_not_changed_for_another(self, bench):
        alone = bench.resolve(BOTH.replace("native, emulated", "native"))
        assert alone.profiles["haswell"].dropped == ()
        assert alone.emulated == {}
        emulated_only = bench.resolve(BOTH.replace("native, emulated", "emulated"))
        assert set(emulated_only.profiles) == set()
        assert not emulated_only.emulated["haswell"].paired

    def test_the_answer_says_which_outputs_lean(self, bench):
        ran = bench.run(BOTH, MemoryEngine(player(1, 2)))
        found = ran.answer
        texts = [one.text for one in found.workloads[0].sentences if one.about == "silicon"]
        assert any("y leans on instructions that processors approximate differently" in text for text in texts)
        assert any(line.startswith("Emulated by qemu-x86_64 version 0") for line in found.short)

    def test_it_is_not_called_silicon_where_the_dispatch_differs(self, bench):
        def play(stack, cell, table):
            played = player(1, 2)(stack, cell, table)
            played.realised["numpy_dispatch"] = ["X86_V3"] if table else []
            return played

        texts = [one.text for one in bench.run(BOTH, MemoryEngine(play)).answer.workloads[0].sentences]
        assert any("not silicon alone in 1 pair" in text and "numpy X86_V3 | its baseline" in text for text in texts)
        assert not any("leans" in text for text in texts)

    def test_another_processor_than_was_asked_for_does_not_count(self, bench):
        ran = bench.run(BOTH, MemoryEngine(player(identity=identity("haswell", without="avx2"))))
        by = {record.factors["silicon"]: record for record in ran.store.records()}
        assert (by["native"].status, by["emulated"].status) == ("ok", "unrealised")
        assert "no avx2" in by["emulated"].reason

    def test_the_real_processor_is_not_emulated(self, bench):
        ran = bench.run(BOTH.replace("profile: [haswell]", "profile: [host, haswell]"), MemoryEngine(player()))
        refused = ran.plan.refused
        assert [(item.cell.profile, item.cell.factors["silicon"]) for item in refused] == [("host", "emulated")]
        assert "name a profile" in refused[0].refusal
        assert ran.resolved.refused == {}, "host itself is shown"

    def test_what_qemu_lacks_runs_on_the_other_side_only(self, bench):
        ran = bench.run(BOTH.replace("haswell", "skylake-sp"), MemoryEngine(player()))
        statuses = {record.factors["silicon"]: record for record in ran.store.records()}
        assert statuses["native"].status == "ok"
        assert statuses["emulated"].status == "unsupported"
        assert "version 0 has no avx512bw" in statuses["emulated"].reason
        assert ran.resolved.refused == {}
        texts = [one.text for one in ran.answer.workloads[0].sentences]
        assert any("cannot emulate the profile skylake-sp" in text for text in texts)

    def test_a_host_that_can_only_emulate_has_nothing_to_compare_with(self, bench):
        bench.host = cpu.Host({(0, 0): (1, 0, 0, 0)}, "")
        resolved = bench.resolve(BOTH)
        assert "haswell" in resolved.emulated
        assert "no native side" in resolved.refusals["haswell", "native"]
        assert resolved.refused == {}

    def test_an_emulator_that_the_engine_cannot_use_stops_before_anything_is_recorded(self, bench):
        class Picky(MemoryEngine):
            def emulator(self, path, static):
                raise EngineUnavailable("The emulator cannot run in a container.", "it is linked dynamically")

        with pytest.raises(EngineUnavailable):
            bench.run(BOTH, Picky(player()))
        assert list(bench.store().records()) == []


@pytest.mark.usefixtures("qemu")
class TestEmulate:
    TEXT = BOTH.replace("best", "emulate").replace(", silicon: [native, emulated]", "")

    def test_every_profile_is_emulated(self, bench):
        engine = Watched(player())
        ran = bench.run(self.TEXT, engine)
        assert set(ran.statuses().values()) == {"ok"}
        assert engine.jobs[0]["prefix"][0] == FAKE.path
        record = next(iter(ran.store.records()))
        assert record.environment["profile"]["rung"] == "emulate"
        assert record.factors["silicon"] == "native", "as the matrix says; the rung is what it is"

    def test_it_is_told_before_and_after(self, bench):
        ran = bench.run(self.TEXT, MemoryEngine(player()))
        (before,) = told.rungs(ran.resolved)
        assert before.startswith("Emulated by qemu-x86_64 version 0")
        assert "times slower" in before
        assert "haswell" in before
        assert any("Emulated by" in line and "haswell" in line for line in ran.answer.short)


class TestKnobs:
    TEXT = (
        "enforce: knobs\nfactors: {stack: [np-1], profile: [host, haswell]}\n"
        "workloads: [{name: own, module: 'mine.py:function', inputs: x.npz}]\n"
    )

    def run(self, bench, **realised):
        found = {"versions": {"numpy": "2.4.6"}, "numpy_dispatch": ["X86_V3"], **realised}
        return bench.run(self.TEXT, MemoryEngine(lambda *_: Played({"y": np.zeros(1)}, realised=found)))

    def by_profile(self, ran):
        return {record.factors["profile"]: record for record in ran.store.records()}

    def test_who_obeyed_is_recorded_and_told(self, bench):
        ran = self.run(bench)
        record = self.by_profile(ran)["haswell"]
        assert record.status == "ok"
        assert record.environment["profile"]["partial"] is True
        assert record.environment["profile"]["knobs"]["numpy"] == "obeyed"
        (before,) = told.rungs(ran.resolved)
        assert "knobs, which is partial" in before
        (after,) = [line for line in ran.answer.short if "knobs" in line]
        assert after == "Shown by knobs, which is partial: haswell in np-1 (numpy obeyed; glibc cannot be told)."

    def test_the_variables_reach_the_job_and_host_has_none(self, bench):
        engine = MemoryEngine(lambda *_: Played({"y": np.zeros(1)}))
        bench.run(self.TEXT, engine)
        by = {launch.label: launch for launch in engine.launches}
        assert by["np-1 haswell"].variables["OPENBLAS_CORETYPE"] == "Haswell"
        assert not by["np-1 haswell"].profiled
        assert by["np-1 host"].variables == {}

    def test_who_did_not_obey_does_not_count(self, bench):
        ran = self.run(bench, numpy_dispatch=["X86_V3", "X86_V4"])
        record = self.by_profile(ran)["haswell"]
        assert (record.status, record.reason) == ("unrealised", "numpy uses X86_V4, whatever its knob says")
        assert record.environment["profile"]["knobs"]["numpy"] == "uses X86_V4"
        assert self.by_profile(ran)["host"].status == "ok"
        assert not any("knobs" in line for line in ran.answer.short)

    def test_where_nothing_can_be_told_it_does_not_count(self, bench):
        ran = self.run(bench, versions={"numpy": "2", "onnxruntime": "1.32"})
        assert self.by_profile(ran)["haswell"].reason.startswith("no library here obeys a knob")


@pytest.mark.usefixtures("qemu")
def test_digests_of_rungs_and_sides_are_apart(bench):
    names = set()
    for text in (
        BOTH,
        BOTH.replace("native, emulated", "native"),
        BOTH.replace("native, emulated", "emulated"),
        BOTH.replace("best", "emulate").replace("native, emulated", "native"),
        BOTH.replace("best", "knobs").replace("native, emulated", "native"),
    ):
        resolved = bench.resolve(text)
        made = bench.environments(resolved, MemoryEngine(player()))
        names |= {item.digest for item in plan.make_plan(resolved, made, None).items}
    # Of the pair the emulated side is the same as alone, for nothing was left out on its account.
    assert len(names) == 5
