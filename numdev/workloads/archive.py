""".npz files in bounds: read without pickle, written so that equal arrays are equal files."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from numdev.errors import InvalidInput, Problem

MEMBERS = 1000
SIZE = 2 << 30
_HEADER = 4096
_TIME = (1980, 1, 1, 0, 0, 0)


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A .npz with sorted names, fixed times and no compression."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            array = np.asarray(arrays[name])
            array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _TIME)
            info.create_system = 3
            archive.writestr(info, member.getvalue())
    return stream.getvalue()


def unpack(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz of a stranger's.

    Raises:
        InvalidInput: it is missing, no .npz of plain numbers, or larger than 2 GiB unpacked.
    """
    where = str(path)

    def wrong(what: str, remedy: str = "") -> InvalidInput:
        return InvalidInput(f"{path.name} cannot be used.", [Problem(where, what, remedy)])

    if not path.is_file():
        raise wrong("does not exist" if not path.exists() else "is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if not infos or len(infos) > MEMBERS:
                raise wrong(f"has {len(infos)} arrays; from 1 to {MEMBERS} are allowed")
            if sum(info.file_size for info in infos) > SIZE:
                raise wrong(f"is larger than {SIZE >> 30} GiB when unpacked")
            arrays: dict[str, np.ndarray] = {}
            for info in infos:
                name = info.filename.removesuffix(".npy")
                if info.filename == name or name in arrays or info.flag_bits & 1:
                    raise wrong(f"its member {info.filename!r} is no array, stands twice or is encrypted")
                with archive.open(info) as member:
                    # The directory's sizes may lie; what is read is bounded by them.
                    arrays[name] = _array(member.read(info.file_size), name, wrong)
            return arrays
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, zipfile.LargeZipFile) as error:
        raise wrong(f"is no .npz: {error}", "write it with numpy.savez") from None
    except (ValueError, RuntimeError) as error:
        raise wrong(f"is no .npz of numbers: {' '.join(str(error).split())}") from None


def _array(data: bytes, name: str, wrong) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f"{name} is of .npy version {version}")
    shape, fortran, dtype = reader(stream, max_header_size=_HEADER)
    if dtype.kind not in "biufc":
        raise wrong(f"{name} is of type {dtype}, not an array of numbers", "object arrays would need pickle")
    if len(data) - stream.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has not the size of its shape {shape}")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
