"""Any arrays survive a .npz, and no file of a stranger's gives anything but arrays or a refusal."""

import io
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from numdev.errors import InvalidInput
from numdev.workloads import archive

DTYPES = ["b1", "i1", "<i2", ">i4", "<i8", "u1", ">u2", "<u8", "<f2", ">f4", "<f8", "<c8", ">c16"]
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)
SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(np.dtype(dtype), SHAPES))


@pytest.fixture
def at(tmp_path):
    def writing(data: bytes) -> Path:
        path = tmp_path / "x.npz"
        path.write_bytes(data)
        return path

    return writing


@pytest.fixture
def refused(at):
    def of(data: bytes) -> str:
        path = at(data)
        with pytest.raises(InvalidInput) as caught:
            archive.unpack(path)
        (problem,) = caught.value.problems
        assert problem.where == str(path)
        assert problem.what
        return problem.what

    return of


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def with_header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1") + data


@settings(deadline=None)
@given(st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=4))
def test_round_trip(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("a") / "x.npz"
    path.write_bytes(archive.pack(some))
    found = archive.unpack(path)
    assert list(found) == sorted(some)
    for name, array in some.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        assert (found[name].dtype, found[name].shape) == (little.dtype, little.shape)
        assert found[name].tobytes() == little.tobytes()
    assert archive.pack(found) == path.read_bytes()
    assert archive.pack({name: np.asarray(some[name], order="F") for name in reversed(some)}) == path.read_bytes()


def test_other_arrays_are_other_files():
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    different = [a, a.astype(np.float64), a.reshape(4, 3), a.T, a + 1, a.view(np.int32), -a]
    packed = {archive.pack({"a": array}) for array in different} | {archive.pack({"b": a})}
    assert len(packed) == len(different) + 1


def test_the_order_of_fortran_is_read(at):
    array = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    data = zipped({"x.npy": npy(array)})
    assert b"'fortran_order': True" in data
    assert np.array_equal(archive.unpack(at(data))["x"], array)


def test_a_header_of_python_2_is_read(at):
    header = with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2L,)}   \n", bytes(8))
    assert archive.unpack(at(zipped({"x.npy": header})))["x"].tolist() == [0, 0]


def test_version_2_is_read(at):
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n"
    data = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + np.float32(3).tobytes()
    assert archive.unpack(at(zipped({"x.npy": data})))["x"].tolist() == [3]


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999999)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': " + repr((1,) * 100) + "}",
        "{'descr': '<f4', 'fortran_order': 3, 'shape': (1,)}",
        "{'descr': 'nothing', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'shape': (1,)}",
        "__import__('os').abort()",
        "((((((((((",
        "(" * 3000 + ")" * 3000,
        "{'a': 1L, (",
        "  a\n b",
        "\xff\x00",
        "[" * 8000,
    ],
    ids=lambda header: header[:70],
)
def test_hostile_headers(refused, header):
    assert "is no" in (what := refused(zipped({"x.npy": with_header(header + "\n", bytes(4))}))) or "is of type" in what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is no .npz of numbers"),
        (b"\x80\x04N.", "is no .npz of numbers"),
        (npy(np.zeros(3))[:20], "is no .npz of numbers"),
        (npy(np.zeros(3))[:-1], "has not the size of its shape"),
        (npy(np.zeros(3)) + b"x", "has not the size of its shape"),
        (b"\x93NUMPY\x03\x00" + bytes(100), "version (3, 0)"),
        (b"\x93NUMPY\x09\x09" + bytes(100), "is no .npz of numbers"),
    ],
    ids=["empty", "pickle", "header", "short", "long", "version 3", "version 9"],
)
def test_members_that_are_no_array(refused, content, what):
    assert what in refused(zipped({"x.npy": content}))


def test_two_arrays_of_one_name(refused):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("x.npy", npy(np.zeros(1)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("x.npy", npy(np.ones(1)))
    assert "stands twice" in refused(stream.getvalue())


def test_as_many_arrays_as_allowed(at):
    one = npy(np.zeros(1))
    assert len(archive.unpack(at(zipped({f"{index}.npy": one for index in range(1000)})))) == 1000


def test_an_archive_of_nothing(refused):
    assert "has 0 arrays" in refused(zipped({}))


def test_an_encrypted_member(refused):
    data = bytearray(zipped({"x.npy": npy(np.zeros(1))}))
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + offset] |= 1
    assert "encrypted" in refused(bytes(data))


def test_the_sizes_of_all_members_are_added_up(refused, monkeypatch):
    monkeypatch.setattr(archive, "SIZE", 1 << 20)
    data = zipped({f"{index}.npy": npy(np.zeros(40_000)) for index in range(4)}, zipfile.ZIP_DEFLATED)
    assert len(data) < 10_000
    assert "GiB when unpacked" in refused(data)


def lying(array: np.ndarray, change: int) -> bytes:
    """A directory that claims another size than what is unpacked."""
    content = npy(array)
    data = bytearray(zipped({"x.npy": content}, zipfile.ZIP_DEFLATED))
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", len(content) + change)
    return bytes(data)


@pytest.mark.parametrize("change", [-1, -700])
def test_a_size_that_promises_less(refused, change):
    assert refused(lying(np.arange(100.0), change))


def test_a_size_that_promises_more_is_harmless(at):
    assert np.array_equal(archive.unpack(at(lying(np.arange(100.0), 10**6)))["x"], np.arange(100.0))


@pytest.mark.parametrize("offset", [0, 5, 2**32 - 2])
def test_an_offset_that_lies(refused, offset):
    data = bytearray(zipped({"a.npy": npy(np.zeros(1)), "x.npy": npy(np.zeros(1))}))
    place = data.rindex(b"PK\x01\x02") + 42
    data[place : place + 4] = struct.pack("<I", offset)
    assert "is no .npz" in refused(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_bits_are_refused_or_harmless(at, method):
    original = [np.arange(50.0), np.arange(9, dtype=np.uint8)]
    whole = zipped({f"{index}.npy": npy(array) for index, array in enumerate(original)}, method)
    known = [array.tobytes() for array in original]
    chance = random.Random(1)
    refusals = 0
    for _ in range(300):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            found = archive.unpack(at(bytes(data)))
        except InvalidInput:
            refusals += 1
        else:
            assert all(array.tobytes() in known for array in found.values())
    assert refusals > 100


def test_truncated_anywhere(refused):
    whole = zipped({"x.npy": npy(np.arange(5.0))}, zipfile.ZIP_DEFLATED)
    for length in range(0, len(whole), 7):
        assert "is no .npz" in refused(whole[:length])
