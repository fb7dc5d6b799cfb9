"""Strangers' .npz files: equal arrays are equal files, and hostile ones cost nothing."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numdev import digests
from numdev.errors import InvalidInput
from numdev.workloads import archive


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def zipped(path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def refused(path) -> str:
    with pytest.raises(InvalidInput) as caught:
        archive.unpack(path)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].where == str(path)
    return str(caught.value)


def test_what_is_packed_comes_back(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.array(3, np.int64),
        "empty": np.zeros((0, 4), np.uint8),
        "name with: odd/characters": np.array([True, False]),
        "complex": np.array([1 + 2j]),
        "nan": np.array([np.nan, -0.0], np.float16),
    }
    path = tmp_path / "x.npz"
    path.write_bytes(archive.pack(arrays))
    found = archive.unpack(path)
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    with np.load(path, allow_pickle=False) as loaded:
        assert sorted(loaded.files) == sorted(arrays)


def test_equal_arrays_are_equal_files(tmp_path):
    a, b = np.arange(12, dtype=np.float64).reshape(3, 4), np.arange(3)
    np.savez(tmp_path / "1.npz", a=a, b=b)
    np.savez_compressed(tmp_path / "2.npz", b=b.astype(">i8"), a=np.asfortranarray(a))
    first, second = (archive.pack(archive.unpack(tmp_path / name)) for name in ("1.npz", "2.npz"))
    assert first == second
    assert digests.of_bytes(first) == "cf9a2e8ca943e6afc81d7cc4fdf9279e97ce54c8e16a491499bc6b079b728071"


def test_pickles_are_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("this must not be run",))

    array = np.empty(1, object)
    array[0] = Trap()
    np.savez(tmp_path / "x.npz", x=array)
    assert "would need pickle" in refused(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.zeros(2, "V8"), np.zeros(2, "M8[s]"), np.zeros(1, [("a", "i4")])]
)
def test_only_numbers(tmp_path, array):
    assert "not an array of numbers" in refused(zipped(tmp_path / "x.npz", {"x.npy": npy(array)}))


def test_missing_or_no_file(tmp_path):
    assert "does not exist" in refused(tmp_path / "nothing.npz")
    assert "not a regular file" in refused(tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\5\6" + bytes(18), b"\x93NUMPY" + bytes(100), bytes(1000)])
def test_no_archive(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    refused(tmp_path / "x.npz")


def test_a_single_array_is_not_enough(tmp_path):
    (tmp_path / "x.npz").write_bytes(npy(np.zeros(3)))
    assert "numpy.savez" in refused(tmp_path / "x.npz")


def test_members_that_are_no_arrays(tmp_path):
    assert "is no array" in refused(zipped(tmp_path / "x.npz", {"notes.txt": b"hello"}))
    assert "is no .npz of numbers" in refused(zipped(tmp_path / "y.npz", {"x.npy": b"hello"}))


def test_too_many_members(tmp_path):
    data = npy(np.zeros(1, np.uint8))
    assert "1001 arrays" in refused(zipped(tmp_path / "x.npz", {f"{n}.npy": data for n in range(1001)}))


def test_a_huge_directory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_DIRECTORY", 1 << 16)
    zipped(tmp_path / "x.npz", {f"{'n' * 200}{n}.npy": b"" for n in range(500)})
    assert "its directory has" in refused(tmp_path / "x.npz")


def test_bzip2_and_lzma_are_refused(tmp_path):
    data = {"x.npy": npy(np.zeros(10))}
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "compressed in another way" in refused(zipped(tmp_path / f"{method}.npz", data, method))


def _patched(path, offset: int, size: int) -> None:
    """Writes another uncompressed size into the directory of a zip with one member."""
    data = bytearray(path.read_bytes())
    start = data.rindex(b"PK\1\2")
    data[start + offset : start + offset + 4] = struct.pack("<I", size)
    path.write_bytes(data)


def test_a_bomb_that_is_open_about_it(tmp_path):
    path = zipped(tmp_path / "x.npz", {"x.npy": b"\0" * 1000})
    _patched(path, 24, (2 << 30) + 1)
    assert "larger than 2 GiB" in refused(path)


def test_a_bomb_that_lies_is_read_no_further_than_it_says(tmp_path):
    # 256 MiB of zeros that claim to be 1,000 bytes.
    path = zipped(tmp_path / "x.npz", {"x.npy": b"\0" * (256 << 20)})
    assert path.stat().st_size < 1 << 20
    _patched(path, 24, 1000)
    tracemalloc.start()
    try:
        refused(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_header_that_promises_more_than_there_is(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(16)
    assert "has not the size of its shape" in refused(zipped(tmp_path / "x.npz", {"x.npy": data}))


@pytest.mark.parametrize("shape", ["(-1,)", "(2, -2)", "'ab'", "(1.5,)", "(" * 90 + ")" * 90, "(True,)"])
def test_headers_that_make_no_sense(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(16)
    refused(zipped(tmp_path / "x.npz", {"x.npy": data}))


def test_a_damaged_member(tmp_path):
    path = tmp_path / "x.npz"
    data = bytearray(archive.pack({"x": np.arange(100)}))
    data[200] ^= 1
    path.write_bytes(data)
    assert "CRC" in refused(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 10_000))
def test_whatever_is_damaged_is_either_read_or_refused(tmp_path, changes, cut):
    data = bytearray(archive.pack({"a": np.arange(20, dtype=np.float32), "b": np.zeros((2, 2), np.int8)}))
    for place, byte in changes:
        data[place % len(data)] = byte
    path = tmp_path / "x.npz"
    path.write_bytes(data[: cut or None])
    try:
        archive.unpack(path)
    except InvalidInput:
        pass
