"""Profiles: processors by name, each a small readable file of facts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from numdev.cpu.features import FEATURES, contradictions, simd_level
from numdev.errors import InvalidInput, Problem
from numdev.spec import yamlfile
from numdev.spec.quantities import memory

HOST = "host"
_FOLDER = Path(__file__).with_name("profiles")


class Cache(yamlfile.Strict):
    """One cache: its geometry as CPUID leaf 4 (Intel) or 0x8000001D (AMD) tells it."""

    level: int = Field(ge=1, le=4)
    type: Literal["data", "instruction", "unified"]
    size: str
    ways: int = Field(ge=1, le=1024)
    line: int = Field(default=64, ge=16, le=1024)
    threads: int = Field(description="logical processors that may share it", ge=1, le=4096)

    @field_validator("size")
    @classmethod
    def _size(cls, value: str) -> str:
        memory(value)
        return value

    @property
    def bytes(self) -> int:
        return memory(self.size)

    @property
    def sets(self) -> int:
        return self.bytes // (self.ways * self.line)


class Expected(yamlfile.Strict):
    """What libraries choose on the real processor: a cell in which they chose otherwise is not realised."""

    openblas: list[str] = []
    torch: list[str] = []


class Profile(yamlfile.Strict):
    """A processor as a program sees it."""

    about: str
    source: str
    vendor: Literal["GenuineIntel", "AuthenticAMD"]
    family: int = Field(ge=0, le=270)
    model: int = Field(ge=0, le=255)
    stepping: int = Field(ge=0, le=15)
    brand: str = Field(max_length=47)
    max_leaf: int = Field(description="highest basic leaf", ge=0xD, le=0x24)
    features: list[str]
    caches: list[Cache]
    expect: Expected = Expected()
    name: str = ""

    @field_validator("features")
    @classmethod
    def _features(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if unknown := sorted(set(value) - FEATURES.keys()):
            raise ValueError(f"unknown features: {', '.join(unknown)}")
        if wrong := contradictions(value):
            raise ValueError("; ".join(wrong))
        return value

    @property
    def simd(self) -> str:
        return simd_level(self.features)

    @property
    def signature(self) -> int:
        """Family, model and stepping as EAX of leaf 1 has them."""
        base, extended = min(self.family, 15), max(self.family - 15, 0)
        return extended << 20 | (self.model >> 4) << 16 | base << 8 | (self.model & 15) << 4 | self.stepping


@cache
def names() -> list[str]:
    """All profiles that can be named, `host` first."""
    return [HOST, *sorted(path.stem for path in _FOLDER.glob("*.yaml"))]


@cache
def load(name: str) -> Profile:
    """The profile called `name` (not `host`, which is no profile but the absence of one), or a variant of one.

    Raises:
        InvalidInput: there is none, or the variant cannot be made.
    """
    # Variants are made of profiles: the import would go in a circle above.
    from numdev.cpu import variant

    known = names()[1:]
    base, changes = variant.split(name, known)
    if not base:
        raise InvalidInput(
            f"There is no profile {name!r}.",
            [Problem(name, "unknown profile", f"there are: {', '.join(names())}")],
        )
    if changes:
        return variant.apply(load(base), changes, known, load)
    path = _FOLDER / f"{name}.yaml"
    return yamlfile.validate(Profile, {**yamlfile.read(path), "name": name}, str(path))
