"""The store: what is written stays, what is damaged is found, and a stranger's store harms nobody."""

import errno
import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from numdev import digests
from numdev.errors import StorageFailed, StoreFailed
from numdev.store import Output, Record, Store
from numdev.store.record import SCHEMA

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(1, 0))
    return stream.getvalue()


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def record(name: str = "a", **changes) -> Record:
    values = {
        "record": 1,
        "digest": sha(name),
        "workload": "w",
        "factors": {"stack": "s", "threads": 1},
        "replicate": 1,
        "status": "ok",
        "seconds": 0.1,
        "realised": {"blas": ["Haswell", None, 1.5]},
    }
    return Record(**{**values, **changes})


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def filled(store):
    """One record with one tensor."""
    tensor = store.put_tensor(npy(ARRAY))
    store.put(record(outputs=[Output(name="y", dtype="float32", shape=[2, 3], tensor=tensor)]))
    return store


def record_file(store: Store, name: str = "a", attempt: int = 1) -> Path:
    return store.folder / "records" / sha(name)[:2] / f"{sha(name)}-{attempt}.json"


def tensor_file(store: Store) -> Path:
    (path,) = (store.folder / "tensors").rglob("*.npy")
    return path


def sealed(data: dict) -> str:
    """A record's file as a stranger could make it, with the right digest of itself."""
    return json.dumps({**data, "sha256": digests.of_json(data)})


def put_raw(store: Store, text: str | bytes, name: str = "a") -> Store:
    path = record_file(store, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Store.open(store.folder)


def damage(store: Store) -> list[tuple[str, str]]:
    return [(problem.where, problem.what) for problem in store.verify()]


def test_what_is_written_is_read_again(filled):
    again = Store.open(filled.folder)
    found = again.record(sha("a"))
    assert found == filled.record(sha("a"))
    assert found == record(outputs=found.outputs)
    loaded = again.load(found.outputs[0].tensor)
    assert loaded.tobytes() == ARRAY.tobytes()
    assert not loaded.flags.writeable
    assert list(again.records()) == [found]
    assert again.verify() == []


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 3), np.float32), np.array(2.5), np.array([], np.int8), np.asfortranarray(ARRAY), np.ones(1, "c16")],
    ids=str,
)
def test_arrays_of_all_kinds(store, array):
    loaded = store.load(store.put_tensor(npy(array)))
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert np.array_equal(loaded, array)
    assert not loaded.flags.writeable


def test_nothing_is_overwritten(filled):
    before = files_of(filled.folder)
    filled.put(record(status="failed", reason="later"))
    filled.put(record(status="timeout"))
    after = files_of(filled.folder)
    assert before.items() < after.items()
    assert len(after) == len(before) + 2
    for opened in (filled, Store.open(filled.folder)):
        assert opened.record(sha("a")).status == "timeout"
        assert [one.status for one in opened.records()] == ["timeout"]


def test_two_that_write_at_a_time_do_not_overwrite_each_other(store):
    other = Store.open(store.folder)
    store.put(record(reason="one"))
    other.put(record(reason="other"))
    assert [json.loads(record_file(store, attempt=n).read_text())["reason"] for n in (1, 2)] == ["one", "other"]


def test_attempts_are_counted_not_sorted_as_text(store):
    for attempt in range(1, 12):
        store.put(record(reason=str(attempt)))
    assert Store.open(store.folder).record(sha("a")).reason == "11"


def test_equal_tensors_are_stored_once(store, monkeypatch):
    first = store.put_tensor(npy(ARRAY))
    before = tensor_file(store).stat()
    assert store.put_tensor(npy(ARRAY.copy())) == first == hashlib.sha256(npy(ARRAY)).hexdigest()
    assert store.put_tensor(npy(ARRAY + 1)) != first
    after = os.stat(store.folder / "tensors" / first[:2] / f"{first}.npy")
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(list((store.folder / "tensors").rglob("*.npy"))) == 2


