"""Runs of several machines become one run: what is the same is one, what is not is kept apart, and a bundle that lies leaves nothing."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numdev import cli, cpu, digests
from numdev.bundle import layout
from numdev.bundle.create import Options, create
from numdev.bundle.merge import merge
from numdev.bundle.reading import Bundle
from numdev.bundle.verify import verify
from numdev.cpu import Host
from numdev.cpu.capture import PROCESSOR
from numdev.engines import Played, memory
from numdev.errors import BundleFailed, InvalidInput, NumdevError, StoreFailed
from numdev.run.runfile import answer_of, read_run
from numdev.store import Store

forging = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("forging.py"))))
MACHINES = Path(__file__).resolve().parents[1] / "machines"
INTEL, AMD = "intel-6-207-2", "amd-25-17-1"
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def answer(folder: Path, name: str = "m"):
    store = Store.open(folder)
    run = read_run(store, name)
    return run, answer_of(run, store)


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a store but its index."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "index.sqlite"
    }


def said_of_host(found, workload: int = 0) -> str:
    return "\n".join(one.text for one in found.workloads[workload].sentences if one.about == "host")


# Which cells are whose ------------------------------------------------------------------------------------------


def test_two_machines_become_levels_of_host(bundled, tmp_path):
    made = merge([bundled("a"), bundled("b", brand="Another")], tmp_path / "both")
    run, found = answer(tmp_path / "both")
    assert run.order == ["stack", "profile", "host"]
    assert len(run.factors["host"]) == 2
    assert all(level.startswith("intel-6-") for level in run.factors["host"])
    assert [host.bundle for host in run.hosts.values()] in (["a", "b"], ["b", "a"])
    assert (len(run.cells), made.records, made.tensors) == (12, 10, 2)
    # Of another processor, a cell has another digest.
    assert (made.equal, made.conflicts) == (0, [])
    [one] = found.workloads
    assert next(effect for effect in one.effects if effect.factor == "host").status == "no effect"
    assert Store.open(tmp_path / "both").verify() == []


def test_the_order_of_bundles_does_not_matter(bundled, tmp_path):
    paths = [bundled("a"), bundled("b", brand="Another"), bundled("c", shift=1.0), bundled("d", repeats=2, brand="x")]
    for at in range(3):
        paths = [*paths[1:], paths[0]] if at != 2 else paths[::-1]
        merge(paths, tmp_path / f"store-{at}")
    first = contents(tmp_path / "store-0")
    assert first == contents(tmp_path / "store-1") == contents(tmp_path / "store-2")


def test_merged_in_two_steps_it_is_the_same(bundled, tmp_path):
    """The first two are of one kind of machine, so that their levels have other names when they are merged alone."""
    a, b, c = bundled("a"), bundled("b", shift=1.0), bundled("c", brand="Another")
    merge([a, c], tmp_path / "first")
    create(Store.open(tmp_path / "first"), "m", tmp_path / "ac.bundle.tar", tmp_path / "cache", Options())
    made = merge([b, tmp_path / "ac.bundle.tar"], tmp_path / "second")
    merge([c, b, a], tmp_path / "once")
    assert len(made.run.hosts) == 3
    assert contents(tmp_path / "second") == contents(tmp_path / "once")


def test_equal_digests_and_bytes_are_two_observations(bundled, tmp_path):
    computes = {"rcpps": "0" * 64}
    made = merge([bundled("a", fingerprint=computes), bundled("b", fingerprint=computes)], tmp_path / "both")
    assert (made.equal, made.alone, made.conflicts) == (5, 0, [])
    assert list(made.run.hosts) == sorted(made.run.hosts)
    assert {level.rpartition("-")[2] for level in made.run.hosts} == {"a", "b"}
    _, found = answer(tmp_path / "both")
    [compared] = found.workloads[0].hosts.compared
    assert (compared.silicon, compared.told, compared.pairs, compared.differ) == ("same", "unread", 4, 0)
    assert "All hosts have the same silicon: what differs between them is not of it." in found.short


def test_equal_digests_and_other_bytes_are_a_result(bundled, tmp_path):
    made = merge(
        [
            bundled("a", facts={"kernel": "6.1"}, fingerprint={"rcpps": "0" * 64}),
            bundled("b", shift=1.0, facts={"kernel": "6.2"}, fingerprint={"rcpps": "0" * 64}),
        ],
        tmp_path / "both",
    )
    assert (made.equal, len(made.conflicts)) == (1, 4)
    assert made.conflicts[0].name == "own ort-1 haswell"
    assert [outcome[:3] for outcome in made.conflicts[0].outcomes.values()] == ["ok ", "ok "]
    run, found = answer(tmp_path / "both")
    [one] = found.workloads
    assert len(one.hosts.conflicts) == 4
    assert set(one.hosts.conflicts[0].outcomes) == set(run.factors["host"])
    text = said_of_host(found)
    assert "the silicon is the same, so it is not of silicon" in text
    assert "what else differs between the hosts (kernel)" in text
    assert "4 conflicts (equal causes by the cell's digest, other bytes)" in text
    assert "4 conflicts: one cell's digest, other bytes on another host." in found.short


def test_a_merged_run_is_a_run(bundled, tmp_path):
    """It is bundled again, which is verified with all that each host was, and its cells are named by what they were."""
    facts = [{"kernel": "6.1", "microcode": "0x1"}, {"kernel": "6.2", "microcode": "0x1"}]
    paths = [bundled("a", facts=facts[0]), bundled("b", facts=facts[1]), bundled("c", brand="Another")]
    merge(paths, tmp_path / "all")
    out = tmp_path / "all.bundle.tar"
    create(Store.open(tmp_path / "all"), "m", out, tmp_path / "cache", Options())
    report = verify(out)
    assert report.whole, [check for check in report.checks if check.problems]
    assert next(check.what for check in report.checks if check.name == "hosts") == "3 hosts"
    with Bundle(out) as bundle:
        # Two captures of one kind of processor are both there, as are the model and its inputs.
        assert sum(name.startswith(("platforms/", "profiles/")) for name in bundle.members) == 3
        assert {"workloads/own/model.onnx", "workloads/own/inputs.npz"} <= set(bundle.members)
        hosts = bundle.run.hosts
        artifact = bundle.read(layout.ARTIFACT).decode()
    assert sorted(host.facts.get("kernel", "") for host in hosts.values()) == ["", "6.1", "6.2"]
    assert "The host intel-6-12-0-a is that of the bundle a of 2026-01-31" in artifact
    assert "own: hosts: where programs were told the same" in artifact


def test_merging_again_changes_nothing(bundled, tmp_path):
    paths = [bundled("a"), bundled("b", brand="Another")]
    merge(paths, tmp_path / "both")
    before = contents(tmp_path / "both")
    merge(paths, tmp_path / "both")
    assert contents(tmp_path / "both") == before


def test_what_a_store_has_is_never_changed(bundled, tmp_path):
    merge([bundled("a"), bundled("b", brand="Another")], tmp_path / "both")
    before = contents(tmp_path / "both")
    others = [bundled("c", shift=1.0), bundled("d", shift=1.0, brand="Another")]
    with pytest.raises(StoreFailed, match="has another result of own ort-1 sandybridge"):
        merge(others, tmp_path / "both", "other")
    with pytest.raises(InvalidInput, match="has another run called 'm'"):
        merge([bundled("e", brand="Third"), bundled("f", brand="Fourth")], tmp_path / "both")
    assert contents(tmp_path / "both") == before


# What the answer says ------------------------------------------------------------------------------------------

MATRIX = """
numdev: 1
factors: {stack: [one, two], profile: [host, haswell]}
enforce: cpuid
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
"""


def told(table, kernel="Haswell"):
    """What a cell reads back."""
    found = {"blas": [{"internal_api": "openblas", "architecture": kernel}]}
    return found | ({"cpuid": {"traps": True, "mismatches": [], "uncovered": 0}} if table else {})


def on(monkeypatch, machine: str, shown_as: str = "", **facts):
    """As if this machine were one of tests/machines, or that one shown as another."""
    record = json.loads((MACHINES / f"{machine}.json").read_text())["capture"]
    captured = cpu.read_capture(MACHINES / f"{shown_as or machine}.json")
    everything = {**record["facts"], **facts} | ({PROCESSOR: machine} if shown_as else {})
    monkeypatch.setattr(cpu, "host", lambda: Host(captured.leaves, ""))
    monkeypatch.setattr(cpu, "capture", lambda: cpu.Capture(captured.leaves, everything, record["fingerprint"]))


def players(own: dict[str, float], shown: dict[str, float], kernels: dict[str, str] | None = None):
    """By machine, what a cell gives under its own CPUID and under a profile."""

    def of(machine):
        def play(stack, cell, table):
            value = (shown if table else own)[machine] + (stack == "two")
            kernel = "Haswell" if table else (kernels or {}).get(machine, "SkylakeX")
            return Played({"y": np.full(3, value, np.float32)}, realised=told(table, kernel))

        return play

    return of


def made_on(playing, monkeypatch, of, machines=(INTEL, AMD), matrix=MATRIX, shown_as=("", "")):
    """Bundles of the same matrix, one on each machine."""
    paths = []
    for machine, shown, name in zip(machines, shown_as, ("ma", "mb"), strict=True):
        on(monkeypatch, machine, shown)
        paths.append(playing.bundle(matrix, of(machine), name))
    return paths


def test_silicon_is_told_from_dispatch_where_cpuid_was_shown(playing, monkeypatch, tmp_path):
    """Two machines: under the profile all is alike but one bit; under their own CPUID they chose otherwise."""
    of = players({INTEL: 1.0, AMD: 2.0}, {INTEL: 3.0, AMD: 4.0}, {AMD: "Zen"})
    paths = made_on(playing, monkeypatch, of)
    done = playing.numdev("bundle", "merge", *paths, "--store", "both", "--name", "m")
    assert done.code == 0, done.err
    run, found = answer(Path("both"))
    assert run.factors["host"] == [AMD, INTEL]
    by = {one.told: one for one in found.workloads[0].hosts.compared}
    assert set(by) == {"held", "together"}
    assert {(one.silicon, one.pairs, one.differ) for one in by.values()} == {("varied", 2, 2)}
    assert {"rcpps", "rsqrtps"} <= set(by["held"].fingerprints)
    assert by["held"].also == ("microcode",)
    text = said_of_host(found)
    assert "where dispatch is held" in text
    assert "of silicon (they compute" in text
    assert "or of what else differs between the hosts (microcode)" in text
    assert "not identified where dispatch and silicon vary together" in text
    assert "Told the same CPU on other silicon: 2 of 2 pairs differ." in found.short
    assert "Dispatch and silicon vary together, and are not told apart: 2 of 2 pairs differ." in found.short
    # `host` says nothing of which processor: it is another one on each.
    assert run.profiles["host"].get("vendor") is None


def test_silicon_that_does_nothing_is_a_finding(playing, monkeypatch):
    of = players({INTEL: 1.0, AMD: 2.0}, {INTEL: 3.0, AMD: 3.0})
    paths = made_on(playing, monkeypatch, of)
    playing.numdev("bundle", "merge", *paths, "--store", "both", "--name", "m")
    _, found = answer(Path("both"))
    assert "neither silicon nor anything else of these hosts changes the bytes there" in said_of_host(found)


def test_a_declared_host_is_called_so(playing, monkeypatch):
    """One machine, once as itself and once shown as another: silicon is not varied, whatever CPUID says."""
    of = players({AMD: 1.0}, {AMD: 3.0})
    host_only = MATRIX.replace("[host, haswell]", "[host]")
    paths = made_on(playing, monkeypatch, lambda machine: of(AMD), (AMD, AMD), host_only, ("", INTEL))
    made = playing.numdev("bundle", "merge", *paths, "--store", "both", "--name", "m")
    assert f"{AMD}-as-{INTEL}" in made.out
    assert "declared: programs are told" in " ".join(made.out.split())
    run, found = answer(Path("both"))
    assert run.hosts[f"{AMD}-as-{INTEL}"].silicon == AMD
    [one] = found.workloads[0].hosts.compared
    assert (one.silicon, one.told, one.differ) == ("same", "together", 0)
    assert any(f"{AMD}-as-{INTEL} (declared: its processor is {AMD})" in line for line in found.short)
    assert any("All hosts have the same silicon" in line for line in found.short)


def test_cells_of_one_host_alone_are_counted_and_not_compared(playing, monkeypatch):
    of = players({INTEL: 1.0, AMD: 2.0}, {INTEL: 3.0, AMD: 3.0})
    on(monkeypatch, INTEL)
    one = playing.bundle(MATRIX, of(INTEL), "ma")
    on(monkeypatch, AMD)
    other = playing.bundle(
        MATRIX.replace("[one, two]", "[one]").replace("numdev: 1", "numdev: 1\nrepeats: 2"), of(AMD), "mb"
    )
    done = playing.numdev("bundle", "merge", one, other, "--store", "both", "--name", "m", "--json")
    assert any("matrices are not the same" in note for note in done.data["notes"])
    run, found = answer(Path("both"))
    assert found.workloads[0].hosts.alone == {INTEL: 2}
    assert f"not compared, for only one host has a class there: 2 cells on {INTEL}" in said_of_host(found)
    assert run.source == {}
    assert run.hosts[AMD].source["repeats"] == 2
    create(Store.open(Path("both")), "m", Path("m.bundle.tar"), Path("cache"), Options())
    assert verify(Path("m.bundle.tar")).whole


def test_what_one_host_cannot_show_is_known_of_the_others(playing, monkeypatch):
    of = players({INTEL: 1.0, AMD: 1.0}, {AMD: 3.0})
    on(monkeypatch, INTEL)
    leaves = cpu.host().leaves
    monkeypatch.setattr(cpu, "host", lambda: Host(leaves, "no CPUID faulting", "nor rewriting"))
    one = playing.bundle(MATRIX, of(INTEL), "ma")
    on(monkeypatch, AMD)
    other = playing.bundle(MATRIX, of(AMD), "mb")
    playing.numdev("bundle", "merge", one, other, "--store", "both", "--name", "m")
    run, found = answer(Path("both"))
    assert run.refused == {}
    assert f"{INTEL} could not show haswell: what it would give there is not known." in found.short
    assert found.workloads[0].hosts.alone == {AMD: 2}


# What does not match -------------------------------------------------------------------------------------------


def test_a_factor_that_one_lacks_is_at_its_default(playing, monkeypatch):
    of = players({INTEL: 1.0, AMD: 1.0}, {})
    host_only = MATRIX.replace("[host, haswell]", "[host]")
    on(monkeypatch, INTEL)
    one = playing.bundle(host_only, of(INTEL), "ma")
    on(monkeypatch, AMD)
    other = playing.bundle(host_only.replace("stack: [one, two]", "stack: [one], threads: [1, 2]"), of(AMD), "mb")
    done = playing.numdev("bundle", "merge", one, other, "--store", "both", "--name", "m")
    assert f"{INTEL} did not name threads: its cells are at 1, the default." in " ".join(done.out.split())
    run, found = answer(Path("both"))
    assert run.factors["threads"] == ["1", "2"]
    assert found.workloads[0].hosts.alone == {INTEL: 1, AMD: 1}


def test_other_models_and_packages_of_one_name_are_kept_apart(playing, monkeypatch):
    of = players({INTEL: 1.0, AMD: 1.0}, {})
    host_only = MATRIX.replace("[host, haswell]", "[host]")
    on(monkeypatch, INTEL)
    one = playing.bundle(host_only, of(INTEL), "ma")
    folder = playing.folder / "images" / "two"
    for file in folder.iterdir():
        file.write_text(file.read_text().replace("1.32.0", "1.20.1"))
    monkeypatch.setattr(
        memory, "stack_digest", lambda stack, site: digests.of_json([stack.name, stack.pins["onnxruntime"]])
    )
    (playing.folder / "model.onnx").write_bytes(b"another model")
    on(monkeypatch, AMD)
    other = playing.bundle(host_only, of(AMD), "mb")
    done = playing.numdev("bundle", "merge", one, other, "--store", "both", "--name", "m", "--json")
    notes = " ".join(done.data["notes"])
    assert "The workload own is another model or other inputs on some hosts, and kept apart: own." in notes
    assert "The stack two is other packages on some hosts, and kept apart: two." in notes
    run, found = answer(Path("both"))
    assert len(run.workloads) == 2
    assert all(name.startswith("own.") for name in run.workloads)
    assert all(workload.hosts is None or not workload.hosts.compared for workload in found.workloads)
    create(Store.open(Path("both")), "m", Path("m.bundle.tar"), Path("cache"), Options())
    report = verify(Path("m.bundle.tar"))
    assert report.whole, [check for check in report.checks if check.problems]


def test_another_base_system_of_one_name_is_refused(playing, monkeypatch):
    of = players({INTEL: 1.0, AMD: 1.0}, {})
    host_only = MATRIX.replace("[host, haswell]", "[host]")
    on(monkeypatch, INTEL)
    one = playing.bundle(host_only, of(INTEL), "ma")
    base = playing.folder / "images" / "base" / "bookworm.yaml"
    base.write_text(base.read_text().replace("1704067200", "1704067201"))
    on(monkeypatch, AMD)
    other = playing.bundle(host_only, of(AMD), "mb")
    done = playing.numdev("bundle", "merge", one, other, "--store", "both")
    assert done.code == 3
    assert "the base system is another one in each" in done.err
    assert not Path("both").exists()


# Bundles of strangers ------------------------------------------------------------------------------------------


def test_a_changed_bundle_leaves_nothing(bundled, tmp_path):
    good, bad = bundled("a"), bundled("b", shift=1.0)
    data = bytearray(bad.read_bytes())
    with Bundle(bad) as bundle:
        names = [name for name in bundle.members if name.startswith(("outputs/", "tables/"))]
        for name in names:
            data[bundle.members[name].offset + bundle.members[name].size - 2] ^= 1
    bad.write_bytes(data)
    for paths in ([good, bad], [bad, good]):
        with pytest.raises(BundleFailed) as failed:
            merge(paths, tmp_path / "both")
        said = str(failed.value)
        assert all(name in said for name in names)
        assert "a.bundle.tar" not in said
        assert not (tmp_path / "both").exists()


def test_into_a_store_that_is_there_a_changed_bundle_brings_nothing(bundled, tmp_path):
    merge([bundled("a"), bundled("b", brand="Another")], tmp_path / "both")
    before = contents(tmp_path / "both")
    bad = bundled("c", shift=1.0)
    data = bytearray(bad.read_bytes())
    data[data.index(b'"status":"ok"') + 11] ^= 1
    bad.write_bytes(data)
    with pytest.raises(BundleFailed):
        merge([bad, bundled("d", shift=2.0)], tmp_path / "both", "other")
    assert contents(tmp_path / "both") == before


def forged_run(path: Path, change) -> None:
    """The same bundle with another run.json, a manifest that fits, and no crate, which would tell."""
    parts = forging.changed(forging.parts_of(path), layout.RUN, change)
    parts.pop(layout.CRATE)
    path.write_bytes(forging.archive(parts, folder=path.name.split(".")[0]))


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/x", "", "a" * 70, "-x", "x\n"])
def test_a_run_that_is_called_as_a_path_is_refused(bundled, tmp_path, name):
    good, bad = bundled("a"), bundled("b", brand="Another")
    parts = forging.changed(forging.parts_of(bad), layout.RUN, lambda run: run.update(matrix=name))
    parts = forging.changed(parts, layout.DESCRIPTION, lambda told: told.update(run=name))
    parts.pop(layout.CRATE)
    bad.write_bytes(forging.archive(parts, folder="b"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInput):
        merge([good, bad], tmp_path / "both")
    assert sorted(tmp_path.iterdir()) == before


def test_names_that_write_on_a_terminal_are_refused(bundled, tmp_path):
    good, bad = bundled("a"), bundled("b", brand="Another")

    def change(run):
        run["refused"]["\x1b[2Jprofile"] = "none"

    forged_run(bad, change)
    with pytest.raises(InvalidInput, match="is no name that can be shown") as failed:
        merge([good, bad], tmp_path / "both")
    assert all(line.isprintable() for line in str(failed.value).splitlines())
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("bundle", "../x"), ("silicon", "\x1b[2J"), ("facts", {"\x1b": ""}), ("digest", "x"), ("bundle", "a b")],
)
def test_hosts_that_are_called_strangely_are_refused(bundled, tmp_path, key, value):
    merge([bundled("a"), bundled("b", brand="Another")], tmp_path / "both")
    out = tmp_path / "ab.bundle.tar"
    create(Store.open(tmp_path / "both"), "m", out, tmp_path / "cache", Options())
    forged_run(out, lambda run: next(iter(run["hosts"].values())).update({key: value}))
    with pytest.raises(InvalidInput) as failed:
        merge([out, bundled("c", shift=1.0)], tmp_path / "more")
    assert all(line.isprintable() for line in str(failed.value).splitlines())
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("word", ["\x1b[2J", "é" * 50, "x" * 5000, "../../..", "\n"])
def test_strange_words_of_a_processor_are_no_level(pair, tmp_path, word):
    """Nothing that a record says of its machine can write on a terminal, or be a part of a path."""
    (tmp_path / "a.bundle.tar").write_bytes(pair[0])
    (tmp_path / "b.bundle.tar").write_bytes(pair[1])
    parts = forging.parts_of(tmp_path / "b.bundle.tar")
    parts.pop(layout.CRATE)
    [capture] = [name for name in parts if name.startswith("platforms/")]
    parts.pop(capture)
    parts = forging.changed(parts, layout.DESCRIPTION, lambda told: told["left_out"].update({capture: "none"}))
    parts = forging.changed(parts, layout.RUN, lambda run: run["engine"].update(engine=word))
    cells = parts[layout.CELLS].splitlines()
    for number, line in enumerate(cells):
        if json.loads(line)["status"] == "missing":
            continue

        def change(environment):
            environment["platform"]["vendor"] = word
            environment["engine"] = word

        parts = forging.fact(parts, number, "environment", change)
    (tmp_path / "b.bundle.tar").write_bytes(forging.archive(parts, folder="b"))
    made = merge([tmp_path / "a.bundle.tar", tmp_path / "b.bundle.tar"], tmp_path / "both")
    for level, host in made.run.hosts.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,200}", level)
        assert all(text.isprintable() and text.isascii() for text in (*host.facts, *host.facts.values()))


def test_hosts_that_nobody_ran_on_are_refused(bundled, tmp_path):
    merge([bundled("a"), bundled("b", brand="Another")], tmp_path / "both")
    out = tmp_path / "ab.bundle.tar"
    create(Store.open(tmp_path / "both"), "m", out, tmp_path / "cache", Options())

    def other_silicon(run):
        next(iter(run["hosts"].values()))["silicon"] = "amd-25-17-1"

    forged_run(out, other_silicon)
    with pytest.raises(BundleFailed, match="silicon of the host"):
        merge([out, bundled("c", shift=1.0)], tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_one_bundle_does_not_count_twice(bundled, tmp_path):
    a, b = bundled("a"), bundled("b", brand="Another")
    with pytest.raises(InvalidInput, match="named twice"):
        merge([a, b, a], tmp_path / "both")
    merge([a, b], tmp_path / "both")
    create(Store.open(tmp_path / "both"), "m", tmp_path / "ab.bundle.tar", tmp_path / "cache", Options())
    with pytest.raises(InvalidInput, match="is there 2 times"):
        merge([tmp_path / "ab.bundle.tar", a], tmp_path / "more")
    with pytest.raises(InvalidInput, match="1 given"):
        merge([a], tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_what_is_no_bundle_is_told_with_all_others(bundled, tmp_path):
    for name in ("x", "y"):
        (tmp_path / f"{name}.bundle.tar").write_bytes(b"not a bundle" * 100)
    with pytest.raises(InvalidInput) as failed:
        merge([tmp_path / "x.bundle.tar", bundled("a"), tmp_path / "y.bundle.tar"], tmp_path / "both")
    assert failed.value.code == 3
    assert {problem.where.split(":")[0] for problem in failed.value.problems} == {"x.bundle.tar", "y.bundle.tar"}
    assert not (tmp_path / "both").exists()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The bytes of two bundles of two hosts."""
    folder = tmp_path_factory.mktemp("pair")
    made = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    for name, how in {"a": {}, "b": {"brand": "Another"}}.items():
        (folder / name).mkdir()
        create(
            made["a_store"](folder / name / "store", **how), "m", folder / f"{name}.bundle.tar", folder / "c", Options()
        )
    return [(folder / f"{name}.bundle.tar").read_bytes() for name in "ab"]


