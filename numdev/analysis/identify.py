"""What a design tells of each factor, what it leaves open, and the cells that would settle it.

A factor is a *cause* where every minimal sufficient set has it: whatever the true causes are, their set is sufficient, so that it
contains a minimal one. It has *no effect* where no minimal set has it and cells that differ in it alone connect all its levels.
Anything else is *not identified*: the cells there are can be explained with it and without it, or it was never set alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from numdev.analysis.design import Design, coded
from numdev.analysis.minimal import Minimal, function_of, minimal

CAUSE = "cause"
NO_EFFECT = "no effect"
NOT_IDENTIFIED = "not identified"


@dataclass(frozen=True)
class Standing:
    """What is known of a factor that is varied.

    - `status`: `cause`, `no effect` or `not identified`.
    - `confounded_with`: sets of other factors, each of which fixes this factor's level as far as it was not compared
      alone, or could stand for it in explaining the classes.
    """

    status: str
    confounded_with: tuple[tuple[str, ...], ...] = ()


def standings(design: Design, sets: Minimal, linked: Mapping[str, Sequence[int]]) -> dict[str, Standing]:
    """The standing of every factor of a design whose factors all vary.

    Args:
        linked: for each factor the number of the component that each level is in: cells that differ in the factor alone
            connect its levels.
    """
    named = {name for one in sets.sets for name in one}
    found = {}
    for name in design.names:
        components = linked[name]
        if name in sets.core:
            found[name] = Standing(CAUSE)
        elif sets.searched and name not in named and len(set(components)) == 1:
            found[name] = Standing(NO_EFFECT)
        else:
            found[name] = Standing(NOT_IDENTIFIED, _confounded(design, name, components, sets))
    return found


def _confounded(design: Design, name: str, components: Sequence[int], sets: Minimal) -> tuple[tuple[str, ...], ...]:
    with_: list[tuple[str, ...]] = []
    if len(set(components)) > 1:
        place = design.names.index(name)
        merged = np.asarray(components, np.int64)[design.columns[place]]
        columns = tuple(merged if at == place else column for at, column in enumerate(design.columns))
        sizes = tuple(max(components) + 1 if at == place else size for at, size in enumerate(design.sizes))
        with_ += minimal(function_of(replace(design, columns=columns, sizes=sizes), name)).sets
    for one in open_sets(sets):
        if name in one:
            with_ += [(other,) for other in one if other != name]
    distinct = sorted(set(with_), key=lambda one: (len(one), [design.names.index(other) for other in one]))
    return tuple(one for one in distinct if not any(set(other) < set(one) for other in distinct))


def open_sets(sets: Minimal) -> list[tuple[str, ...]]:
    """Sets of factors one of which is a cause, where the design does not tell which."""
    return [one for one in sets.hit if not set(one) & set(sets.core)]


def components(design: Design, name: str) -> list[int]:
    """The component of each of a factor's levels: cells that differ in the factor alone connect them."""
    place = design.names.index(name)
    rest = design.of_factors([other for other in design.names if other != name])
    codes, _ = coded(rest.columns, rest.sizes, design.cells)
    order = np.argsort(codes, kind="stable")
    codes, levels = codes[order], design.columns[place][order]
    near = codes[1:] == codes[:-1]
    edges = np.unique(levels[1:][near] * design.sizes[place] + levels[:-1][near])
    parent = list(range(design.sizes[place]))

    def root(level: int) -> int:
        while parent[level] != level:
            level = parent[level]
        return level

    for edge in edges.tolist():
        one, other = root(edge // design.sizes[place]), root(edge % design.sizes[place])
        parent[max(one, other)] = min(one, other)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(level), len(numbers)) for level in range(design.sizes[place])]
