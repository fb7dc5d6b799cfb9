"""Recorded machines give their bits here, and what does not is put down to what it comes from."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu.machine import Measured, Record, read_record
from numdev.errors import InvalidInput, ProfileRefused
from numdev.files import cache_dir
from numdev.run import causes, machine
from numdev.run.causes import DISPATCH, GONE, SAME, SILICON, SYSTEM, UNEXPLAINED, compare
from numdev.spec.stack import load_stack

IMAGES = Path(__file__).resolve().parents[2] / "images"
MACHINES = Path(__file__).resolve().parents[1] / "machines"
PATHS = sorted(MACHINES.glob("*.json"))
A, B, C = "a" * 64, "b" * 64, "c" * 64


def say(line: str) -> None:
    print(line)


def measured(operations: dict[str, str], **parts) -> Measured:
    basis = {
        "stack": A,
        "battery": A,
        "system": {"libc": "glibc 2.36", "python": "3.11.2"},
        "dispatch": {"numpy": "AVX2 FMA3", "OpenBLAS": "Haswell"},
    }
    return Measured(**{**basis, **parts}, operations=operations)


class TestCauses:
    """One operation with other bits, and all that may be to blame."""

    BEFORE = measured({"BLAS sgemm": A})

    def outcome(self, now: Measured, silicon: list[str] | None, before: Measured = BEFORE) -> causes.Compared:
        (found,) = compare("numpy-2.4", before, now, silicon)
        return found

    def test_the_same_bits_need_no_cause(self):
        assert self.outcome(measured({"BLAS sgemm": A}, dispatch={}), ["rcpps"]).outcome == SAME

    def test_another_dispatch_is_dispatch_whatever_the_silicon(self):
        found = self.outcome(measured({"BLAS sgemm": B}, dispatch={"OpenBLAS": "Zen"}), ["rcpps"])
        assert found.outcome == DISPATCH
        assert "OpenBLAS: Haswell there, Zen here" in found.why

    def test_the_same_dispatch_on_other_silicon_is_silicon(self):
        found = self.outcome(measured({"BLAS sgemm": B}), ["rcpps", "rsqrtps"])
        assert found.outcome == SILICON
        assert "rcpps, rsqrtps" in found.why

    def test_the_same_of_all_is_unexplained(self):
        assert self.outcome(measured({"BLAS sgemm": B}), []).outcome == UNEXPLAINED
        assert "no fingerprint" in self.outcome(measured({"BLAS sgemm": B}), None).why

    def test_another_libc_may_be_to_blame_and_is_named_first(self):
        now = measured({"BLAS sgemm": B}, system={"libc": "glibc 2.41", "python": "3.11.2"})
        found = self.outcome(now, ["rcpps"])
        assert found.outcome == SYSTEM
        assert "libc glibc 2.36, here glibc 2.41, or silicon" in found.why
        assert "or silicon" not in self.outcome(now, []).why

    def test_what_is_known_to_lean_on_silicon_is_silicon_even_then(self, monkeypatch):
        monkeypatch.setitem(causes._LEANING, ("numpy-2.4", "BLAS sgemm"), "seen on paper")
        now = measured({"BLAS sgemm": B}, system={"libc": "glibc 2.41", "python": "3.11.2"})
        assert self.outcome(now, ["rcpps"]).outcome == SILICON
        assert self.outcome(now, []).outcome == SYSTEM, "but not on the same silicon"

    def test_only_choices_that_an_operation_depends_on_are_blamed(self):
        before = measured({"onnxruntime cnn": A, "odd one": A})
        now = measured({"onnxruntime cnn": B, "odd one": B}, dispatch={"numpy": "AVX2 FMA3", "OpenBLAS": "Zen"})
        cnn, odd = compare("x", before, now, ["rcpps"])
        assert (cnn.operation, cnn.outcome) == ("odd one", DISPATCH), "of an unknown library all choices count"
        assert odd.outcome == SILICON

    def test_long_lists_of_features_are_told_by_what_differs(self):
        before = measured({"numpy exp": A}, dispatch={"numpy": "A B C D"})
        now = measured({"numpy exp": B}, dispatch={"numpy": "A B C"})
        assert "numpy: only there D, only here nothing" in self.outcome(now, [], before).why

    def test_an_operation_that_is_gone_or_a_battery_that_changed_is_said(self):
        now = measured({"BLAS dgemm": A}, battery=B)
        assert self.outcome(now, []).outcome == GONE
        assert "the battery has changed" in self.outcome(measured({"BLAS sgemm": B}, battery=B), []).why


@pytest.fixture
def here(monkeypatch) -> Record:
    """A record of this very machine, made without running anything; `machine.measure` gives the same again."""
    now = measured({"numpy exp": A, "BLAS sgemm": B})
    monkeypatch.setattr(machine, "measure", lambda *arguments: now)
    monkeypatch.setattr(machine, "digest_of", lambda *arguments: A)
    return Record(cpu.capture(), {"numpy-2.4": now})


def replayed(record: Record, folder: Path) -> machine.Replay:
    record.write(folder / "machine.json")
    stacks = [load_stack(IMAGES, name) for name in record.stacks]
    return machine.replay(record, str(folder / "machine.json"), stacks, folder / "cache", say)


def test_a_changed_digest_is_noticed(here, tmp_path):
    assert replayed(here, tmp_path).same
    changed = here.stacks["numpy-2.4"].model_copy(update={"operations": {"numpy exp": A, "BLAS sgemm": C}})
    done = replayed(Record(here.capture, {"numpy-2.4": changed}), tmp_path)
    assert not done.same
    assert [(one.operation, one.outcome) for one in done.compared] == [("BLAS sgemm", UNEXPLAINED), ("numpy exp", SAME)]


def test_operations_that_were_not_recorded_are_listed(here, tmp_path):
    fewer = here.stacks["numpy-2.4"].model_copy(update={"operations": {"numpy exp": A}})
    done = replayed(Record(here.capture, {"numpy-2.4": fewer}), tmp_path)
    assert done.same
    assert done.new == {"numpy-2.4": ("BLAS sgemm",)}


def test_other_software_is_not_compared(here, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "digest_of", lambda *arguments: C)
    with pytest.raises(InvalidInput) as caught:
        replayed(here, tmp_path)
    assert "other software" in str(caught.value)
    assert "record the machine again" in str(caught.value)


def test_a_machine_with_more_than_this_host_has_is_refused_with_the_list(here, tmp_path, monkeypatch):
    real = cpu.host()
    leaves = dict(real.leaves)
    leaves[7, 0] = (*leaves[7, 0][:3], leaves[7, 0][3] & ~(1 << 24))
    row = here.capture.leaves[7, 0]
    rich = {**here.capture.leaves, (7, 0): (*row[:3], row[3] | 1 << 24)}
    monkeypatch.setattr(machine.cpu, "host", lambda: dataclasses.replace(real, leaves=leaves))
    with pytest.raises(ProfileRefused) as caught:
        replayed(Record(cpu.Capture(rich), here.stacks), tmp_path)
    assert "amx_tile" in caught.value.why


# The real thing.


def kind(leaves: cpu.Host) -> tuple[object, ...]:
    return leaves.vendor, leaves.family_model_stepping, leaves.features


@pytest.fixture(scope="module")
def run_here():
    """Replays once for each machine, however many tests ask."""
    known: dict[Path, machine.Replay | str] = {}

    def run(path: Path) -> machine.Replay:
        if path not in known:
            record = read_record(path)
            stacks = [load_stack(IMAGES, name) for name in record.stacks]
            try:
                known[path] = machine.replay(record, str(path), stacks, cache_dir(), say)
            except ProfileRefused as error:
                known[path] = f"{path.stem}: {error.why}"
            except InvalidInput as error:
                # Of a machine that is not here nobody can make another record.
                mine = kind(cpu.Host(record.capture.leaves, "")) == kind(cpu.host())
                if mine or "emulator" in record.capture.facts:
                    raise AssertionError(f"{error}\n`make machines` records it again.") from None
                known[path] = f"{path.stem}: {error.problems[0]}"
        if isinstance(known[path], str):
            pytest.skip(known[path])
        return known[path]

    return run


@pytest.mark.network
@pytest.mark.frameworks
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_recorded_machines_give_their_bits_here(path, run_here):
    """All but what is known to lean on silicon; and that list is what records of other silicon show, no more."""
    done = run_here(path)
    assert len(done.compared) > 50
    other = [one for one in done.compared if one.outcome != SAME]
    apart = [one for one in other if one.outcome == SILICON and causes.leaning(one.stack, one.operation)]
    print(f"silicon-dependent, listed apart: {', '.join(one.operation for one in apart) or 'none'}")
    # Of a machine that is not here nobody can make another record: what the battery has lost since is said, and no deviation.
    record = read_record(path)
    mine = kind(cpu.Host(record.capture.leaves, "")) == kind(cpu.host()) or "emulator" in record.capture.facts
    gone = [] if mine else [one for one in other if one.outcome == GONE]
    print(f"no longer in the battery: {', '.join(one.operation for one in gone) or 'none'}")
    assert [one for one in other if one not in apart and one not in gone] == []


@pytest.mark.network
@pytest.mark.frameworks
def test_records_of_other_silicon_are_among_them(run_here):
    """Else the test before could not tell what depends on silicon."""
    done = run_here(MACHINES / "qemu-haswell.json")
    assert {"rcpps", "rsqrtps"} <= set(done.silicon)


@pytest.mark.network
@pytest.mark.frameworks
def test_this_kind_of_processor_is_recorded():
    known = {kind(cpu.Host(read_record(path).capture.leaves, "")) for path in PATHS}
    if kind(cpu.host()) not in known:
        pytest.skip("this kind of processor has no record yet: `make machines`, and keep the file in tests/machines")
    assert known


@pytest.mark.network
@pytest.mark.frameworks
def test_knobs_of_the_shell_change_neither_record_nor_replay(tmp_path):
    """An OpenBLAS that obeys the user would be recorded as the processor's own choice."""
    code = (
        "import sys; from pathlib import Path; from numdev import cpu; from numdev.run import machine;"
        "from numdev.spec.stack import load_stack; from numdev.files import cache_dir;"
        "stack = load_stack(Path(sys.argv[1]), 'numpy-2.4');"
        "one = machine.measure(stack, cpu.Shown(None, None), cache_dir(), lambda line: None);"
        "print(one.dispatch['OpenBLAS'], one.operations['BLAS sgemm'])"
    )
    said = set()
    for knobs in ({}, {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_L2_SIZE": "512"}):
        environment = {**os.environ, "NUMDEV_CACHE": str(cache_dir()), **knobs}
        argv = [sys.executable, "-c", code, str(IMAGES)]
        said.add(subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(said) == 1
    assert "Prescott" not in said.pop()


def test_the_comparison_tells_processors_apart():
    """Two records held against each other, as if nothing had been shown: dispatch is to blame, and named."""
    nehalem, here = (read_record(MACHINES / f"{name}.json") for name in ("qemu-nehalem", "amd-26-2-1"))
    silicon = cpu.silicon(nehalem.capture.fingerprint, here.capture.fingerprint)
    found = {
        one.operation: one
        for one in compare("numpy-2.4", nehalem.stacks["numpy-2.4"], here.stacks["numpy-2.4"], silicon)
    }
    assert found["BLAS sgemm"].outcome == DISPATCH
    assert "OpenBLAS: Nehalem there, SkylakeX here" in found["BLAS sgemm"].why
    assert found["numpy floor float64"].outcome == SAME, "what is exact is equal on every processor"
