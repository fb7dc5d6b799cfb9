"""What the documents of a bundle need to know of all its cells, gathered in one look at their lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numdev.bundle import layout
from numdev.bundle.draft import Draft
from numdev.spec.architecture import X86
from numdev.spec.cell import COVERED, DEFAULTS


@dataclass
class Software:
    """One stack for one architecture, as the records tell it.

    images: image IDs of the Docker engine. sites, bases: digests of the unpacked wheels and of the base system. blas: by its SHA-256, what
    was read back of the library that computed numpy's products. versions: of the frameworks, by name. equal: whether nothing ran in the
    image, which only has the same software.
    """

    stack: str
    architecture: str
    images: set[str] = field(default_factory=set)
    sites: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    engines: set[str] = field(default_factory=set)
    blas: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    equal: bool = False

    @property
    def name(self) -> str:
        """What its files in a bundle are called."""
        return layout.software(self.stack, self.architecture)


@dataclass
class Survey:
    """statuses: of the replicates, without the reference. cells: how many there are. platforms: what records say of real processors, by
    digest. repeats: the fewest and the most replicates of a cell. reference: whether some line is of the reference."""

    software: dict[str, Software] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    platforms: dict[str, dict[str, Any]] = field(default_factory=dict)
    workloads: set[str] = field(default_factory=set)
    rungs: Counter[str] = field(default_factory=Counter)
    engines: set[str] = field(default_factory=set)
    libcs: set[str] = field(default_factory=set)
    kernels: set[str] = field(default_factory=set)
    seconds: float = 0.0
    cells: int = 0
    repeats: tuple[int, int] = (0, 0)
    reference: bool = False


def declared(draft: Draft, cell: layout.CellLine) -> dict[str, Any]:
    """All factors of a cell: those that its record declares, else those of its line."""
    found = mapping(draft.facts.get(cell.declared or ""))
    levels = {**DEFAULTS, "architecture": X86, **found, **cell.factors} if not cell.reference else {**DEFAULTS, **found}
    if "stack" not in levels:
        levels["stack"] = str(draft.run.source.get("reference") or "")
    return levels


def software_of(draft: Draft, cell: layout.CellLine) -> Software:
    """The stack of a cell, with nothing known of it yet."""
    levels = declared(draft, cell)
    return Software(str(levels["stack"]), str(levels["architecture"]))


def parameters(levels: Mapping[str, Any]) -> dict[str, str]:
    """What was set of a cell besides its stack and the CPU that it was shown, where that is not as by default."""
    return {
        key: str(level)
        for key, level in sorted(levels.items())
        if key not in COVERED and key != "architecture" and (key == "threads" or str(level) != str(DEFAULTS.get(key)))
    }


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def survey(draft: Draft) -> Survey:
    """One look at every line."""
    found = Survey()
    repeats: Counter[tuple[Any, ...]] = Counter()
    known: dict[tuple[Any, ...], Software] = {}
    for cell in draft.cells():
        found.workloads.add(cell.workload)
        found.reference = found.reference or cell.reference
        if not cell.reference:
            found.statuses[cell.status] += 1
            repeats[cell.workload, *sorted(cell.factors.items())] += 1
        if cell.status == "missing":
            one = software_of(draft, cell)
            found.software.setdefault(one.name, one)
            continue
        found.seconds += cell.seconds or 0.0
        # Records that have these facts in common say the same of all that is asked here; of two stacks that come to the same there is one.
        called = cell.factors.get("stack"), cell.factors.get("architecture")
        key = (*called, cell.declared, cell.environment, cell.realised, cell.causes, cell.reference)
        if key not in known:
            one = software_of(draft, cell)
            known[key] = found.software.setdefault(one.name, one)
            _facts(draft, cell, found, known[key])
        rung = mapping(mapping(draft.facts.get(cell.environment or "")).get("profile")).get("rung")
        found.rungs[str(rung or "")] += not cell.reference
    found.cells = len(repeats)
    found.repeats = (min(repeats.values(), default=0), max(repeats.values(), default=0))
    found.software = dict(sorted(found.software.items()))
    return found


def _facts(draft: Draft, cell: layout.CellLine, found: Survey, software: Software) -> None:
    environment = mapping(draft.facts.get(cell.environment or ""))
    realised = mapping(draft.facts.get(cell.realised or ""))
    causes = mapping(draft.facts.get(cell.causes or ""))
    labels = mapping(environment.get("labels"))
    for place, value in (
        (software.images, environment.get("image")),
        (software.sites, labels.get("org.numdev.site") or environment.get("site")),
        (software.bases, labels.get("org.numdev.base.sha256")),
        (software.engines, environment.get("engine")),
        (found.engines, environment.get("engine")),
        (found.kernels, environment.get("kernel")),
        (found.libcs, realised.get("libc")),
    ):
        if isinstance(value, str) and value:
            place.add(value)
    software.versions |= {str(name): str(version) for name, version in mapping(realised.get("versions")).items()}
    blas = mapping(realised.get("gemm"))
    if isinstance(sha256 := blas.get("sha256"), str) and sha256:
        software.blas[sha256] = {key: str(value) for key, value in sorted(blas.items())}
    platform = mapping(environment.get("platform"))
    if platform and isinstance(digest := causes.get("platform"), str):
        found.platforms.setdefault(digest, platform)
