"""A bundle as it lies in its file: nothing is unpacked, and every look at it is in bounds.

Opening reads headers, the manifest and the description; whether bytes are what the manifest says is `verify`'s to find out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from numdev import digests
from numdev.bundle import layout
from numdev.bundle.archive import Member, members, open_regular
from numdev.bundle.upgrade import upgraded
from numdev.errors import InvalidInput, Problem, StoreFailed
from numdev.run.runfile import Run
from numdev.spec import yamlfile
from numdev.store import Record
from numdev.store.npy import mapped

PIECE = 1 << 20


class Bundle:
    """A bundle's file, open until `close`; a context manager.

    members: by name, in the archive's order. sums: what the manifest says of each. digest: the manifest's own SHA-256.
    """

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput where `path` is no bundle; says what is not as it has to be."""
        self.path = path
        self.where = path.name
        self._file = open_regular(path)
        try:
            self.folder, self.members = self._listed()
            manifest = self.read(layout.SUMS)
            self.digest = digests.of_bytes(manifest)
            self.sums = self._manifest(manifest)
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

    def wrong(self, name: str, what: str, remedy: str = "") -> InvalidInput:
        place = f"{self.where}: {name}" if name else self.where
        return InvalidInput(f"{self.where} is no bundle that can be read.", [Problem(place, what, remedy)])

    def _listed(self) -> tuple[str, dict[str, Member]]:
        found: dict[str, Member] = {}
        top = last = ""
        for folder, member in members(self._file, self.where):
            name, shown = member.name, ascii(member.name[:120])
            if not found:
                if not layout.NAME.fullmatch(folder) or name != layout.SUMS:
                    raise self.wrong("", f"begins with {folder[:70]!a}/{shown}, not NAME/{layout.SUMS}")
                top = folder
            elif folder != top:
                raise self.wrong("", f"{shown} lies in {folder[:70]!a}, not in {top}")
            elif name <= last or name == layout.SUMS:
                raise self.wrong("", f"{shown} stands after {last!a}: not sorted, or twice")
            else:
                last = name
            most = layout.limit(name)
            if most is None:
                raise self.wrong("", f"{shown} is nothing that a bundle has")
            if member.size > most:
                raise self.wrong("", f"{name} has {member.size} bytes, more than {most}")
            if len(found) >= layout.MEMBERS:
                raise self.wrong("", f"more than {layout.MEMBERS} files")
            found[name] = member
        if not found:
            raise self.wrong("", "it is empty")
        for name in (layout.DESCRIPTION, layout.RUN, layout.CELLS, layout.FACTS):
            if name not in found:
                raise self.wrong(name, "is missing")
        return top, found

    def _manifest(self, data: bytes) -> dict[str, str]:
        """The manifest, which names every other member once, in the archive's order, and no other."""
        lines = data.split(b"\n")
        names = list(self.members)[1:]
        problems = []
        sums: dict[str, str] = {}
        if lines.pop() != b"":
            raise self.wrong(layout.SUMS, "its last line has no end")
        for line in lines:
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
            raise InvalidInput(f"{self.where} is not whole.", problems[:100])
        return sums

    def described(self) -> layout.Description:
        """`numdev-bundle.json`, upgraded where it is of an earlier version."""
        data = upgraded(self.json(layout.DESCRIPTION), self.where)
        return yamlfile.validate(layout.Description, data, f"{self.where}: {layout.DESCRIPTION}")

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of a member, a megabyte at a time."""
        member = self.members[name]
        done = 0
        while done < member.size:
            self._file.seek(member.offset + done)
            piece = self._file.read(min(PIECE, member.size - done))
            if not piece:
                raise self.wrong(name, "is cut off")
            done += len(piece)
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
        return _strictly(self.read(name), f"{self.where}: {name}")

    def lines(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number, object) of every line of a member."""
        for number, line in enumerate(self._lines(name), 1):
            yield number, _strictly(line, f"{self.where}: {name}:{number}")

    def _lines(self, name: str) -> Iterator[bytes]:
        rest = b""
        for piece in self.pieces(name):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            if len(rest) > layout.LINE_LIMIT:
                raise self.wrong(name, f"a line has more than {layout.LINE_LIMIT} bytes")
        if rest:
            raise self.wrong(name, "its last line has no end")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What cells have in common, by its name."""
        found: dict[str, Any] = {}
        for number, value in self.lines(layout.FACTS):
            line = yamlfile.validate(layout.FactLine, value, f"{self.where}: {layout.FACTS}:{number}")
            found[line.fact] = line.value
        return found

    def cells(self) -> Iterator[layout.CellLine]:
        for number, value in self.lines(layout.CELLS):
            yield yamlfile.validate(layout.CellLine, value, f"{self.where}: {layout.CELLS}:{number}")

    def record(self, cell: layout.CellLine) -> Record:
        """The record that a line of `cells.jsonl` tells, but for its log."""
        return recorded(cell, self.facts, self.where)

    @cached_property
    def run(self) -> Run:
        """The run, with the cells of `cells.jsonl`."""
        keys = ("digest", "workload", "factors", "replicate", "reference")
        cells = [{key: getattr(cell, key) for key in keys} for cell in self.cells()]
        run = yamlfile.validate(Run, {**self.json(layout.RUN), "cells": cells}, f"{self.where}: {layout.RUN}")
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
            return mapped(self.path, start=member.offset, size=member.size)
        except Exception as error:
            # What numpy raises on hostile bytes has no common base.
            why = " ".join(str(error).split())
            raise StoreFailed(f"{name} of {self.where} is no array.", why) from None

    def view(self) -> View:
        return View(self)


class View:
    """A bundle where the analysis expects a store: records and tensors, to be read only."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.folder = bundle.path
        self._cells = {cell.digest: cell for cell in bundle.cells() if cell.status != "missing"}

    def has(self, digest: str) -> bool:
        return digest in self._cells

    def record(self, digest: str) -> Record:
        if digest not in self._cells:
            raise StoreFailed(f"{self._bundle.where} has no record {digest[:12]}.")
        return self._bundle.record(self._cells[digest])

    def load(self, tensor: str) -> np.ndarray:
        return self._bundle.array(tensor)

    def flush(self) -> None:
        """There is nothing to keep."""


