"""A bundle before it is a file: its members as bytes or as files that lie somewhere, each with its digest."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from numdev import digests, files
from numdev.bundle import layout
from numdev.bundle.archive import Writer
from numdev.errors import InvalidInput, Problem
from numdev.run.runfile import Run

PIECE = 1 << 20


@dataclass(frozen=True)
class Part:
    """One member: `data`, or the file at `path`. `sha256` is what its bytes have to have."""

    sha256: str
    size: int
    data: bytes | None = None
    path: Path | None = None

    @classmethod
    def of_bytes(cls, data: bytes) -> Part:
        return cls(digests.of_bytes(data), len(data), data=data)

    @classmethod
    def of_file(cls, path: Path, sha256: str = "") -> Part:
        """A file; with `sha256` given it is read only when it is written, and has to have that."""
        try:
            return cls(sha256 or digests.of_file(path), path.stat().st_size, path=path)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read.", [Problem(str(path), str(error.strerror))]) from None

    def pieces(self) -> Iterator[bytes]:
        """Its bytes; InvalidInput at the end where they are not those of `sha256`."""
        if self.data is not None:
            yield self.data
            return
        state = hashlib.sha256()
        left = self.size
        with open(self.path, "rb") as file:
            while left and (piece := file.read(min(PIECE, left))):
                state.update(piece)
                left -= len(piece)
                yield piece
        if left or state.hexdigest() != self.sha256:
            raise InvalidInput(
                "The bundle cannot be written.",
                [Problem(str(self.path), f"does not have the bytes of {self.sha256[:12]} any more")],
                "`numdev store verify` lists all damage of a store.",
            )


@dataclass
class Draft:
    """What documents are made of: the run as the bundle tells it, what it is made of, and what the author says.

    cells: reads the lines of cells.jsonl again. facts: by name. description: `left_out` still grows. author, license, doi: "" where
    nobody said. work: a folder for files that are too large for memory, gone afterwards. scrub: takes out of a text what names this machine.
    """

    name: str
    run: Run
    description: layout.Description
    cells: Callable[[], Iterator[layout.CellLine]]
    facts: dict[str, Any]
    work: Path
    scrub: Callable[[str], str] = str
    parts: dict[str, Part] = field(default_factory=dict)
    title: str = ""
    authors: tuple[str, ...] = ()
    license: str = ""
    doi: str = ""

    def add(self, name: str, part: Part) -> None:
        if layout.limit(name) is None:
            raise ValueError(f"{name} is nothing that a bundle has")
        self.parts[name] = part

    def add_lines(self, name: str, values: Iterable[Any]) -> None:
        """A member of one canonical JSON value a line, however many there are."""
        self.add_stream(name, (_line(name, value) for value in values))

    def add_stream(self, name: str, pieces: Iterable[bytes]) -> None:
        """A member that is written to `work` while it is made."""
        path, state, size = self.work / name.replace("/", "-"), hashlib.sha256(), 0
        with files.storage_errors(path), open(path, "wb") as file:
            for piece in pieces:
                file.write(piece)
                state.update(piece)
                size += len(piece)
        self.add(name, Part(state.hexdigest(), size, path=path))

    def add_json(self, name: str, value: Any) -> None:
        """A member that people may want to read: indented, keys sorted."""
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
        self.add(name, Part.of_bytes(text.encode("ascii") + b"\n"))

    def leave_out(self, name: str, why: str) -> None:
        left_out = {**self.description.left_out, name: self.scrub(why)}
        self.description = self.description.model_copy(update={"left_out": left_out})

    def write(self, out: Path) -> str:
        """Writes the file, which appears whole or not at all; returns the bundle's digest."""
        names = sorted(self.parts)
        sums = "".join(f"{self.parts[name].sha256}  {name}\n" for name in names).encode("ascii")
        with files.atomic(out) as file:
            _write(file, self.name, sums, ((name, self.parts[name]) for name in names))
        return digests.of_bytes(sums)


def _line(name: str, value: Any) -> bytes:
    line = digests.canonical(value)
    if len(line) > layout.LINE_LIMIT:
        raise InvalidInput(
            "The bundle cannot be written.",
            [Problem(name, f"a line of {len(line)} bytes; no reader takes more than {layout.LINE_LIMIT}")],
        )
    return line + b"\n"


def _write(file: IO[bytes], folder: str, sums: bytes, parts: Iterable[tuple[str, Part]]) -> None:
    writer = Writer(file, folder)
    writer.add(layout.SUMS, len(sums), [sums])
    for name, part in parts:
        writer.add(name, part.size, part.pieces())
    writer.close()


def temporary(cache: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder to make a bundle in, on the disk of the cache rather than in a small /tmp."""
    with files.storage_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=cache, prefix="bundle-", ignore_cleanup_errors=True)
