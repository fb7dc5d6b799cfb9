"""The lower rungs on the command line: told before a run, after it, and by what says what this machine can do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from numdev import cpu
from numdev.cli import doctor
from numdev.cpu import emulated
from numdev.cpu.emulated import Emulator
from numdev.cpu.features import FEATURES
from numdev.engines import Played
from numdev.errors import EngineUnavailable

AVX2 = frozenset(name for name in FEATURES if "512" not in name)
MATRIX = (
    "numdev: 1\nenforce: {enforce}\nfactors: {{stack: [one], profile: [haswell]}}\n"
    "workloads: [{{name: own, model: model.onnx, inputs: x.npz}}]\n"
)


@pytest.fixture
def qemu(monkeypatch):
    """Has this machine a QEMU without AVX-512: a static one, or with False one that needs libraries, or None: none."""

    def use(static: bool | None) -> None:
        found = Emulator("/nowhere/qemu", "qemu-x86_64 version 0 (a test's)", "0" * 64, bool(static))
        why = "QEMU's user mode is not installed"
        monkeypatch.setattr(emulated, "find", lambda *_: (None, why) if static is None else (found, ""))
        monkeypatch.setattr(emulated, "features", lambda emulator: AVX2)
        monkeypatch.setattr(emulated, "names", lambda emulator: {name: name for name in AVX2})

    return use


def test_an_emulated_matrix_says_so_and_how_slow_that_is(numdev, place, plays, qemu):
    qemu(True)
    plays()
    (place / "m.yaml").write_text(MATRIX.format(enforce="emulate"))
    planned = " ".join(numdev("matrix", "plan", "m.yaml").out.split())
    assert "Emulated by qemu-x86_64 version 0 (a test's)" in planned
    assert "times slower" in planned
    done = numdev("matrix", "run", "m.yaml")
    assert done.code == 4, "what plays here does not say that it was emulated"
    assert "Emulated by qemu-x86_64 version 0 (a test's)" in " ".join(done.err.split())
    assert "CPUID was not read back in the cell" in " ".join(done.out.split())


def test_a_matrix_by_knobs_says_that_it_is_partial_and_who_obeyed(numdev, place, plays):
    if "avx2" not in cpu.host().features:
        pytest.skip("this processor has no AVX2 to tell libraries of")
    found = {"versions": {"numpy": "2"}, "numpy_dispatch": ["X86_V3"]}
    plays(lambda *_: Played({"y": np.zeros(1)}, realised=found))
    (place / "m.yaml").write_text(MATRIX.format(enforce="knobs"))
    done = numdev("matrix", "run", "m.yaml")
    assert done.code == 0
    assert "knobs, which is partial" in " ".join(done.err.split())
    assert "haswell in one (numpy obeyed; glibc cannot be told)" in " ".join(done.out.split())


def test_without_qemu_an_emulated_matrix_is_refused_with_a_remedy(numdev, place, plays, qemu):
    qemu(None)
    plays()
    (place / "m.yaml").write_text(MATRIX.format(enforce="emulate"))
    done = numdev("matrix", "run", "m.yaml")
    assert done.code == 4
    assert "QEMU's user mode is not installed" in " ".join(done.err.split())


@pytest.mark.parametrize(("static", "state"), [(True, "ok"), (False, "partly"), (None, "missing")])
def test_doctor_tells_of_qemu_and_knobs(numdev, qemu, monkeypatch, static, state):
    def unavailable(name, cache):
        raise EngineUnavailable("No Docker engine is asked here.")

    monkeypatch.setattr(doctor, "open_engine", unavailable)
    qemu(static)
    found = {check["name"]: check for check in json.loads(numdev("doctor", "--json").out)}
    assert found["QEMU"]["state"] == state
    assert ("silicon" in found["QEMU"]["remedy"]) == (static is None)
    assert ("Docker" in found["QEMU"]["remedy"]) == (static is False)
    assert "partial" in found["library knobs"]["found"]


def test_platform_list_tells_what_qemu_can_show(numdev, qemu):
    qemu(True)
    out = numdev("platform", "list").out
    rows = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line and line[0] != " "}
    assert rows["haswell"] == "yes"
    assert rows["skylake-sp"] == "no"
    assert "qemu-x86_64 version 0 lacks avx512bw" in " ".join(out.split())
    qemu(None)
    assert "Not by QEMU: QEMU's user mode is not installed" in " ".join(numdev("platform", "list").out.split())


def test_where_nothing_can_be_traced_the_next_rungs_are_named(numdev, qemu, monkeypatch):
    weak = replace(cpu.host(), refusal="no faulting", rewriting="no tracing")
    monkeypatch.setattr(cpu, "host", lambda: weak)
    qemu(True)
    rows = {line.split()[0]: line for line in numdev("platform", "list").out.splitlines() if line.split()}
    assert "emulated" in rows["haswell"]
    assert "by QEMU only" in numdev("platform", "show", "haswell").out
    qemu(None)
    if "avx2" in cpu.host().features:
        assert "knobs" in numdev("platform", "show", "haswell").out
