"""500 designs with planted truth: single causes, several, XOR, aliases, fractions, noise of 1 to 30 %, missing cells.

What is expected is computed here by definition, over all sets of factors and all pairs of cells.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import numpy as np
import pytest

from numdev.analysis import Observation, OutputRef, answer

NAMES = ("stack", "profile", "threads", "optimization", "batchnorm")
SHAPES = ("complete", "aliased", "fraction", "missing", "noisy", "noisy and missing")
CAUSES = ("none", "single", "several", "xor", "and")
DESIGNS = 500
REPEATS = 3


@dataclass(frozen=True)
class Planted:
    """A design and its truth. `runs` maps a cell to the outcomes of its repeats; `causes` are the true ones."""

    order: dict[str, list[str]]
    causes: frozenset[str]
    runs: dict[tuple[int, ...], list[int]]
    shape: str
    pair: tuple[str, str]
    rule: object


def plant(seed: int) -> Planted:
    rng = random.Random(seed)
    shape, kind = SHAPES[seed % len(SHAPES)], CAUSES[seed // len(SHAPES) % len(CAUSES)]
    names = NAMES[: rng.randint(2 if shape != "fraction" else 3, 5)]
    sizes = [2 if shape == "fraction" else rng.choice((2, 2, 3, 4)) for _ in names]
    while np.prod(sizes) > 72:
        sizes[sizes.index(max(sizes))] -= 1
    count = {"none": 0, "single": 1, "xor": 2, "and": 2}.get(kind, rng.randint(1, len(names)))
    chosen = sorted(rng.sample(range(len(names)), count))

    def rule(cell):
        at = [cell[place] for place in chosen]
        if kind == "xor":
            return sum(at) % 2
        return int(all(at)) if kind == "and" else sum(level * 5**n for n, level in enumerate(at))

    every = list(itertools.product(*map(range, sizes)))
    one, other = rng.sample(range(len(names)), 2)
    cells = every
    if shape == "aliased":
        sizes[one] = sizes[other] = min(sizes[one], sizes[other])
        every = itertools.product(*map(range, sizes))
        cells = [cell for cell in every if cell[one] == cell[other]]
    elif shape == "fraction":
        cells = [cell for cell in every if sum(cell) % 2 == 0]
    elif "missing" in shape:
        cells = [cell for cell in every if rng.random() > 0.2] or every[:1]
    rate = rng.uniform(0.01, 0.3) if "noisy" in shape else 0
    fresh = itertools.count(10**6)
    runs = {
        # What a race gives is not the same twice.
        cell: [next(fresh) if rng.random() < rate else rule(cell) for _ in range(REPEATS if rate else 1)]
        for cell in cells
    }
    order = {name: [f"{name}{n}" for n in range(size)] for name, size in zip(names, sizes, strict=True)}
    return Planted(order, frozenset(names[place] for place in chosen), runs, shape, (names[one], names[other]), rule)


def ask(design: Planted, runs=None):
    names, found = list(design.order), []
    for cell, outcomes in (runs or design.runs).items():
        factors = {name: design.order[name][level] for name, level in zip(names, cell, strict=True)}
        for replicate, value in enumerate(outcomes):
            ref = OutputRef("y", "float32", (1,), str(value))
            found.append(Observation("w", factors, replicate, "ok", "", (ref,), False, str(len(found))))
    baseline = {name: levels[0] for name, levels in design.order.items()}
    (one,) = answer(found, load, baseline=baseline, order=design.order, labels={}).workloads
    return one


def load(address):
    return np.float32([int(address)])


def expected(design: Planted) -> tuple[set[frozenset[str]], dict[str, str]]:
    """The minimal sufficient sets and each factor's status, by definition."""
    names = list(design.order)
    good = {cell: outcomes[0] for cell, outcomes in design.runs.items() if len(set(outcomes)) == 1}
    live = [n for n in range(len(names)) if len({cell[n] for cell in good}) > 1]
    subsets = [set(some) for count in range(len(live) + 1) for some in itertools.combinations(live, count)]

    def enough(some):
        seen = {}
        return all(seen.setdefault(tuple(cell[n] for n in sorted(some)), y) == y for cell, y in good.items())

    sets = [some for some in subsets if enough(some)]
    minimal = [some for some in sets if not any(less < some for less in sets)]
    status = {}
    for n, name in enumerate(names):
        if len({cell[n] for cell in design.runs}) < 2:
            status[name] = "not varied"
        elif n not in live:
            status[name] = "not identified"
        elif good and all(n in some for some in sets):
            status[name] = "cause"
        else:
            tested = connected(good, n) and not any(n in some for some in minimal)
            status[name] = "no effect" if tested else "not identified"
    return {frozenset(names[n] for n in some) for some in minimal} if good else set(), status


