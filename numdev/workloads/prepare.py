"""A declared workload becomes files: fetched, made or found, preprocessed and hashed.

A user's model is hashed and never parsed here; only the container loads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numdev import digests, files
from numdev.errors import InvalidInput, Problem
from numdev.spec.workload import DeclaredWorkload
from numdev.workloads import archive, images
from numdev.workloads.builtin import BUILTINS

MODEL_LIMIT = 2 << 30
LABELS_LIMIT = 16 << 20
Say = Callable[[str], None]


@dataclass(frozen=True)
class Artefact:
    """One file and its SHA-256."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Prepared:
    """A workload ready to be placed in a job.

    formats: the model's file by format; empty for a module or a command. files: what lies beside it, by name in the job.
    digest: over everything here that can change a result.
    """

    name: str
    formats: dict[str, Artefact] = field(default_factory=dict)
    entry: str | None = None
    command: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    inputs: Artefact | None = None
    outputs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    digest: str = ""

    def json(self) -> dict[str, Any]:
        """What a record or a report says of it."""
        return {
            "name": self.name,
            "formats": {format: artefact.sha256 for format, artefact in sorted(self.formats.items())},
            "entry": self.entry,
            "command": list(self.command),
            "files": {name: digests.of_file(path) for name, path in self.files.items()},
            "inputs": self.inputs.sha256 if self.inputs else None,
            "facts": self.facts,
            "digest": self.digest,
        }


def prepare(declared: DeclaredWorkload, folder: Path, cache: Path, say: Say, make: bool = True) -> Prepared:
    """The files of a workload.

    Args:
        folder: what its paths are relative to.
        cache: where fetched and made files are kept; a second call only reads there.
        make: whether a built-in that the cache lacks is fetched or made; without it, its digests are "".

    Raises:
        InvalidInput: a file is missing or malformed, or there is no such built-in; all problems at once.
        DownloadFailed, HashMismatch: a pinned file cannot be had.
    """
    if declared.builtin is not None:
        return _builtin(declared, cache, say, make)
    problems: list[Problem] = []
    formats: dict[str, Artefact] = {}
    if declared.model:
        try:
            formats[str(declared.model_format)] = model_file(folder / declared.model)
        except InvalidInput as error:
            problems += error.problems
    beside: dict[str, Path] = {}
    wanted = list(declared.files)
    if declared.module and declared.module.rpartition(":")[0].endswith(".py"):
        wanted.append(declared.module.rpartition(":")[0])
    # In the job, these lie beside the user's files and may be links into the cache.
    reserved = {"inputs.npz", *(f"model{artefact.path.suffix}" for artefact in formats.values())}
    for name in wanted:
        path = folder / name
        if not path.is_file():
            problems.append(Problem(str(path), "does not exist" if not path.exists() else "is not a regular file"))
        elif path.name in reserved:
            problems.append(Problem(str(path), f"{path.name} is the name that numdev gives a file", "rename it"))
        elif beside.get(path.name, path) != path:
            problems.append(Problem(str(path), f"a second file called {path.name}", "rename one"))
        beside[path.name] = path
    inputs = None
    try:
        inputs = _inputs(declared, folder, cache)
    except InvalidInput as error:
        problems += error.problems
    labels: tuple[str, ...] = ()
    try:
        labels = _labels(declared, folder)
    except InvalidInput as error:
        problems += error.problems
    if problems:
        raise InvalidInput(f"The workload {declared.name!r} cannot be used.", problems)
    entry = declared.module
    if entry and entry.rpartition(":")[0].endswith(".py"):
        entry = f"{Path(entry.rpartition(':')[0]).name}:{entry.rpartition(':')[2]}"
    return with_digest(
        Prepared(
            name=declared.name,
            formats=formats,
            entry=entry,
            command=tuple(declared.command or ()),
            files=dict(sorted(beside.items())),
            inputs=inputs,
            labels=labels,
            facts={"source": "the user's own"},
        )
    )