def test_what_is_not_there(store):
    assert not store.has(sha("a"))
    with pytest.raises(StoreFailed, match="has no record"):
        store.record(sha("a"))
    with pytest.raises(StoreFailed, match="missing or damaged"):
        store.load(sha("a"))
    with pytest.raises(StoreFailed, match="has no run 'm'"):
        store.run("m")


def test_a_flipped_byte_of_a_record_is_found(filled):
    """Or it is white space, which says nothing."""
    path = record_file(filled)
    whole = path.read_bytes()
    found = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        if chr(whole[place]).isspace():
            continue
        assert [where for where, _ in damage(filled)] == [path.relative_to(filled.folder).as_posix()]
        with pytest.raises(StoreFailed):
            filled.record(sha("a"))
        found += 1
    assert found > 400


def test_a_flipped_byte_of_a_tensor_is_found(filled):
    path = tensor_file(filled)
    for place in (0, 20, 130, path.stat().st_size - 1):
        data = bytearray(npy(ARRAY))
        data[place] ^= 0x10
        path.write_bytes(data)
        (tensor, broken) = damage(filled)[::-1]
        assert tensor == (path.relative_to(filled.folder).as_posix(), "has other bytes than it was named by")
        assert "its output y" in broken[1]
        with pytest.raises(StoreFailed, match="missing or damaged"):
            filled.load(path.stem)


@pytest.mark.parametrize("kind", ["missing", "renamed", "moved", "truncated", "link", "folder"])
def test_every_kind_of_damage_to_a_tensor(filled, tmp_path, kind):
    path = tensor_file(filled)
    target = path
    if kind == "missing":
        path.unlink()
    elif kind == "renamed":
        target = path.rename(path.with_name(path.stem[:-1] + ("0" if path.stem[-1] != "0" else "1") + ".npy"))
    elif kind == "moved":
        target = path.parent.parent / "zz" / path.name
        target.parent.mkdir()
        path.rename(target)
    elif kind == "truncated":
        path.write_bytes(npy(ARRAY)[:-1])
    elif kind == "link":
        path.rename(tmp_path / "elsewhere.npy")
        path.symlink_to(tmp_path / "elsewhere.npy")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    found = dict(damage(Store.open(filled.folder)))
    assert "is missing" in found.pop(record_file(filled).relative_to(filled.folder).as_posix())
    expected = {
        "renamed": "has other bytes than it was named by",
        "moved": "is not a tensor's name",
        "truncated": "has other bytes than it was named by",
        "link": "is not a regular file",
        "folder": "is not a regular file",
    }
    name = target.relative_to(filled.folder).as_posix()
    assert found == ({name: expected[kind]} if kind in expected else {})
    with pytest.raises(StoreFailed):
        filled.load(path.stem)


@pytest.mark.parametrize("kind", ["renamed", "moved", "link", "folder", "empty"])
def test_every_kind_of_damage_to_a_record(filled, tmp_path, kind):
    path = target = record_file(filled)
    if kind == "renamed":
        target = path.rename(path.with_name(f"{sha('a')[:-1]}{'0' if sha('a')[-1] != '0' else '1'}-1.json"))
    elif kind == "moved":
        target = path.parent.parent / "zz" / path.name
        target.parent.mkdir()
        path.rename(target)
    elif kind == "link":
        path.rename(tmp_path / "elsewhere.json")
        path.symlink_to(tmp_path / "elsewhere.json")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    opened = Store.open(filled.folder)
    ((where, what),) = damage(opened)
    assert where == target.relative_to(filled.folder).as_posix()
    assert what.startswith(
        {
            "renamed": "it is not the record that its name says",
            "moved": "is not a record's name",
            "link": "is not a regular file",
            "folder": "is not a regular file",
            "empty": "Expecting value",
        }[kind]
    )
    assert opened.has(sha("a")) == (kind not in ("renamed", "moved"))


