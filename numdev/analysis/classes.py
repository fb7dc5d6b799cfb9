"""Equivalence classes of one workload's cells, by bytes only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from numdev.analysis.budget import counted, spend
from numdev.analysis.dispatch import DISPATCH, PROFILE
from numdev.analysis.observation import GAPS, HOST, OK, Observation, OutputRef
from numdev.analysis.pairs import stretches

Load = Callable[[str], np.ndarray]
Outputs = tuple[OutputRef, ...]
NOISY = "~"
# Steps that stand for what is said of one class in one output: its sizes as objects and as JSON.
_TOLD = 1 << 13
# The same of an entry of the table of classes.
_ENTRY = 1 << 9

# Levels of these may change the shape of the outputs without being a deviation: the samples in common are
# compared.
TASK_FACTORS = frozenset({"batch"})
ABSENT = "-"


def without_host(task: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """A task (levels of factors that change the shape, or that references name) but for its machine."""
    return tuple(pair for pair in task if pair[0] != HOST)


@dataclass(frozen=True)
class Cell:
    """All runs of one combination of levels, with one outcome.

    `kind` is `bytes` (every run gave `outputs`), `status` (every run ended with `status`), `noisy` (runs
    differ, or inferences within one of them) or `gap` (no run gave anything that can be compared). `runs` counts the runs
    that are not gaps, `lost` the others; `spread` counts the runs by outcome: outputs or a status. `inside` counts the
    inferences by outcome where a run had several, and `unsteady` the runs in which these differ.
    """

    levels: Mapping[str, str] = field(hash=False)
    rank: tuple[int, ...]
    kind: str
    status: str
    reason: str
    outputs: Outputs
    runs: int
    lost: int
    ids: tuple[str, ...]
    spread: tuple[tuple[Outputs | str, int], ...]
    inside: tuple[tuple[str, int], ...] = ()
    rounds: int = 0
    unsteady: int = 0

    @property
    def comparable(self) -> bool:
        return self.kind in ("bytes", "status")

    def task(self, factors: Iterable[str]) -> tuple[tuple[str, str], ...]:
        return tuple((name, self.levels[name]) for name in sorted(factors) if name in self.levels)


@dataclass(frozen=True)
class Class:
    """Cells of equal outcome. `name` is a letter, or the status for cells that gave no outputs.

    `alike` names classes of other batch sizes that are equal in all samples in common, where one class is so
    to several and they cannot be one. `reshaped` names classes of another task whose shapes differ
    otherwise: nothing can be said about these. `outputs` has one set of outputs per task (levels of the task
    factors).
    """

    name: str
    cells: tuple[Cell, ...]
    failed: bool
    outputs: Mapping[tuple, Outputs] = field(hash=False)
    alike: frozenset[str] = frozenset()
    reshaped: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Partition:
    """A workload's cells in level order, their classes, and the factors with all their levels in order."""

    workload: str
    cells: tuple[Cell, ...]
    classes: tuple[Class, ...]
    levels: Mapping[str, list[str]] = field(hash=False)
    tasks: frozenset[str]
    names: Mapping[int, str] = field(hash=False)

    def name(self, cell: Cell) -> str:
        """The class of a cell; `~` for a noisy cell and an empty string for a gap."""
        return self.names[id(cell)]

    def by_name(self, name: str) -> Class:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Class]:
        return {each.name: each for each in reversed(self.classes)}

    def differ(self, one: Cell, other: Cell) -> bool:
        """Whether two comparable cells give different bytes, in the samples in common where batch differs."""
        first, second = self.name(one), self.name(other)
        if first == second:
            return False
        mine = self.by_name(first)
        return second not in mine.alike and second not in mine.reshaped

    def commensurable(self, one: Cell, other: Cell) -> bool:
        """Whether two cells have outcomes, and no other task with outputs of another shape."""
        if not (one.comparable and other.comparable):
            return False
        first, second = self.name(one), self.name(other)
        return first == second or second not in self.by_name(first).reshaped


def letters(number: int) -> str:
    """A, B, ... Z, AA, AB, ... for 0, 1, ..."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("A") + digit) + text
    return text


def key_of(outputs: Outputs) -> Outputs:
    """The outputs in an order that does not depend on the framework's."""
    return tuple(sorted(outputs, key=lambda one: one.name))


def partition(
    workload: str, observations: Iterable[Observation], load: Load, order: Mapping[str, Sequence[str]]
) -> Partition:
    """The classes of `workload`. Independent of the order of `observations`; references only name task
    factors.
    """
    mine = [one for one in observations if one.workload == workload]
    runs = [one for one in mine if not one.reference]
    tasks = TASK_FACTORS.union(*(one.factors for one in mine if one.reference))
    levels = _levels(runs, order)
    cells = _cells(runs, levels)
    classes = _classes(cells, tasks, load)
    names = {id(cell): each.name for each in classes for cell in each.cells}
    for cell in cells:
        names.setdefault(id(cell), NOISY if cell.kind == "noisy" else "")
    part = Partition(workload, cells, classes, levels, tasks, names)
    if counted():
        spend(_foreseen(part))
    return part