def recorded(cell: layout.CellLine, facts: dict[str, Any], where: str) -> Record:
    """The record that a line of `cells.jsonl` tells with its facts; InvalidInput where they do not fit together."""
    place = f"{where}: {layout.CELLS}: {cell.digest[:12]}"

    def fact(key: str, default: Any) -> Any:
        name = getattr(cell, key)
        if name is not None and name not in facts:
            raise InvalidInput(f"{where} is not valid.", [Problem(place, f"its {key}, the fact {name}, is missing")])
        return default if name is None else facts[name]

    tap, rounds = fact("tap", None), fact("rounds", [])
    try:
        pairs = list(zip(fact("signature", []), cell.outputs, strict=True))
        data = {
            "record": 3 if tap else 2 if rounds else 1,
            "digest": cell.digest,
            "workload": cell.workload,
            "factors": fact("declared", {}),
            "replicate": cell.replicate,
            "reference": cell.reference,
            "status": cell.status,
            "reason": cell.reason,
            "outputs": [{**described, "tensor": tensor} for described, tensor in pairs],
            "seconds": cell.seconds,
            "realised": {**fact("realised", {}), **cell.measured},
            "causes": fact("causes", {}),
            "environment": fact("environment", {}),
            "rounds": rounds,
            "tap": tap,
        }
    except (TypeError, ValueError):
        raise InvalidInput(f"{where} is not valid.", [Problem(place, "its facts do not fit together")]) from None
    return yamlfile.validate(Record, data, place)


def _strictly(data: bytes, where: str) -> dict[str, Any]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where} is not text.", [Problem(where, f"not UTF-8 at byte {error.start}")]) from None

    def no(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice in one object")
        return found

    try:
        value = json.loads(text, parse_constant=no, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is not JSON.", [Problem(where, str(error))]) from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is not valid.", [Problem(where, "must be an object")])
    return value
