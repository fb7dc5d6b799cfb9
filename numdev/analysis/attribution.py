"""Attribution of a workload's classes to factors and to groups of factors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from numdev.analysis.classes import Class, Load, Partition
from numdev.analysis.design import Design, design_of
from numdev.analysis.distances import Distances, distances
from numdev.analysis.effects import NOT_IDENTIFIED as NO_PAIR
from numdev.analysis.effects import NOT_VARIED, Effect
from numdev.analysis.families import FAMILIES, MACHINE, families, family
from numdev.analysis.identify import NO_EFFECT, NOT_IDENTIFIED, Standing, components, standings
from numdev.analysis.indices import Index, Indices, Interaction, indices
from numdev.analysis.lattice import squares_of
from numdev.analysis.minimal import Minimal, minimal
from numdev.analysis.separate import Row, separating

# All factors that were not asked for, as one.
OTHERS = "(others)"


@dataclass(frozen=True)
class NotIdentified:
    """Why a design leaves a factor open: it `varies_with` sets of other factors, or each of these could stand for it.
    `cells` would settle it, as levels of all factors; none where only cells without a result are left.
    """

    varies_with: tuple[tuple[str, ...], ...]
    cells: tuple[dict[str, str], ...] = field(default=(), hash=False)


@dataclass(frozen=True)
class FactorShare:
    """What a factor does to the class.

    `status` is `cause`, `no effect`, `not identified` or `not varied`. `alone`, `total` and `shapley` are shares of the
    differences between the cells' classes (indices.py), `magnitude` has the same of their squared relative L2 distances;
    None where there is nothing to share, or for the magnitude no distance.
    """

    group: str
    status: str
    alone: float | None
    total: float | None
    shapley: float | None
    magnitude: Index
    not_identified: NotIdentified | None = None


@dataclass(frozen=True)
class GroupShare:
    """The same of all factors of a group together, as if they were one."""

    factors: tuple[str, ...]
    status: str
    alone: float | None
    total: float | None
    shapley: float | None
    magnitude: Index


@dataclass(frozen=True)
class Attribution:
    """`factors` by name and `groups` by the names of families.py, of which all are there but that of machines; `sufficient` sets of groups.

    `complete`: every combination of levels has a class, so that shares are not borrowed. `missing`: the fewest cells that
    would identify all factors. `interactions`: what only several factors together explain. `notes`: what
    could not be computed, and why.
    """

    factors: dict[str, FactorShare] = field(hash=False)
    groups: dict[str, GroupShare] = field(hash=False)
    sufficient: tuple[tuple[str, ...], ...]
    complete: bool
    interactions: tuple[Interaction, ...]
    missing: tuple[dict[str, str], ...] = field(hash=False)
    notes: tuple[str, ...]


def attribution(
    part: Partition,
    effects: Iterable[Effect],
    against: Class | None,
    load: Load,
    chosen: Sequence[str] = (),
) -> Attribution:
    """The attribution of a workload's classes.

    Args:
        against: the class that relative distances are measured from.
        chosen: the factors to attribute to; all others count as one. Empty for all factors.
    """
    by = {one.factor: one for one in effects}
    whole = design_of(part)
    varied = whole.varied()
    sized = distances(part.classes, against, load) if whole.kinds > 1 else None
    sets = minimal(varied)
    linked = {name: _linked(varied, by[name], name) for name in varied.names}
    stand = standings(varied, sets, linked)
    taken = _taken(part, varied)
    asked = separating(varied, sets, linked, taken)
    constant = {name: labels[0] for name, labels in zip(whole.names, whole.labels, strict=True) if len(labels) == 1}
    cells = [{**constant, **_levels(varied, one.row)} for one in asked]
    settling = {
        name: tuple(_ordered(cell, part) for cell, one in zip(cells, asked, strict=True) if name in one.settles)
        for name in varied.names
    }
    blocks = {name: (name,) for name in varied.names if not chosen or name in chosen}
    if left := tuple(name for name in varied.names if name not in blocks):
        blocks[OTHERS] = left
    shares, magnitudes, notes = _shares(varied.joint(blocks), sized)
    factors = {}
    for name in part.levels:
        if not chosen or name in chosen:
            standing = stand.get(name, Standing(NOT_VARIED if by[name].status == NOT_VARIED else NOT_IDENTIFIED))
            factors[name] = _factor(name, standing, shares, magnitudes, settling.get(name, ()))
    if left:
        status = _joint_status(varied, OTHERS, blocks, stand)
        factors[OTHERS] = _factor(OTHERS, Standing(status), shares, magnitudes, ())
    groups, sufficient = _groups(part, varied, stand, sized, factors)
    return Attribution(
        factors=factors,
        groups=groups,
        sufficient=sufficient,
        complete=all(cell.comparable for cell in part.cells) and varied.cells > 0 and varied.complete,
        interactions=shares.interactions,
        missing=tuple(_ordered(cell, part) for cell in cells),
        notes=tuple(notes),
    )


def _linked(design: Design, effect: Effect, name: str) -> list[int]:
    # Pairs whose shapes cannot be compared connect nothing, whatever their levels.
    return list(range(design.sizes[design.names.index(name)])) if effect.status == NO_PAIR else components(design, name)


def _taken(part: Partition, design: Design) -> frozenset[Row]:
    """Cells without a class, as far as their levels have a number."""
    numbers = [{level: place for place, level in enumerate(labels)} for labels in design.labels]
    rows = set()
    for cell in part.cells:
        if not cell.comparable:
            row = [known.get(cell.levels[name], -1) for name, known in zip(design.names, numbers, strict=True)]
            if -1 not in row:
                rows.add(tuple(row))
    return frozenset(rows)


def _levels(design: Design, row: Row) -> dict[str, str]:
    return {name: design.labels[place][row[place]] for place, name in enumerate(design.names)}


def _ordered(levels: Mapping[str, str], part: Partition) -> dict[str, str]:
    return {name: levels[name] for name in part.levels if name in levels}


def _factor(
    name: str, standing: Standing, shares: Indices, magnitudes: Indices, cells: tuple[dict[str, str], ...]
) -> FactorShare:
    index = shares.by.get(name, Index())
    open_ = NotIdentified(standing.confounded_with, cells) if standing.status == NOT_IDENTIFIED else None
    group, size = family(name), magnitudes.by.get(name, Index())
    return FactorShare(group, standing.status, index.alone, index.total, index.shapley, size, open_)


def _shares(design: Design, sized: Distances | None) -> tuple[Indices, Indices, list[str]]:
    """The indices by class and by distance, and what there is to say of what is missing."""
    shares, notes = indices(design, squares_of(design)), []
    if shares.why and shares.by:
        notes.append(
            f"Shapley's shares: not computed, {shares.why}" if _some(shares) else f"shares: none, {shares.why}"
        )
    if sized is None:
        return shares, Indices({}), notes
    measured = sized.measured[design.classes]
    columns = tuple(column[measured] for column in design.columns)
    some = replace(design, columns=columns, classes=design.classes[measured])
    magnitudes = indices(some, sized.squares) if some.cells else Indices({})
    if sized.why:
        notes.append(f"magnitudes: {sized.why}")
    return shares, magnitudes, notes


def _some(shares: Indices) -> bool:
    return any(one.alone is not None for one in shares.by.values())


def _joint_status(design: Design, name: str, blocks: Mapping[str, Sequence[str]], stand: Mapping[str, Standing]) -> str:
    joint = design.joint(blocks)
    return _statuses(joint, minimal(joint), blocks, stand)[name]


def _statuses(
    joint: Design, sets: Minimal, blocks: Mapping[str, Sequence[str]], stand: Mapping[str, Standing]
) -> dict[str, str]:
    found = standings(joint, sets, {name: components(joint, name) for name in joint.names})
    result = {}
    for name, one in found.items():
        still = all(stand[factor].status == NO_EFFECT for factor in blocks[name])
        result[name] = NOT_IDENTIFIED if one.status == NO_EFFECT and not still else one.status
    return result


def _groups(
    part: Partition,
    varied: Design,
    stand: Mapping[str, Standing],
    sized: Distances | None,
    factors: Mapping[str, FactorShare],
) -> tuple[dict[str, GroupShare], tuple[tuple[str, ...], ...]]:
    blocks = families(varied.names)
    joint = varied.joint(blocks)
    sets = minimal(joint)
    statuses = _statuses(joint, sets, blocks, stand)
    shares, magnitudes, _ = _shares(joint, sized)
    every = families(part.levels)
    groups = {}
    for name in FAMILIES:
        members = every.get(name, ())
        if name == MACHINE and not members:
            # Runs of one machine have no such group.
            continue
        status = statuses.get(name, NOT_VARIED)
        if status == NOT_VARIED and any(factors[one].status == NOT_IDENTIFIED for one in members if one in factors):
            status = NOT_IDENTIFIED
        index = shares.by.get(name, Index())
        size = magnitudes.by.get(name, Index())
        groups[name] = GroupShare(members, status, index.alone, index.total, index.shapley, size)
    return groups, sets.sets


def output_sets(part: Partition, apart: np.ndarray) -> Minimal:
    """The minimal sufficient sets where only some classes count as different, for instance in one output."""
    return minimal(replace(design_of(part).varied(), apart=apart))
