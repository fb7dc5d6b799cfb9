"""What was joined before does not matter: one after the other, or all at once, it is the same run, and no run counts twice."""

from __future__ import annotations

import runpy
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numdev import digests
from numdev.bundle.create import Options, create
from numdev.bundle.merge import merge
from numdev.bundle.verify import verify
from numdev.engines import Played, memory
from numdev.store import Store

merging = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_merge.py"))))
INTEL, AMD = merging.INTEL, merging.AMD
THIRD = min(path.stem for path in merging.MACHINES.glob("*.json") if path.stem not in (INTEL, AMD))
HOST_ONLY = merging.MATRIX.replace("[host, haswell]", "[host]")
PAIRS = [(0, 1), (0, 2), (1, 2)]


def plain(number):
    return lambda stack, cell, table: Played({"y": np.full(3, 1.0, np.float32)}, realised=merging.told(table))


def several(playing, monkeypatch, machines=(INTEL, AMD, THIRD), matrix=lambda number: HOST_ONLY, player=plain):
    """A bundle of each machine."""
    paths = []
    for number, machine in enumerate(machines):
        merging.on(monkeypatch, machine)
        paths.append(playing.bundle(matrix(number), player(number), f"m{number}"))
    return paths


def both_ways(paths, first, whole=True):
    """The contents of the store into which all were merged at once, and of that of two steps."""
    merge(paths, Path("once"), "m")
    merge([paths[at] for at in first], Path("first"), "m")
    between = Path("between.bundle.tar")
    create(Store.open(Path("first")), "m", between, Path("cache"), Options())
    if whole:
        assert verify(between).whole
    merge([between, *(path for at, path in enumerate(paths) if at not in first)], Path("second"), "m")
    return merging.contents(Path("once")), merging.contents(Path("second"))


@pytest.mark.parametrize("first", PAIRS)
def test_stacks_that_one_name_means(playing, monkeypatch, first):
    """The first and the third machine have the same stack `two`, and the second one another."""
    pinned = lambda stack, site: digests.of_json([stack.name, stack.pins["onnxruntime"]])  # noqa: E731
    monkeypatch.setattr(memory, "stack_digest", pinned)
    folder = playing.folder / "images" / "two"

    def matrix(number):
        for file in folder.iterdir():
            version = "1.20.1" if number == 1 else "1.32.0"
            file.write_text(file.read_text().replace("1.32.0", version).replace("1.20.1", version))
        return HOST_ONLY

    once, second = both_ways(several(playing, monkeypatch, matrix=matrix), first)
    assert once == second
    run, found = merging.answer(Path("second"))
    assert len(run.factors["stack"]) == 3
    # All three in stack one, and the first and the third in `two`.
    assert sum(one.pairs for one in found.workloads[0].hosts.compared) == 4


@pytest.mark.parametrize("first", PAIRS)
def test_workloads_that_one_name_means(playing, monkeypatch, first):
    def matrix(number):
        (playing.folder / "model.onnx").write_bytes(b"another model" if number == 1 else b"a model")
        return HOST_ONLY

    once, second = both_ways(several(playing, monkeypatch, matrix=matrix), first)
    assert once == second


@pytest.mark.parametrize("first", PAIRS)
def test_references_of_one_machine_that_differ(playing, monkeypatch, first):
    """Two machines give the same as reference; the third one does not."""

    def player(number):
        def play(stack, cell, table):
            value = 5.0 + (number == 2) + (0.01 if number == 0 and stack == "two" else 0)
            return Played({"y": np.full(3, value, np.float32)}, realised=merging.told(table))

        return play

    referred = HOST_ONLY.replace("numdev: 1", "numdev: 1\nreference: {stack: one, profile: host}")
    once, second = both_ways(several(playing, monkeypatch, matrix=lambda number: referred, player=player), first)
    assert once == second
    _, found = merging.answer(Path("second"))
    judged = [one.reference for one in found.workloads[0].classes]
    assert [one.verdict for one in judged] == ["the same", "the same", "rounding"]


@pytest.mark.parametrize("first", PAIRS)
def test_what_does_not_match_is_told_by_the_names_of_now(playing, monkeypatch, first):
    """Two machines of one kind, one of which did not name a factor: between, it has a shorter name."""

    def matrix(number):
        repeats = HOST_ONLY.replace("numdev: 1", f"numdev: 1\nrepeats: {number + 1}")
        return repeats if number == 0 else repeats.replace("stack: [one, two]", "threads: [2, 1], stack: [two, one]")

    once, second = both_ways(several(playing, monkeypatch, (INTEL, INTEL, AMD), matrix), first)
    assert once == second
    run, _ = merging.answer(Path("second"))
    assert f"{INTEL}-m0 did not name threads: its cells are at 1, the default." in run.joined


@pytest.mark.parametrize("first", PAIRS)
def test_what_a_host_could_not_show_is_its_own(playing, monkeypatch, first):
    paths = several(playing, monkeypatch, (INTEL, INTEL, AMD))
    for number, path in enumerate(paths):
        told = {"lowered": {"haswell": "fma" if number else "avx"}, "refused": {"zen9": f"reason {number}"}}
        merging.forged_run(path, lambda run, told=told: run.update(told))
    once, second = both_ways(paths, first, whole=False)
    assert once == second
    run, _ = merging.answer(Path("second"))
    assert set(run.lowered) == {f"haswell on {level}" for level in run.hosts}
    assert run.refused == {"zen9": "reason 0"}


