"""One array in a .npy file of a stranger's, mapped: it claims no more memory than is looked at."""

from __future__ import annotations

import math
import mmap
import os
import warnings
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np

_HEADER = 4096
# Bytes of mapped files that were looked at before all are let go of: the system counts them as this process's memory until then.
_HELD, _PIECE = 64 << 20, 4 << 20
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class _Mapped(np.memmap):
    """A mapped array whose pages are let go of as it is read in slices; whoever looks again gets them from the file."""

    _maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
    _given = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if not isinstance(index, slice):
            return found
        _Mapped._given += found.nbytes
        if _Mapped._given > _HELD:
            _Mapped._given = 0
            for one in list(_Mapped._maps):
                one.madvise(mmap.MADV_DONTNEED)
        # What is computed with a piece need not be a mapped array again, which numpy takes time for; a large part is sliced further.
        return found if found.nbytes > _PIECE else found.view(np.ndarray)


def mapped(
    path: Path | IO[bytes],
    kinds: str = "biufc",
    versions: tuple[tuple[int, int], ...] = ((1, 0),),
    start: int = 0,
    size: int | None = None,
) -> np.ndarray:
    """The array in a .npy, read-only, of a type whose kind is one of `kinds`.

    path: of the file, or the file itself, open. start, size: where in it the .npy lies, in bytes; by default it is the whole of it.

    Raises:
        ValueError: it is none. What numpy raises besides on hostile bytes has no common base.
    """
    with open(path, "rb") if isinstance(path, Path) else nullcontext(path) as file:
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
    found = _Mapped(path, dtype, "r", data, shape, "F" if fortran else "C")
    _Mapped._maps.add(found._mmap)
    return found
