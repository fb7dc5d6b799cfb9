"""A declared workload becomes files: found, hashed, kept; what cannot be used is told at once."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from numdev import digests, files
from numdev.errors import InvalidInput
from numdev.spec.workload import DeclaredWorkload, parse_workload
from numdev.workloads import archive, prepare
from numdev.workloads.prepare import model_file


@pytest.fixture
def folder(tmp_path):
    """A user's folder with one of everything."""
    made = tmp_path / "user"
    made.mkdir()
    np.savez(made / "x.npz", x=np.arange(6, dtype=np.float32).reshape(2, 3))
    (made / "model.onnx").write_bytes(b"not parsed, so it need not be a model")
    (made / "mine.py").write_text("def run(inputs):\n    return inputs\n")
    (made / "data.txt").write_text("data")
    (made / "labels.txt").write_text("cat\ndög\n", encoding="utf-8")
    Image.new("RGB", (8, 4), (255, 0, 51)).save(made / "a.png")
    return made


@pytest.fixture
def ready(folder, tmp_path):
    def call(**declared):
        where = DeclaredWorkload.model_validate({"name": "own", **declared})
        return prepare(where, folder, tmp_path / "cache", lambda line: None)

    return call


MODEL = {"model": "model.onnx", "inputs": "x.npz"}


def test_a_model_with_inputs(ready, folder, tmp_path):
    prepared = ready(**MODEL, labels=["a", "b"])
    assert prepared.formats["onnx"].path == folder / "model.onnx"
    assert prepared.formats["onnx"].sha256 == digests.of_file(folder / "model.onnx")
    assert prepared.labels == ("a", "b")
    assert prepared.inputs is not None
    assert prepared.inputs.path.is_relative_to(tmp_path / "cache")
    assert prepared.inputs.sha256 == digests.of_file(prepared.inputs.path)
    assert archive.unpack(prepared.inputs.path)["x"].shape == (2, 3)
    json.dumps(prepared.json())


def test_equal_inputs_in_another_file_are_the_same_workload(ready, folder):
    before = ready(**MODEL).digest
    x = np.load(folder / "x.npz")["x"]
    np.savez_compressed(folder / "x.npz", x=np.asfortranarray(x))
    assert ready(**MODEL).digest == before


@pytest.mark.parametrize("changed", ["model.onnx", "x.npz", "data.txt", "command"])
def test_whatever_can_change_a_result_changes_the_digest(ready, folder, changed):
    declared = {**MODEL, "files": ["data.txt"]}
    if changed == "command":
        declared = {"command": ["python3", "mine.py"], "files": ["mine.py"], "inputs": "x.npz"}
        assert ready(**declared).digest != ready(**{**declared, "command": ["python3", "-O", "mine.py"]}).digest
        return
    before = ready(**declared).digest
    if changed == "x.npz":
        np.savez(folder / "x.npz", x=np.zeros((2, 3), np.float32))
    else:
        (folder / changed).write_bytes(b"other")
    assert ready(**declared).digest != before


def test_names_and_labels_do_not_change_the_digest(ready):
    assert ready(**MODEL).digest == ready(**MODEL, labels=["a"]).digest
    assert ready(**MODEL).digest == ready(**{**MODEL, "name": "other"}).digest


def test_labels_from_a_file(ready):
    assert ready(**MODEL, labels="labels.txt").labels == ("cat", "dög")