def timed():
    numbers = count(1)

    def play(stack, cell, table):
        realised = {**merging.told(table), "inference_seconds": [[next(numbers) / 7]]}
        return Played({"y": np.full(3, 1.0, np.float32)}, realised=realised)

    return play


def test_a_run_that_two_bundles_have_is_no_repeat(playing, monkeypatch):
    """The same run bundled, extended, and bundled again."""
    merging.on(monkeypatch, INTEL)
    first = playing.bundle(HOST_ONLY, timed(), "a")
    (playing.folder / "a.yaml").write_text(HOST_ONLY.replace("stack: [one, two]", "stack: [one, two], threads: [1, 2]"))
    playing.numdev("matrix", "run", "a.yaml", "-s", "store-a")
    playing.numdev("bundle", "create", "a", "-s", "store-a", "-o", "more.bundle.tar")
    done = playing.numdev("bundle", "merge", first, "more.bundle.tar", "--store", "both")
    assert done.code == 3
    assert "in the same measured times: one run, which two bundles have" in " ".join(done.err.split())
    assert not Path("both").exists()
    again = playing.bundle(HOST_ONLY, timed(), "b")
    assert playing.numdev("bundle", "merge", again, "more.bundle.tar", "--store", "both").code == 3


def test_noise_is_no_conflict(playing, monkeypatch):
    numbers = count(1)

    def player(number):
        def play(stack, cell, table):
            value = float(next(numbers)) if stack == "one" else 1.0
            return Played({"y": np.full(3, value, np.float32)}, realised=merging.told(table))

        return play

    twice = HOST_ONLY.replace("numdev: 1", "numdev: 1\nrepeats: 2")
    paths = several(playing, monkeypatch, (INTEL, INTEL), lambda number: twice, player)
    done = playing.numdev("bundle", "merge", *paths, "--store", "both", "--name", "m")
    said = " ".join(done.out.split())
    assert "2 replicates with equal outcomes, 0 with others, 2 of cells that differ from run to run" in said
    _, found = merging.answer(Path("both"))
    assert found.workloads[0].hosts.conflicts == ()


@pytest.mark.parametrize("change", ["tap: layers", "rounds: 2"])
def test_a_cell_asked_for_otherwise_is_no_conflict(playing, monkeypatch, change):
    """The causes are equal, and the digests are not: for the answer as for the merge."""

    def player(number):
        given = {"y": np.full(3, float(number), np.float32)}
        again = (given,) if number and change == "rounds: 2" else ()
        return lambda stack, cell, table: Played(given, realised=merging.told(table), rounds=again)

    def matrix(number):
        return HOST_ONLY.replace("numdev: 1", f"numdev: 1\n{change}") if number else HOST_ONLY

    paths = several(playing, monkeypatch, (INTEL, INTEL), matrix, player)
    done = playing.numdev("bundle", "merge", *paths, "--store", "both", "--name", "m")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "No replicate has one digest on several hosts: cells are compared by their levels." in said
    _, found = merging.answer(Path("both"))
    assert found.workloads[0].hosts.conflicts == ()
    assert not any("conflict" in line for line in found.short)


def test_a_kernel_is_told_in_full(bundled, tmp_path):
    """A capture may say less of the kernel than the records do."""
    kernels = {"a": "6.1.0-18-cloud-amd64", "b": "6.1.0-21-rt-amd64"}
    paths = [bundled(name, kernel=kernel, facts={"kernel": "6.1.0"}) for name, kernel in kernels.items()]
    merge(paths, tmp_path / "both")
    _, found = merging.answer(tmp_path / "both")
    assert [host.facts["kernel"] for host in found.hosts.values()] == list(kernels.values())
    assert verify_again(tmp_path / "both")


def verify_again(store: Path) -> bool:
    create(Store.open(store), "m", store / "again.bundle.tar", store / "cache", Options())
    return verify(store / "again.bundle.tar").whole


@pytest.mark.parametrize("place", ["file/store", "/proc/store"])
def test_a_store_that_cannot_be_made(playing, monkeypatch, place):
    Path("file").write_text("")
    paths = several(playing, monkeypatch, (INTEL, AMD))
    done = playing.numdev("bundle", "merge", *paths, "--store", place)
    assert done.code == 11
    assert "cannot be made" in done.err or "may not be written" in done.err


def test_two_stacks_that_come_to_the_same(playing, monkeypatch):
    """A store has one record of both, and the bundle a line of each."""
    monkeypatch.setattr(memory, "stack_digest", lambda stack, site: "0" * 64)
    merging.on(monkeypatch, INTEL)
    path = playing.bundle(HOST_ONLY, plain(0), "same")
    assert [check.problems for check in verify(path).checks if check.name in ("digests", "crate", "analysis")] == [
        []
    ] * 3