def connected(cells, n) -> bool:
    """Whether cells that differ in factor n alone connect all its levels."""
    group = {cell[n]: {cell[n]} for cell in cells}
    for one, other in itertools.combinations(cells, 2):
        if one[n] != other[n] and one[:n] + one[n + 1 :] == other[:n] + other[n + 1 :]:
            joined = group[one[n]] | group[other[n]]
            group.update(dict.fromkeys(joined, joined))
    return len({frozenset(some) for some in group.values()}) == 1


@pytest.mark.parametrize("first", range(0, DESIGNS, 50))
def test_planted_designs(first):
    for seed in range(first, first + 50):
        check(plant(seed), f"seed {seed}")


def check(design: Planted, which: str) -> None:
    one = ask(design)
    sets, status = expected(design)
    assert {frozenset(some) for some in one.sufficient.sets} == sets, which
    assert {name: each.status for name, each in one.factors.items()} == status, which
    causes = {name for name, each in status.items() if each == "cause"}
    assert causes <= design.causes, which
    assert not sets or any(some <= design.causes for some in sets), which
    if design.shape == "complete":
        assert sets == {design.causes}, which
        assert causes == design.causes, which
        assert "not identified" not in status.values(), which
        told = {frozenset(each.factors) for each in one.interactions}
        assert all(some <= design.causes for some in told), which
        assert (design.causes in told) == (len(design.causes) > 1), which
    shown = {frozenset(each.factors) for each in one.interactions if len(each.factors) == 2}
    if design.shape != "complete":
        assert shown == squares(design), which
        assert all(some <= design.causes for some in shown), which
    if design.shape == "aliased":
        assert {name for name, each in status.items() if each == "not identified"} == set(design.pair), which
        assert one.factors[design.pair[0]].not_identified.varies_with == ((design.pair[1],),), which
    noisy = {cell for cell, outcomes in design.runs.items() if len(set(outcomes)) > 1}
    names = list(design.order)
    assert {tuple(design.order[name].index(each.levels[name]) for name in names) for each in one.noise} == noisy, which
    assert all(sum(each.runs.values()) == REPEATS for each in one.noise), which
    if design.shape in ("aliased", "fraction", "missing"):
        settled(design, one, which)


def squares(design: Planted) -> set[frozenset[str]]:
    """Pairs of factors with four cells, all else equal, in which neither factor alone accounts for the classes."""
    good = {cell: outcomes[0] for cell, outcomes in design.runs.items() if len(set(outcomes)) == 1}
    found = set()
    for ac, bd in itertools.combinations(good, 2):
        at = [n for n in range(len(ac)) if ac[n] != bd[n]]
        if len(at) == 2:
            ad, bc = (tuple(bd[m] if m == n else ac[m] for m in range(len(ac))) for n in at)
            if ad in good and bc in good:
                y = [good[cell] for cell in (ac, ad, bc, bd)]
                if not (y[0] == y[1] and y[2] == y[3]) and not (y[0] == y[2] and y[1] == y[3]):
                    found.add(frozenset(list(design.order)[n] for n in at))
    return found


def settled(design: Planted, one, which: str) -> None:
    """Adding the cells that are asked for identifies every factor, in one go."""
    names, runs = list(design.order), dict(design.runs)
    assert bool(one.missing_cells) == any(each.not_identified for each in one.factors.values()), which
    for cell in one.missing_cells:
        at = tuple(design.order[name].index(cell[name]) for name in names)
        assert at not in runs, which
        runs[at] = [design.rule(at)]
    after = ask(design, runs)
    causes = {name for name, each in after.factors.items() if each.status == "cause"}
    assert not any(each.not_identified for each in after.factors.values()), which
    assert causes <= design.causes, which
    assert after.sufficient.sets == (tuple(name for name in names if name in causes),), which