@pytest.mark.parametrize(
    "name",
    [
        "tensors/notes.txt",
        "tensors/ab/notes.txt",
        "records/x.json",
        "records/ab/x.json",
        "records/ab/x/y",
        "tensors/ab/x/y",
    ],
)
def test_foreign_files_are_found(filled, name):
    (filled.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (filled.folder / name).write_text("hello")
    ((where, _),) = damage(filled)
    assert name.startswith(where)
    assert Store.open(filled.folder).record(sha("a")).status == "ok"


def test_verify_lists_all_damage_at_once(filled):
    (filled.folder / "tensors" / "x").write_text("")
    tensor_file(filled).unlink()
    filled.put(record("b"))
    record_file(filled, "b").write_text("{}")
    assert len(filled.verify()) == 3
    assert all(problem.remedy for problem in filled.verify())


@pytest.mark.parametrize(
    ("marker", "what"),
    [
        ('{"store": 2}', "is from a newer numdev"),
        ('{"store": "1"}', "is damaged"),
        ('{"store": true}', "is damaged"),
        ('{"store": 0}', "is damaged"),
        ('{"store": null}', "is damaged"),
        ("{}", "is damaged"),
        ("[]", "is damaged"),
        ('"store"', "is damaged"),
        ("", "is damaged"),
        ("[" * 10_000, "is damaged"),
        ('{"store": 1}' + " " * 70_000, "is damaged"),
    ],
)
def test_markers(filled, marker, what):
    (filled.folder / "numdev-store.json").write_text(marker)
    before = files_of(filled.folder)
    for create in (False, True):
        with pytest.raises(StoreFailed, match=what) as caught:
            Store.open(filled.folder, create=create)
        assert caught.value.code == 10
    assert files_of(filled.folder) == before


def test_a_folder_that_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(StoreFailed, match="is no store"):
        Store.open(tmp_path)
    with pytest.raises(StoreFailed, match="is not empty and no store"):
        Store.open(tmp_path, create=True)
    assert files_of(tmp_path) == {"mine.txt": b"x"}


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "x").write_text("x")
    with pytest.raises(StoreFailed, match="is not a folder"):
        Store.open(tmp_path / "x", create=True)


def test_an_empty_folder_becomes_a_store_only_when_asked(tmp_path):
    with pytest.raises(StoreFailed, match="is no store"):
        Store.open(tmp_path)
    assert files_of(tmp_path) == {}
    assert Store.open(tmp_path, create=True).verify() == []
    assert json.loads((tmp_path / "numdev-store.json").read_text()) == {"store": 1}


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
@pytest.mark.parametrize(("number", "what"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "may not be written")])
def test_a_full_disk_leaves_nothing_half_written(filled, monkeypatch, call, number, what):
    before = files_of(filled.folder)

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        for write in (
            lambda: filled.put(record("new")),
            lambda: filled.put(record("a")),
            lambda: filled.put_tensor(npy(ARRAY * 2)),
            lambda: filled.write_run("m", {"run": 1}),
        ):
            with pytest.raises(StorageFailed, match=what) as caught:
                write()
            assert caught.value.code == 11
    assert files_of(filled.folder) == before
    assert not filled.has(sha("new"))
    assert filled.record(sha("a")).status == "ok"
    filled.put(record("new"))
    assert Store.open(filled.folder).record(sha("new")) == record("new")
    assert filled.verify() == []


def test_a_record_from_a_newer_numdev(store):
    opened = put_raw(store, sealed({"record": SCHEMA + 1, "anything": "else"}))
    with pytest.raises(StoreFailed, match="is from a newer numdev"):
        opened.record(sha("a"))
    (problem,) = opened.verify()
    assert (problem.what, problem.remedy) == ("its schema is newer", "Install a newer numdev.")


