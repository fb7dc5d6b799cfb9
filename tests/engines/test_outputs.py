"""What a job wrote is read in bounds: whatever lies there, the answer is a CellResult or None."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numdev import digests
from numdev.engines import outputs
from numdev.engines.outputs import CellResult, Unbelievable, parse_npy, read_result
from numdev.store import Output, Record, Store

CELL = "c" * 64


def npy(array, version=(1, 0), pickle=False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), version=version, allow_pickle=pickle)
    return stream.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    """A .npy whose header is `text`."""
    raw = text.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


def result(**changes) -> dict:
    return {"status": "ok", "reason": "", "outputs": [], "realised": {}, "seconds": 0.5, **changes}


class Out:
    """An OUT folder with one cell in it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / CELL
        self.folder.mkdir()

    def write(self, data) -> None:
        text = data if isinstance(data, bytes) else json.dumps(data).encode()
        (self.folder / "result.json").write_bytes(text)

    def read(self) -> CellResult | None:
        return read_result(self.out, CELL)

    def reason(self) -> str:
        """Why the cell is not believed."""
        found = self.read()
        assert found.status == "failed"
        assert found.outputs == ()
        assert found.reason.startswith("the job's own record of it cannot be read: ")
        return found.reason.partition("read: ")[2]

    def tensor(self, data: bytes, name: str = "y", file: str = "0.npy", **changes) -> None:
        (self.folder / file).write_bytes(data)
        self.write(result(outputs=[{"name": name, "file": file, "sha256": digests.of_bytes(data), **changes}]))


@pytest.fixture
def out(tmp_path: Path) -> Out:
    return Out(tmp_path)


def test_what_a_worker_writes_is_read(out):
    data = npy(np.arange(6, dtype=np.float32).reshape(2, 3))
    (out.folder / "0.npy").write_bytes(data)
    (out.folder / "log.txt").write_bytes(b"said \xff")
    row = {"name": "y", "file": "0.npy", "sha256": digests.of_bytes(data)}
    out.write(result(outputs=[row], realised={"blas": [{"version": None}]}))
    found = out.read()
    assert (found.status, found.seconds, found.log) == ("ok", 0.5, "said \ufffd")
    assert found.realised == {"blas": [{"version": None}]}
    assert [(each.name, each.dtype, each.shape, each.data) for each in found.outputs] == [
        ("y", "float32", (2, 3), data)
    ]


def test_no_result_is_none(out):
    assert out.read() is None
    assert read_result(out.out, "0" * 64) is None


def test_outputs_of_a_cell_that_is_not_ok_are_not_read(out):
    out.write(result(status="timeout", reason="too slow", outputs=[{"nothing": 1}]))
    assert out.read() == CellResult("timeout", "too slow", (), {}, 0.5)


class TestFiles:
    def test_a_folder_that_is_a_link(self, out, tmp_path):
        out.write(result())
        (tmp_path / "other").symlink_to(out.folder)
        assert read_result(tmp_path, "other") is None

    def test_a_result_that_is_a_link(self, out, tmp_path):
        (tmp_path / "secret").write_text(json.dumps(result()))
        (out.folder / "result.json").symlink_to(tmp_path / "secret")
        out.reason()

    def test_a_link_to_itself(self, out):
        (out.folder / "result.json").symlink_to(out.folder / "result.json")
        assert out.read() is None or out.reason()

    def test_a_tensor_that_is_a_link(self, out, tmp_path):
        data = npy(np.zeros(3))
        (tmp_path / "secret").write_bytes(data)
        out.tensor(data)
        (out.folder / "0.npy").unlink()
        (out.folder / "0.npy").symlink_to(tmp_path / "secret")
        out.reason()

    @pytest.mark.parametrize("name", ["result.json", "0.npy", "log.txt"])
    def test_a_fifo_does_not_hang(self, out, name):
        out.tensor(npy(np.zeros(3)))
        (out.folder / name).unlink(missing_ok=True)
        os.mkfifo(out.folder / name)
        assert f"{name} is no regular file" in out.reason()

    @pytest.mark.parametrize("name", ["result.json", "0.npy", "log.txt"])
    def test_a_folder_in_a_files_place_and_no_handle_is_lost(self, out, name):
        out.tensor(npy(np.zeros(3)))
        (out.folder / name).unlink(missing_ok=True)
        (out.folder / name).mkdir()
        before = len(os.listdir("/proc/self/fd"))
        assert "no regular file" in out.reason()
        assert len(os.listdir("/proc/self/fd")) == before

    def test_a_huge_result_is_not_read(self, out):
        with open(out.folder / "result.json", "wb") as file:
            file.truncate(1 << 40)
        assert "1099511627776 bytes" in out.reason()

    def test_a_huge_tensor_is_not_read(self, out):
        out.tensor(npy(np.zeros(3)))
        with open(out.folder / "0.npy", "r+b") as file:
            file.truncate(1 << 40)
        assert "0.npy has 1099511627776 bytes" in out.reason()

    def test_many_outputs_may_not_be_huge_together(self, out, monkeypatch):
        data = npy(np.zeros(1000))
        monkeypatch.setattr(outputs, "TENSOR_LIMIT", 3 * len(data))
        (out.folder / "0.npy").write_bytes(data)
        rows = [{"name": str(index), "file": "0.npy", "sha256": digests.of_bytes(data)} for index in range(4)]
        out.write(result(outputs=rows[:3]))
        assert len(out.read().outputs) == 3
        out.write(result(outputs=rows))
        assert "more than" in out.reason()

    def test_only_the_end_of_a_huge_log_is_kept(self, out):
        with open(out.folder / "log.txt", "wb") as file:
            file.truncate(1 << 40)
            file.seek(0, os.SEEK_END)
            file.write(b"the end")
        out.write(result())
        found = out.read()
        assert found.status == "ok"
        assert len(found.log) == outputs.LOG_LIMIT
        assert found.log.endswith("the end")

    @pytest.mark.parametrize(
        "file", ["../secret.npy", "/etc/passwd", "..", ".", "", "a/../0.npy", "0.npy\0", "x" * 5000]
    )
    def test_names_that_lead_elsewhere(self, out, file):
        data = npy(np.zeros(3))
        (out.out / "secret.npy").write_bytes(data)
        (out.folder / "0.npy").write_bytes(data)
        out.write(result(outputs=[{"name": "y", "file": file, "sha256": digests.of_bytes(data)}]))
        out.reason()


