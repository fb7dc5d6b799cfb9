"""The narrowest tar there is: one sequence of bytes for one set of files, and no way to say anything else.

A header that is not exactly what the writer would have written is refused, so links, devices, extensions, odd modes and
second spellings need no rules of their own. docs/bundle.md has the format.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from numdev.errors import InvalidInput, Problem

BLOCK = 512
# What eleven octal digits of a ustar header can say.
MEMBER_LIMIT = (8 << 30) - 1
END = b"\0" * (2 * BLOCK)
# Beyond so many bytes, a file has to lie on the disk.
HOLLOW = 1 << 30


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: where its bytes lie. `name` is without the archive's folder."""

    name: str
    offset: int
    size: int


def header(folder: str, name: str, size: int) -> bytes:
    """The 512 bytes before a file of `size` bytes; ValueError where ustar cannot say that."""
    info = tarfile.TarInfo(f"{folder}/{name}")
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


class Writer:
    """Writes an archive's members one after the other; who calls it keeps their order.

    Raises:
        InvalidInput: a file is larger than 8 GiB.
        ValueError: the bytes of a file are not as many as was said; a programming error.
    """

    def __init__(self, file: IO[bytes], folder: str) -> None:
        self._file = file
        self._folder = folder

    def add(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        if size > MEMBER_LIMIT:
            raise InvalidInput(
                "The bundle cannot be written.", [Problem(name, f"has {size} bytes, more than {MEMBER_LIMIT}")]
            )
        self._file.write(header(self._folder, name, size))
        written = 0
        for piece in pieces:
            self._file.write(piece)
            written += len(piece)
        if written != size:
            raise ValueError(f"{name} has {written} bytes, not {size}")
        self._file.write(b"\0" * (-size % BLOCK))

    def close(self) -> None:
        self._file.write(END)


def members(file: IO[bytes], where: str) -> Iterator[tuple[str, Member]]:
    """(folder, member) of every file in an archive, in its order; their bytes are passed over.

    Raises:
        InvalidInput: it is not what `Writer` writes; says at which byte, and what is there.
    """
    end = os.fstat(file.fileno()).st_size
    position = 0

    def wrong(what: str) -> InvalidInput:
        return InvalidInput(f"{where} is no bundle.", [Problem(f"{where}: byte {position}", what)])

    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if block == END[:BLOCK]:
            if block + file.read(BLOCK + 1) != END:
                raise wrong("the archive does not end with two blocks of zeros and nothing after them")
            return
        folder, member = _member(block, position, wrong)
        position = member.offset + member.size
        if position > end - len(END):
            raise wrong(f"{member.name} is cut off: {member.size} bytes were announced")
        file.seek(position)
        padding = -member.size % BLOCK
        if file.read(padding).strip(b"\0"):
            raise wrong(f"what fills up the last block of {member.name} is not zeros")
        position += padding
        yield folder, member


def _member(block: bytes, position: int, wrong) -> tuple[str, Member]:
    if len(block) < BLOCK:
        raise wrong("the archive is cut off")
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        folder, _, name = info.name.partition("/")
        canonical = block == header(folder, name, info.size)
    except (tarfile.TarError, ValueError):
        raise wrong("there is no header of a tar archive") from None
    if not canonical:
        raise wrong(_strangeness(info))
    return folder, Member(name, position + BLOCK, info.size)


def _strangeness(info: tarfile.TarInfo) -> str:
    """What about a header is not a bundle's, for people; a stranger's name is shown as ASCII and short."""
    name = ascii(info.name[:120])
    kinds = {
        tarfile.SYMTYPE: "a symbolic link",
        tarfile.LNKTYPE: "a hard link",
        tarfile.DIRTYPE: "a folder",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.FIFOTYPE: "a pipe",
        tarfile.XHDTYPE: "an extended header",
        tarfile.XGLTYPE: "an extended header",
        tarfile.GNUTYPE_LONGNAME: "an extended header",
        tarfile.GNUTYPE_LONGLINK: "an extended header",
        tarfile.GNUTYPE_SPARSE: "a file with holes",
    }
    if info.type in kinds:
        return f"{name} is {kinds[info.type]}; a bundle has regular files only"
    return f"the header of {name} is not as a bundle's is (mode 0644, owner 0, time 0, nothing else)"


def open_regular(path: Path) -> IO[bytes]:
    """A regular file, open for reading; InvalidInput where it is none.

    Pipes and devices are not even opened, and one that takes the file's place in that moment is not waited for. A file that announces more
    than a hundred times what lies on the disk is refused: it would only keep its reader busy.
    """

    def wrong(what: str) -> InvalidInput:
        return InvalidInput(f"{path} cannot be read.", [Problem(str(path), what)])

    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise wrong("is not a regular file")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise wrong(str(getattr(error, "strerror", None) or error)) from None
    file = os.fdopen(handle, "rb")
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise wrong("is not a regular file")
    if found.st_size > HOLLOW and 0 < found.st_blocks * 512 < found.st_size // 100:
        file.close()
        raise wrong(f"is mostly holes: {found.st_blocks * 512} bytes on the disk announce {found.st_size}")
    return file
