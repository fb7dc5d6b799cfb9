"""A bundle run again: the same class, or another and because of what; and what a stranger's bundle does not get."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu, digests
from numdev.bundle import rerun
from numdev.bundle.reading import Bundle
from numdev.cli import bundle_rerun
from numdev.cpu.features import FEATURES, INCIDENTAL, contradictions
from numdev.engines import Played, memory
from numdev.errors import EngineUnavailable
from numdev.worker.layers import Layer

MATRIX = """
numdev: 1
factors: {stack: [one, two], threads: [1, 2]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
repeats: 2
"""
HOST_AND_PROFILE = MATRIX.replace("threads: [1, 2]", "profile: [host, nehalem]")


def play(shift=0.0, only="", **how):
    """Outputs that follow from the stack, moved by `shift` for one stack or for all."""

    def player(stack, cell, table):
        value = {"one": 1.0, "two": 2.0}[stack] + (shift if only in ("", stack) else 0)
        realised = {**how.get("realised", {}), **({"cpuid": {"traps": 9, "mismatches": []}} if table else {})}
        return Played({"y": np.full(3, value, np.float32)}, **{**how, "realised": realised})

    return player


def again(playing, path, player, *options):
    playing.play(player)
    done = playing.numdev("bundle", "rerun", path, "--engine", "docker", "--json", *options)
    return done, json.loads(done.out) if done.out else None


def cells(data):
    return {cell["cell"]: cell for cell in data["cells"]}


def test_the_same_class_everywhere(playing):
    path = playing.bundle(MATRIX, play())
    done, data = again(playing, path, play())
    assert (done.code, data["counts"], data["same"]) == (0, {"same": 4}, True)
    assert data["runs"] == 8
    assert data["classes"] == [{"workload": "own", "cells": 4, "classes": [2, 2], "index": 1.0, "same_partition": True}]
    assert not list((playing.folder / "cache").glob("rerun-*"))


def test_another_dispatch_is_named(playing):
    path = playing.bundle(MATRIX, play(realised={"numpy_dispatch": ["X86_V3"]}))
    done, data = again(playing, path, play(1, realised={"numpy_dispatch": ["X86_V4"]}))
    assert (done.code, data["counts"]) == (13, {"other": 4})
    one = cells(data)["own one host"]
    assert one["first"] == one["cause"]["factor"] == "dispatch"
    assert "numpy chose X86_V3 there, X86_V4 here" in one["cause"]["why"]
    assert "nothing else that is recorded differs" in one["cause"]["why"]
    assert one["layer"].startswith("not known: layers were looked at on neither side")
    assert data["classes"][0]["same_partition"], "the cells are split alike, though the bytes are other"


def test_other_software_is_named(playing, monkeypatch):
    path = playing.bundle(MATRIX, play(realised={"versions": {"numpy": "2.4.6"}}))
    monkeypatch.setattr(memory, "stack_digest", lambda stack, site: digests.of_json([stack.name, "other"]))
    _, data = again(playing, path, play(1, realised={"versions": {"numpy": "1.26.4"}}))
    one = cells(data)["own two host threads=2"]
    assert one["first"] == "software stack"
    assert "numpy 2.4.6 there, 1.26.4 here" in one["cause"]["why"]


def test_another_workload_is_named(playing, monkeypatch):
    path = playing.bundle(MATRIX, play())
    real = rerun.prepare
    monkeypatch.setattr(rerun, "prepare", lambda *given: replace(real(*given), digest="7" * 64))
    done, data = again(playing, path, play(1))
    assert cells(data)["own one host"]["cause"]["factor"] == "workload"
    assert "is not the one that was recorded" in data["notes"][0]
    assert done.code == 13


def test_other_silicon_is_named(playing, monkeypatch):
    here = cpu.capture()
    monkeypatch.setattr(cpu, "capture", lambda: replace(here, fingerprint={**here.fingerprint, "rsqrtps": "other"}))
    path = playing.bundle(MATRIX, play())
    monkeypatch.setattr(cpu, "capture", lambda: here)
    _, data = again(playing, path, play(1, only="one"))
    one = cells(data)["own one host"]
    assert one["cause"]["factor"] == "silicon"
    assert "the processors compute rsqrtps differently" in one["cause"]["why"]
    assert cells(data)["own two host"]["outcome"] == "same"


def test_what_differs_where_bytes_are_the_same_is_cleared(playing):
    path = playing.bundle(MATRIX, play(realised={"libc": "glibc 2.36", "numpy_dispatch": ["X86_V4"]}))

    def player(stack, cell, table):
        odd = cell["threads"] == 2
        dispatch = {"numpy_dispatch": ["X86_V3" if odd else "X86_V4"]}
        return Played(
            play(1.0 if odd else 0.0)(stack, cell, table).outputs, realised={"libc": "glibc 2.41", **dispatch}
        )

    _, data = again(playing, path, player)
    odd = cells(data)["own one host threads=2"]
    assert odd["cause"]["factor"] == "dispatch"
    assert "system alone changed nothing in 1 cell of this stack and workload" in odd["cause"]["why"]
    assert cells(data)["own one host"]["outcome"] == "same"


def test_nothing_that_is_recorded_explains_it(playing):
    path = playing.bundle(MATRIX.replace("repeats: 2", "repeats: 1"), play())
    _, data = again(playing, path, play(1))
    one = cells(data)["own one host"]
    assert (one["first"], one["cause"]["factor"]) == ("", "unexplained")
    assert "not known whether it is noise" in one["cause"]["why"]


def test_noise_and_failures_are_results(playing):
    def noisy(stack, cell, table):
        return Played({"y": np.full(3, cell["replicate"], np.float32)})

    def failing(stack, cell, table):
        return Played(status="failed", reason="no \x1b[31moperator") if stack == "one" else play()(stack, cell, table)

    done, data = again(playing, playing.bundle(MATRIX, noisy, "noisy"), play(0))
    assert (done.code, data["counts"]) == (0, {"noisy there": 4})
    assert {cell["reason"] for cell in data["cells"]} == {
        f"2 results in 2 runs there; what came out here is {which}" for which in ("among them",)
    }
    done, data = again(playing, playing.bundle(MATRIX, play(), "steady"), noisy)
    assert (done.code, data["counts"]) == (13, {"noisy here": 4})
    done, data = again(playing, playing.bundle(MATRIX, play(), "whole"), failing)
    assert (done.code, data["counts"]) == (4, {"same": 2, "failed here": 2})
    assert cells(data)["own one host"]["reason"] == "failed: no \N{REPLACEMENT CHARACTER}[31moperator"
    assert "\x1b" not in done.err
    done, data = again(playing, playing.bundle(MATRIX, failing, "failed"), failing)
    assert (done.code, data["counts"]) == (0, {"same": 2, "ended the same": 2})
    done, data = again(playing, playing.folder / "moved" / "failed.bundle.tar", play())
    assert (done.code, data["counts"]) == (4, {"same": 2, "failed there": 2})


def test_what_a_noisy_cell_had_not_given_is_not_decided(playing):
    """It may be the noise, or another class: neither the same nor a deviation."""

    def noisy(stack, cell, table):
        return Played({"y": np.full(3, cell["replicate"], np.float32)})

    path = playing.bundle(MATRIX, noisy)
    done, data = again(playing, path, play(40))
    assert (done.code, data["counts"], data["same"]) == (4, {"noisy there": 4}, False)
    assert data["cells"][0]["reason"] == "2 results in 2 runs there; what came out here is another"
    done, data = again(playing, path, noisy)
    assert (done.code, data["counts"], data["same"]) == (0, {"noisy there": 4}, True)


def test_a_cell_that_fails_now_and_then_is_noisy(playing):
    def flaky(stack, cell, table):
        return play()(stack, cell, table) if cell["replicate"] == 1 else Played(status="failed", reason="crash")

    done, data = again(playing, playing.bundle(MATRIX, play(), "steady"), flaky)
    assert (done.code, data["counts"], data["same"]) == (13, {"noisy here": 4}, False)
    assert "1 of 2 runs here ended otherwise: failed: crash" in data["cells"][0]["reason"]
    done, data = again(playing, playing.bundle(MATRIX, flaky, "flaky"), play())
    assert (done.code, data["counts"], data["same"]) == (0, {"noisy there": 4}, True)


def test_a_recorded_processor_is_no_other_level(playing, monkeypatch):
    """The cell of the profile `host` is here one of the profile `platforms/...json`, by which it is the same CPU."""
    machines = Path(__file__).resolve().parents[1] / "machines"

    def on(machine):
        captured = cpu.read_capture(machines / f"{machine}.json")
        monkeypatch.setattr(cpu, "host", lambda: cpu.Host(captured.leaves, ""))
        monkeypatch.setattr(cpu, "capture", lambda: captured)

    on("qemu-haswell")
    path = playing.bundle(HOST_AND_PROFILE, play())
    on("intel-6-207-2")
    done, data = again(playing, path, play(1))
    assert (done.code, data["counts"]) == (13, {"other": 4})
    for cell in data["cells"]:
        assert {one["factor"] for one in cell["differs"]} == {"silicon", "system"}
        assert "and no library says of both what it chose" in cell["cause"]["why"]


def test_the_first_layer_that_differs(playing):
    layers = [Layer("a", "conv", ["x"], lambda shapes: (9, 9)), Layer("b", "relu", ["a"], lambda shapes: (None, None))]

    def player(last):
        values = (np.ones(3, np.float32), np.full(3, last, np.float32))
        seen = tuple(zip(layers, values, strict=True))
        return lambda stack, cell, table: Played({"y": np.full(3, last, np.float32)}, layers=seen)

    path = playing.bundle(MATRIX + "tap: layers\n", player(1))
    _, data = again(playing, path, player(2))
    assert {cell["layer"] for cell in data["cells"]} == {"b (relu)"}


def test_a_sample_has_every_class_and_level(playing):
    path = playing.bundle(MATRIX, play())
    done, data = again(playing, path, play(), "--sample", "2", "--once")
    assert (done.code, data["runs"], data["left_out"], data["uncovered"]) == (0, 2, 2, [])
    assert {cell["factors"]["stack"] for cell in data["cells"]} == {"one", "two"}
    assert {cell["factors"]["threads"] for cell in data["cells"]} == {"1", "2"}
    _, data = again(playing, path, play(), "--sample", "1")
    assert data["left_out"] == 3
    assert any(one.startswith("stack ") for one in data["uncovered"])
    assert "1 classes" in data["uncovered"]
    done, data = again(playing, path, play(), "-k", "threads=2 and two")
    assert list(cells(data)) == ["own two host threads=2"]


@pytest.mark.faulting
def test_this_host_is_shown_as_the_recorded_processor(playing, monkeypatch):
    here, captured = cpu.host(), cpu.capture()

    def other(leaves):
        eax, *rest = leaves[1, 0]
        return {**leaves, (1, 0): (eax ^ 1, *rest)}

    with monkeypatch.context() as there:
        there.setattr(cpu, "host", lambda: cpu.Host(other(here.leaves), here.refusal, here.rewriting))
        there.setattr(cpu, "capture", lambda: replace(captured, leaves=other(captured.leaves)))
        path = playing.bundle(HOST_AND_PROFILE, play())
    seen = {}

    def player(stack, cell, table):
        seen[table] = stack
        return play()(stack, cell, table)

    done, data = again(playing, path, player)
    assert (done.code, data["counts"]) == (0, {"same": 4})
    signature = f"{captured.leaves[1, 0][0] ^ 1:08x}"
    assert None not in seen, "no cell ran under this processor's own CPUID"
    assert any(f"00000001 * {signature}" in table for table in seen)


@pytest.mark.faulting
def test_a_processor_that_nobody_captured_cannot_be_shown(playing, monkeypatch, forged):
    here, captured = cpu.host(), cpu.capture()
    leaves = {**here.leaves, (1, 0): (here.leaves[1, 0][0] ^ 1, *here.leaves[1, 0][1:])}
    with monkeypatch.context() as there:
        there.setattr(cpu, "host", lambda: cpu.Host(leaves, here.refusal, here.rewriting))
        # The capture is this processor's, so not the one that the records name.
        there.setattr(cpu, "capture", lambda: captured)
        path = playing.bundle(HOST_AND_PROFILE, play())
    done, data = again(playing, path, play())
    assert (done.code, data["counts"]) == (4, {"same": 2, "not run here": 2})
    assert "the capture is of another processor" in cells(data)["own one host"]["reason"]
    lost = forged(path, {name: None for name in members(path) if name.startswith("platforms/")})
    done, data = again(playing, lost, play())
    assert "no capture of the processor" in cells(data)["own one host"]["reason"]


@pytest.mark.faulting
def test_what_this_host_lacks_of_the_recorded_processor_is_named(playing, monkeypatch):
    here, captured = cpu.host(), cpu.capture()
    lacking = sorted(FEATURES.keys() - here.features - INCIDENTAL)
    name = next(name for name in lacking if not contradictions([*here.features, name]))
    leaf, subleaf, register, bit = FEATURES[name]

    def more(leaves):
        row = list(leaves.get((leaf, subleaf), (0, 0, 0, 0)))
        row[register] |= 1 << bit
        return {**leaves, (leaf, subleaf): tuple(row)}

    with monkeypatch.context() as there:
        there.setattr(cpu, "host", lambda: cpu.Host(more(here.leaves), here.refusal, here.rewriting))
        there.setattr(cpu, "capture", lambda: replace(captured, leaves=more(captured.leaves)))
        path = playing.bundle(HOST_AND_PROFILE, play())
    done, data = again(playing, path, play())
    assert (done.code, data["counts"]) == (4, {"same": 2, "not run here": 2})
    reason = cells(data)["own one host"]["reason"]
    assert "cannot show the profile of the recorded processor" in reason
    assert name in reason


def members(path):
    with Bundle(path) as bundle:
        return list(bundle.members)


@pytest.mark.faulting
def test_a_profile_of_the_authors_own_is_shown_from_the_bundle(playing):
    cpu.capture().write(playing.folder / "mine.json")
    text = MATRIX.replace("threads: [1, 2]", "profile: [host, mine.json, mine.json@vendor=AMD]")
    path = playing.bundle(text, play())
    (playing.folder / "mine.json").unlink()
    done, data = again(playing, path, play())
    assert (done.code, data["same"]) == (0, True), done.err
    assert "own one mine.json" in cells(data)


def test_what_goes_together_on_no_machine_ends_the_same_here(playing):
    path = playing.bundle(MATRIX.replace("threads: [1, 2]", "features: [own, '-fma']"), play())
    done, data = again(playing, path, play())
    assert (done.code, data["counts"]) == (0, {"same": 2, "ended the same": 2})


def test_models_that_were_left_out_are_found_by_their_hash(playing, tmp_path):
    path = playing.bundle(MATRIX, play(), "m", "--models", "none")
    done, data = again(playing, path, play())
    assert (done.code, data["counts"], data["engine"]) == (4, {"not run here": 4}, "none, for nothing can be run")
    assert "--models" in data["cells"][0]["reason"]
    mine = tmp_path / "mine" / "deep"
    mine.mkdir(parents=True)
    (mine / "renamed.onnx").write_bytes((playing.folder / "model.onnx").read_bytes())
    # The same arrays in another archive are the same inputs.
    np.savez_compressed(mine / "other.npz", x=np.zeros((2, 1), np.float32))
    done, data = again(playing, path, play(), "--models", tmp_path / "mine")
    assert (done.code, data["counts"]) == (0, {"same": 4})


def test_the_engine_that_isolates_nothing_is_never_taken_unasked(playing, monkeypatch):
    path = playing.bundle(MATRIX, play())

    def silent(name, cache):
        assert name == "docker"
        raise EngineUnavailable("No Docker engine answers.", "nobody is there", "Start one.")

    monkeypatch.setattr(bundle_rerun, "open_engine", silent)
    done = playing.numdev("bundle", "rerun", path)
    assert done.code == 6
    assert "--engine local" in done.err
    assert playing.numdev("bundle", "rerun", path, "--engine", "auto").code == 3


def test_the_local_engine_says_what_it_does_not_isolate(playing):
    text = MATRIX.replace("threads: [1, 2]", "env.LD_PRELOAD: [libm.so.6]")
    path = playing.bundle(text, play())
    playing.play(play())
    done = playing.numdev("bundle", "rerun", path, "--engine", "local")
    assert done.code == 0
    assert "isolates nothing" in done.err
    assert "LD_PRELOAD" in done.err


def test_a_strangers_programs_run_on_the_local_engine_only_where_that_is_allowed(playing):
    (playing.folder / "p.py").write_text("raise SystemExit\n")
    text = MATRIX.replace(
        "{name: own, model: model.onnx, inputs: x.npz}", "{name: own, command: [python, p.py], files: [p.py]}"
    )
    path = playing.bundle(text, play())
    (playing.folder / "p.py").unlink()
    playing.play(play())
    done = playing.numdev("bundle", "rerun", path, "--engine", "local")
    assert done.code == 3
    assert "--allow-programs" in done.err
    assert len(playing.engines) == 1, "that of the run which was bundled"
    assert playing.numdev("bundle", "rerun", path, "--engine", "local", "--allow-programs").code == 0
    # A container isolates programs as it does models.
    assert playing.numdev("bundle", "rerun", path, "--engine", "docker").code == 0


def test_a_strangers_dockerfile_is_never_built_unasked(playing):
    folder = playing.folder / "images" / "one"
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "stack.yaml").write_text((folder / "stack.yaml").read_text() + "dockerfile: Dockerfile\n")
    path = playing.bundle(MATRIX, play())
    done, data = again(playing, path, play())
    assert (done.code, data["counts"]) == (4, {"same": 2, "not run here": 2})
    assert "--allow-dockerfile" in cells(data)["own one host"]["reason"]
    assert {launch.environment.id for launch in playing.engines[-1].launches} == {"memory:two"}
    done, data = again(playing, path, play(), "--allow-dockerfile")
    assert (done.code, data["counts"]) == (0, {"same": 4})


def test_results_that_a_store_has_already_are_not_passed_off_as_new(playing):
    path = playing.bundle(MATRIX, play())
    _, data = again(playing, path, play(), "--store", playing.folder / "store-m")
    assert "8 results were in" in data["notes"][0]


def test_the_answer_is_readable_at_80_columns(playing):
    path = playing.bundle(MATRIX, play(realised={"numpy_dispatch": ["X86_V3"]}))
    playing.play(play(1, only="one", realised={"numpy_dispatch": ["X86_V4"]}))
    kept = playing.folder / "kept"
    done = playing.numdev("bundle", "rerun", path, "--workspace", kept)
    assert done.code == 13
    assert max(map(len, done.out.splitlines())) <= 80
    assert "4 cells: 2 same, 2 other." in done.out
    assert "likely cause: dispatch: a library chose other code under the same CPU" in done.out
    assert (kept / "m.json").is_file()
    done = playing.numdev("bundle", "rerun", path, "--workspace", kept)
    assert done.code == 3
    assert "is not empty" in done.err
