"""Sentences a person understands, which claim no more than the matched pairs show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from numdev.analysis.budget import spend
from numdev.analysis.classes import Cell, Partition
from numdev.analysis.dispatch import PARTS
from numdev.analysis.dispatch import part as named
from numdev.analysis.effects import DEPENDS, NO_EFFECT, NOT_VARIED, Effect
from numdev.analysis.observation import SUSPECT
from numdev.analysis.repeats import Repeats
from numdev.analysis.sufficient import Sufficient

TITLES = {
    "stack": "software stack",
    "profile": "CPU",
    "silicon": "hardware (silicon)",
    "architecture": "hardware (architecture)",
    # There is a level of `profile` that is called so, too.
    "host": "host (machine)",
    **{name: f"CPU {name}" for name in PARTS},
}
FACTS = {"simd": "SIMD level", "vendor": "vendor"}
# More names than this are a list to look up and not a sentence.
MOST_NAMES = 6
_NUMBERED = re.compile(r"[a-z0-9]+-[0-9]+-[0-9]+-[0-9]+")


def title(factor: str) -> str:
    return TITLES.get(factor, factor if "." in factor else factor.replace("_", " "))


def short_names(levels: Sequence[str]) -> dict[str, str]:
    """Levels without the prefix that all share: `onnxruntime-1.17` becomes `1.17` beside
    `onnxruntime-1.32`.
    """
    heads = {level.rpartition("-")[0] for level in levels}
    # Of a processor's family, model and stepping (`intel-6-207-2`), no part says anything alone.
    shared = len(levels) > 1 and len(heads) == 1 and heads != {""} and not any(map(_NUMBERED.match, levels))
    return {level: level.rpartition("-")[2] if shared else level for level in levels}


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}es" if word[-1] == "s" else f"{count} {word}s"


def listed(names: Iterable[str]) -> str:
    names = list(names)
    if len(names) > MOST_NAMES:
        return f"{', '.join(names[: MOST_NAMES - 1])} and {len(names) - MOST_NAMES + 1} more"
    return ", ".join(names)


def effect_sentence(
    effect: Effect, refused: Mapping[str, str], levels: Mapping[str, Sequence[str]] | None = None
) -> str:
    """One factor's effect, without the factor's name; `levels` are those of all factors."""
    if effect.status == NOT_VARIED:
        text = f"not varied (only {effect.levels[0]})" if effect.levels else "not varied"
    elif effect.status == NO_EFFECT:
        text = f"no effect ({plural(effect.pairs, 'pair')})"
    elif effect.status == DEPENDS:
        text = f"{_split(effect)}; {effect.differ} of {plural(effect.pairs, 'pair')} differ"
        where = [_levels(name, (levels or {}).get(name, some), set(some)) for name, some in effect.only]
        text += f", only with {' and '.join(where)}" if where else ""
    elif len(effect.compared) == 1:
        only = short_names(effect.levels)[effect.compared[0][0]]
        text = f"not identified (only {only} has a class; elsewhere noisy or no result)"
    elif effect.confounded_with:
        text = f"not identified (varies only together with {' and '.join(map(title, effect.confounded_with))})"
    elif effect.reshaped:
        text = f"not identified (changes the shape of the outputs in {plural(effect.reshaped, 'pair')})"
    elif effect.left_out:
        text = f"not identified (all {plural(effect.left_out, 'pair')} have a noisy cell or one without result)"
    else:
        text = f"not identified (no two cells differ in {title(effect.factor)} alone)"
    if effect.pairs and len(effect.compared) > 1:
        names = short_names(effect.levels)
        alone = [names[group[0]] for group in effect.compared if len(group) == 1]
        joined = [listed(names[level] for level in group) for group in effect.compared if len(group) > 1]
        text += f"; never compared: {listed(alone)}" if alone else ""
        text += f"; never compared across {' | '.join(joined)}" if len(joined) > 1 else ""
    if effect.pairs and effect.left_out:
        text += f"; {plural(effect.left_out, 'pair')} left out: noisy or no result"
    if effect.factor == "profile" and refused:
        text += f"; this host cannot show {listed(refused)}"
    return text


def _split(effect: Effect) -> str:
    names = short_names(effect.levels)
    if not effect.groups:
        return "changes the bytes"
    groups = sorted(effect.groups, key=len, reverse=True)
    total = sum(map(len, groups))
    kind = "versions" if names[effect.levels[0]] != effect.levels[0] else "levels"
    often = " everywhere" if effect.differ < effect.pairs else ""
    if effect.factor == "stack":
        kind = "versions" if kind == "versions" else "stacks"
        if len(groups) == total:
            return f"no two of {total} {kind} agree{often}" if total > 2 else f"the 2 {kind} differ"
        if len(groups[0]) > len(groups[1]):
            others = [names[level] for level in effect.levels if level in set().union(*groups[1:])]
            verb = "differs" if len(others) == 1 else "differ"
            return f"{len(groups[0])} of {total} {kind} agree ({listed(others)} {verb})"
    count = plural(len(groups), "class") if effect.uniform else f"{len(groups)} groups of levels"
    if effect.explained_by:
        facts = " or ".join(FACTS.get(fact, fact) for fact in effect.explained_by)
        merged = "; ".join(" = ".join(values) for values in effect.merged)
        return f"{count}, split by {facts}" + (f" ({merged})" if merged else "")
    if len(groups) == total:
        return f"{count}, every level its own" if total > 2 else f"the 2 {kind} differ"
    return f"{count}: " + " | ".join(" ".join(names[level] for level in group) for group in effect.groups)


def together_sentence(result: Sufficient) -> str:
    """Which factors are enough to tell the class."""
    if not result.searched:
        return "the factors that fix the class were not searched for: too many are not identified"
    if not result.sets:
        return "nothing can be said: no cell has a class"
    sets = [" and ".join(map(title, one)) or "nothing" for one in result.sets]
    if result.sets == ((),):
        text = "no factor is needed: there is one class"
    elif len(sets) == 1:
        text = f"the class follows from {sets[0]} {'alone' if len(result.sets[0]) == 1 else 'together'}"
    else:
        text = f"the class follows from {', or from '.join(sets)}; this design does not tell which"
    if result.untested:
        text += f"; untested: {listed(map(title, result.untested))}"
    return text


def repeats_sentence(result: Repeats) -> str:
    """What repeats in fresh processes show."""
    if not result.comparisons:
        return "not measured (one run of each cell)"
    count = str(result.most) if result.least == result.most else f"{result.least} to {result.most}"
    if result.noisy:
        return f"{plural(result.noisy, 'noisy cell')} of {result.cells} in {count} repeats; never attributed"
    return f"none in {count} repeats ({_caveat(result.bound, result.comparisons, 'runs')})"


def inside_sentence(result: Repeats) -> str:
    """What repeats inside a process show."""
    if result.unsteady:
        cells = plural(result.unsteady, "cell")
        return (
            f"{cells} {'differs' if result.unsteady == 1 else 'differ'} from inference to inference; never attributed"
        )
    return f"none ({_caveat(result.inside_bound, result.inside, 'inferences')})"


def _caveat(bound: float | None, comparisons: int, what: str) -> str:
    if bound is None:
        return f"too few to bound the share of deviating {what}: {plural(comparisons, 'comparison')}"
    return f"at most {100 * bound:.2g} % of {what} deviate, at 95 % confidence"


def spread_sentence(counts: Mapping[str, int]) -> str:
    """How often which outcome was there: `17 A, 2 ~1, 1 ~2`."""
    some = [f"{count} {name}" for name, count in list(counts.items())[:MOST_NAMES]]
    left = len(counts) - len(some)
    return ", ".join(some) + (f" and {left} more" if left else "")


def gap_sentences(part: Partition) -> list[str]:
    """Why cells have no class, or none with outputs; equal reasons together."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in part.cells:
        # Of suspects there is a sentence of its own.
        if cell.kind != "bytes" and cell.status != SUSPECT:
            found.setdefault(("noisy" if cell.kind == "noisy" else cell.status, cell.reason), []).append(cell)
    return [
        f"{status} in {place(part, cells, all_cells=True)}" + (f": {reason}" if reason else "")
        for (status, reason), cells in found.items()
    ]


