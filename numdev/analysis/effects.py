"""Main effects over matched pairs: cells that differ in one factor and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from numdev.analysis.budget import spend
from numdev.analysis.classes import Cell, Outputs, Partition
from numdev.analysis.deviation import Deviation, largest
from numdev.analysis.separate import MOST_CELLS, MOST_ROWS
from numdev.analysis.sizes import Sizes

NOT_VARIED = "not varied"
NOT_IDENTIFIED = "not identified"
NO_EFFECT = "no effect"
DEPENDS = "depends"

# Steps of a matched pair, and of what is kept of one that is not like others.
_PAIR, _KEPT = 16, 1 << 9


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
    matched = _Matched(part, factor)
    if not matched.count:
        alive = {cell.levels[factor] for cell in part.cells if cell.comparable}
        with_ = ()
        if len(alive) > 1:
            with_ = tuple(name for name in part.levels if name != factor and _fixes(part, name, factor))
        _foresee(part, levels, len(alive))
        return Effect(
            factor,
            levels,
            NOT_IDENTIFIED,
            left_out=matched.left_out,
            reshaped=matched.reshaped,
            compared=tuple((level,) for level in levels if level in alive),
            confounded_with=with_,
        )
    groups = _groups(levels, matched.seen, matched.differing)
    group_of = {level: group for group in groups for level in group}
    crossing = sum(
        count
        for (one, other), count in matched.seen.items()
        if group_of.get(levels[one]) != group_of.get(levels[other])
    )
    compared = _components(levels, matched.seen)
    _foresee(part, levels, len(compared))
    explained, merged = _explain(groups, facts or {})
    return Effect(
        factor=factor,
        levels=levels,
        status=DEPENDS if matched.apart else NO_EFFECT,
        pairs=matched.count,
        differ=matched.apart,
        left_out=matched.left_out,
        reshaped=matched.reshaped,
        compared=compared,
        groups=groups,
        uniform=bool(groups) and crossing == matched.apart,
        explained_by=explained,
        merged=merged,
        only=_only(part, factor, matched),
        size=largest(sizes.between(other, one) for one, other in matched.measured()),
    )


class _Matched:
    """The matched pairs of a factor, of which nothing is kept but what they have in common: there are many.

    count, apart: how many have a class on both sides, and how many differ. left_out, reshaped: see Effect. seen: how many there are of each pair
    of levels, these by number; differing: the pairs of levels of which some differ. strata, odd: cells that stand for all that are
    matched, and for all that differ from their match, as far as other factors go.
    """

    def __init__(self, part: Partition, factor: str) -> None:
        self.count = self.apart = self.left_out = self.reshaped = 0
        self.seen: Counter[tuple[int, int]] = Counter()
        self.differing: set[tuple[int, int]] = set()
        self.strata: list[Cell] = []
        self.odd: list[Cell] = []
        self._outputs: dict[Outputs, int] = {}
        self._pairs: set[tuple[int, int]] = set()
        strata: dict[tuple[str, ...], list[Cell]] = {}
        for cell in part.cells:
            rest = tuple(level for name, level in cell.levels.items() if name != factor)
            strata.setdefault(rest, []).append(cell)
        number = {level: place for place, level in enumerate(part.levels[factor])}
        for cells in strata.values():
            alive = [cell for cell in cells if cell.comparable]
            self.left_out += comb(len(cells), 2) - comb(len(alive), 2)
            self._match(part, alive, [number[cell.levels[factor]] for cell in alive])

    def _match(self, part: Partition, cells: list[Cell], levels: list[int]) -> None:
        """All pairs of cells of one stratum."""
        spend(_PAIR * comb(len(cells), 2))
        before = self.count, self.apart
        outputs = [self._outputs.setdefault(cell.outputs, len(self._outputs)) for cell in cells]
        for one, other in combinations(range(len(cells)), 2):
            if not part.commensurable(cells[one], cells[other]):
                self.reshaped += 1
                continue
            pair = levels[one], levels[other]
            self.count += 1
            if pair not in self.seen:
                spend(_KEPT)
            self.seen[pair] += 1
            if not part.differ(cells[one], cells[other]):
                continue
            self.apart += 1
            self.differing.add(pair)
            if cells[one].kind == cells[other].kind == "bytes":
                sides = outputs[one], outputs[other]
                if sides not in self._pairs:
                    spend(_KEPT)
                    self._pairs.add(sides)
        if self.count > before[0]:
            self.strata.append(cells[0])
        if self.apart > before[1]:
            self.odd.append(cells[0])

    def measured(self) -> Iterator[tuple[Outputs, Outputs]]:
        """The outputs of pairs that differ, each pair once and in an order that depends on nothing but them."""
        outputs = list(self._outputs)
        used = {side for pair in self._pairs for side in pair}
        order = sorted(used, key=lambda side: repr(outputs[side]))
        rank = {side: place for place, side in enumerate(order)}
        for one, other in sorted((rank[one], rank[other]) for one, other in self._pairs):
            yield outputs[order[one]], outputs[order[other]]


def _foresee(part: Partition, levels: Sequence[str], components: int) -> None:
    """Counts what the search for cells that would connect these levels takes at most (separate.py)."""
    spend(4 * min(components - 1, MOST_CELLS) * max(len(levels), MOST_ROWS) * len(levels) * len(part.levels))


def _fixes(part: Partition, one: str, other: str) -> bool:
    """Whether a cell's level of `one` determines its level of `other`, over the cells that have a class."""
    seen: dict[str, str] = {}
    cells = [cell for cell in part.cells if cell.comparable]
    return len(cells) > 1 and all(
        seen.setdefault(cell.levels[one], cell.levels[other]) == cell.levels[other] for cell in cells
    )


def _only(part: Partition, factor: str, matched: _Matched) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = []
    for name in part.levels if matched.apart else ():
        paired, differing = ({cell.levels[name] for cell in cells} for cells in (matched.strata, matched.odd))
        if name != factor and differing != paired:
            found.append((name, tuple(level for level in part.levels[name] if level in differing)))
    return tuple(found)


def _components(levels: Sequence[str], linked: Iterable[tuple[int, int]]) -> tuple[tuple[str, ...], ...]:
    """The levels by what links connect; linked: pairs of levels, by number."""
    group = {level: {level} for level in levels}
    for pair in linked:
        one, other = (levels[place] for place in pair)
        if group[one] is not group[other]:
            joined = group[one] | group[other]
            group.update(dict.fromkeys(joined, joined))
    found = {id(members): members for members in group.values()}
    return tuple(tuple(level for level in levels if level in members) for members in found.values())


def _groups(
    levels: Sequence[str], seen: Mapping[tuple[int, int], int], differing: set[tuple[int, int]]
) -> tuple[tuple[str, ...], ...]:
    """Levels grouped by agreement; nothing where a pair was never compared or agreement is not transitive."""
    present = {place for pair in seen for place in pair}
    if any(pair not in seen for pair in combinations(sorted(present), 2)):
        return ()
    number = {level: place for place, level in enumerate(levels)}
    agreed = [pair for pair in seen if pair not in differing]
    groups = [group for group in _components(levels, agreed) if number[group[0]] in present]
    if any((number[one], number[other]) in differing for group in groups for one, other in combinations(group, 2)):
        return ()
    return tuple(groups)


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
