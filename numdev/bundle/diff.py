"""Two bundles beside each other, without running anything: what was asked, on what it ran, and what became of each cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from numdev import cpu
from numdev.analysis import HOST
from numdev.bundle import layout, printed
from numdev.bundle.compared import NOISY_FIRST, UNKNOWN, Compared, Pair, compare, named, tables
from numdev.bundle.differing import Side, effective
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
        # Two runs are equal beside each other: what was noisy in the first has no class that the second could have.
        known = self.compared.counts.keys().isdisjoint((UNKNOWN, NOISY_FIRST))
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
    had = [
        [(group, effective(group.factors, _declared(group, bundle))) for group in some]
        for some, bundle in zip(groups, (one, other), strict=True)
    ]
    mine, theirs = (_by_key(some, factors, how) for some, how in zip(had, ({}, levels), strict=True))
    pairs = []
    for key, some in mine.items():
        for group, own in some if key in theirs else ():
            # Of several processors, the same one; else the first.
            fit, set_there = next((one for one in theirs[key] if one[0].platform == group.platform), theirs[key][0])
            records = group.records(one), fit.records(other)
            pairs.append(Pair(group.label(), group.workload, group.factors, *records, levels=(own, set_there)))
    only = (
        tuple(group.label() for key, some in mine.items() if key not in theirs for group, _ in some),
        tuple(group.label() for key, some in theirs.items() if key not in mine for group, _ in some),
    )
    return Diff(
        asked=tuple(_asked(runs, sides, groups)),
        platforms=(*_platforms(groups, sides), *tables(pairs, sides)),
        matched=tuple(matched),
        only=only,
        compared=compare(pairs, sides),
        letters=named(pairs),
    )


def _declared(group: Group, bundle: Bundle) -> Mapping[str, object]:
    """The levels of a cell as its records have them."""
    for line in group.ran:
        declared = bundle.facts.get(line.declared) if line.declared else None
        if isinstance(declared, dict):
            return declared
    return {}


def _by_key(
    groups: Iterable[tuple[Group, Mapping[str, str]]],
    factors: Sequence[str],
    stand_for: Mapping[tuple[str, str], str],
) -> dict[tuple[str, ...], list[tuple[Group, Mapping[str, str]]]]:
    """Cells with all their levels by what tells them apart: a factor that one bundle does not name is at its default there."""
    found: dict[tuple[str, ...], list[tuple[Group, Mapping[str, str]]]] = {}
    for group, levels in groups:
        values = [levels.get(key, _ABSENT) for key in factors]
        key = group.workload, *(stand_for.get(pair, pair[1]) for pair in zip(factors, values, strict=True))
        found.setdefault(key, []).append((group, levels))
    return found


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
    """What differs between the processors that computed A and those that computed B.

    Equal processors may still differ in microcode, kernel, or what they compute; so may hosts of a merged run with equal processors.
    """
    had = [
        list(dict.fromkeys((group.platform, group.factors.get(HOST, "")) for group in some if group.platform))
        for some in groups
    ]
    pairs, left = _counterparts(had)
    for pair in pairs:
        captures = [side.capture(*one) for side, one in zip(sides, pair, strict=True)]
        if captures[0] is not None and captures[1] is not None:
            hosts = " | ".join(dict.fromkeys(plain(host, 100) for _, host in pair if host))
            which = f"{hosts}: " if hosts and len(pairs) > 1 else ""
            yield from (plain(f"{which}{line}", 600) for line in cpu.differences(captures[0], captures[1]))
        elif pair[0][0] != pair[1][0]:
            left = [[*some, one] for some, one in zip(left, pair, strict=True)]
    for side, some in zip(sides, left, strict=True):
        yield from dict.fromkeys(f"only {side.name}: {_brand(side, one)}" for one in some)


# A processor by its digest, and its level of `host`.
_Machine = tuple[str, str]


def _counterparts(had: Sequence[list[_Machine]]) -> tuple[list[tuple[_Machine, _Machine]], list[list[_Machine]]]:
    """Which machine of A is compared with which of B, and processors that have no counterpart."""
    pairs = [(one, one) for one in had[0] if one in had[1]]
    left = [[one for one in had[at] if one not in had[1 - at]] for at in (0, 1)]
    # First of one name; then of one kind, where one side has no more than one of it; then the only one on both sides.
    for name, each in ((lambda one: one[1], False), (lambda one: one[0], True), (lambda one: "the only one", False)):
        for key in dict.fromkeys(filter(None, map(name, left[0]))):
            some = [[one for one in side if name(one) == key] for side in left]
            fewest, most = sorted(map(len, some))
            if fewest == 1 and (each or most == 1):
                pairs += product(*some)
                left = [[one for one in side if one not in some[at]] for at, side in enumerate(left)]
    kinds = [{kind for kind, _ in side} for side in had]
    return pairs, [[one for one in left[at] if one[0] not in kinds[1 - at]] for at in (0, 1)]


def _brand(side: Side, machine: _Machine) -> str:
    capture = side.capture(*machine)
    brand = cpu.Host(capture.leaves, "").brand if capture else ""
    return plain(brand or f"a processor without a capture, {machine[0][:12]}", 100)
