"""Arrays in files, the samples of a batch, and what a model may return."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from numdev import digests
from numdev.worker import tensors
from numdev.worker.tensors import Refused, batch_of, load_inputs, named, save


def written(folder, array) -> tuple[str, bytes]:
    path = folder / "a.npy"
    sha256 = save(array, str(path))
    return sha256, path.read_bytes()


class TestBatch:
    def test_all_is_all(self):
        inputs = {"x": np.arange(6).reshape(3, 2), "scalar": np.float32(4)}
        chosen = batch_of(inputs, "all")
        assert chosen.keys() == inputs.keys()
        assert np.array_equal(chosen["x"], inputs["x"])

    def test_the_first_samples(self):
        chosen = batch_of({"x": np.arange(10), "y": np.arange(20).reshape(10, 2)}, 3)
        assert chosen["x"].tolist() == [0, 1, 2]
        assert chosen["y"].tolist() == [[0, 1], [2, 3], [4, 5]]

    @given(st.integers(1, 40), st.integers(1, 9))
    def test_samples_come_around_again(self, batch, samples):
        x = np.arange(samples * 2).reshape(samples, 2)
        chosen = batch_of({"x": x}, batch)["x"]
        assert chosen.shape == (batch, 2)
        assert chosen.flags.c_contiguous
        assert all(np.array_equal(chosen[i], x[i % samples]) for i in range(batch))

    @pytest.mark.parametrize("array", [np.float32(1), np.zeros((0, 3))])
    def test_no_samples(self, array):
        with pytest.raises(Refused, match="the input x has no samples"):
            batch_of({"x": array}, 2)


class TestNamed:
    def test_a_mapping_keeps_its_names(self):
        found = named({"b": [1, 2], 3: np.float32(4)}, ["ignored"])
        assert {name: array.tolist() for name, array in found.items()} == {"b": [1, 2], "3": 4}

    @pytest.mark.parametrize("kind", [list, tuple])
    def test_a_sequence_takes_the_models_names(self, kind):
        assert list(named(kind([np.zeros(1), np.ones(1)]), ["p", "q"])) == ["p", "q"]

    def test_a_sequence_of_another_length_is_numbered(self):
        assert list(named([np.zeros(1), np.ones(1)], ["p"])) == ["output_0", "output_1"]

    def test_one_array(self):
        assert named(np.arange(3), [])["output_0"].tolist() == [0, 1, 2]

    def test_tensors_of_a_framework_are_taken_from_its_device(self):
        class Tensor:
            def __init__(self, said=()):
                self.said = said

            def __getattr__(self, name):
                return lambda: np.array([7]) if name == "numpy" else Tensor((*self.said, name))

        assert named(Tensor(), ["y"])["y"].tolist() == [7]

    @pytest.mark.parametrize("value", ["text", None, object(), np.array(["a"]), np.array([None])])
    def test_what_is_no_number_is_refused(self, value):
        with pytest.raises(Refused, match="not an array of numbers"):
            named({"y": value}, [])

    @pytest.mark.parametrize("value", [{}, [], ()])
    def test_nothing_is_refused(self, value):
        with pytest.raises(Refused, match="no outputs"):
            named(value, [])


class TestSave:
    def test_the_digest_is_that_of_the_file(self, tmp_path):
        sha256, data = written(tmp_path, np.arange(5, dtype=np.float32))
        assert sha256 == digests.of_bytes(data)

    @given(arrays.arrays(st.sampled_from(["<f4", "<f8", "<i8", "|u1", "|b1", "<c8", "<f2"]), arrays.array_shapes(min_dims=0, min_side=0)))  # fmt: skip
    def test_every_array_comes_back_bit_by_bit(self, array):
        stream = io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensors, "open", lambda path, mode: _Kept(stream, mode), raising=False)
            save(array, "unused")
        back = np.load(io.BytesIO(stream.getvalue()), allow_pickle=False)
        assert (back.shape, back.dtype, back.tobytes()) == (array.shape, array.dtype, array.tobytes())

    def test_equal_arrays_are_equal_files(self, tmp_path):
        base = np.arange(24, dtype="<f4").reshape(4, 6)
        strided = np.zeros((8, 12), "<f4")
        strided[::2, ::2] = base
        expected = written(tmp_path, base)
        for same in (np.asfortranarray(base), base.astype(">f4"), strided[::2, ::2], base.T.copy().T):
            assert written(tmp_path, same) == expected

    def test_nan_payloads_and_signed_zeros_make_other_files(self, tmp_path):
        words = [0x7FC00000, 0x7FC00001, 0xFFC00000, 0x00000000, 0x80000000]
        found = {written(tmp_path, np.array([word], np.uint32).view(np.float32))[0] for word in words}
        assert len(found) == len(words)

    def test_a_scalar_stays_one(self, tmp_path):
        assert np.load(io.BytesIO(written(tmp_path, np.array(2.5))[1])).shape == ()

    def test_no_pickle(self, tmp_path):
        with pytest.raises(ValueError, match="pickle"):
            written(tmp_path, np.array([{}], dtype=object))


class _Kept(io.BytesIO):
    """A file that hands what was written to `stream`, and gives it back when opened to read."""

    def __init__(self, stream, mode):
        super().__init__(stream.getvalue() if "r" in mode else b"")
        self.stream = stream if "w" in mode else None

    def close(self):
        if self.stream is not None and not self.closed:
            self.stream.write(self.getvalue())
        super().close()


class TestLoad:
    def test_in_the_order_of_their_names(self, tmp_path):
        np.savez(tmp_path / "a.npz", z=np.zeros(1), a=np.ones(2))
        assert list(load_inputs(str(tmp_path / "a.npz"))) == ["a", "z"]

    def test_what_needs_pickle_is_refused(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
        with pytest.raises(Refused, match=r"a\.npz cannot be read"):
            load_inputs(str(tmp_path / "a.npz"))

    @pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"nothing", b"PK\x03\x04" + b"\0" * 40])
    def test_what_is_no_npz_is_refused(self, data, tmp_path):
        (tmp_path / "a.npz").write_bytes(data)
        with pytest.raises(Refused):
            load_inputs(str(tmp_path / "a.npz"))

    def test_a_single_array_is_refused(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros(3))
        with pytest.raises(Refused):
            load_inputs(str(tmp_path / "a.npy"))

    def test_a_cut_archive_is_refused(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.zeros(1000))
        data = (tmp_path / "a.npz").read_bytes()
        (tmp_path / "b.npz").write_bytes(data[: len(data) // 2])
        with pytest.raises(Refused):
            load_inputs(str(tmp_path / "b.npz"))

    def test_a_damaged_member_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'}")
        with pytest.raises(Refused):
            load_inputs(str(tmp_path / "a.npz"))