def test_labels_that_are_no_text(ready, folder):
    (folder / "labels.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="not UTF-8 at byte 0"):
        ready(**MODEL, labels="labels.txt")


def test_a_module_brings_its_file(ready, folder):
    prepared = ready(module="mine.py:run", inputs="x.npz", files=["data.txt"])
    assert prepared.entry == "mine.py:run"
    assert prepared.files == {"data.txt": folder / "data.txt", "mine.py": folder / "mine.py"}
    assert ready(module="package.module:run").files == {}


def test_a_module_in_another_folder_lies_beside_its_inputs_in_the_job(ready, folder):
    (folder / "deep").mkdir()
    (folder / "mine.py").rename(folder / "deep" / "mine.py")
    prepared = ready(module="deep/mine.py:run")
    assert (prepared.entry, list(prepared.files)) == ("mine.py:run", ["mine.py"])


def test_images_become_inputs(ready):
    prepared = ready(model="model.onnx", images=["a.png"], preprocess={"input": "pixels", "size": [4, 2]})
    assert prepared.inputs is not None
    (name, array), *rest = archive.unpack(prepared.inputs.path).items()
    assert (name, array.shape, array.dtype, rest) == ("pixels", (1, 3, 2, 4), np.float32, [])
    assert np.unique(array[0], axis=None).tolist() == [0, np.float32(0.2), 1]


def test_all_that_is_missing_is_told_at_once(ready):
    with pytest.raises(InvalidInput) as caught:
        ready(model="no.onnx", images=["no.png", "a.png"], files=["no.txt", "."], labels="no.labels",
              preprocess={"input": "x", "size": [4, 4]})  # fmt: skip
    told = str(caught.value)
    for name in ("no.onnx", "no.png", "no.txt", "no.labels"):
        assert name in told
    assert "is not a regular file" in told
    assert len(caught.value.problems) == 5


def test_names_that_clash_in_the_job(ready, folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "data.txt").write_text("x")
    with pytest.raises(InvalidInput, match=r"a second file called data\.txt"):
        ready(command=["true"], files=["data.txt", "deep/data.txt"])
    with pytest.raises(InvalidInput, match="is the name that numdev gives a file"):
        ready(**MODEL, files=["model.onnx"])


def test_a_model_that_is_too_large(tmp_path):
    path = tmp_path / "large.onnx"
    with open(path, "wb") as file:
        file.truncate((2 << 30) + 1)
    with pytest.raises(InvalidInput, match="more than 2 GiB"):
        model_file(path)


def test_a_model_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(InvalidInput, match="not a regular file"):
        model_file(tmp_path / "pipe.onnx")


def test_no_such_builtin(tmp_path):
    with pytest.raises(InvalidInput, match="there are: basic-pitch, ") as caught:
        prepare(parse_workload("resnet", "m.yaml"), tmp_path, tmp_path, print)
    assert caught.value.problems


def test_a_builtin_is_made_once(tmp_path):
    declared = parse_workload("cnn-five", "m.yaml")
    first = prepare(declared, tmp_path, tmp_path, print)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    start = time.perf_counter()
    assert prepare(declared, tmp_path, tmp_path, print) == first
    assert time.perf_counter() - start < 0.5
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    assert all(artefact.path.name.startswith(artefact.sha256) for artefact in first.formats.values())


def test_without_make_nothing_is_made(tmp_path):
    prepared = prepare(parse_workload("cnn-five", "m.yaml"), tmp_path, tmp_path, print, make=False)
    assert set(prepared.formats) == {"net", "onnx"}
    assert prepared.digest == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["gone", "other bytes", "no index", "nonsense", "not the keys", "deep"])
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    declared = parse_workload("cnn-five", "m.yaml")
    first = prepare(declared, tmp_path, tmp_path, print)
    (index,) = (tmp_path / "workloads" / "builtin").iterdir()
    match damage:
        case "gone":
            first.formats["net"].path.unlink()
        case "other bytes":
            first.formats["net"].path.write_bytes(b"other")
        case "no index":
            index.unlink()
        case _:
            index.write_text({"nonsense": "[", "not the keys": "{}", "deep": "[" * 100_000}[damage])
    assert prepare(declared, tmp_path, tmp_path, print) == first
    assert digests.of_file(first.formats["net"].path) == first.formats["net"].sha256


def test_a_full_disk_leaves_nothing_half_written(ready, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(files.StorageFailed, match="disk is full"):
        ready(**MODEL)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
