"""The public repository's results, by their paths in it: from a checkout, a tar of it, or a folder of tars.

What is read is somebody else's: no archive is unpacked, its members are read by name into memory, and only so much of
them. Links are not followed.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from numdev.errors import InvalidInput, Problem

RESULTS = "experiments/results/"
SUFFIXES = (".json", ".feather")
# Models and inputs. Of these only is told whether they are here at all.
DATA = "experiments/data/"
DATA_SUFFIXES = (".h5", ".npy")
ARCHIVES = (".tar", ".tar.gz", ".tgz")
# The largest published result has 440 KB; all files of the repository together 300 MB.
FILE_LIMIT = 16 << 20
TOTAL_LIMIT = 2 << 30
MOST_FILES = 200_000
LFS = b"version https://git-lfs.github.com/spec/v1\n"


@dataclass(frozen=True)
class Entry:
    """One file of the layout. `path` is that in the repository, `where` says where it was found.

    `data` is its bytes; where they could not be read it is empty and `problem` says why.
    """

    path: str
    where: str
    data: bytes
    problem: str = ""

    @property
    def is_pointer(self) -> bool:
        return self.data.startswith(LFS)


@dataclass
class Source:
    """Reads a PATH; `others` counts files that are none of the layout, `problems` has what is wrong with archives."""

    path: Path
    others: int = 0

    def __post_init__(self) -> None:
        self.problems: list[Problem] = []
        self._left = TOTAL_LIMIT
        self._files = 0

    def entries(self) -> Iterator[Entry]:
        """Every result, in the order of paths and of members of archives.

        Raises:
            InvalidInput: there is nothing at PATH, or it is larger than any such repository.
        """
        try:
            mode = self.path.stat().st_mode
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise InvalidInput(f"{self.path} cannot be read.", [Problem(str(self.path), why)]) from None
        if stat.S_ISDIR(mode):
            yield from self._folder()
        elif stat.S_ISREG(mode):
            yield from self._archive(self.path)
        else:
            raise InvalidInput(
                f"{self.path} cannot be read.", [Problem(str(self.path), "is neither a folder nor a file")]
            )

    def _folder(self) -> Iterator[Entry]:
        root = self.path.resolve()
        for folder, folders, names in os.walk(root, onerror=self._unlisted):
            folders[:] = sorted(name for name in folders if name != ".git")
            for name in sorted(names):
                path = Path(folder, name)
                self._count()
                if name.endswith(ARCHIVES) and path.is_file() and not path.is_symlink():
                    yield from self._archive(path)
                elif inside := _inside(path.as_posix()):
                    entry = self._file(inside, path)
                    if entry:
                        yield entry
                else:
                    self.others += 1

    def _file(self, inside: str, path: Path) -> Entry | None:
        where = printable(str(path))
        try:
            # Not to follow a link that leads out of the checkout, nor to wait for a pipe.
            if not stat.S_ISREG(path.lstat().st_mode):
                return Entry(inside, where, b"", "is not a regular file")
            with open(path, "rb") as file:
                return self._entry(inside, where, file)
        except OSError as error:
            return Entry(inside, where, b"", f"cannot be read: {error.strerror}")

    def _archive(self, path: Path) -> Iterator[Entry]:
        before, name = self._left, printable(str(path))
        try:
            with open(path, "rb") as file:
                compressed = file.read(2) == b"\x1f\x8b"
                file.seek(0)
                stream = gzip.GzipFile(fileobj=file) if compressed else file
                with tarfile.open(fileobj=_Bounded(stream, before, name), mode="r:") as archive:
                    while member := archive.next():
                        self._count()
                        # A reader keeps every member's header; nothing here asks for one again.
                        archive.members = []
                        if entry := self._member(path, archive, member):
                            yield entry
        except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as error:
            self.problems.append(Problem(name, f"is no whole tar: {printable(str(error))[:200]}"))
        except OSError as error:
            self.problems.append(Problem(name, f"cannot be read: {printable(str(error.strerror or error))}"))

    def _member(self, path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry | None:
        inside = _inside("/" + member.name)
        if not inside:
            self.others += not member.isdir()
            return None
        where = printable(f"{path.name}: {member.name}")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            return None if member.isdir() else Entry(inside, where, b"", "is not a regular file")
        file = archive.extractfile(member)
        assert file is not None
        with file:
            return self._entry(inside, where, file)

    def _entry(self, inside: str, where: str, file: IO[bytes]) -> Entry | None:
        if inside.startswith(DATA):
            start = file.read(len(LFS))
            self.others += start != LFS
            return Entry(inside, where, start) if start == LFS else None
        data = file.read(FILE_LIMIT + 1)
        self._left -= len(data)
        if self._left < 0:
            raise self._too_much(f"more than {TOTAL_LIMIT >> 30} GiB of results")
        if len(data) > FILE_LIMIT:
            return Entry(inside, where, b"", f"has more than {FILE_LIMIT >> 20} MiB, as no result has")
        return Entry(inside, where, data)

    def _count(self) -> None:
        self._files += 1
        if self._files > MOST_FILES:
            raise self._too_much(f"more than {MOST_FILES} files")

    def _too_much(self, what: str) -> InvalidInput:
        return InvalidInput(f"{self.path} is not that repository.", [Problem(str(self.path), what)])

    def _unlisted(self, error: OSError) -> None:
        self.problems.append(Problem(printable(str(error.filename)), f"cannot be listed: {error.strerror}"))


class _Bounded(io.RawIOBase):
    """A stream that a tar may neither unfold without end nor have read into memory at one go."""

    def __init__(self, stream: IO[bytes], total: int, name: str) -> None:
        self._stream, self._total, self.name = stream, total, name

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or size > FILE_LIMIT + 1:
            raise tarfile.ReadError("it asks for more memory than any result needs")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset > self._total:
            raise tarfile.ReadError(f"it unfolds to more than {TOTAL_LIMIT >> 30} GiB")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def printable(text: str) -> str:
    """A stranger's name as it can be shown: on one line, and without what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))


def _inside(path: str) -> str:
    """The path in the repository of what lies at `path`, or "" where that is nothing to read."""
    for root, suffixes in ((RESULTS, SUFFIXES), (DATA, DATA_SUFFIXES)):
        at = path.rfind(f"/{root}")
        inside = path[at + 1 :]
        if at >= 0 and inside.endswith(suffixes) and inside.isprintable():
            # A path that climbs is none of that repository.
            return "" if {"", ".", ".."} & set(inside.split("/")) else inside
    return ""
