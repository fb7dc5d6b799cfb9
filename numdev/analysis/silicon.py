"""What the factor `silicon` says: the same dispatch on this processor and on an emulator's, which computes exactly what
processors only approximate.

An output that differs there leans on an instruction whose result the manuals leave free (rcpps, rsqrtps), and Intel and
AMD fill that freedom differently. Where the two sides did not choose alike, it is not silicon alone, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

from numdev.analysis.classes import ABSENT, Cell, Partition
from numdev.analysis.observation import OK, Observation
from numdev.analysis.sentences import listed, place, plural

SILICON = "silicon"
MOST_OUTPUTS = 24
Pair = tuple[Cell, Cell]


def silicon_sentences(part: Partition, observations: Iterable[Observation]) -> list[str]:
    """What follows from the pairs of cells that differ in their silicon alone; nothing where it is not varied."""
    pairs = _pairs(part)
    ends = _ends(pairs)
    pairs = [pair for pair in pairs if pair[0].kind == pair[1].kind == "bytes"]
    if not pairs:
        return ends
    chosen = _dispatch(part, observations)
    alike: list[Pair] = []
    unlike: list[Pair] = []
    untold: list[Pair] = []
    for pair in pairs:
        first, second = (chosen.get(id(cell), {}) for cell in pair)
        if first != second:
            unlike.append(pair)
        else:
            (alike if first else untold).append(pair)
    said = _leaning(part, alike + untold, sorted({name for pair in alike for name in chosen[id(pair[0])]}), len(untold))
    if unlike:
        said.append(_otherwise(unlike, chosen))
    return said + ends


def _pairs(part: Partition) -> list[Pair]:
    strata: dict[tuple[str, ...], list[Cell]] = {}
    for cell in part.cells:
        if cell.comparable and SILICON in cell.levels:
            rest = tuple(level for name, level in cell.levels.items() if name != SILICON)
            strata.setdefault(rest, []).append(cell)
    return [pair for cells in strata.values() for pair in combinations(cells, 2)]


def _ends(pairs: list[Pair]) -> list[str]:
    """Cells that end otherwise on the two sides: there it is not bits that differ, but what the processor has."""
    found: dict[str, int] = {}
    for pair in pairs:
        first, second = (cell.status for cell in pair)
        if first != second:
            found[f"{first} | {second}"] = found.get(f"{first} | {second}", 0) + 1
    return [f"ends otherwise in {plural(count, 'pair')} ({how}){_why(how)}" for how, count in found.items()]


def _why(ends: str) -> str:
    if "signal:4" in ends:
        return ": a profile hides instructions, and an emulator is without them"
    return ": an emulator is slow, and may need a longer `limits.timeout`" if "timeout" in ends else ""


def _dispatch(part: Partition, observations: Iterable[Observation]) -> dict[int, Mapping[str, str]]:
    """What the libraries chose in each cell, by the cell's identity."""
    at: dict[tuple[str, ...], Mapping[str, str]] = {}
    for one in observations:
        if one.workload == part.workload and one.status == OK and not one.reference:
            at.setdefault(tuple(one.factors.get(name, ABSENT) for name in part.levels), one.dispatch)
    return {id(cell): at.get(tuple(cell.levels.values()), {}) for cell in part.cells}


def _leaning(part: Partition, pairs: list[Pair], told: list[str], untold: int) -> list[str]:
    """Which outputs differ between two processors on which the libraries `told` chose alike, and which do not."""
    if not pairs:
        return []
    names = list(dict.fromkeys(ref.name for one, _ in pairs for ref in one.outputs))
    apart: dict[str, list[Pair]] = {}
    for one, other in pairs:
        there = {ref.name: ref for ref in other.outputs}
        for ref in one.outputs:
            if ref.name not in there or ref.tensor != there[ref.name].tensor:
                apart.setdefault(ref.name, []).append((one, other))
    known = [f"as {listed(told)} say"] if told else []
    known += [f"not read back in {plural(untold, 'pair')}"] if untold else []
    dispatch = f"at equal dispatch ({', '.join(known)})"
    if not apart:
        return [f"{dispatch} the same bytes: nothing here leans on approximate instructions"]
    odd = [name for name in names if name in apart]
    cells = {id(cell): cell for found in apart.values() for pair in found for cell in pair}
    where = place(part, list(cells.values()), all_cells=True)
    here = "" if where == "every cell" else f", on {where}" if not where[0].isdigit() else f", in {where}"
    lean = "leans" if len(odd) == 1 else "lean"
    text = (
        f"{dispatch} {_all(odd)} {lean} on instructions that processors approximate differently (rcpps, "
        f"rsqrtps, ...){here}: they will differ between Intel and AMD"
    )
    steady = [name for name in names if name not in apart]
    return [text, f"{_all(steady)} {'does' if len(steady) == 1 else 'do'} not"] if steady else [text]


def _all(names: list[str]) -> str:
    """Outputs by name: they are what was asked for, so more of them are told than of levels."""
    more = len(names) - MOST_OUTPUTS
    return ", ".join(names[:MOST_OUTPUTS]) + (f" and {more} more" if more > 0 else "")


def _otherwise(pairs: list[Pair], chosen: Mapping[int, Mapping[str, str]]) -> str:
    first, second = (chosen.get(id(cell), {}) for cell in pairs[0])
    which = [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]
    how = "; ".join(f"{name} {first.get(name, 'not read')} | {second.get(name, 'not read')}" for name in which)
    return f"not silicon alone in {plural(len(pairs), 'pair')}: the libraries chose otherwise on the two sides ({how})"
