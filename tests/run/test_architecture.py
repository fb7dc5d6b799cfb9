"""The factor `architecture` through resolve, plan, run and answer, with a made-up emulator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.cpu import foreign
from numdev.cpu.emulated import Emulator
from numdev.cpu.foreign import Foreign
from numdev.engines import LocalEngine, MemoryEngine, Played
from numdev.errors import EngineUnavailable, NoBase, ProfileRefused
from numdev.run import told
from numdev.spec.architecture import own

pytestmark = pytest.mark.skipif(own() != "x86_64", reason="here arm64 is the machine's own")

WORKLOADS = "workloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"
BOTH = "factors: {stack: [ort-1], architecture: [x86_64, aarch64]}\n" + WORKLOADS
FAKE = Emulator("/nowhere/qemu", "qemu-aarch64 version 0 (a test's)", "0" * 64, True)


@pytest.fixture(autouse=True)
def qemu(bench, monkeypatch):
    """A QEMU that runs arm64 programs, and a lock of `ort-1` for them."""
    monkeypatch.setattr(foreign, "shown", lambda architecture: Foreign(None, None, emulator=FAKE))
    lock = bench.images / "ort-1" / "requirements.lock"
    (lock.parent / "requirements.aarch64.lock").write_bytes(lock.read_bytes())


class Watched(MemoryEngine):
    """Says that its cells run where they were meant to, and keeps what each job was told."""

    def __init__(self, elsewhere: str = "aarch64") -> None:
        super().__init__(self.play)
        self.elsewhere = elsewhere
        self.jobs, self.stand_ins = [], []

    def play(self, stack, cell, table):
        there = bool(self.jobs[-1]["prefix"])
        y = np.array([2 if there else 1], np.float32)
        return Played({"y": y}, realised={"machine": self.elsewhere if there else own(), "cpuid": {"traps": 1}})

    def run(self, launch, poll):
        self.jobs.append(json.loads((launch.job / "job.json").read_text()))
        self.stand_ins.append({there: Path(here).exists() for there, here in launch.stand_ins})
        return super().run(launch, poll)


def by_architecture(ran):
    return {record.factors["architecture"]: record for record in ran.store.records()}


def test_each_architecture_is_a_job_of_its_own(bench):
    engine = Watched()
    ran = bench.run(BOTH, engine)
    assert set(ran.statuses().values()) == {"ok"}
    (mine, other), (first, second) = engine.launches, engine.jobs
    assert (mine.emulator, mine.prefix, mine.stand_ins, first["prefix"]) == ("", (), (), [])
    assert (other.emulator, other.profiled) == (FAKE.path, False)
    assert list(other.prefix) == second["prefix"] == [FAKE.path, "-cpu", "neoverse-n1"]
    assert engine.stand_ins == [{}, {"/proc/cpuinfo": True, "/sys/devices/system/cpu": True}]
    assert other.label == "ort-1 aarch64 host"


def test_the_record_says_that_it_was_emulated_and_where_it_really_ran(bench):
    found = by_architecture(bench.run(BOTH, Watched()))
    assert found["x86_64"].environment["profile"] == {"profile": "host"}
    profile = found["aarch64"].environment["profile"]
    assert (profile["rung"], profile["silicon"], profile["architecture"]) == ("emulate", "emulated", "aarch64")
    assert (profile["emulator"], profile["sha256"]) == (FAKE.version, FAKE.sha256)
    assert found["aarch64"].realised["machine"] == "aarch64"
    assert found["aarch64"].causes["stack"] != found["x86_64"].causes["stack"]
    assert found["aarch64"].causes["table"] == Foreign(None, None, emulator=FAKE).digest


@pytest.mark.parametrize("elsewhere", ["x86_64", "armv7l"])
def test_a_cell_that_ran_elsewhere_does_not_count(bench, elsewhere):
    found = by_architecture(bench.run(BOTH, Watched(elsewhere)))
    assert (found["x86_64"].status, found["aarch64"].status) == ("ok", "unrealised")
    assert found["aarch64"].reason == f"it ran on {elsewhere!r}, not on aarch64"


def test_a_cell_that_does_not_say_where_it_ran_does_not_count_elsewhere(bench):
    found = by_architecture(bench.run(BOTH, MemoryEngine(lambda *_: Played({"y": np.zeros(1)}))))
    assert (found["x86_64"].status, found["aarch64"].status) == ("ok", "unrealised")


def test_the_answer_counts_it_as_hardware(bench):
    ran = bench.run(BOTH, Watched())
    (before,) = told.rungs(ran.resolved)
    assert before.startswith("aarch64 is emulated by qemu-aarch64 version 0")
    texts = {one.about: one.text for one in ran.answer.workloads[0].sentences}
    assert texts["architecture"].startswith("the 2 levels differ")
    assert any(line.startswith("Hardware (architecture): changes 1 of 1") for line in ran.answer.short)
    assert any(line.startswith("aarch64 was emulated, by qemu-aarch64 version 0") for line in ran.answer.short)


def test_what_is_left_out_is_this_machines(bench):
    plain = bench.resolve(BOTH.replace(", architecture: [x86_64, aarch64]", ""))
    named = bench.resolve(BOTH.replace("x86_64, aarch64", "x86_64"))
    assert plain.matrix.cells == named.matrix.cells
    assert plain.foreign == plain.apart == plain.unlocked == {}


class TestUnsupported:
    def reasons(self, bench, text, engine=None):
        ran = bench.run(text, engine or Watched())
        assert {item.replicate for item in ran.plan.items} == {1}
        return {
            item.cell.label(): ran.store.record(item.digest).reason
            for item in ran.plan.items
            if ran.store.record(item.digest).status == "unsupported"
        }, ran

    def test_a_stack_without_a_lock_for_it(self, bench):
        (found, ran) = self.reasons(bench, BOTH.replace("ort-1", "ort-1, ort-2"))
        assert list(found) == ["own ort-2 host architecture=aarch64"]
        assert "numdev images lock ort-2 --architecture aarch64" in found["own ort-2 host architecture=aarch64"]
        assert sorted(ran.statuses().values()) == ["ok", "ok", "ok", "unsupported"]
        assert ran.run.apart == {}, "it is the stack that cannot"

    def test_a_dockerfile(self, bench):
        folder = bench.images / "built"
        folder.mkdir()
        (folder / "Dockerfile").write_text("FROM scratch\n")
        (folder / "stack.yaml").write_text(
            'base: bookworm\npython: "3.11"\nbackend: onnxruntime\ndockerfile: Dockerfile\n'
        )
        (found, _) = self.reasons(bench, BOTH.replace("ort-1", "built"))
        assert "is a Dockerfile" in found["own built host architecture=aarch64"]

    def test_a_profile(self, bench):
        text = BOTH.replace("}", ", profile: [host, haswell]}", 1)
        (found, _) = self.reasons(bench, text)
        assert list(found) == ["own ort-1 haswell architecture=aarch64"]
        assert "profiles are the CPUID of x86-64 processors" in found["own ort-1 haswell architecture=aarch64"]

    def test_no_emulator(self, bench, monkeypatch):
        def refuse(architecture):
            raise ProfileRefused("It cannot.", "a program does not run", "Install QEMU")

        monkeypatch.setattr(foreign, "shown", refuse)
        (found, ran) = self.reasons(bench, BOTH)
        assert found == {"own ort-1 host architecture=aarch64": "a program does not run. Install QEMU"}
        assert ran.run.apart == {"aarch64": "a program does not run. Install QEMU"}, "so the run is not complete"

    def test_an_engine_that_cannot(self, bench):
        class Picky(Watched):
            def refuses(self, architecture):
                return LocalEngine(bench.cache).refuses(architecture)

        (found, _) = self.reasons(bench, BOTH, Picky())
        assert "use Docker" in found["own ort-1 host architecture=aarch64"]

    def test_an_emulator_that_the_engine_cannot_use(self, bench):
        class Picky(Watched):
            def emulator(self, path, static):
                raise EngineUnavailable("It cannot run in a container.", "it is linked dynamically", "Install another.")

        (found, _) = self.reasons(bench, BOTH, Picky())
        assert "linked dynamically" in found["own ort-1 host architecture=aarch64"]

    def test_a_base_that_cannot_be_made(self, bench):
        class Bare(Watched):
            def environment(self, stack, say):
                if stack.architecture != own():
                    raise NoBase("No base.", "no binfmt_misc", "Set it up.")
                return super().environment(stack, say)

        (found, _) = self.reasons(bench, BOTH, Bare())
        assert found == {"own ort-1 host architecture=aarch64": "No base. no binfmt_misc Set it up."}

    def test_its_own_base_is_still_needed(self, bench):
        class Bare(Watched):
            def environment(self, stack, say):
                raise NoBase("No base.")

        with pytest.raises(NoBase):
            bench.run(BOTH, Bare())

    def test_the_native_side_of_what_is_emulated_here(self, bench):
        text = BOTH.replace("[x86_64, aarch64]", "[aarch64], silicon: [native, emulated]")
        (found, ran) = self.reasons(bench, text)
        assert "no native side" in found["own ort-1 host architecture=aarch64"]
        assert sorted(ran.statuses().values()) == ["ok", "unsupported"]


def test_the_reference_is_this_machines_own(bench):
    ran = bench.run(BOTH + "reference: np-1\n", Watched())
    assert {item.cell.architecture for item in ran.plan.items if item.reference} <= {own()}


class TestOnArm:
    """The same on an arm64 machine, where aarch64 is native: nothing is emulated, and no profile but `host` is shown."""

    @pytest.fixture(autouse=True)
    def machine(self, bench, monkeypatch):
        from numdev.spec.cell import DEFAULTS

        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        monkeypatch.setitem(DEFAULTS, "architecture", "aarch64")
        why = cpu.only_here()
        bench.host = cpu.OtherHost({}, why, why, architecture="aarch64", cpuinfo=(("Features", "fp asimd sve"),))

    def run(self, bench, text):
        played = MemoryEngine(lambda *_: Played({"y": np.zeros(1)}, realised={"machine": "aarch64"}))
        return bench.run(text, played), played

    def test_it_runs_natively(self, bench):
        ran, engine = self.run(bench, BOTH.replace(", architecture: [x86_64, aarch64]", ""))
        assert set(ran.statuses().values()) == {"ok"}
        assert (engine.launches[0].emulator, engine.launches[0].prefix) == ("", ())
        (record,) = ran.store.records()
        assert record.environment["profile"] == {"profile": "host"}
        assert record.environment["platform"]["architecture"] == "aarch64"
        assert record.environment["platform"]["simd"] == "SVE"

    def test_x86_64_is_unsupported_there(self, bench, monkeypatch):
        monkeypatch.setattr(foreign, "shown", FOREIGN)
        ran, _ = self.run(bench, BOTH)
        found = by_architecture(ran)
        assert (found["aarch64"].status, found["x86_64"].status) == ("ok", "unsupported")
        assert "Use a machine that is x86_64" in found["x86_64"].reason

    def test_profiles_are_unsupported_there(self, bench):
        text = "enforce: best\nfactors: {stack: [ort-1], profile: [host, haswell]}\n" + WORKLOADS
        ran, _ = self.run(bench, text)
        assert ran.statuses() == {"own ort-1 host": "ok", "own ort-1 haswell": "unsupported"}
        assert "this aarch64 machine does not have" in ran.resolved.refused["haswell"]


FOREIGN = foreign.shown
