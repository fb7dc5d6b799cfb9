"""Stacks and bases as they are declared in `images/`: one folder a stack, one file a base."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, field_validator

from numdev.errors import InvalidInput, Problem
from numdev.spec.architecture import X86, own
from numdev.spec.yamlfile import Strict, parse, read, validate
from numdev.worker.formats import BACKENDS, BLAS_LIBRARIES

STACK_FILE = "stack.yaml"
LOCK_FILE = "requirements.lock"
BASES = "base"
# Bytes of a stranger's stack.yaml: a thousand of YAML take a megabyte and some milliseconds.
DECLARED = 64 << 10

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_PACKAGE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc|\.post|\.dev)[0-9]+)*(?:\+[a-z0-9.]+)?")
_PYTHON = re.compile(r"3\.[0-9]+")
_REGISTRY = re.compile(r"[a-z0-9][a-z0-9._/:-]*@sha256:[0-9a-f]{64}")
_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_DEBIAN_VERSION = re.compile(r"(?:[0-9]+:)?[0-9][A-Za-z0-9.+~-]*")
_LIBRARY = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*\.so(?:\.[0-9]+)*")


@dataclass(frozen=True)
class Stack:
    """Pinned software: a base system, a CPython on it, and packages with their exact versions.

    `pins` maps a normalised package name to its version. `from_pip` names pins whose wheel only the user's
    own pip can find (its settings name an index or a folder for them). `overrides` names pins that hold whatever the
    other packages require of them. `debian` maps Debian packages, whose libraries and modules lie in the site like those of
    wheels, to their versions; `preload` names files of the site that come before a program's own libraries; `blas` says which library
    has to compute numpy's matrix products, and `gpu` that nothing runs without a GPU. `dockerfile` is set where the engine builds the image from a Dockerfile; `lock`
    then need not exist. `architecture` is that of its base and its packages; each has a lock of its own.
    """

    name: str
    folder: Path
    base: str
    python: str
    backend: str
    pins: dict[str, str] = field(hash=False)
    dockerfile: Path | None
    lock: Path
    description: str = ""
    from_pip: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    architecture: str = field(default_factory=own)
    debian: dict[str, str] = field(default_factory=dict, hash=False)
    preload: tuple[str, ...] = ()
    blas: str = ""
    gpu: bool = False


@dataclass(frozen=True)
class Base:
    """A base system: how it is bootstrapped from Debian packages, and where a ready one may be pulled from.

    `glibc` is the newest version whose wheels run on it. `epoch` is the time stamp of all that is made, in
    seconds since 1970.
    """

    name: str
    file: Path
    suite: str
    python: str
    glibc: str
    include: tuple[str, ...]
    exclude_paths: tuple[str, ...]
    epoch: int
    registry: str | None = None


class _StackFile(Strict):
    base: str
    python: str
    backend: str
    pins: dict[str, str] = Field(default_factory=dict)
    description: str = ""
    from_pip: list[str] = Field(default_factory=list)
    overrides: list[str] = Field(default_factory=list)
    debian: dict[str, str] = Field(default_factory=dict)
    preload: list[str] = Field(default_factory=list)
    blas: str = ""
    gpu: bool = False
    dockerfile: str | None = None

    @field_validator("python")
    @classmethod
    def _python(cls, value: str) -> str:
        return _matching(_PYTHON, value, 'must be a CPython version such as "3.11"')

    @field_validator("backend")
    @classmethod
    def _backend(cls, value: str) -> str:
        if value not in BACKENDS:
            raise ValueError(f"unknown backend {value!r}; there are {', '.join(sorted(BACKENDS))}")
        return value

    @field_validator("pins")
    @classmethod
    def _pins(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [f"{name!r} is no package name in lower case with hyphens" for name in value if not _is(_PACKAGE, name)]
        wrong += [
            f"{name}: {version!r} is no exact version" for name, version in value.items() if not _is(_VERSION, version)
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return value

    @field_validator("debian")
    @classmethod
    def _debian(cls, value: dict[str, str]) -> dict[str, str]:
        _debian_names(value)
        for name, version in value.items():
            _matching(_DEBIAN_VERSION, version, f"{name}: {version!r} is no version of a Debian package")
        return value

    @field_validator("preload")
    @classmethod
    def _preload(cls, value: list[str]) -> list[str]:
        for path in value:
            _matching(_LIBRARY, path, f"{path!r} is no path of a shared library in the site")
        return value

    @field_validator("blas")
    @classmethod
    def _blas(cls, value: str) -> str:
        if value and value not in BLAS_LIBRARIES:
            raise ValueError(f"unknown library {value!r}; there are {', '.join(BLAS_LIBRARIES)}")
        return value

    @field_validator("dockerfile")
    @classmethod
    def _dockerfile(cls, value: str | None) -> str | None:
        if value is not None and Path(value).name != value:
            raise ValueError("must be the name of a file in the stack's own folder")
        return value


class BaseFile(Strict):
    suite: str
    python: str
    glibc: str
    include: list[str]
    exclude_paths: list[str] = Field(default_factory=list)
    epoch: int
    registry: str | None = None

    @field_validator("python")
    @classmethod
    def _python(cls, value: str) -> str:
        return _matching(_PYTHON, value, 'must be a CPython version such as "3.11"')

    @field_validator("glibc")
    @classmethod
    def _glibc(cls, value: str) -> str:
        return _matching(re.compile(r"2\.[0-9]{1,2}"), value, 'must be a version of glibc such as "2.36"')

    @field_validator("suite")
    @classmethod
    def _suite(cls, value: str) -> str:
        return _matching(_DEBIAN, value, 'must be the name of a Debian suite such as "bookworm"')

    @field_validator("include")
    @classmethod
    def _include(cls, value: list[str]) -> list[str]:
        _debian_names(value)
        return value

    @field_validator("exclude_paths")
    @classmethod
    def _paths(cls, value: list[str]) -> list[str]:
        for path in value:
            _matching(re.compile(r"/[A-Za-z0-9_./*+-]+"), path, f"{path!r} is no absolute path pattern")
        return value

    @field_validator("epoch")
    @classmethod
    def _epoch(cls, value: int) -> int:
        if not 0 <= value < 2**32:
            raise ValueError("must be seconds since 1970, below 2**32")
        return value

    @field_validator("registry")
    @classmethod
    def _registry(cls, value: str | None) -> str | None:
        if value is not None:
            _matching(_REGISTRY, value, "must name an image by digest: name@sha256:...")
        return value


def _is(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.fullmatch(text) is not None


def _matching(pattern: re.Pattern[str], text: str, message: str) -> str:
    if not _is(pattern, text):
        raise ValueError(message)
    return text


def _debian_names(names: Iterable[str]) -> None:
    for name in names:
        _matching(_DEBIAN, name, f"{name!r} is no name of a Debian package")


def stack_names(images: Path) -> list[str]:
    """The names of the folders in `images` that hold a stack.yaml, sorted.

    Raises:
        InvalidInput: `images` is no folder.
    """
    if not images.is_dir():
        raise InvalidInput(
            f"There is no folder of stacks at {images}.",
            [Problem(str(images), "is not a folder")],
            "Give the folder that holds one folder per stack with --images.",
        )
    return sorted(path.parent.name for path in images.glob(f"*/{STACK_FILE}") if path.parent.name != BASES)


def lock_file(architecture: str) -> str:
    """The name of the lock for an architecture."""
    return LOCK_FILE if architecture == X86 else f"requirements.{architecture}.lock"


def load_stack(images: Path, name: str, architecture: str = "") -> Stack:
    """The stack `name` as `images/<name>/stack.yaml` declares it.

    Args:
        architecture: for which it is made; this machine's where it is left out.

    Raises:
        InvalidInput: there is no such stack (those there are get listed), or its files are not valid.
    """
    there = stack_names(images)
    if name not in there or not _is(_NAME, name):
        what = "does not exist" if name not in there else "must be lower case letters, digits and . _ -"
        listed = ", ".join(there) or "none"
        raise InvalidInput(
            f"There is no stack {name!r}.",
            [Problem(f"{images}/{name}", what, f"there are: {listed}")],
            f"Choose one of those, or add a folder with a {STACK_FILE} to {images}.",
        )
    folder = (images / name).absolute()
    file = folder / STACK_FILE
    stack = _stack(validate(_StackFile, read(file), str(file)), name, folder, architecture)
    if problems := list(_problems(stack, images)):
        raise InvalidInput(f"The stack {name!r} is not valid.", sorted(problems))
    return stack


def stack_in(data: bytes, name: str, where: str, architecture: str = X86) -> Stack:
    """The stack that the bytes of a stranger's stack.yaml declare; there is no folder of it, and nothing of it is looked for.

    Raises:
        InvalidInput: they declare none, or are more than a stack needs.
    """
    if len(data) > DECLARED:
        raise InvalidInput(f"{where} is too large.", [Problem(where, f"more than {DECLARED} bytes")])
    return _stack(validate(_StackFile, parse(data, where), where), name, Path(name), architecture)


def _stack(declared: _StackFile, name: str, folder: Path, architecture: str) -> Stack:
    architecture = architecture or own()
    return Stack(
        name=name,
        folder=folder,
        base=declared.base,
        python=declared.python,
        backend=declared.backend,
        pins=dict(sorted(declared.pins.items())),
        dockerfile=folder / declared.dockerfile if declared.dockerfile else None,
        lock=folder / lock_file(architecture),
        description=declared.description,
        from_pip=tuple(declared.from_pip),
        overrides=tuple(declared.overrides),
        architecture=architecture,
        debian=dict(sorted(declared.debian.items())),
        preload=tuple(declared.preload),
        blas=declared.blas,
        gpu=declared.gpu,
    )


def _problems(stack: Stack, images: Path) -> list[Problem]:
    file = str(stack.folder / STACK_FILE)
    found = []
    for key, names in (("from_pip", stack.from_pip), ("overrides", stack.overrides)):
        for name in names:
            if name not in stack.pins:
                found.append(
                    Problem(f"{file}: {key}", f"{name!r} is not among the pins", "add it there with its version")
                )
    if stack.dockerfile:
        if not stack.dockerfile.is_file():
            found.append(
                Problem(f"{file}: dockerfile", f"{stack.dockerfile.name} does not exist", "add it to the folder")
            )
        return found
    if not stack.pins:
        found.append(Problem(f"{file}: pins", "none", 'add at least one: numpy: "1.26.4"'))
    bases = base_names(images)
    if stack.base not in bases:
        remedy = f"there are: {', '.join(bases) or 'none'}"
        found.append(Problem(f"{file}: base", f"there is no base {stack.base!r}", remedy))
        return found
    base = load_base(images, stack.base)
    if base.python != stack.python:
        remedy = f'write python: "{base.python}", or choose another base'
        found.append(Problem(f"{file}: python", f"{base.name} has CPython {base.python}, not {stack.python}", remedy))
    return found


def base_names(images: Path) -> list[str]:
    return sorted(path.stem for path in (images / BASES).glob("*.yaml"))


def load_base(images: Path, name: str) -> Base:
    """The base `name` as `images/base/<name>.yaml` declares it; raises InvalidInput."""
    file = (images / BASES / f"{name}.yaml").absolute()
    declared = validate(BaseFile, read(file), str(file))
    return Base(
        name=name,
        file=file,
        suite=declared.suite,
        python=declared.python,
        glibc=declared.glibc,
        include=tuple(declared.include),
        exclude_paths=tuple(declared.exclude_paths),
        epoch=declared.epoch,
        registry=declared.registry,
    )
