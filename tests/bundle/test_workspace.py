"""A stranger's bundle is laid out in one folder or refused, whatever it says; and what it names elsewhere is never looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numdev import cpu
from numdev.bundle import layout
from numdev.bundle.archive import Writer
from numdev.bundle.groups import grouped
from numdev.bundle.included import Described, strange
from numdev.bundle.reading import Bundle
from numdev.bundle.rerun import made_ready
from numdev.bundle.stranger import plain
from numdev.bundle.workspace import empty, lay_out
from numdev.errors import HashMismatch, InvalidInput

HASH = "a" * 64


def laid(path: Path, folder: Path):
    with Bundle(path) as bundle:
        return lay_out(bundle, empty(folder))


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_it_is_a_matrix_that_can_be_run_from_there(bundled, tmp_path):
    done = laid(bundled("one"), tmp_path / "there")
    assert done.matrix.path == tmp_path / "there" / "one.json"
    assert [str(cell.profile) for cell in done.matrix.cells][::2] == ["sandybridge", "haswell", "zen2"]
    declared = done.matrix.workloads["own"]
    assert (done.folder / declared.model).read_bytes() == b"only a framework would read this"
    assert {path.name for path in (done.images / "ort-1").iterdir()} == {"stack.yaml", "requirements.lock"}
    assert (done.images / "base" / "bookworm.yaml").is_file()


def test_a_folder_with_anything_in_it_is_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("full", "full/x", "link"):
        with pytest.raises(InvalidInput, match="cannot be laid out"):
            empty(tmp_path / name)


def test_a_changed_member_is_refused_while_it_is_written(bundled, tmp_path):
    path = bundled("one")
    with Bundle(path) as bundle:
        member = bundle.members["workloads/own/model.onnx"]
    data = bytearray(path.read_bytes())
    data[member.offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(HashMismatch, match=r"workloads/own/model\.onnx"):
        laid(path, tmp_path / "there")
    assert not (tmp_path / "there" / "workloads" / "own" / "model.onnx").exists()


def change(what):
    """A change of `run.json`, and of its matrix, which is its `source`."""
    return {layout.RUN: lambda run: what(run, run["source"])}


def put(target: dict, **values) -> None:
    target.update(values)


HOSTILE = {
    "a workload that is text with a path": lambda run, source: put(source, workloads=["../../etc/passwd"]),
    "no workloads": lambda run, source: put(source, workloads=[]),
    "no factors": lambda run, source: source.pop("factors"),
    "another version": lambda run, source: put(source, numdev=7),
    "an unknown key": lambda run, source: put(source, **{"\x1b[2Jkey": 1}),
    "an unknown factor": lambda run, source: source["factors"].update({"\x1b[2J": ["a"]}),
    "a level with a control character": lambda run, source: source["factors"].update({"stack": ["a\nb"]}),
    "a million cells": lambda run, source: source["factors"].update(
        {f"env.V{at}": [str(level) for level in range(100)] for at in range(4)}
    ),
    "a profile outside": lambda run, source: source["factors"].update({"profile": ["/etc/machine.json"]}),
    "a profile further up": lambda run, source: source["factors"].update({"profile": ["../../secret.txt"]}),
    "caches of a file outside": lambda run, source: source["factors"].update({"caches": ["/etc/machine.json"]}),
    "a model of a file outside": lambda run, source: source["factors"].update({"model": ["../x.json"]}),
    "features of a file outside": lambda run, source: source["factors"].update({"features": ["/x/y.json+avx"]}),
    "an included profile outside": lambda run, source: put(
        source, include=[{"workload": "own", "stack": "ort-1", "profile": "../x.json"}]
    ),
    "a file further up": lambda run, source: run["workloads"]["own"].update({"files": {"../evil.py": HASH}}),
    "an absolute file": lambda run, source: run["workloads"]["own"].update({"files": {"/tmp/evil.py": HASH}}),
    "a file called ..": lambda run, source: run["workloads"]["own"].update({"files": {"..": HASH}}),
    "a file with an escape": lambda run, source: run["workloads"]["own"].update({"files": {"\x1b[2J": HASH}}),
    "a module outside": lambda run, source: run["workloads"]["own"].update({"entry": "/tmp/evil.py:run"}),
    "a format outside": lambda run, source: run["workloads"]["own"].update({"formats": {"../../x": HASH}}),
    "an unknown format": lambda run, source: run["workloads"]["own"].update({"formats": {"pickle": HASH}}),
    "a hash that is a path": lambda run, source: run["workloads"]["own"].update({"inputs": "../../x"}),
    "another name within": lambda run, source: run["workloads"]["own"].update({"name": "../own"}),
    "half a character": lambda run, source: (
        source["workloads"][0].update({"labels": ["\ud800"]}) or source["factors"].update({"profile": ["\ud800"]})
    ),
    "limits that are none": lambda run, source: put(source, limits={"memory": "-4GiB"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_matrix_must_not_say_is_refused_before_anything_is_written(name, bundled, forged, tmp_path):
    path = forged(bundled("one"), change(HOSTILE[name]))
    before = everything(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        laid(path, tmp_path / "there")
    written = everything(tmp_path) - before
    assert all(file.is_relative_to(tmp_path / "there") for file in written)
    assert refused.value.problems


def test_what_a_terminal_is_told_has_no_control_characters(playing, bundled, forged):
    path = forged(bundled("one"), change(HOSTILE["an unknown key"]))
    playing.play(lambda stack, cell, table: None)
    done = playing.numdev("bundle", "rerun", path, "--engine", "docker")
    assert done.code == 3
    assert "\x1b" not in done.err
    assert "?[2Jkey" in done.err


def test_paths_of_the_authors_machine_are_never_opened(bundled, forged, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "model.onnx").write_text("mine")

    def elsewhere(run, source):
        source["workloads"] = [
            {
                "name": "own",
                "model": str(secret / "model.onnx"),
                "images": [str(secret / "model.onnx")],
                "preprocess": {"input": "x", "size": [1, 1]},
                "labels": str(secret / "model.onnx"),
            }
        ]

    done = laid(forged(bundled("one"), change(elsewhere)), tmp_path / "there")
    declared = done.matrix.workloads["own"]
    assert (declared.model, declared.inputs) == ("workloads/own/model.onnx", "workloads/own/inputs.npz")
    assert (declared.labels, declared.images) == ([], None)


def test_limits_end_where_this_machine_does(bundled, forged, tmp_path):
    huge = {"memory": "999999GiB", "timeout": "999999h", "pids": 100_000, "cpus": 4096}
    done = laid(forged(bundled("one"), change(lambda run, source: put(source, limits=huge))), tmp_path / "there")
    assert done.matrix.limits.timeout == "1h"
    assert done.matrix.limits.pids == 4096
    assert "timeout 1h instead of 999999h" in done.notes[0]


def test_a_capture_of_another_processor_than_it_says_shows_nothing(bundled, forged, tmp_path):
    name = f"platforms/{HASH}.json"
    done = laid(forged(bundled("one"), {name: json.dumps(cpu.capture().json()).encode()}), tmp_path / "there")
    assert done.strange[HASH] == "the capture is of another processor than the records name"
    done = laid(forged(bundled("two"), {name: b'{"numdev-capture": 9}'}), tmp_path / "other")
    assert not done.captures
    assert HASH in done.strange


def test_cells_that_the_matrix_does_not_ask_for_are_not_run(bundled, forged, tmp_path):
    path = forged(
        bundled("one"), change(lambda run, source: source["factors"].update({"profile": ["haswell", "zen2"]}))
    )
    with Bundle(path) as bundle:
        done = lay_out(bundle, empty(tmp_path / "there"))
        ready = made_ready(bundle, done, tmp_path / "cache", lambda line: None)
        assert len(grouped(bundle)) == 6
    why = {(one.group.factors["stack"], one.group.factors["profile"]): one.why for one in ready.wanted}
    assert {key for key, text in why.items() if "does not ask for it" in text} == {
        ("ort-1", "sandybridge"),
        ("ort-2", "sandybridge"),
    }


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"base: nowhere\npython: '3.11'\nbackend: onnxruntime\npins: {a: '1'}\n", "there is no base"),
        (b"dockerfile: ../../Dockerfile\nbase: bookworm\npython: '3.11'\nbackend: onnxruntime\n", "own folder"),
        (b"\xff", "not UTF-8"),
        (b"base: !!python/object/apply:os.system [true]\n", "tags"),
    ],
)
def test_a_stack_that_is_none_keeps_its_own_cells_from_running(file, said, bundled, forged, tmp_path):
    path = forged(bundled("one"), {"stacks/ort-1/stack.yaml": file})
    with Bundle(path) as bundle:
        ready = made_ready(bundle, lay_out(bundle, empty(tmp_path / "there")), tmp_path / "cache", lambda line: None)
    why = {one.group.factors["stack"]: one.why for one in ready.wanted if one.cell is None}
    assert said in why["ort-1"]
    assert {text for stack, text in why.items() if stack == "ort-2"} == {"it was never run there"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text(max_size=300), at=st.text(max_size=80))
def test_a_file_that_is_let_through_lies_in_its_folder(name, at, tmp_path):
    told = Described.model_validate({"name": "own", "files": {name: HASH}, "digest": HASH})
    if not list(strange({"own": told}, "x")):
        folder = tmp_path / "files"
        assert (folder / name).resolve().parent == folder.resolve()
    assert plain(at).isprintable()


def test_names_of_members_are_those_of_the_format(bundled, tmp_path):
    path = tmp_path / "x.bundle.tar"
    with open(path, "wb") as file:
        writer = Writer(file, "x")
        writer.add(layout.SUMS, 0, [])
        writer.add("stacks/../../evil", 1, [b"x"])
        writer.close()
    with pytest.raises(InvalidInput, match="nothing that a bundle has"):
        laid(path, tmp_path / "there")
