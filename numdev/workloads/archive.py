""".npz files in bounds: read without pickle, written so that equal arrays are equal files."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from numdev.errors import InvalidInput, Problem

MEMBERS = 1000
SIZE = 2 << 30
_HEADER = 4096
# zipfile reads a directory at once, whatever its size; one of 1000 arrays has about 100 KB.
_DIRECTORY = 4 << 20
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


def unpack(path: Path, kinds: str = "biufc") -> dict[str, np.ndarray]:
    """The arrays of a .npz of a stranger's, of types whose kinds are among `kinds`.

    Raises:
        InvalidInput: it is missing, no .npz of plain numbers, or larger than 2 GiB unpacked.
    """
    where = str(path)

    def wrong(what: str, remedy: str = "") -> InvalidInput:
        return InvalidInput(f"{path.name} cannot be used.", [Problem(where, what, remedy)])

    if not path.is_file():
        raise wrong("does not exist" if not path.exists() else "is not a regular file")
    try:
        with open(path, "rb", buffering=0) as raw, _Bounded(raw) as file, zipfile.ZipFile(file) as archive:
            file.opened = True
            arrays: dict[str, np.ndarray] = {}
            for name, info in _listed(archive, wrong):
                with archive.open(info) as member:
                    # The directory's sizes may lie; what is read is bounded by them.
                    arrays[name] = _array(member.read(info.file_size), name, kinds, wrong)
            return arrays
    except InvalidInput:
        raise
    except zipfile.BadZipFile as error:
        raise wrong(f"is no .npz: {error}", "write it with numpy.savez") from None
    except Exception as error:
        # What a malformed file makes zipfile, zlib, tokenize and numpy raise has no common base.
        what = " ".join(str(error).split()) or type(error).__name__
        raise wrong(f"is no .npz of numbers: {what}", "write it with numpy.savez") from None


def check_zip(raw: io.RawIOBase, where: str) -> None:
    """Whether a .npz of a stranger's is one that `unpack` would begin to unpack, by its directory alone: nothing is unpacked.

    Raises:
        InvalidInput: it is none; `where` names it.
    """

    def wrong(what: str, remedy: str = "") -> InvalidInput:
        return InvalidInput(f"{where} cannot be used.", [Problem(where, what, remedy)])

    try:
        with _Bounded(raw) as file, zipfile.ZipFile(file) as archive:
            file.opened = True
            for _ in _listed(archive, wrong):
                pass
    except InvalidInput:
        raise
    except Exception as error:
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise wrong(f"is no .npz: {what}", "write it with numpy.savez") from None


def _listed(archive: zipfile.ZipFile, wrong: Callable[..., InvalidInput]) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """(name of the array, its member), where all of them are what numpy writes and in bounds."""
    infos = archive.infolist()
    if not infos or len(infos) > MEMBERS:
        raise wrong(f"has {len(infos)} arrays; from 1 to {MEMBERS} are allowed")
    if sum(info.file_size for info in infos) > SIZE:
        raise wrong(f"is larger than {SIZE >> 30} GiB when unpacked")
    names = set()
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # numpy writes no other, and zipfile unpacks those without a bound.
            raise wrong(f"its member {info.filename!r} is compressed in another way than numpy's")
        if info.filename == name or name in names or info.flag_bits & 1:
            raise wrong(f"its member {info.filename!r} is no array, stands twice or is encrypted")
        names.add(name)
        yield name, info


class _Bounded(io.BufferedReader):
    """A file that refuses to read a zip's directory of more than 4 MiB, by which memory could be filled."""

    opened = False

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY and not self.opened:
            raise zipfile.BadZipFile(f"its directory has {size} bytes")
        return super().read(size)


def _array(data: bytes, name: str, kinds: str, wrong) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f"{name} is of .npy version {version}")
    with warnings.catch_warnings():
        # numpy warns of headers that Python 2 wrote; they are as good.
        warnings.simplefilter("ignore", UserWarning)
        shape, fortran, dtype = reader(stream, max_header_size=_HEADER)
    if dtype.kind not in kinds:
        raise wrong(f"{name} is of type {dtype}, not an array of numbers", "object arrays would need pickle")
    if len(data) - stream.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has not the size of its shape {shape}")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
