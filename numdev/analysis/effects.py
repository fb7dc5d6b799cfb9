"""Main effects over matched pairs: cells that differ in one factor and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from numdev.analysis.classes import Cell, Partition
from numdev.analysis.deviation import Deviation, largest
from numdev.analysis.sizes import Sizes

NOT_VARIED = "not varied"
NOT_IDENTIFIED = "not identified"
NO_EFFECT = "no effect"
DEPENDS = "depends"


@dataclass(frozen=True)
class Effect:
    """What the matched pairs of one factor show, and no more than that.

    - `status`: `not varied` (one level), `not identified` (no matched pair), `no effect`, `depends`.
    - `pairs`, `differ`: matched pairs with a class on both sides, and those of two classes; `left_out`:
      pairs of which a side is noisy or has no result; `reshaped`: pairs whose shapes cannot be compared.
    - `compared`: the levels that matched pairs connect; levels of different groups were never compared.
      Without any matched pair: the levels that have a class at all, each for itself.
    - `confounded_with`: factors whose level fixes this factor's level in all cells that have a class.
    - `groups`: levels that agree in every stratum; empty where agreement is no grouping (gaps). `uniform`:
      levels of different groups differ in every stratum.
    - `explained_by`: facts of the levels that split them into the same groups; several are not told apart.
      `merged`: the fact's values that agree, where the groups are coarser than the fact.
    - `only`: of each other factor whose levels are not alike in this: those under which some pair differs.
    - `size`: the largest deviation in a matched pair.
    """

    factor: str
    levels: tuple[str, ...]
    status: str
    pairs: int = 0
    differ: int = 0
    left_out: int = 0
    reshaped: int = 0
    compared: tuple[tuple[str, ...], ...] = ()
    confounded_with: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    uniform: bool = False
    explained_by: tuple[str, ...] = ()
    merged: tuple[tuple[str, ...], ...] = ()
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()
    size: Deviation | None = None


def effect(part: Partition, factor: str, sizes: Sizes, facts: Mapping[str, Mapping[str, str]] | None = None) -> Effect:
    """The effect of `factor` on the class. `facts` describes its levels, for instance {"haswell":
    {"simd": "AVX2"}}.
    """
    levels = tuple(part.levels[factor])
    if len(levels) < 2:
        return Effect(factor, levels, NOT_VARIED)
    matched, left_out, reshaped = _pairs(part, factor)
    if not matched:
        alive = {cell.levels[factor] for cell in part.cells if cell.comparable}
        with_ = ()
        if len(alive) > 1:
            with_ = tuple(name for name in part.levels if name != factor and _fixes(part, name, factor))
        return Effect(
            factor,
            levels,
            NOT_IDENTIFIED,
            left_out=left_out,
            reshaped=reshaped,
            compared=tuple((level,) for level in levels if level in alive),
            confounded_with=with_,
        )
    apart = [pair for pair in matched if part.differ(*pair)]
    seen = {frozenset((one.levels[factor], other.levels[factor])) for one, other in matched}
    differing = {frozenset((one.levels[factor], other.levels[factor])) for one, other in apart}
    groups = _groups(levels, seen, differing)
    group_of = {level: group for group in groups for level in group}
    crossing = sum(group_of.get(one.levels[factor]) != group_of.get(other.levels[factor]) for one, other in matched)
    explained, merged = _explain(groups, facts or {})
    measured = {(one.outputs, other.outputs) for one, other in apart if one.kind == other.kind == "bytes"}
    return Effect(
        factor=factor,
        levels=levels,
        status=DEPENDS if apart else NO_EFFECT,
        pairs=len(matched),
        differ=len(apart),
        left_out=left_out,
        reshaped=reshaped,
        compared=_components(levels, seen),
        groups=groups,
        uniform=bool(groups) and crossing == len(apart),
        explained_by=explained,
        merged=merged,
        only=_only(part, factor, matched, apart),
        size=largest([sizes.between(other, one) for one, other in sorted(measured, key=repr)]),
    )


def _pairs(part: Partition, factor: str) -> tuple[list[tuple[Cell, Cell]], int, int]:
    strata: dict[tuple[str, ...], list[Cell]] = {}
    for cell in part.cells:
        rest = tuple(level for name, level in cell.levels.items() if name != factor)
        strata.setdefault(rest, []).append(cell)
    every = [pair for cells in strata.values() for pair in combinations(cells, 2)]
    both = [pair for pair in every if pair[0].comparable and pair[1].comparable]
    usable = [pair for pair in both if part.commensurable(*pair)]
    return usable, len(every) - len(both), len(both) - len(usable)


def _fixes(part: Partition, one: str, other: str) -> bool:
    """Whether a cell's level of `one` determines its level of `other`, over the cells that have a class."""
    seen: dict[str, str] = {}
    cells = [cell for cell in part.cells if cell.comparable]
    return len(cells) > 1 and all(
        seen.setdefault(cell.levels[one], cell.levels[other]) == cell.levels[other] for cell in cells
    )


def _only(
    part: Partition, factor: str, matched: list[tuple[Cell, Cell]], apart: list[tuple[Cell, Cell]]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = []
    for name in part.levels if apart else ():
        paired, differing = ({one.levels[name] for one, _ in pairs} for pairs in (matched, apart))
        if name != factor and differing != paired:
            found.append((name, tuple(level for level in part.levels[name] if level in differing)))
    return tuple(found)


def _components(levels: Sequence[str], linked: set[frozenset[str]]) -> tuple[tuple[str, ...], ...]:
    group = {level: {level} for level in levels}
    for pair in linked:
        one, other = pair
        if group[one] is not group[other]:
            joined = group[one] | group[other]
            group.update(dict.fromkeys(joined, joined))
    found = {id(members): members for members in group.values()}
    return tuple(tuple(level for level in levels if level in members) for members in found.values())


def _groups(
    levels: Sequence[str], seen: set[frozenset[str]], differing: set[frozenset[str]]
) -> tuple[tuple[str, ...], ...]:
    """Levels grouped by agreement; nothing where a pair was never compared or agreement is not transitive."""
    present = [level for level in levels if any(level in pair for pair in seen)]
    if any(frozenset(pair) not in seen for pair in combinations(present, 2)):
        return ()
    groups = _components(present, seen - differing)
    if any(frozenset(pair) in differing for group in groups for pair in combinations(group, 2)):
        return ()
    return groups


def _explain(
    groups: Sequence[Sequence[str]], facts: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    levels = [level for group in groups for level in group]
    if len(groups) < 2 or any(level not in facts for level in levels):
        return (), ()
    shared = [key for key in facts[levels[0]] if all(key in facts[level] for level in levels)]
    values = {key: [{facts[level][key] for level in group} for group in groups] for key in shared}
    # A fact explains only where no value of it lies in two groups.
    splits = [key for key in shared if sum(map(len, values[key])) == len(set().union(*values[key]))]
    exact = tuple(key for key in splits if all(len(found) == 1 for found in values[key]))
    if exact:
        return exact, ()
    # A fact with a value of its own for each level would "explain" every grouping.
    coarse = [key for key in splits if len(set().union(*values[key])) < len(levels)]
    if not coarse:
        return (), ()
    order = list(dict.fromkeys(facts[level][coarse[0]] for level in levels))
    merged = tuple(tuple(value for value in order if value in found) for found in values[coarse[0]] if len(found) > 1)
    return (coarse[0],), merged
