"""The workloads of a bundle as files: those that it includes, those that numdev makes, and those that its reader has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from numdev import digests, files
from numdev.bundle import layout, stranger
from numdev.bundle.reading import Bundle
from numdev.errors import InvalidInput, Problem
from numdev.spec import yamlfile
from numdev.spec.workload import NAME, SUFFIXES, DeclaredWorkload
from numdev.workloads import Artefact, Prepared, archive, with_digest

_SUFFIX = {format: suffix for suffix, format in SUFFIXES.items()}
# Of a folder of models: files that are looked into, and bytes of an .npz that is compared by its arrays.
_FILES, _ARRAYS = 10_000, 1 << 30
Hashes = dict[str, layout.Hash]


class Described(yamlfile.Strict):
    """What a run says of a workload. digest: over all that can change a result."""

    name: str
    formats: Hashes = {}
    entry: str | None = None
    command: list[str] = Field(default=[], max_length=1000)
    files: Hashes = {}
    inputs: layout.Hash | None = None
    facts: dict[str, Any] = {}
    digest: layout.Hash

    @property
    def program(self) -> bool:
        """Whether it is a program of somebody's own rather than a model."""
        return bool(self.entry or self.command)


def strange(described: Mapping[str, Described], where: str) -> Iterator[Problem]:
    """What a workload must not be called, and what it must not ask to be written where."""
    for name, told in described.items():
        place = f"{where}: workloads.{name}"
        if not NAME.fullmatch(name) or told.name != name:
            yield Problem(place, "is no name of a workload")
        for format in told.formats:
            if format not in _SUFFIX:
                yield Problem(f"{place}.formats", f"{format[:40]!a} is no format that this numdev knows")
        for file in told.files:
            plain = file.isprintable() and len(os.fsencode(file)) <= 200
            if not plain or file in ("", ".", "..") or "/" in file or "\\" in file:
                yield Problem(f"{place}.files", f"{file[:80]!a} is no name of a file in a folder")
        module = (told.entry or "").rpartition(":")[0]
        if module.endswith(".py") and module not in told.files:
            yield Problem(f"{place}.entry", f"{module[:80]!a} is not among its files")


class Included:
    """Puts workloads into `folder`. ready: those that lie there now; missing: why a workload cannot be run."""

    def __init__(
        self, bundle: Bundle, folder: Path, described: Mapping[str, Described], models: Path | None = None
    ) -> None:
        self._bundle, self._folder, self._described = bundle, folder, described
        wanted = {sha256 for told in described.values() for sha256 in _hashes(told).values()}
        self._found = found(models, wanted) if models else {}
        self.ready: dict[str, Prepared] = {}
        self.missing: dict[str, str] = {}

    def put(self, declared: DeclaredWorkload) -> dict[str, Any] | None:
        """The workload as a matrix in `folder` declares it; None where it cannot be run, and `missing` says why."""
        told = self._described.get(declared.name)
        if told is None:
            self.missing[declared.name] = "the bundle does not say what it is made of"
            return None
        parts = {name: self._place(declared.name, name, sha256) for name, sha256 in _hashes(told).items()}
        absent = [f"{name} (SHA-256 {_hashes(told)[name]})" for name, path in parts.items() if path is None]
        if absent and declared.builtin is not None:
            return {"name": declared.name, "builtin": declared.builtin}
        if absent:
            self.missing[declared.name] = (
                f"the bundle lacks its {', '.join(absent)}: name a folder that has the files with --models"
            )
            return None
        placed = {name: path for name, path in parts.items() if path is not None}
        if declared.builtin is not None:
            self.ready[declared.name] = self._prepared(told, placed)
        return self._declared(told, placed)

    def _place(self, workload: str, name: str, sha256: str) -> Path | None:
        """The file of a workload in its place, from the bundle or from the reader's folder; None where neither has it."""
        base = f"workloads/{workload}"
        kind, _, rest = name.partition("/")
        if kind == "files":
            member, target = f"{base}/files/{sha256}", self._folder / base / "files" / rest
        elif kind == "model":
            member, target = f"{base}/model.{rest}", self._folder / base / f"model{_SUFFIX[rest]}"
        else:
            member, target = f"{base}/inputs.npz", self._folder / base / "inputs.npz"
        if member in self._bundle.members:
            with files.atomic(target) as file:
                stranger.copy(self._bundle, member, file)
        elif sha256 in self._found:
            with files.atomic(target) as file, open(self._found[sha256], "rb") as source:
                shutil.copyfileobj(source, file)
        else:
            return None
        # Inputs of a reader may be another file of the same arrays.
        if kind != "inputs" and digests.of_file(target) != sha256:
            raise InvalidInput(
                f"{self._bundle.where} cannot be run.",
                [Problem(f"{base}/{name}", "its bytes are not those that the run had", "get the bundle again")],
            )
        return target

    def _declared(self, told: Described, placed: Mapping[str, Path]) -> dict[str, Any]:
        relative = {name: path.relative_to(self._folder).as_posix() for name, path in placed.items()}
        value: dict[str, Any] = {"name": told.name}
        if told.formats:
            format = sorted(told.formats)[0]
            value |= {"model": relative[f"model/{format}"], "format": format}
        elif told.entry:
            module, _, function = told.entry.rpartition(":")
            value["module"] = f"{relative.get(f'files/{module}', module)}:{function}"
        else:
            value["command"] = list(told.command)
        if told.files:
            value["files"] = [relative[f"files/{name}"] for name in sorted(told.files)]
        if told.inputs:
            value["inputs"] = relative["inputs"]
        return value

    def _prepared(self, told: Described, placed: Mapping[str, Path]) -> Prepared:
        """A built-in workload as it was: in all its formats, which a matrix cannot declare."""
        return with_digest(
            Prepared(
                name=told.name,
                formats={
                    format: Artefact(placed[f"model/{format}"], sha256)
                    for format, sha256 in sorted(told.formats.items())
                },
                inputs=Artefact(placed["inputs"], told.inputs) if told.inputs else None,
                facts={str(key): str(value) for key, value in told.facts.items()},
            )
        )


def _hashes(told: Described) -> dict[str, str]:
    """What a workload is made of: `model/FORMAT`, `inputs` and `files/NAME`, each with its SHA-256."""
    parts = {f"model/{format}": sha256 for format, sha256 in told.formats.items()}
    parts |= {f"files/{name}": sha256 for name, sha256 in told.files.items()}
    return parts | ({"inputs": told.inputs} if told.inputs else {})


def found(folder: Path, wanted: set[str]) -> dict[str, Path]:
    """Files under `folder` with a wanted SHA-256, or .npz files of inputs whose arrays have it; raises InvalidInput.

    Inputs are named by their canonical form: two archives of the same arrays are the same inputs.
    """
    if not folder.is_dir():
        raise InvalidInput("There are no models.", [Problem(str(folder), "is no folder", "name one with --models")])
    there: dict[str, Path] = {}
    looked = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if path.is_symlink() or not path.is_file():
                continue
            looked += 1
            if looked > _FILES:
                what = f"has more than {_FILES} files"
                raise InvalidInput("There are too many files.", [Problem(str(folder), what, "name a smaller folder")])
            try:
                sha256 = digests.of_file(path)
                if sha256 not in wanted and path.suffix == ".npz" and path.stat().st_size <= _ARRAYS:
                    sha256 = digests.of_bytes(archive.pack(archive.unpack(path)))
            except (OSError, InvalidInput):
                # What cannot be read is none of those that are looked for.
                continue
            if sha256 in wanted:
                there.setdefault(sha256, path)
    return there
