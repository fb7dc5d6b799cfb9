"""Profiles: processors by name, each a small readable file of facts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

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

    @model_validator(mode="after")
    def _whole(self) -> Cache:
        if self.sets * self.ways * self.line != self.bytes:
            raise ValueError(f"{self.size} are no whole sets of {self.ways} ways with lines of {self.line} bytes")
        return self

    @property
    def bytes(self) -> int:
        return memory(self.size)

    @property
    def sets(self) -> int:
        return self.bytes // (self.ways * self.line)


class Topology(yamlfile.Strict):
    """How many cores there are, and how they are numbered. The numbers themselves, APIC ids, stay the real cores'."""

    cores: int = Field(description="of a package", ge=1, le=4096)
    threads_per_core: int = Field(ge=1, le=8)
    ids: int = Field(description="APIC ids that a package has room for: a power of two", ge=1, le=65536)
    real: list[str] = Field(
        default=["0xB", "0x1F", "0x8000001E"], description="leaves in which the real core tells its own number"
    )

    @field_validator("real")
    @classmethod
    def _real(cls, value: list[str]) -> list[str]:
        if unknown := sorted(set(value) - set(cls.model_fields["real"].default)):
            raise ValueError(f"{', '.join(unknown)} tells no core's number: 0xB, 0x1F and 0x8000001E do")
        if len(set(value)) != len(value):
            raise ValueError("a leaf stands twice")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Topology:
        if self.ids & (self.ids - 1):
            raise ValueError(f"ids: {self.ids} is no power of two")
        if self.ids < self.threads or self.threads_per_core > self.ids:
            raise ValueError(f"ids: {self.ids} are too few for {self.threads} threads")
        return self

    @property
    def threads(self) -> int:
        return self.cores * self.threads_per_core

    @property
    def core_ids(self) -> int:
        """Numbers of cores that a package has room for."""
        return max(1, self.ids // self.threads_per_core)

    @property
    def leaves(self) -> tuple[int, ...]:
        return tuple(int(leaf, 16) for leaf in self.real)


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
    max_leaf: int = Field(description="highest basic leaf", ge=0xB, le=0x24)
    features: list[str]
    caches: list[Cache]
    topology: Topology
    expect: Expected = Expected()
    differs: dict[Literal["stepping", "brand", "max_leaf", "features", "caches", "topology"], str] = Field(
        default={}, description="what is not as in the dump that is the source, and why"
    )
    name: str = ""

    @field_validator("features")
    @classmethod
    def _features(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if unknown := sorted(set(value) - FEATURES.keys()):
            raise ValueError(f"unknown features: {', '.join(unknown)}")
        if wrong := contradictions(value):
            raise ValueError("; ".join(wrong))
        return value

    @field_validator("topology")
    @classmethod
    def _topology(cls, value: Topology, info: ValidationInfo) -> Topology:
        if any(cache.threads > value.ids for cache in info.data.get("caches", [])):
            raise ValueError(f"a cache is shared by more threads than the {value.ids} that have ids")
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
