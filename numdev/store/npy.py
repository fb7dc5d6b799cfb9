"""One array in a .npy file of a stranger's, mapped: it claims no more memory than is looked at."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path

import numpy as np

_HEADER = 4096
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def mapped(
    path: Path,
    kinds: str = "biufc",
    versions: tuple[tuple[int, int], ...] = ((1, 0),),
    start: int = 0,
    size: int | None = None,
) -> np.ndarray:
    """The array in a .npy, read-only, of a type whose kind is one of `kinds`.

    start, size: where in the file at `path` the .npy lies, in bytes; by default it is the whole of it.

    Raises:
        ValueError: it is none. What numpy raises besides on hostile bytes has no common base.
    """
    with open(path, "rb") as file:
        file.seek(start)
        version = np.lib.format.read_magic(file)
        if version not in versions:
            known = " or ".join(f"{major}.{minor}" for major, minor in versions)
            raise ValueError(f"it is not of .npy version {known}")
        with warnings.catch_warnings():
            # numpy warns of headers that Python 2 wrote; they are as good.
            warnings.simplefilter("ignore", UserWarning)
            shape, fortran, dtype = _READERS[version](file, max_header_size=_HEADER)
        data = file.tell()
        end = file.seek(0, os.SEEK_END)
    if size is not None:
        end = min(end, start + size)
    size = end - data
    if dtype.kind not in kinds:
        raise ValueError(f"it is of type {dtype}, not an array of numbers")
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"it has {size} bytes of data, not those of its shape {shape} of {dtype}")
    if 0 in shape:
        # Nothing cannot be mapped.
        empty = np.zeros(shape, dtype)
        empty.flags.writeable = False
        return empty
    return np.memmap(path, dtype, "r", data, shape, "F" if fortran else "C")
