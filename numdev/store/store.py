"""The store's folder.

    numdev-store.json            {"store": 1}
    records/ab/<digest>-1.json   what became of a replicate; a retry is -2 and so on, nothing is overwritten
    tensors/ab/<sha256>.npy      equal tensors are one file
    files/ab/<sha256>            what runs were made of: tables, captures, definitions of stacks (run/materials.py)
    runs/<matrix>.json           which records a matrix asked for last
    index.sqlite                 the records once more, to be read fast (index.py)

Everything else can be made again from these. A store may come from elsewhere: it is read in bounds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from numdev import digests, files
from numdev.errors import InvalidInput, Problem, StoreFailed
from numdev.spec import yamlfile
from numdev.store.index import NAME as INDEX
from numdev.store.index import Index
from numdev.store.npy import mapped
from numdev.store.record import SCHEMA, Record

VERSION = 1
RECORD_LIMIT = 16 << 20
_RECORD = re.compile(r"([0-9a-f]{64})-([1-9][0-9]{0,5})\.json")
# The key of a record's own digest in its file.
_SEAL = "sha256"
_SHOWN = 5
_TENSOR = re.compile(r"([0-9a-f]{64})\.npy")


class Store:
    """A store at `folder`; open it with `Store.open`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._attempts: dict[str, int] = {}
        self._index: Index | None = None
        for parent, name in _entries(folder / "records"):
            if (found := _RECORD.fullmatch(name)) and parent == name[:2]:
                self._attempts[found[1]] = max(self._attempts.get(found[1], 0), int(found[2]))

    @classmethod
    def open(cls, folder: Path, create: bool = False) -> Store:
        """The store in `folder`.

        Raises:
            StoreFailed: there is none (and `create` is not set), it is damaged, or newer than this numdev.
        """
        marker = folder / "numdev-store.json"
        if not marker.exists():
            if not create:
                raise StoreFailed(f"{folder} is no store.", "it has no numdev-store.json", "Run a matrix first.")
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                what = "is not empty and no store" if folder.is_dir() else "is not a folder"
                raise StoreFailed(f"{folder} {what}.", "", "Name an empty or a new folder with --store.")
            files.write_json(marker, {"store": VERSION})
        try:
            version = files.read_json(marker, 1 << 16)["store"]
            if type(version) is not int or version < 1:
                raise TypeError
        except (InvalidInput, KeyError, TypeError):
            raise StoreFailed(f"{folder} is damaged.", f"{marker.name} cannot be read", "Restore it.") from None
        if version > VERSION:
            raise StoreFailed(
                f"{folder} is from a newer numdev.",
                f"it has version {version}, this numdev knows {VERSION}",
                "Install a newer numdev.",
            )
        return cls(folder)

    def has(self, digest: str) -> bool:
        return digest in self._attempts

    def named(self, prefix: str) -> list[str]:
        """The digests of all records that begin so, sorted."""
        return sorted(digest for digest in self._attempts if digest.startswith(prefix))

    def record(self, digest: str) -> Record:
        """The latest record of a digest; StoreFailed where it is missing or damaged."""
        attempt = self._attempts.get(digest)
        if attempt is None:
            raise StoreFailed(f"{self.folder} has no record {digest[:12]}.")
        return self._known(self._record_path(digest, attempt))

    def put(self, record: Record) -> None:
        """Adds a record; an earlier one of the same digest stays beside it."""
        attempt = self._attempts.get(record.digest, 0) + 1
        while self._record_path(record.digest, attempt).exists():
            # Another numdev has written to this store since it was opened.
            attempt += 1
        data = record.json_data()
        path = self._record_path(record.digest, attempt)
        files.write_json(path, {**data, _SEAL: digests.of_json(data)})
        self._attempts[record.digest] = attempt

    def put_tensor(self, data: bytes) -> str:
        """Adds the bytes of a .npy file and returns their name; equal ones are stored once."""
        name = digests.of_bytes(data)
        path = self._tensor_path(name)
        if not path.exists():
            files.write_bytes(path, data)
        return name

    def put_file(self, data: bytes) -> str:
        """Adds what a run was made of and returns the SHA-256 that names it."""
        name = digests.of_bytes(data)
        if not self.file(name).exists():
            files.write_bytes(self.file(name), data)
        return name

    def file(self, name: str) -> Path:
        """Where a file that `put_file` named lies."""
        return self.folder / "files" / name[:2] / name

    def tensor(self, name: str) -> Path:
        """Where the .npy of a tensor lies."""
        return self._tensor_path(name)

    def load(self, tensor: str) -> np.ndarray:
        """The array of a tensor, read-only; StoreFailed where it is missing or its bytes are not what they were."""
        path = self._tensor_path(tensor)
        if not path.is_file() or path.is_symlink() or digests.of_file(path) != tensor:
            raise StoreFailed(
                f"The tensor {tensor[:12]} of {self.folder} is missing or damaged.",
                "its bytes do not have the digest that names them",
                "`numdev store verify` lists all damage; delete what it names and run the matrix again.",
            )
        try:
            return mapped(path)
        except Exception as error:
            # What numpy raises on hostile bytes has no common base.
            raise StoreFailed(
                f"The tensor {tensor[:12]} of {self.folder} is no array.",
                " ".join(str(error).split()),
                "Delete it and the records that name it, and run the matrix again.",
            ) from None

    def records(self) -> Iterator[Record]:
        for digest in sorted(self._attempts):
            yield self.record(digest)
        self.flush()

    def flush(self) -> None:
        """Keeps in the index what was read; without it the same files are read again next time."""
        if self._index is not None:
            self._index.flush()

    def _known(self, path: Path) -> Record:
        """A record by the index, where its file is still the one that was read; else by its file."""
        if self._index is None:
            self._index = Index(self.folder / INDEX)
        try:
            found = path.lstat()
        except OSError:
            return self._read(path)
        data = self._index.get(path.name, found)
        if data is not None:
            try:
                return Record.model_validate_json(data)
            except ValidationError:
                # Of a numdev that knew other fields: the file says what there is.
                pass
        record = self._read(path)
        self._index.put(path.name, found, digests.canonical(record.json_data()))
        return record

    def write_run(self, name: str, data: dict[str, Any]) -> None:
        files.write_json(self.folder / "runs" / f"{name}.json", data)

    def runs(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "runs").glob("*.json"))

    def run(self, name: str) -> dict[str, Any]:
        """What `write_run` wrote; StoreFailed where there is none."""
        path = self.folder / "runs" / f"{name}.json"
        if not path.is_file():
            known = ", ".join(self.runs()) or "none"
            raise StoreFailed(f"{self.folder} has no run {name!r}.", f"there are: {known}", "Run the matrix first.")
        try:
            data = files.read_json(path)
        except InvalidInput as error:
            why = "; ".join(problem.what for problem in error.problems)
            raise StoreFailed(f"{path} is damaged.", why, "Run the matrix again.") from None
        if not isinstance(data, dict) or data.get("run") != 1:
            raise StoreFailed(f"{path} is damaged.", "it is no description of a run", "Run the matrix again.")
        return data

    def verify(self) -> list[Problem]:
        """Everything that is not as it was written: damaged, missing, or not named by its content."""
        problems = [
            Problem(self._name(path), "is not a folder of the store", "remove it")
            for kind in ("records", "tensors", "files")
            for path in (self.folder / kind).glob("*")
            if path.is_symlink() or not path.is_dir()
        ]
        tensors = set()
        for path in self._files("tensors"):
            found = _TENSOR.fullmatch(path.name)
            if not found or path.parent.name != path.name[:2]:
                problems.append(Problem(self._name(path), "is not a tensor's name", "remove it"))
            elif path.is_symlink() or not path.is_file():
                problems.append(Problem(self._name(path), "is not a regular file", "remove it"))
            elif digests.of_file(path) != found[1]:
                problems.append(Problem(self._name(path), "has other bytes than it was named by", "remove it"))
            else:
                tensors.add(found[1])
        for path in self._files("files"):
            if path.is_symlink() or not path.is_file() or digests.of_file(path) != path.name:
                problems.append(Problem(self._name(path), "has other bytes than it was named by", "remove it"))
        for path in self._files("records"):
            found = _RECORD.fullmatch(path.name)
            if not found or path.parent.name != path.name[:2]:
                problems.append(Problem(self._name(path), "is not a record's name", "remove it"))
                continue
            if path.is_symlink():
                problems.append(Problem(self._name(path), "is not a regular file", "remove it"))
                continue
            try:
                record = self._read(path)
            except StoreFailed as error:
                problems.append(Problem(self._name(path), error.why or error.what, error.remedy))
                continue
            for output in record.outputs:
                if output.tensor not in tensors:
                    missing = f"its output {output.name} ({output.tensor[:12]}) is missing"
                    problems.append(Problem(self._name(path), missing, "remove the record and run again"))
            for layer in record.tap.layers if record.tap else ():
                if layer.sample and layer.sample not in tensors:
                    missing = f"the sample of its layer {layer.name} ({layer.sample[:12]}) is missing"
                    problems.append(Problem(self._name(path), missing, "remove the record and run again"))
        return sorted(problems)

    def _read(self, path: Path) -> Record:
        try:
            data = files.read_json(path, RECORD_LIMIT)
            if isinstance(data, dict) and isinstance(data.get("record"), int) and data["record"] > SCHEMA:
                raise StoreFailed(f"{path} is from a newer numdev.", "its schema is newer", "Install a newer numdev.")
            seal = data.pop(_SEAL, None) if isinstance(data, dict) else None
            record = yamlfile.validate(Record, data, str(path))
            if not _is_sealed(data, seal):
                raise InvalidInput("", [Problem("", "its bytes are not those that were written")])
        except InvalidInput as error:
            why = "; ".join(problem.what for problem in error.problems[:_SHOWN])
            raise StoreFailed(f"{path} is damaged.", why, "Remove it and run the matrix again.") from None
        if not path.name.startswith(record.digest):
            raise StoreFailed(f"{path} is damaged.", "it is not the record that its name says", "Remove it.")
        return record

    def _files(self, kind: str) -> Iterator[Path]:
        yield from sorted(path for path in (self.folder / kind).glob("*/*") if not path.name.startswith("."))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _record_path(self, digest: str, attempt: int) -> Path:
        return self.folder / "records" / digest[:2] / f"{digest}-{attempt}.json"

    def _tensor_path(self, tensor: str) -> Path:
        return self.folder / "tensors" / tensor[:2] / f"{tensor}.npy"


def _entries(folder: Path) -> Iterator[tuple[str, str]]:
    """(folder, name) of all files one level below; of many thousand, without an object for each."""
    try:
        parents = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for parent in parents:
        with os.scandir(parent.path) as entries:
            for entry in entries:
                yield parent.name, entry.name


def _is_sealed(data: Any, seal: Any) -> bool:
    """Whether a record's content has the digest that stands in its file."""
    try:
        return seal == digests.of_json(data)
    except (ValueError, RecursionError):
        # NaN, for one, could not have been written.
        return False