def place(part: Partition, cells: Sequence[Cell], all_cells: bool = False) -> str:
    """Where these cells lie, as levels of as few factors as say it exactly; else their share of all cells.

    Among the cells that have a result, or with `all_cells` among all.
    """
    spend(len(part.cells) * (1 + len(part.levels)))
    chosen = {id(cell) for cell in cells}
    every = [cell for cell in part.cells if all_cells or cell.kind != "gap"]
    others = [cell for cell in every if id(cell) not in chosen]
    if not others:
        return "every cell" if len(every) == len(part.cells) else "every cell with a result"
    restricted = []
    for name in sorted(part.levels, key=lambda name: name not in ("profile", "stack")):
        levels = {cell.levels[name] for cell in cells}
        text = _levels(name, part.levels[name], levels)
        if not any(cell.levels[name] in levels for cell in others):
            return text
        if len(levels) < len(part.levels[name]):
            restricted.append((name, levels, text))
    near = " with ".join(text for _, _, text in restricted)
    inside = [cell for cell in others if all(cell.levels[name] in levels for name, levels, _ in restricted)]
    if restricted and not inside:
        return near
    share = f"{len(cells)} of {len(every)} cells"
    return f"{share}, all on {near}" if near else share


def _levels(name: str, levels: Sequence[str], chosen: set[str]) -> str:
    short = short_names(levels)
    inside = listed(short[level] for level in levels if level in chosen)
    if name in PARTS and len(chosen) == 1:
        return named(name, next(iter(chosen)))
    bare = name in ("stack", "profile") and all(short[level] == level for level in levels)
    return inside if bare else f"{name.replace('_', ' ')} {inside}"
