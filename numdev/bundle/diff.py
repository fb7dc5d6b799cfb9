"""Two bundles beside each other, without running anything: what was asked, on what it ran, and what became of each cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from numdev import cpu
from numdev.bundle import layout, printed
from numdev.bundle.compared import UNKNOWN, Compared, Pair, compare, named, tables
from numdev.bundle.differing import Side
from numdev.bundle.groups import Group, grouped
from numdev.bundle.reading import Bundle
from numdev.bundle.sides import backends, of_bundle
from numdev.bundle.stranger import plain, whole
from numdev.run.runfile import Run
from numdev.spec.cell import DEFAULTS

A, B = "in A", "in B"
_ABSENT = "-"


@dataclass(frozen=True)
class Diff:
    """asked, platforms: lines of what differs. matched: levels that stand for each other, for each side has no other one.

    only: cells that the other bundle does not ask for. letters: the classes of each cell on both sides, by its name.
    """

    asked: tuple[str, ...]
    platforms: tuple[str, ...]
    matched: tuple[str, ...]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    compared: Compared
    letters: Mapping[str, tuple[str, str]]

    @property
    def same(self) -> bool:
        known = UNKNOWN not in self.compared.counts
        return not self.compared.deviates and self.compared.complete and known and not any(self.only)

    def printed(self, bundles: Sequence[Bundle]) -> printed.Diff:
        """bundles: the two that were compared, which may be closed."""
        return printed.Diff(
            version=1,
            bundles=[bundle.description.printed(bundle.digest) for bundle in bundles],
            asked=list(self.asked),
            platforms=list(self.platforms),
            matched=list(self.matched),
            only=[list(some) for some in self.only],
            letters={name: list(pair) for name, pair in self.letters.items()},
            **{**dict(self.compared.printed()), "same": self.same},
        )


def diff(one: Bundle, other: Bundle) -> Diff:
    """What differs between two bundles.

    Raises:
        InvalidInput, HashMismatch: one of them is damaged.
    """
    for bundle in (one, other):
        whole(bundle, (layout.DESCRIPTION, layout.RUN, layout.CELLS, layout.FACTS))
    sides = of_bundle(one, A), of_bundle(other, B)
    runs = one.run, other.run
    groups = grouped(one), grouped(other)
    levels, matched = _levels(groups, (backends(one), backends(other)))
    factors = list(dict.fromkeys(key for some in groups for group in some for key in group.factors))
    mine, theirs = (_by_key(some, factors, how) for some, how in zip(groups, ({}, levels), strict=True))
    pairs = []
    for key, some in mine.items():
        for group in some if key in theirs else ():
            # Of several processors, the same one; else the first.
            fit = next((one for one in theirs[key] if one.platform == group.platform), theirs[key][0])
            pairs.append(Pair(group.label(), group.workload, group.factors, group.records(one), fit.records(other)))
    only = (
        tuple(group.label() for key, some in mine.items() if key not in theirs for group in some),
        tuple(group.label() for key, some in theirs.items() if key not in mine for group in some),
    )
    return Diff(
        asked=tuple(_asked(runs, sides, groups)),
        platforms=(*_platforms(groups, sides), *tables(pairs, sides)),
        matched=tuple(matched),
        only=only,
        compared=compare(pairs, sides),
        letters=named(pairs),
    )


def _by_key(
    groups: Iterable[Group], factors: Sequence[str], levels: Mapping[tuple[str, str], str]
) -> dict[tuple[str, ...], list[Group]]:
    found: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        found.setdefault(_key(group, factors, levels), []).append(group)
    return found


def _key(group: Group, factors: Sequence[str], levels: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
    """What tells cells apart: a factor that one bundle does not name is at its default there."""
    values = [group.factors.get(key, str(DEFAULTS.get(key, _ABSENT))) for key in factors]
    return group.workload, *(levels.get(pair, pair[1]) for pair in zip(factors, values, strict=True))


def _levels(
    groups: tuple[list[Group], list[Group]], made_with: tuple[Mapping[str, str], Mapping[str, str]]
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """B's levels that are compared with another one of A's: each is the only one that the other side lacks.

    Stacks only where they have the same backend.
    """
    found: dict[tuple[str, str], str] = {}
    said = []
    for key in sorted({key for group in groups[0] for key in group.factors}):
        had = [list(dict.fromkeys(group.factors.get(key, "") for group in some)) for some in groups]
        left = [[level for level in had[at] if level and level not in had[1 - at]] for at in (0, 1)]
        kinds: list[dict[str, list[str]]] = [{}, {}]
        for at in (0, 1):
            for level in left[at]:
                kinds[at].setdefault(made_with[at].get(level, "") if key == "stack" else "", []).append(level)
        for kind, some in sorted(kinds[0].items()):
            others = kinds[1].get(kind, [])
            if len(some) == len(others) == 1:
                found[key, others[0]] = some[0]
                said.append(f"{key}: {some[0]} of A is compared with {others[0]} of B")
    return found, said


def _asked(runs: tuple[Run, Run], sides: tuple[Side, Side], groups: tuple[list[Group], list[Group]]) -> Iterable[str]:
    one, other = runs
    if one.matrix != other.matrix:
        yield f"matrix: {plain(one.matrix)} | {plain(other.matrix)}"
    counts = [len(some) for some in groups]
    if counts[0] != counts[1]:
        yield f"cells: {counts[0]} | {counts[1]}"
    for key in dict.fromkeys((*one.order, *other.order)):
        default = [str(DEFAULTS[key])] if key in DEFAULTS else []
        had = [run.factors.get(key, default) for run in runs]
        yield from _only(plain(key, 60), had[0], had[1])
    workloads = [{name: told for name, told in run.workloads.items() if isinstance(told, dict)} for run in runs]
    yield from _only("workload", list(workloads[0]), list(workloads[1]))
    for name in workloads[0]:
        if name in workloads[1] and workloads[0][name].get("digest") != workloads[1][name].get("digest"):
            yield f"workload {plain(name, 64)}: another model or other inputs"
    stacks = [side.pins for side in sides]
    for name in sorted(stacks[0].keys() & stacks[1].keys()):
        changed = [
            f"{plain(package, 60)} {plain(stacks[0][name].get(package, 'none'), 40)} | "
            f"{plain(stacks[1][name].get(package, 'none'), 40)}"
            for package in sorted(stacks[0][name].keys() | stacks[1][name].keys())
            if stacks[0][name].get(package) != stacks[1][name].get(package)
        ]
        if changed:
            yield f"stack {name}: {', '.join(changed)}"
    for key, default in (("repeats", 1), ("rounds", 1), ("tap", "none"), ("enforce", "cpuid"), ("missing", "refuse")):
        values = [run.source.get(key, default) for run in runs]
        if values[0] != values[1]:
            yield f"{key}: {plain(values[0], 40)} | {plain(values[1], 40)}"
    engines = [plain(run.engine.get("engine", "unknown"), 40) for run in runs]
    if engines[0] != engines[1]:
        yield f"engine: {engines[0]} | {engines[1]}"


def _only(what: str, one: Sequence[str], other: Sequence[str]) -> Iterable[str]:
    for name, some, rest in ((A, one, other), (B, other, one)):
        if left := [plain(level, 130) for level in some if level not in rest]:
            yield f"{what}: only {name} {', '.join(left)}"


def _platforms(groups: tuple[list[Group], list[Group]], sides: tuple[Side, Side]) -> Iterable[str]:
    """What differs between the processors that computed A and those that computed B."""
    had = [list(dict.fromkeys(group.platform for group in some if group.platform)) for some in groups]
    left = [[digest for digest in had[at] if digest not in had[1 - at]] for at in (0, 1)]
    if not left[0] and not left[1]:
        yield from _same_platform(had[0], sides)
        return
    if len(left[0]) == len(left[1]) == 1:
        captures = [side.capture(some[0]) for side, some in zip(sides, left, strict=True)]
        if captures[0] is not None and captures[1] is not None:
            yield from (plain(line, 600) for line in cpu.differences(captures[0], captures[1]))
            return
    for side, some in zip(sides, left, strict=True):
        for digest in some:
            yield f"only {side.name}: {_brand(side, digest)}"


def _same_platform(digests: list[str], sides: tuple[Side, Side]) -> Iterable[str]:
    """Equal processors may still differ in microcode, kernel, or what they compute."""
    for digest in digests:
        captures = [side.capture(digest) for side in sides]
        if captures[0] is not None and captures[1] is not None:
            yield from (plain(line, 600) for line in cpu.differences(captures[0], captures[1]))


def _brand(side: Side, digest: str) -> str:
    capture = side.capture(digest)
    brand = cpu.Host(capture.leaves, "").brand if capture else ""
    return plain(brand or f"a processor without a capture, {digest[:12]}", 100)