class TestTensors:
    def test_a_wrong_digest(self, out):
        out.tensor(npy(np.zeros(3)), sha256="0" * 64)
        assert "0.npy is not what the worker wrote" in out.reason()

    @pytest.mark.parametrize(
        "data",
        [
            npy(np.array([{}], dtype=object), pickle=True),
            npy(np.array(["text"])),
            npy(np.array([b"text"])),
            npy(np.zeros(2, "datetime64[s]")),
            npy(np.zeros(2, [("a", "f4"), ("b", "i4")])),
            npy(np.arange(6.0).reshape(2, 3).T),
            npy(np.asfortranarray(np.zeros((3, 4)))),
            npy(np.zeros(3, ">f4")),
            npy(np.zeros(3), version=(2, 0)),
            npy(np.zeros(3))[:-1],
            npy(np.zeros(3)) + b"\0",
            b"",
            b"\x93NUMPY",
            b"\x93NUMPY\x01\x00\xff\xff{}",
            b"PK\x03\x04",
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", b"\0" * 4),
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }", b"\0" * 4),
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", b""),
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }", b"\0" * 4),
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1" + "0" * 30 + "), }"),
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904, 4), }"),
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 65 + "), }", b"\0" * 4),
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (3L,), }", b"\0" * 12),
            header("{'descr': '<f4', 'fortran_order': False, 'shape': ("),
            header("  {'descr': '<f4'\n 'x"),
            header("'" + "x" * 60000),
            header("(" * 3000),
            header("{[]: 1}"),
            header("{'descr': '(2,)<f4', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8),
            header("{'descr': [], 'fortran_order': False, 'shape': (1,), }"),
            header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8),
        ],
        ids=range(31),
    )
    def test_what_is_no_plain_array(self, out, data):
        with pytest.raises(Unbelievable):
            parse_npy(data)
        out.tensor(data)
        out.reason()

    @pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3), (1,) * 32])
    @pytest.mark.parametrize("kind", ["float32", "float64", "int8", "uint8", "bool", "complex64", "float16", "int64"])
    def test_what_is_accepted_can_be_loaded_and_recorded(self, tmp_path, shape, kind):
        data = npy(np.zeros(shape, kind))
        assert parse_npy(data) == (kind, shape)
        store = Store.open(tmp_path / "s", create=True)
        loaded = store.load(store.put_tensor(data))
        assert (loaded.shape, loaded.dtype.name) == (shape, kind)
        assert Output(name="y", dtype=kind, shape=list(shape), tensor="0" * 64).shape == list(shape)

    def test_two_outputs_of_one_name(self, out):
        data = npy(np.zeros(3))
        row = {"name": "y", "file": "0.npy", "sha256": digests.of_bytes(data)}
        out.tensor(data)
        out.write(result(outputs=[row, row]))
        assert "two of its outputs have one name" in out.reason()


