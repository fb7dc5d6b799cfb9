"""What a set of platforms can tell and what not: which facts ever vary without the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Separation:
    """One factor of a design.

    `alone` groups the levels between which two platforms differ in nothing else (none: it never varies alone).
    `follows` names single other factors that fix its level wherever they are known: as causes, no statistic separates them.
    """

    factor: str
    levels: tuple[str, ...]
    alone: tuple[tuple[str, ...], ...]
    follows: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all levels are linked by platforms that differ in this factor only."""
        return len(self.alone) == 1 and len(self.alone[0]) == len(self.levels)


def separations(platforms: Sequence[Mapping[str, str]], order: Mapping[str, Sequence[str]]) -> list[Separation]:
    """For each factor that varies. All platforms have the same factors; `order` has each one's levels."""
    names = list(platforms[0]) if platforms else []
    varying = [name for name in names if len({one[name] for one in platforms}) > 1]
    return [_separation(name, varying, platforms, order[name]) for name in varying]


def _separation(
    name: str, varying: list[str], platforms: Sequence[Mapping[str, str]], order: Sequence[str]
) -> Separation:
    found = {one[name] for one in platforms}
    levels = tuple(level for level in order if level in found)
    strata: dict[tuple[str, ...], set[str]] = {}
    for one in platforms:
        strata.setdefault(tuple(one[other] for other in varying if other != name), set()).add(one[name])
    group = {level: {level} for level in levels}
    for together in strata.values():
        for first, second in combinations(sorted(together), 2):
            if group[first] is not group[second]:
                joined = group[first] | group[second]
                group.update(dict.fromkeys(joined, joined))
    sets = {id(group[level]): group[level] for level in levels if len(group[level]) > 1}
    alone = tuple(tuple(level for level in levels if level in members) for members in sets.values())
    follows = tuple(other for other in varying if other != name and _fixes(other, name, platforms))
    return Separation(name, levels, alone, follows)


def _fixes(one: str, other: str, platforms: Sequence[Mapping[str, str]]) -> bool:
    seen: dict[str, str] = {}
    return all(seen.setdefault(each[one], each[other]) == each[other] for each in platforms)
