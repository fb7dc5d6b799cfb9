"""The fewest pins that leave one class, each step of the search measured and none assumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

# More pins than these make more pairs than a person waits for.
PAIRS = 8

Pins = tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """What a set of pins leaves: `lost` cells without a result, noisy or not as asked for, and classes of the others.

    `moved`: whether any cell's bytes are others than without pins.
    """

    lost: int
    classes: int
    moved: bool = True

    @property
    def holds(self) -> bool:
        return self.lost == 0 and self.classes == 1

    @property
    def order(self) -> tuple[int, int]:
        return self.lost, self.classes


@dataclass(frozen=True)
class Step:
    """One set that was measured, and why."""

    pins: Pins
    why: str
    score: Score


@dataclass(frozen=True)
class Found:
    """`pins`: the set that leaves one class, empty where none of those tried does; without any one of it there are
    more. `single`: pins that do so alone. `steps`: all that was measured, in its order.
    """

    pins: Pins
    single: Pins
    steps: tuple[Step, ...]


# Measures sets of pins, all at once; the order is that of the sets.
Measure = Callable[[list[Pins]], list[Score]]


class _Search:
    def __init__(self, measure: Measure, order: Sequence[str]) -> None:
        self._measure = measure
        self._order = {name: index for index, name in enumerate(order)}
        self.known: dict[Pins, Score] = {}
        self.steps: list[Step] = []

    def ask(self, sets: list[Sequence[str]], why: Callable[[Pins], str] | str) -> list[Score]:
        wanted = [tuple(sorted(one, key=self._order.__getitem__)) for one in sets]
        new = list(dict.fromkeys(one for one in wanted if one not in self.known))
        for pins, score in zip(new, self._measure(new) if new else [], strict=True):
            self.known[pins] = score
            self.steps.append(Step(pins, why if isinstance(why, str) else why(pins), score))
        return [self.known[one] for one in wanted]


def fewest(pins: Sequence[Sequence[str]], base: Score, measure: Measure) -> Found:
    """Looks for the fewest pins with which one class is left.

    Each alone first, at the first level that gives results; then all together, those that changed anything first; then, from a set that leaves one
    class, whatever can be left out is. Where all together leave several, those that do harm are left out one by one, and
    at last all pairs are tried. The pins that were found are then put to the latest of their levels at which one class is left.
    A tie goes to the pin that comes first.

    Args:
        pins: the names of every pin's levels, the safest first; each name once.
        base: what is left without pins.
        measure: runs sets of names.
    """
    search = _Search(measure, [name for levels in pins for name in levels])
    usable = _alone(search, pins)
    names = list(usable)
    single = tuple(name for name in names if search.known[(name,)].holds)
    found: Pins = single[:1]
    if not found and len(names) > 1:
        found = _together(search, names, base)
    if found:
        found = _raised(search, found, usable)
    return Found(found, single, tuple(search.steps))


def _alone(search: _Search, pins: Sequence[Sequence[str]]) -> dict[str, Sequence[str]]:
    """Each pin's first level at which no cell is lost, with the levels after it. All pins at once, level after level."""
    usable: dict[int, int] = {}
    open_ = {index: 0 for index, levels in enumerate(pins) if levels}
    while open_:
        scores = search.ask([[pins[index][level]] for index, level in open_.items()], "alone")
        again = {}
        for (index, level), score in zip(open_.items(), scores, strict=True):
            if score.lost == 0:
                usable[index] = level
            elif level + 1 < len(pins[index]):
                again[index] = level + 1
        open_ = again
    return {pins[index][level]: pins[index][level + 1 :] for index, level in sorted(usable.items())}


def _together(search: _Search, names: list[str], base: Score) -> Pins:
    """A set of two or more from which nothing can be left out; empty where none of those tried leaves one class."""
    active = [name for name in names if search.known[(name,)].moved]
    if 1 < len(active) < len(names) and search.ask([active], "all that change anything")[0].holds:
        return _minimal(search, active)
    (score,) = search.ask([names], "all together")
    if score.holds:
        return _minimal(search, names)
    harmless = [name for name in names if search.known[(name,)].order <= base.order]
    if 1 < len(harmless) < len(names):
        (better,) = search.ask([harmless], "all that do no harm alone")
        if better.holds:
            return _minimal(search, harmless)
        if better.order <= score.order:
            names, score = harmless, better
    rest = list(names)
    while len(rest) > 2:
        without = [[one for one in rest if one != name] for name in rest]
        scores = search.ask(without, _without(rest))
        best = min(range(len(scores)), key=lambda at: scores[at].order)
        if scores[best].holds:
            return _minimal(search, without[best])
        if scores[best].order >= score.order:
            break
        rest, score = without[best], scores[best]
    if len(names) <= PAIRS:
        pairs = [list(pair) for pair in combinations(names, 2)]
        for pair, score in zip(pairs, search.ask(pairs, "a pair"), strict=True):
            if score.holds:
                return tuple(pair)
    return ()


def _minimal(search: _Search, names: list[str]) -> Pins:
    """A part of `names`, which leave one class, that does too, and without any one of it does not."""
    scores = search.ask([[one for one in names if one != name] for name in names], _without(names))
    core = [name for name, score in zip(names, scores, strict=True) if not score.holds]
    if core and len(core) < len(names) and search.ask([core], "those that are needed")[0].holds:
        names = core
    changed = True
    while changed and len(names) > 1:
        changed = False
        # The last first, so that of pins which stand in for each other the earlier one is kept.
        for name in reversed(names):
            rest = [one for one in names if one != name]
            if search.ask([rest], _without(names))[0].holds:
                names, changed = rest, True
                break
    return tuple(names)


def _raised(search: _Search, found: Pins, usable: dict[str, Sequence[str]]) -> Pins:
    """The same pins, one after the other at the latest of their levels with which one class is left."""
    for name in found:
        levels = list(usable[name])
        sets = [[level if one == name else one for one in found] for level in levels]
        scores = search.ask(sets, "a faster level") if sets else []
        good = [level for level, score in zip(levels, scores, strict=True) if score.holds]
        if good:
            found = tuple(good[-1] if one == name else one for one in found)
    return found


def _without(names: Sequence[str]) -> Callable[[Pins], str]:
    def why(pins: Pins) -> str:
        left_out = [name for name in names if name not in pins]
        return f"without {', '.join(left_out)}"

    return why
