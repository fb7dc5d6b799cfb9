"""The cells of a bundle with all their replicates, and a sample of them that leaves nothing out while it can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from numdev import digests
from numdev.bundle.layout import CellLine
from numdev.bundle.reading import Bundle
from numdev.spec.cell import DEFAULTS
from numdev.store import Record

Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Group:
    """One cell on one processor: its levels, the digest of the platform ("" where it was never run), and its replicates.

    several: whether the bundle has the cell of other processors, too.
    """

    workload: str
    factors: dict[str, str]
    platform: str
    lines: tuple[CellLine, ...]
    several: bool = False

    @property
    def key(self) -> Key:
        return self.workload, tuple(sorted(self.factors.items()))

    @property
    def ran(self) -> tuple[CellLine, ...]:
        return tuple(line for line in self.lines if line.status != "missing")

    def records(self, bundle: Bundle) -> list[Record]:
        return [bundle.record(line) for line in self.ran]

    @property
    def outcome(self) -> str:
        """What its class is named by: equal outcomes are one class."""
        found = {(line.outputs and digests.of_json(line.outputs)) or line.status for line in self.ran}
        return found.pop() if len(found) == 1 else "noisy" if found else "missing"

    def label(self) -> str:
        """A short name for people: what is not at its default."""
        levels = [self.factors.get("stack", ""), self.factors.get("profile", "")]
        levels += [
            f"{key}={level}"
            for key, level in self.factors.items()
            if key not in ("stack", "profile") and str(DEFAULTS.get(key)) != level
        ]
        processor = [f"(processor {self.platform[:8] or 'none'})"] if self.several else []
        return " ".join([self.workload, *filter(None, levels), *processor])


def grouped(bundle: Bundle) -> list[Group]:
    """Every cell but references, in the bundle's order."""
    found: dict[tuple[Key, str], list[CellLine]] = {}
    for line in bundle.cells():
        if line.reference:
            continue
        causes = bundle.facts.get(line.causes) if line.causes else None
        platform = str(causes.get("platform", "")) if isinstance(causes, dict) else ""
        key = line.workload, tuple(sorted(line.factors.items()))
        found.setdefault((key, platform), []).append(line)
    count = Counter(key for key, _ in found)
    return [
        Group(key[0], some[0].factors, platform, tuple(some), count[key] > 1) for (key, platform), some in found.items()
    ]


def sample(groups: Sequence[Group], most: int) -> list[Group]:
    """At most `most` cells, always the same ones: one of every class and of every level while there is room, then others.

    Where there is no room for all classes, workloads and levels come before them.

    Others are taken by the digest of their names, so that no factor's order decides.
    """
    if most >= len(groups):
        return list(groups)
    has = [_needs(group) for group in groups]
    holders: dict[tuple[str, str], list[int]] = {}
    for at, needs in enumerate(has):
        for need in needs:
            holders.setdefault(need, []).append(at)
    chosen: dict[int, None] = {}
    met: set[tuple[str, str]] = set()
    first = "class" if sum(kind == "class" for kind, _ in holders) <= most else "workload"
    # What few cells have is looked after first.
    for need in sorted(holders, key=lambda need: (need[0] != first, need[0] == "class", len(holders[need]), need)):
        if len(chosen) == most:
            break
        if need not in met:
            best = max(holders[need][:1000], key=lambda at: (sum(one not in met for one in has[at]), -at))
            chosen[best] = None
            met.update(has[best])
    for at in sorted(range(len(groups)), key=lambda at: digests.of_json(groups[at].key)):
        if len(chosen) == most:
            break
        chosen[at] = None
    return [groups[at] for at in sorted(chosen)]


def uncovered(groups: Iterable[Group], chosen: Iterable[Group]) -> list[str]:
    """The levels, and how many of the classes, that a sample has none of."""
    met = {need for group in chosen for need in _needs(group)}
    left = dict.fromkeys(need for group in groups for need in _needs(group) if need not in met)
    classes = sum(kind == "class" for kind, _ in left)
    said = [f"{kind} {level}" for kind, level in left if kind != "class"]
    return said + ([f"{classes} classes"] if classes else [])


def _needs(group: Group) -> list[tuple[str, str]]:
    return [("class", f"{group.workload} {group.outcome}"), ("workload", group.workload), *group.factors.items()]