class TestJson:
    @pytest.mark.parametrize(
        "text",
        [
            b"", b"{", b"[]", b"3", b"null", b'"ok"', b"{}", b"\xff\xfe", b"[" * 100_000, b'{"status": ' * 50_000,
            json.dumps(result(status="fine")).encode(),
            json.dumps(result(status="signal:12345")).encode(),
            json.dumps(result(status=["ok"])).encode(),
            json.dumps(result(reason=None)).encode(),
            json.dumps(result(outputs={})).encode(),
            json.dumps(result(outputs=[3])).encode(),
            json.dumps(result(outputs=[{"name": "y"}])).encode(),
            json.dumps(result(outputs=[{"name": "y" * 1001, "file": "0.npy", "sha256": ""}])).encode(),
            json.dumps(result(outputs=[{"name": 3, "file": "0.npy", "sha256": ""}])).encode(),
            json.dumps(result(outputs=[{"name": "y", "file": 0, "sha256": ""}])).encode(),
            json.dumps(result(outputs=[{}] * 1001)).encode(),
            json.dumps(result(realised=[])).encode(),
            json.dumps(result(realised=None)).encode(),
            json.dumps(result(seconds=float("nan"))).encode(),
            json.dumps(result(seconds=float("inf"))).encode(),
            json.dumps(result(seconds=1)).replace("1", "1e999").encode(),
            json.dumps(result(seconds=True)).encode(),
            json.dumps(result(seconds="fast")).encode(),
            json.dumps(result(realised={"n": 1})).replace("1", "1" * 5000).encode(),
            b'{"status": "ok", "reason": "", "outputs": [], "realised": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
            b'{"status": "ok", "reason": "", "outputs": [], "realised": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
            rb'{"status": "ok", "reason": "", "outputs": [], "realised": {"a": "\ud800"}}',
            rb'{"status": "ok", "reason": "", "outputs": [], "realised": {"\ud800": 1}}',
            rb'{"status": "ok", "reason": "", "outputs": [{"name": "\ud800", "file": "0.npy", "sha256": "x"}], "realised": {}}',
        ],
        ids=range(34),
    )  # fmt: skip
    def test_what_is_no_result(self, out, text):
        (out.folder / "0.npy").write_bytes(npy(np.zeros(1)))
        out.write(text.replace(b'"x"', b'"' + digests.of_bytes(npy(np.zeros(1))).encode() + b'"'))
        out.reason()

    @pytest.mark.parametrize("text", ["\ud800", "\x1b[2J\x1b]0;owned\x07", "\x00", "\x9b31m", "a\u202eb"])
    def test_a_reason_cannot_write_to_the_terminal(self, out, text):
        out.write(result(status="failed", reason=f"before {text} after\nline"))
        reason = out.read().reason
        assert reason.startswith("before ")
        assert reason.endswith(" after\nline")
        assert all(letter.isprintable() or letter == "\n" for letter in reason)
        assert reason.encode()

    def test_a_long_reason_is_cut(self, out):
        out.write(result(status="failed", reason="x" * 100_000))
        assert len(out.read().reason) == 4000

    @pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "\x00"])
    def test_a_name_cannot_write_to_the_terminal(self, out, name):
        out.tensor(npy(np.zeros(1)), name=name)
        out.reason()


def recorded(found: CellResult) -> Record:
    """What is read can always be stored: no result of a stranger's can stop a matrix."""
    from numdev.run.execute import _plain

    return Record(
        record=1, digest="0" * 64, workload="w", factors={}, replicate=1, status=found.status, reason=found.reason,
        seconds=found.seconds, realised=_plain(found.realised), log=found.log,
        outputs=[Output(name=o.name, dtype=o.dtype, shape=list(o.shape), tensor="0" * 64) for o in found.outputs],
    )  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.binary(max_size=300), st.binary(max_size=200))
def test_any_bytes(tmp_path_factory, text, data):
    out = Out(tmp_path_factory.mktemp("o"))
    out.tensor(data)
    assert recorded(out.read()).status in ("ok", "failed")
    out.write(text)
    assert recorded(out.read()).status == "failed"


@FUZZ
@given(st.dictionaries(st.sampled_from(["status", "reason", "outputs", "realised", "seconds"]), JSON))
def test_any_json(tmp_path_factory, changes):
    out = Out(tmp_path_factory.mktemp("o"))
    out.write(json.dumps(result(**changes)).encode())
    record = recorded(out.read())
    Store.open(out.out / "s", create=True).put(record)
    if any(not isinstance(changes.get(key, []), list) for key in ("outputs", "status")):
        assert record.status == "failed"


@FUZZ
@given(st.fixed_dictionaries({"name": JSON, "file": JSON, "sha256": JSON}) | JSON)
def test_any_row(tmp_path_factory, row):
    out = Out(tmp_path_factory.mktemp("o"))
    out.write(result(outputs=[row]))
    assert recorded(out.read()).status == "failed"


@FUZZ
@given(st.data())
def test_any_header(data):
    """A real header with a few letters changed is read or refused, and what is read can be loaded."""
    raw = bytearray(npy(np.zeros((2, 3), np.float32)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        dtype, shape = parse_npy(bytes(raw))
    except Unbelievable:
        return
    array = np.load(io.BytesIO(raw), allow_pickle=False)
    assert (array.dtype.name, array.shape) == (dtype, shape)
