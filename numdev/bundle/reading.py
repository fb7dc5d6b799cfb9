"""A bundle as it lies in its file: nothing is unpacked, and every look at it is in bounds.

Opening reads headers, the manifest and the description; whether bytes are what the manifest says is `verify`'s to find out.
"""

from __future__ import annotations

import io
import mmap
import os
import threading
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from numdev import digests
from numdev.bundle import layout, strict
from numdev.bundle.archive import Member, members, open_regular
from numdev.bundle.records import Facts, Records, recorded, weight
from numdev.bundle.upgrade import upgraded
from numdev.cpu.capture import checked
from numdev.errors import BundleFailed, InvalidInput, Problem, StoreFailed
from numdev.run.runfile import Run
from numdev.store import Record
from numdev.store.npy import mapped

PIECE = 1 << 20
# Of what is wrong with one file, so much is told.
TOLD = 100
# Types that have the same bits on every machine. What C calls a long double is another one on each architecture, and has bytes that nobody set.
_TYPES = frozenset(
    (
        "bool",
        *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
        *(f"float{bits}" for bits in (16, 32, 64)),
        *("complex64", "complex128"),
    )
)


class Bundle:
    """A bundle's file, open until `close`; a context manager.

    members: by name, in the archive's order. sums: what the manifest says of each. digest: the manifest's own SHA-256.
    """

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput where `path` is no bundle; says what is not as it has to be."""
        self.path = path
        self.where = path.name
        self._file = open_regular(path)
        self._lock = threading.Lock()
        self._large = _Arrays()
        try:
            self.folder, self.members = self._listed()
            manifest = self.read(layout.SUMS)
            self.digest = digests.of_bytes(manifest)
            self.sums = self._manifest(manifest)
            needed = (layout.DESCRIPTION, layout.RUN, layout.CELLS, layout.FACTS)
            if problems := [Problem(f"{self.where}: {one}", "is missing") for one in needed if one not in self.sums]:
                raise BundleFailed(f"{self.where} is not whole.", problems)
            self.description = self.described()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def handle(self) -> int:
        """Of the open file."""
        return self._file.fileno()

    @property
    def state(self) -> tuple[int, int, int]:
        """Of the open file: its size and times, by which a change is told."""
        found = os.fstat(self.handle)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def wrong(self, name: str, what: str, remedy: str = "") -> InvalidInput:
        place = f"{self.where}: {name}" if name else self.where
        return InvalidInput(f"{self.where} is no bundle that can be read.", [Problem(place, what, remedy)])

    def _listed(self) -> tuple[str, dict[str, Member]]:
        found: dict[str, Member] = {}
        top = last = ""
        for folder, member in members(self._file, self.where):
            name, shown = member.name, ascii(member.name[:120])
            most = layout.limit(name)
            if not found:
                if not layout.NAME.fullmatch(folder) or name != layout.SUMS:
                    raise self.wrong("", f"begins with {folder[:70]!a}/{shown}, not NAME/{layout.SUMS}")
                top = folder
            elif folder != top:
                raise self.wrong("", f"{shown} lies in {folder[:70]!a}, not in {top}")
            elif most is None:
                raise self.wrong("", f"{shown} is nothing that a bundle has")
            elif name <= last or name == layout.SUMS:
                raise self.wrong("", f"{shown} stands after {last!a}: not sorted, or twice")
            else:
                last = name
            if member.size > (most or 0):
                raise self.wrong("", f"{name} has {member.size} bytes, more than {most}")
            if len(found) >= layout.MEMBERS:
                raise self.wrong("", f"more than {layout.MEMBERS} files")
            found[name] = member
        if not found:
            raise self.wrong("", "it is empty")
        return top, found

    def _manifest(self, data: bytes) -> dict[str, str]:
        """The manifest, which names every other member once, in the archive's order, and no other."""
        names = list(self.members)[1:]
        problems = []
        sums: dict[str, str] = {}
        for line in io.BytesIO(data):
            if not line.endswith(b"\n"):
                raise self.wrong(layout.SUMS, "its last line has no end")
            line = line[:-1]
            sha256, gap, name = line[:64], line[64:66], line[66:].decode("ascii", "replace")
            if gap != b"  " or len(sha256.strip(b"0123456789abcdef")) or len(sha256) != 64:
                raise self.wrong(layout.SUMS, f"{line[:160].decode('ascii', 'replace')!a} is no line of sha256sum's")
            if name in sums:
                raise self.wrong(layout.SUMS, f"{name[:120]!a} stands twice")
            sums[name] = sha256.decode("ascii")
        for name in names:
            if name not in sums:
                problems.append(Problem(f"{self.where}: {name}", "is there, but the manifest does not name it"))
        for name in sums:
            if name not in self.members or name == layout.SUMS:
                problems.append(Problem(f"{self.where}: {name[:120]!a}", "is missing: the manifest names it"))
        if not problems and list(sums) != names:
            problems.append(Problem(f"{self.where}: {layout.SUMS}", "is not in the archive's order"))
        if problems:
            raise BundleFailed(f"{self.where} is not whole.", problems[:TOLD])
        return sums

    def described(self) -> layout.Description:
        """`numdev-bundle.json`, upgraded where it is of an earlier version."""
        data = upgraded(self.json(layout.DESCRIPTION), self.where)
        return checked(layout.Description, data, f"{self.where}: {layout.DESCRIPTION}")

    def pieces(self, name: str, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The bytes of a member, or of a part of it, a megabyte at a time."""
        member = self.members[name]
        return self._between(
            name, member.offset + start, member.offset + (member.size if size is None else start + size)
        )

    def whole(self) -> Iterator[bytes]:
        """The bytes of the file."""
        return self._between("", 0, os.fstat(self.handle).st_size)

    def _between(self, name: str, place: int, end: int) -> Iterator[bytes]:
        while place < end:
            piece = os.pread(self.handle, min(PIECE, end - place), place)
            if not piece:
                raise self.wrong(name, "is cut off")
            place += len(piece)
            yield piece

    def read(self, name: str, most: int = 0) -> bytes:
        """All bytes of a member of at most `most` bytes (by default what the format allows it)."""
        if name not in self.members:
            raise self.wrong(name, "is missing")
        size = self.members[name].size
        if most and size > most:
            raise self.wrong(name, f"has {size} bytes, more than {most}")
        return b"".join(self.pieces(name))

    def json(self, name: str) -> dict[str, Any]:
        """A member that is one JSON object; each key once, no NaN."""
        return strict.parsed(self.read(name), f"{self.where}: {name}")

    def lines(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number, object) of every line of a member."""
        for number, (_, line) in enumerate(self.raw(name), 1):
            yield number, strict.parsed(line, f"{self.where}: {name}:{number}", strict.LINE_PARTS)

    def raw(self, name: str, longest: int = layout.LINE_LIMIT) -> Iterator[tuple[int, bytes]]:
        """(where it begins in the member, bytes) of every line, without its end."""
        rest = bytearray()
        begin = count = 0
        for piece in self.pieces(name):
            at = len(rest)
            rest += piece
            done = 0
            while (end := rest.find(b"\n", max(done, at))) >= 0:
                count += 1
                if count > layout.LINES:
                    raise self.wrong(name, f"has more than {layout.LINES} lines")
                yield begin + done, bytes(rest[done:end])
                done = end + 1
            del rest[:done]
            begin += done
            if len(rest) > longest:
                raise self.wrong(name, f"a line has more than {longest} bytes")
        if rest:
            raise self.wrong(name, "its last line has no end")

    @cached_property
    def facts(self) -> Facts:
        """What cells have in common, by its name; read where it lies."""
        index: dict[str, tuple[int, int, int]] = {}
        last = ""
        for number, (begin, line) in enumerate(self.raw(layout.FACTS), 1):
            where = f"{self.where}: {layout.FACTS}:{number}"
            found = checked(layout.FactLine, strict.parsed(line, where, strict.LINE_PARTS), where)
            if found.fact <= last:
                raise self.wrong(f"{layout.FACTS}:{number}", f"{found.fact} stands twice, or not in its order")
            last = found.fact
            index[last] = (begin, len(line), weight(line))
        return Facts(index, lambda begin, size: self.part(layout.FACTS, begin, size)["value"])

    def part(self, name: str, begin: int, size: int) -> dict[str, Any]:
        """The object that a line of a member is."""
        data = b"".join(self.pieces(name, begin, size))
        return strict.parsed(data, f"{self.where}: {name}: byte {begin}", strict.LINE_PARTS)

    def cells(self) -> Iterator[layout.CellLine]:
        for _, cell in self.placed():
            yield cell

    def placed(self) -> Iterator[tuple[tuple[int, int], layout.CellLine]]:
        """((where it begins, its length), a line of `cells.jsonl`)."""
        for number, (begin, line) in enumerate(self.raw(layout.CELLS), 1):
            where = f"{self.where}: {layout.CELLS}:{number}"
            found = strict.parsed(line, where, strict.LINE_PARTS)
            yield (begin, len(line)), checked(layout.CellLine, found, where)

    def record(self, cell: layout.CellLine) -> Record:
        """The record that a line of `cells.jsonl` tells, but for its log."""
        return recorded(cell, self.facts, self.where)

    @cached_property
    def run(self) -> Run:
        """The run, with the cells of `cells.jsonl`."""
        keys = ("digest", "workload", "factors", "replicate", "reference")
        cells = [{key: getattr(cell, key) for key in keys} for cell in self.cells()]
        run = checked(Run, {**self.json(layout.RUN), "cells": cells}, f"{self.where}: {layout.RUN}")
        if sorted(run.order) != sorted(run.factors):
            raise self.wrong(layout.RUN, "its order is not that of its factors")
        return run.model_copy(update={"factors": {key: run.factors[key] for key in run.order}})

    def array(self, tensor: str) -> np.ndarray:
        """An output, mapped from where it lies in the file; StoreFailed where it is missing or no array of numbers."""
        name = f"outputs/{tensor}.npy"
        if name not in self.members:
            raise StoreFailed(f"{self.where} has no {name}.", "a cell names it as its output")
        member = self.members[name]
        try:
            found = mapped(self._file, start=member.offset, size=member.size)
        except Exception as error:
            # What numpy raises on hostile bytes has no common base.
            why = " ".join(str(error).split())
            raise StoreFailed(f"{name} of {self.where} is no array.", why) from None
        if found.dtype.name not in _TYPES:
            raise StoreFailed(
                f"{name} of {self.where} is of {found.dtype.name}.", "such numbers are not the same on every machine"
            )
        if member.size > PIECE:
            with self._lock:
                self._large.add(found)
        return found

    def ebb(self) -> None:
        """Gives back the memory that arrays take where they have been looked at; they can be looked at again."""
        with self._lock:
            large = list(self._large)
        for array in large:
            if isinstance(array.base, mmap.mmap):
                array.base.madvise(mmap.MADV_DONTNEED)

    def view(self) -> View:
        return View(self)


class _Arrays:
    """Arrays that somebody still holds. They cannot be hashed, so that a WeakSet would not take them."""

    def __init__(self) -> None:
        self._held: list[weakref.ref[np.ndarray]] = []

    def add(self, array: np.ndarray) -> None:
        self._held = [one for one in self._held if one() is not None]
        self._held.append(weakref.ref(array))

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter([array for one in self._held if (array := one()) is not None])


class View:
    """A bundle where the analysis expects a store: records and tensors, to be read only. Of a cell only its place is in memory."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.folder = bundle.path
        self._records = Records(bundle.facts, bundle.where)
        self._cells = {bytes.fromhex(cell.digest): place for place, cell in bundle.placed() if cell.status != "missing"}

    def has(self, digest: str) -> bool:
        return bytes.fromhex(digest) in self._cells

    def record(self, digest: str) -> Record:
        if not self.has(digest):
            raise StoreFailed(f"{self._bundle.where} has no record {digest[:12]}.")
        line = self._bundle.part(layout.CELLS, *self._cells[bytes.fromhex(digest)])
        where = f"{self._bundle.where}: {layout.CELLS}: {digest[:12]}"
        return self._records.of(checked(layout.CellLine, line, where))

    def load(self, tensor: str) -> np.ndarray:
        return self._bundle.array(tensor)

    def flush(self) -> None:
        """There is nothing to keep."""