WHOLE = record().json_data()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "great"},
        {"status": "signal:1234"},
        {"status": None},
        {"digest": "abc"},
        {"digest": sha("b")},
        {"replicate": "1"},
        {"replicate": -1},
        {"factors": {"threads": 1.5}},
        {"factors": [["threads", 1]]},
        {"outputs": {}},
        {"outputs": [{"name": "y", "dtype": "f", "shape": [1], "tensor": "../../../etc/passwd"}]},
        {"outputs": [{"name": "y", "dtype": "f", "shape": [1] * 33, "tensor": sha("x")}]},
        {"outputs": [{"name": "y", "dtype": "f", "shape": ["1"], "tensor": sha("x")}]},
        {"outputs": [{"name": "y" * 1001, "dtype": "f", "shape": [], "tensor": sha("x")}]},
        {"outputs": [5] * 10_001},
        {"seconds": "fast"},
        {"reference": 1},
        {"record": 0},
        {"record": True},
        {"extra": 1},
        {"log": 5},
        {"workload": ["x" * 10_000] * 100},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_records_of_wrong_types(store, changes):
    opened = put_raw(store, sealed({**WHOLE, **changes}))
    with pytest.raises(StoreFailed) as caught:
        opened.record(sha("a"))
    assert len(str(caught.value)) < 2000
    assert len(opened.verify()) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        json.dumps({**WHOLE, "sha256": None}).encode(),
        json.dumps({**WHOLE, "sha256": 5}).encode(),
        json.dumps(WHOLE).encode(),
        json.dumps({**WHOLE, "seconds": float("nan"), "sha256": ""}).encode(),
        json.dumps({**WHOLE, "realised": {"x": float("inf")}, "sha256": ""}).encode(),
        json.dumps({**WHOLE, "log": "\ud800"}).encode(),
        json.dumps(WHOLE).encode()[:-1] + b', "realised": {"x": ' + b"[" * 400 + b"]" * 400 + b"}}",
        json.dumps(WHOLE).encode()[:-1] + b', "replicate": ' + b"9" * 5000 + b"}",
        sealed(WHOLE).encode() + b" " * (16 << 20),
    ],
    ids=lambda text: str(text[:30]),
)
def test_hostile_records(store, text):
    opened = put_raw(store, text)
    with pytest.raises(StoreFailed) as caught:
        opened.record(sha("a"))
    assert len(str(caught.value)) < 2000
    assert len(opened.verify()) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x05\x06" + bytes(18),
        b"\x80\x04N.",
        npy(ARRAY)[:-4],
        npy(np.array(["text"])),
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999,), }   ",
        b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16,
        b"\x93NUMPY\x02\x00" + bytes(100),
    ],
)
def test_hostile_tensors(store, data):
    """Their names are right, for a stranger can name them."""
    name = store.put_tensor(data)
    with pytest.raises(StoreFailed, match="is no array"):
        store.load(name)


def test_an_array_of_objects_is_not_unpickled(store):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([{}, None], object), allow_pickle=True)
    with pytest.raises(StoreFailed, match="is no array"):
        store.load(store.put_tensor(stream.getvalue()))


def test_runs(store):
    store.write_run("b", {"run": 1, "cells": []})
    store.write_run("a", {"run": 1})
    store.write_run("a", {"run": 1, "new": True})
    assert Store.open(store.folder).runs() == ["a", "b"]
    assert store.run("a") == {"run": 1, "new": True}
    with pytest.raises(StoreFailed, match="there are: a, b"):
        store.run("c")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 2}', "[" * 100_000])
def test_a_damaged_run(store, text):
    store.write_run("a", {"run": 1})
    (store.folder / "runs" / "a.json").write_text(text)
    with pytest.raises(StoreFailed, match="is damaged"):
        store.run("a")


def test_a_copied_store_is_the_same(filled, tmp_path):
    shutil.copytree(filled.folder, tmp_path / "copy")
    copied = Store.open(tmp_path / "copy")
    assert copied.verify() == []
    assert list(copied.records()) == list(filled.records())