@QUICK
@given(st.data())
def test_any_flipped_bit_is_refused(pair, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped")
    paths = [folder / "a.bundle.tar", folder / "b.bundle.tar"]
    at = data.draw(st.integers(0, len(pair[1]) - 1))
    changed = bytearray(pair[1])
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    paths[0].write_bytes(pair[0])
    paths[1].write_bytes(changed)
    with pytest.raises(NumdevError):
        merge(paths, folder / "both")
    assert sorted(path.name for path in folder.iterdir()) == ["a.bundle.tar", "b.bundle.tar"]


# The command ---------------------------------------------------------------------------------------------------


def test_the_command_at_80_columns(bundled, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    paths = [bundled("a"), bundled("b", shift=1.0), bundled("c", brand="Another")]

    def numdev(*arguments):
        monkeypatch.setattr(sys, "argv", ["numdev", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr()

    code, said = numdev("bundle", "merge", *paths, "--store", tmp_path / "all")
    assert code == 0, said.err
    assert max(map(len, said.out.replace(str(tmp_path), "").splitlines())) <= 80
    assert "The run m of 3 hosts" in said.out
    assert "1 replicates with equal outcomes, 4 with others; 5 on one host only." in " ".join(said.out.split())
    assert "conflict: own ort-1 haswell:" in said.out
    code, said = numdev("report", "m", "--store", tmp_path / "all")
    assert code == 4
    assert "4 conflicts" in said.out
    code, said = numdev("report", "m", "--store", tmp_path / "all", "--json")
    data = json.loads(said.out)
    assert len(data["hosts"]) == 3
    assert len(data["workloads"][0]["hosts"]["conflicts"]) == 4
    assert numdev("bundle", "merge", paths[0], "--store", tmp_path / "none")[0] == 3
    code, said = numdev("bundle", "merge", paths[0], tmp_path / "missing.bundle.tar", "--store", tmp_path / "none")
    assert (code, (tmp_path / "none").exists()) == (3, False)
    out = tmp_path / "all.bundle.tar"
    create(Store.open(tmp_path / "all"), "m", out, tmp_path / "cache", Options())
    code, said = numdev("bundle", "rerun", out)
    assert code == 3
    assert "run those that it was merged from: a, b, c" in said.err