def with_digest(prepared: Prepared) -> Prepared:
    """The same with its digest."""
    causes = {
        "formats": {format: artefact.sha256 for format, artefact in prepared.formats.items()},
        "entry": prepared.entry,
        "command": list(prepared.command),
        "files": {name: digests.of_file(path) for name, path in prepared.files.items()},
        "inputs": prepared.inputs.sha256 if prepared.inputs else None,
    }
    return Prepared(**{**prepared.__dict__, "digest": digests.of_json(causes)})


def _builtin(declared: DeclaredWorkload, cache: Path, say: Say, make: bool) -> Prepared:
    name = str(declared.builtin)
    builtin = BUILTINS.get(name)
    if builtin is None:
        known = ", ".join(BUILTINS)
        raise InvalidInput(
            f"There is no built-in workload {name!r}.",
            [Problem(name, "unknown workload", f"there are: {known}")],
        )
    index = cache / "workloads" / "builtin" / f"{name}-{builtin.version}.json"
    described = _recalled(index, cache)
    if described is None and not make:
        return Prepared(declared.name, {format: Artefact(Path(), "") for format in builtin.formats})
    if described is None:
        made = builtin.make(cache, say)
        described = {
            "formats": {format: _keep(data, format, cache) for format, data in made.formats.items()},
            "inputs": _keep(made.inputs, "npz", cache),
            "labels": list(made.labels),
            "facts": made.facts,
        }
        files.write_json(index, described)

    def artefact(sha256: str, suffix: str) -> Artefact:
        return Artefact(_kept(sha256, suffix, cache), sha256)

    return with_digest(
        Prepared(
            name=declared.name,
            formats={format: artefact(sha256, format) for format, sha256 in described["formats"].items()},
            inputs=artefact(described["inputs"], "npz"),
            labels=tuple(described["labels"]),
            facts=described["facts"],
        )
    )


def _recalled(index: Path, cache: Path) -> dict[str, Any] | None:
    """What an earlier call wrote, if all of it is still there and whole; it is made again otherwise."""
    try:
        described = json.loads(index.read_text())
        kept = [(sha256, format) for format, sha256 in described["formats"].items()] + [(described["inputs"], "npz")]
        whole = all(digests.of_file(_kept(sha256, suffix, cache)) == sha256 for sha256, suffix in kept)
        return {"labels": described["labels"], "facts": described["facts"], **described} if whole else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _kept(sha256: str, suffix: str, cache: Path) -> Path:
    return cache / "workloads" / "files" / f"{sha256}.{'npz' if suffix == 'net' else suffix}"


def _keep(data: bytes, suffix: str, cache: Path) -> str:
    sha256 = digests.of_bytes(data)
    files.write_bytes(_kept(sha256, suffix, cache), data)
    return sha256


def model_file(path: Path) -> Artefact:
    """A user's model where it lies: hashed and not opened otherwise.

    Raises:
        InvalidInput: it is missing, no regular file, or larger than 2 GiB.
    """
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise InvalidInput(f"{path} cannot be used.", [Problem(str(path), what)])
    if path.stat().st_size > MODEL_LIMIT:
        raise InvalidInput(f"{path} is too large.", [Problem(str(path), f"more than {MODEL_LIMIT >> 30} GiB")])
    try:
        return Artefact(path.resolve(), digests.of_file(path))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read.", [Problem(str(path), str(error.strerror))]) from None


def _labels(declared: DeclaredWorkload, folder: Path) -> tuple[str, ...]:
    if not isinstance(declared.labels, str):
        return tuple(declared.labels)
    path = folder / declared.labels
    try:
        return tuple(files.read_bytes(path, LABELS_LIMIT).decode("utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not text.", [Problem(str(path), f"not UTF-8 at byte {error.start}")]) from None


def _inputs(declared: DeclaredWorkload, folder: Path, cache: Path) -> Artefact | None:
    """The inputs in their canonical form, in the cache: equal arrays have an equal digest."""
    if declared.inputs:
        arrays = archive.unpack(folder / declared.inputs)
    elif declared.images and declared.preprocess:
        paths = [folder / name for name in declared.images]
        arrays = {declared.preprocess.input: images.load(paths, declared.preprocess)}
    else:
        return None
    sha256 = _keep(archive.pack(arrays), "npz", cache)
    return Artefact(_kept(sha256, "npz", cache), sha256)
