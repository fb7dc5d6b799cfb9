"""A run becomes a bundle: the same bytes each time, whole by `sha256sum`, and with the same answer as its store."""

from __future__ import annotations

import subprocess

import pytest

from numdev.bundle.analysed import answered, json_bytes
from numdev.bundle.create import NONE, Options, create
from numdev.bundle.reading import Bundle
from numdev.errors import InvalidInput
from numdev.run.runfile import answer_of, read_run


def test_the_same_run_gives_the_same_bytes(store, tmp_path):
    one, other = tmp_path / "a" / "m.bundle.tar", tmp_path / "b" / "m.bundle.tar"
    digests = [create(store, "m", path, tmp_path / "cache", Options()).digest for path in (one, other)]
    assert one.read_bytes() == other.read_bytes()
    assert digests[0] == digests[1]


def test_other_tools_can_check_it(bundled, tmp_path):
    path = bundled("one")
    subprocess.run(["tar", "-xf", path, "-C", tmp_path], check=True)
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path / "one", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(["tar", "-tvf", path], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {line[:10] for line in listed} == {"-rw-r--r--"}
    assert len(listed) == 1 + len((tmp_path / "one" / "SHA256SUMS").read_text().splitlines())


def test_it_answers_as_its_store(store, tmp_path):
    path = tmp_path / "m.bundle.tar"
    create(store, "m", path, tmp_path / "cache", Options())
    with Bundle(path) as bundle:
        found = answered(bundle.run, list(bundle.cells()), bundle.view())
        assert json_bytes(found) == bundle.read("analysis/answer.json")
        assert found.json() == answer_of(read_run(store, "m"), store).json()
        assert [cell.status for cell in bundle.cells()] == ["ok", "ok", "ok", "missing", "ok", "failed"]
        assert bundle.read("workloads/own/model.onnx") == b"only a framework would read this"


def test_models_are_left_out_by_name(bundled):
    with Bundle(bundled("one", Options(models=NONE))) as bundle:
        assert not any(name.startswith("workloads/") for name in bundle.members)
        assert set(bundle.description.left_out) >= {"workloads/own/inputs.npz", "workloads/own/model.onnx"}


def test_a_changed_tensor_is_named(store, tmp_path):
    tensor = next((store.folder / "tensors").glob("*/*.npy"))
    data = bytearray(tensor.read_bytes())
    data[-1] ^= 1
    tensor.write_bytes(data)
    with pytest.raises(InvalidInput, match=tensor.stem[:12]):
        create(store, "m", tmp_path / "m.bundle.tar", tmp_path / "cache", Options())
    assert not (tmp_path / "m.bundle.tar").exists()