def _foreseen(part: Partition) -> int:
    """Steps that an answer of this partition takes beside those that are counted where they are taken."""
    sets = [outputs for each in part.classes for outputs in each.outputs.values()]
    most = max(map(len, sets), default=0)
    tensors: dict[str, set[str]] = {}
    for outputs in sets:
        for one in outputs:
            tensors.setdefault(one.name, set()).add(one.tensor)
    classes, cells, factors = len(part.classes), len(part.cells), len(part.levels)
    noisy = sum(cell.kind == "noisy" for cell in part.cells)
    # Tables of classes by classes, as numbers; and all that is said of each class in each output.
    found = 128 * classes**2 + _TOLD * classes * len(tensors)
    # Outputs by themselves: every class beside one of each kind, where the output is looked for among all; and the cells once more.
    found += sum(map(len, tensors.values())) * len(sets) * most // 8
    found += len(tensors) * (4 * cells * (factors + 1) + classes**2 // 4)
    # The table that is shown, which has an entry for every row and column (table.py).
    longest = max(map(len, part.levels.values()), default=0)
    rows = len({cell.task(DISPATCH) for cell in part.cells}) if PROFILE in part.levels else longest
    found += _ENTRY * rows * len(part.levels.get("stack", range(longest)))
    return found + 2 * noisy * len(sets) * (most + 1)


def _levels(runs: list[Observation], order: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    seen: dict[str, set[str]] = {}
    for run in runs:
        for name, level in run.factors.items():
            seen.setdefault(name, set()).add(level)
    for name, found in seen.items():
        if any(name not in run.factors for run in runs):
            found.add(ABSENT)
    ordered = [name for name in order if name in seen] + sorted(name for name in seen if name not in order)
    result = {}
    for name in ordered:
        declared = [level for level in order.get(name, ()) if level in seen[name]]
        result[name] = declared + sorted(seen[name].difference(declared))
    return result


def _cells(runs: list[Observation], levels: Mapping[str, list[str]]) -> tuple[Cell, ...]:
    groups: dict[tuple[str, ...], list[Observation]] = {}
    for run in runs:
        groups.setdefault(tuple(run.factors.get(name, ABSENT) for name in levels), []).append(run)
    cells = []
    number = {name: {level: place for place, level in enumerate(some)} for name, some in levels.items()}
    for at, group in groups.items():
        rank = tuple(number[name][level] for name, level in zip(levels, at, strict=True))
        group.sort(key=lambda one: (one.replicate, one.status, one.cell))
        cells.append(_cell(dict(zip(levels, at, strict=True)), rank, group))
    return tuple(sorted(cells, key=lambda cell: cell.rank))


def _cell(levels: dict[str, str], rank: tuple[int, ...], group: list[Observation]) -> Cell:
    runs = [one for one in group if one.status not in GAPS]
    first = (runs or group)[0]
    spread = Counter(key_of(one.outputs) if one.status == OK else one.status for one in runs)
    inside = Counter(digest for one in runs for digest in one.rounds)
    unsteady = sum(len(set(one.rounds)) > 1 for one in runs)
    if not runs:
        kind = "gap"
    elif len(spread) > 1 or unsteady:
        kind = "noisy"
    else:
        kind = "bytes" if first.status == OK else "status"
    reason = first.reason
    if kind == "noisy":
        statuses = sorted({one.status for one in runs})
        reason = f"{len(spread)} different outcomes in {len(runs)} runs ({', '.join(statuses)})"
        if unsteady:
            one = f"{unsteady} of {len(runs)} runs differ within the process"
            reason = f"{reason}; {one}" if len(spread) > 1 else f"{one}, {len(inside)} different outcomes"
    ids = tuple(dict.fromkeys(one.cell for one in group))
    outputs = key_of(first.outputs) if kind == "bytes" else ()
    lost = len(group) - len(runs)
    most = tuple(sorted(spread.items(), key=lambda pair: (-pair[1], repr(pair[0]))))
    within = tuple(sorted(inside.items(), key=lambda pair: (-pair[1], pair[0])))
    rounds = sum(max(0, len(one.rounds) - 1) for one in runs)
    return Cell(levels, rank, kind, first.status, reason, outputs, len(runs), lost, ids, most, within, rounds, unsteady)


def _classes(cells: tuple[Cell, ...], tasks: frozenset[str], load: Load) -> tuple[Class, ...]:
    groups: dict[Outputs, list[Cell]] = {}
    failures: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.kind == "bytes":
            groups.setdefault(cell.outputs, []).append(cell)
        elif cell.kind == "status":
            failures.setdefault(cell.status, []).append(cell)
    # A machine is no other task, though each may have a reference of its own: other shapes on another one are a difference.
    shaping = tasks - {HOST}
    several = len({cell.task(shaping) for cell in cells}) > 1
    places: dict[Outputs, set[tuple]] = {}
    if several:
        places = {key: {cell.task(shaping) for cell in some} for key, some in groups.items()}
        spend(8 * len(groups) * (len(groups) * (2 + max(map(len, groups), default=0)) + len(cells)))
    merged, alike = _join(places, load) if several else ([[key] for key in groups], {})
    merged.sort(key=lambda keys: (-sum(len(groups[key]) for key in keys), _first(groups, keys)))
    name_of = {key: letters(number) for number, keys in enumerate(merged) for key in keys}
    classes = []
    for keys in merged:
        members = sorted((cell for key in keys for cell in groups[key]), key=lambda cell: cell.rank)
        near = frozenset(name_of[other] for key in keys for other in alike.get(key, ()))
        outputs = {cell.task(tasks): cell.outputs for cell in reversed(members)}
        other = frozenset(
            name_of[far]
            for far in groups
            if several and far not in keys and any(_reshaped(key, far, places) for key in keys)
        )
        classes.append(Class(name_of[keys[0]], tuple(members), False, outputs, near, other))
    for status, members in sorted(failures.items(), key=lambda item: (-len(item[1]), item[1][0].rank)):
        classes.append(Class(status, tuple(members), True, {}))
    return tuple(classes)


def _reshaped(one: Outputs, other: Outputs, places: Mapping[Outputs, set[tuple]]) -> bool:
    if batch_only(one, other) or [ref.name for ref in one] != [ref.name for ref in other]:
        return False
    return places[one].isdisjoint(places[other])


def _first(groups: dict[Outputs, list[Cell]], keys: list[Outputs]) -> tuple[int, ...]:
    return min(cell.rank for key in keys for cell in groups[key])


def _join(places: Mapping[Outputs, set[tuple]], load: Load) -> tuple[list[list[Outputs]], dict[Outputs, set[Outputs]]]:
    """Joins the byte classes of different batch sizes that are equal in their common samples; places: the tasks of each.

    Being equal in common samples is not transitive: two classes of batch 4 may share their first sample with
    one of batch 1. Only groups in which all pairs are equal become one class; other links are returned apart.
    """
    keys = list(places)
    links: dict[Outputs, set[Outputs]] = {key: set() for key in keys}
    leading: dict[tuple[str, int], bytes] = {}
    for index, one in enumerate(keys):
        for other in keys[:index]:
            if places[one].isdisjoint(places[other]) and _equal_in_common(one, other, load, leading):
                links[one].add(other)
                links[other].add(one)
    merged, done, alike = [], set(), {}
    for key in keys:
        if key in done:
            continue
        component, waiting = {key}, [key]
        while waiting:
            for near in links[waiting.pop()] - component:
                component.add(near)
                waiting.append(near)
        done |= component
        if all(links[one] >= component - {one} for one in component):
            merged.append([one for one in keys if one in component])
        else:
            merged.extend([one] for one in component)
            alike.update({one: links[one] for one in component})
    return merged, alike


def _equal_in_common(one: Outputs, other: Outputs, load: Load, leading: dict[tuple[str, int], bytes]) -> bool:
    if not batch_only(one, other):
        return False
    for first, second in zip(one, other, strict=True):
        if first.tensor == second.tensor:
            continue
        if first.shape == second.shape:
            return False
        count = min(first.shape[0], second.shape[0])
        for ref in (first, second):
            if (ref.tensor, count) not in leading:
                leading[ref.tensor, count] = _leading(load(ref.tensor), count)
        if leading[first.tensor, count] != leading[second.tensor, count]:
            return False
    return True


def _leading(array: np.ndarray, count: int) -> bytes:
    """What names the first samples by their bytes: a copy of these would take as much memory as they do."""
    some = array[:count]
    spend(some.size)
    state = hashlib.sha256()
    for piece in stretches(some):
        state.update(np.ascontiguousarray(piece))
    return state.digest()


def batch_only(one: Outputs, other: Outputs) -> bool:
    """Whether two sets of outputs have equal names and types, and shapes that differ in the first axis
    at most.
    """
    return len(one) == len(other) and all(
        a.name == b.name and a.dtype == b.dtype and len(a.shape) == len(b.shape) and a.shape[1:] == b.shape[1:]
        for a, b in zip(one, other, strict=True)
    )
