"""Arrays in files, without pickle, and the samples of a batch."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from typing import Any, Dict, List, Tuple, Union

import numpy as np


class Refused(ValueError):
    """Data that is not what it has to be; the message says what."""


def load_inputs(path: str) -> Dict[str, np.ndarray]:
    """The arrays of a .npz by name, in the order of their names.

    Raises:
        Refused: it is no .npz, or holds something that would have to be unpickled.
    """
    try:
        # numpy leaves a file open that it opened itself and could not read.
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            with archive:
                return {name: archive[name] for name in sorted(archive.files)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Refused(f"{os.path.basename(path)} cannot be read as .npz: {error}") from None


def batch_of(inputs: Mapping[str, np.ndarray], batch: Union[int, str]) -> Dict[str, np.ndarray]:
    """The first `batch` samples along the first axis, from the start again where there are fewer; all for "all"."""
    if batch == "all":
        return dict(inputs)
    chosen = {}
    for name, array in inputs.items():
        if array.ndim == 0 or array.shape[0] == 0:
            raise Refused(f"the input {name} has no samples along its first axis to make a batch of")
        chosen[name] = np.ascontiguousarray(array[np.arange(int(batch)) % array.shape[0]])
    return chosen


def named(result: Any, names: List[str]) -> Dict[str, np.ndarray]:
    """What a model returned as arrays by name: a mapping, a sequence or one array.

    Raises:
        Refused: there is something in it that is no array of numbers.
    """
    if isinstance(result, Mapping):
        pairs = [(str(name), value) for name, value in result.items()]
    else:
        values = list(result) if isinstance(result, (list, tuple)) else [result]
        labels = names if len(names) == len(values) else [f"output_{index}" for index in range(len(values))]
        pairs = list(zip(labels, values))
    arrays = {}
    for name, value in pairs:
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            raise Refused(f"the output {name} is of type {array.dtype}, not an array of numbers")
        arrays[name] = array
    if not arrays:
        raise Refused("the model returned no outputs")
    return arrays


def cast(array: np.ndarray, precision: str) -> np.ndarray:
    """The array in a precision, `float32` or `float64`, where it is of floating-point numbers."""
    return array.astype(np.dtype(precision).type) if array.dtype.kind == "f" else array


def plain(array: np.ndarray) -> np.ndarray:
    """An array as files have it, in C order and little-endian; itself where it lies so."""
    # numpy's ascontiguousarray makes a 0-d array 1-d; its asarray with an order does not.
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def header(array: np.ndarray) -> bytes:
    """What stands before the numbers in the .npy of a plain array."""
    return _header(array.dtype, array.shape)


@functools.lru_cache(maxsize=256)
def _header(dtype: np.dtype, shape: Tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def digest(array: np.ndarray) -> str:
    """The SHA-256 of the .npy that `save` would write, without writing or copying it."""
    array = plain(array)
    state = hashlib.sha256(header(array))
    state.update(array.reshape(-1))
    return state.hexdigest()


def save(array: np.ndarray, path: str) -> str:
    """Writes one .npy in C order and little-endian; its SHA-256, so that equal tensors are equal files."""
    array = plain(array)
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
    return digest(array)
