"""What an image is made of, as the cache has it: which wheel brought which shared library, and under which licence it is.

A site is made of a stranger's wheels: their RECORD and METADATA are read in bounds, and nothing of them is executed.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path

from numdev import digests, files
from numdev.bundle.draft import Draft
from numdev.bundle.survey import Software
from numdev.errors import InvalidInput
from numdev.spec.stack import BASES, Base, Stack, load_base, load_stack
from numdev.stacks import Locked, Site, known_base, known_site, read_lock
from numdev.stacks.lock import normal
from numdev.stacks.platform import machine_of

_METADATA, _RECORD, _LINES = 4 << 20, 64 << 20, 200_000
_DEFINITIONS = "definitions"
# Who computes, by how its file's name begins; what no line knows is a library like any other.
KERNELS = {
    "libscipy_openblas": "OpenBLAS",
    "libopenblas": "OpenBLAS",
    "libmkl_": "MKL",
    "libblis": "BLIS",
    "libatlas": "ATLAS",
    "libsatlas": "ATLAS",
    "libtatlas": "ATLAS",
    "libblas.": "reference BLAS",
    "liblapack.": "reference LAPACK",
    "libcblas.": "CBLAS",
    "libdnnl": "oneDNN",
    "libiomp5": "OpenMP of Intel",
    "libomp": "OpenMP of LLVM",
    "libgomp": "OpenMP of GCC",
    "libonnxruntime": "onnxruntime",
    "onnxruntime_pybind11_state": "onnxruntime",
    "libtorch": "torch",
    "libtensorflow": "TensorFlow",
    "_pywrap_tensorflow": "TensorFlow",
    "libjax_common": "XLA",
    "libopenvino": "OpenVINO",
    "libLiteRt": "LiteRT",
    "_pywrap_litert": "LiteRT",
    "libcublas": "cuBLAS",
    "libcudnn": "cuDNN",
    "_multiarray_umath": "numpy",
}


@dataclass(frozen=True)
class Library:
    """A shared library: its path in the site, SHA-256, size in bytes, and what computes in it ("" where that is not known)."""

    path: str
    sha256: str
    size: int
    kernels: str


@dataclass(frozen=True)
class Package:
    """A wheel as it was unpacked: its licence as it says itself, and the libraries that it brought."""

    name: str
    version: str
    license: str
    spdx: bool
    libraries: tuple[Library, ...] = ()


@dataclass
class Inside:
    """What is known of one stack. Of what is not known, `why` says why.

    locked: packages and the hashes that their wheels may have. packages: those of the site. loose: libraries that no wheel names, as
    Debian packages bring them. debian: the base's packages with their versions.
    """

    software: Software
    stack: Stack | None = None
    base: Base | None = None
    locked: dict[str, Locked] = field(default_factory=dict)
    site: Site | None = None
    packages: dict[str, Package] = field(default_factory=dict)
    loose: tuple[Library, ...] = ()
    debian: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)


def look_inside(draft: Draft, software: Software, cache: Path) -> Inside:
    """What the bundle's own definition of a stack says, and what this machine's cache has of it; nothing is made or fetched."""
    found = Inside(software)
    try:
        found.stack = _definition(draft, software)
        found.base = load_base(found.stack.folder.parent, found.stack.base)
    except InvalidInput as error:
        found.why["definition"] = draft.scrub(_short(error))
        return found
    if found.stack.dockerfile:
        found.why["libraries"] = "its image is built by Docker from a Dockerfile, and only that knows what is in it"
        return found
    try:
        found.locked = read_lock(found.stack)
        found.site = known_site(found.stack, cache)
    except InvalidInput as error:
        found.why["lock"] = draft.scrub(_short(error))
        return found
    _site(found)
    _base(found, cache)
    return found


def _short(error: InvalidInput) -> str:
    first = f"{error.problems[0].what}" if error.problems else error.what
    return first[:200]


def _definition(draft: Draft, software: Software) -> Stack:
    """The stack as the bundle has it, laid out in the draft's folder: this machine's own definitions may be others by now."""
    folder = draft.work / _DEFINITIONS
    for name, part in draft.parts.items():
        if name.startswith(("stacks/base/", f"stacks/{software.stack}/")):
            files.write_bytes(folder / name.removeprefix("stacks/"), b"".join(part.pieces()))
    (folder / BASES).mkdir(parents=True, exist_ok=True)
    return load_stack(folder, software.stack, software.architecture)


def _site(found: Inside) -> None:
    site, told = found.site, found.software.sites
    if site is None:
        found.why["libraries"] = (
            "this machine's cache does not have its unpacked wheels: `numdev images build` makes them"
        )
        return
    if told and site.digest not in told:
        found.site = None
        found.why["libraries"] = (
            f"the wheels in this machine's cache give {site.digest[:12]}, and the records have another one"
        )
        return
    by = _wheels(site.path)
    libraries: dict[str, list[Library]] = {}
    for library in _libraries(site.path):
        libraries.setdefault(by.get(library.path, ""), []).append(library)
    found.loose = tuple(libraries.pop("", ()))
    for folder in sorted(site.path.glob("*.dist-info")):
        package = _package(folder, tuple(libraries.get(folder.name, ())))
        if package:
            found.packages[package.name] = package


def _base(found: Inside, cache: Path) -> None:
    assert found.base is not None
    assert found.stack is not None
    system = known_base(found.base, machine_of(found.stack), cache)
    told = found.software.bases
    if system is None:
        found.why["base"] = "this machine's cache does not have its base system"
    elif not told:
        found.why["base"] = "its records do not say on which base system it ran" + (
            ": on the local engine that is the machine's own" if "local" in found.software.engines else ""
        )
    elif system.sha256 not in told:
        found.why["base"] = "the base system in this machine's cache is another one than that of the records"
    else:
        found.debian = dict(system.packages)


def _libraries(site: Path) -> Iterator[Library]:
    """All ELF files whose name says that they are shared libraries, sorted by path."""
    found = []
    for folder, folders, names in os.walk(site):
        folders.sort()
        found += [Path(folder, name) for name in names if ".so" in name and not name.endswith((".py", ".pyc", ".txt"))]
    for path in sorted(found, key=lambda path: path.relative_to(site).as_posix()):
        if path.is_symlink() or not path.is_file():
            continue
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        kernels = next((what for start, what in KERNELS.items() if path.name.startswith(start)), "")
        yield Library(path.relative_to(site).as_posix(), digests.of_file(path), path.stat().st_size, kernels)


def _wheels(site: Path) -> dict[str, str]:
    """The .dist-info folder of the wheel that brought each file, by its path."""
    found: dict[str, str] = {}
    for folder in sorted(site.glob("*.dist-info")):
        try:
            text = files.read_bytes(folder / "RECORD", _RECORD).decode("utf-8", "replace")
        except InvalidInput:
            continue
        try:
            for at, row in enumerate(csv.reader(text.splitlines())):
                if at >= _LINES:
                    break
                if row:
                    found.setdefault(row[0], folder.name)
        except csv.Error:
            continue
    return found


def _package(folder: Path, libraries: tuple[Library, ...]) -> Package | None:
    try:
        data = files.read_bytes(folder / "METADATA", _METADATA)
    except InvalidInput:
        return None
    message = HeaderParser().parsestr(data.decode("utf-8", "replace").partition("\n\n")[0])
    name, version = str(message.get("Name", "")), str(message.get("Version", ""))
    if not name:
        return None
    expression = str(message.get("License-Expression") or "").strip()
    classifiers = [str(value).split(" :: ") for value in message.get_all("Classifier", [])]
    classified = [parts[-1] for parts in classifiers if parts[0] == "License" and len(parts) > 1]
    said = " ".join(str(message.get("License") or "").split())
    # Some put the whole text there.
    free = said if len(said) <= 100 and said.upper() != "UNKNOWN" else ""
    return Package(normal(name), version, expression or free or "; ".join(classified), bool(expression), libraries)
