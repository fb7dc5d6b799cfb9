"""The partitions of two runs whose cells are the same thing under other names: whose classes are split where.

Bytes are not compared, for the workloads may have other weights; only which cells have equal ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from numdev.analysis.agreement import Agreement, adjusted_rand, agreement
from numdev.analysis.classes import Cell, Load, Partition, letters, partition
from numdev.analysis.observation import Observation
from numdev.analysis.result import _Model
from numdev.analysis.suspects import set_apart

NONE = "-"


class MatchedRow(_Model):
    """One row of both tables: by column the classes of A, and of B; `-` where cells have none, nothing where there is no cell."""

    name: str
    one: tuple[tuple[str, ...], ...]
    other: tuple[tuple[str, ...], ...]


class Matched(_Model):
    """A's workload and B's, at one level of all that only A varies (`levels`).

    `cells` of B have a counterpart in A, and both have a class; `index` is the adjusted Rand index over these. `partitions` compares
    places instead (levels of the factors in common), where cells of B that are alike count once: its pairs have their names.
    `only`: cells that the other side does not have. `without`: by what they have instead, the places of those without a class: only
    outputs make one here, for how a cell ends is no more than that.
    B's classes are named as in B's answer, A's by the class of B that holds most of their cells, and by small letters beyond.
    """

    workloads: tuple[str, str]
    levels: dict[str, str]
    cells: int
    index: float | None
    partitions: Agreement
    columns: tuple[str, ...]
    table: tuple[MatchedRow, ...]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    without: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]

    @property
    def complete(self) -> bool:
        return bool(self.cells) and not any(self.only) and not any(self.without)


def compare_matched(
    one: Sequence[Observation],
    other: Sequence[Observation],
    load: Load,
    orders: tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]],
    workloads: Mapping[str, str],
    factors: Mapping[str, str],
    levels: Mapping[str, Mapping[str, str]],
    whatever: Sequence[str] = (),
) -> list[Matched]:
    """Each pair of workloads that both runs have.

    Args:
        orders: the levels of each factor in their order, of A and of B.
        workloads: B's workload by A's.
        factors: B's factor by A's; the last one makes the columns of the tables.
        levels: by A's factor the level of A for each of B's; where a factor is not there they have equal names.
        whatever: factors of A that tell no two cells apart; `several` finds those that they do.
    """
    found = []
    for mine, theirs in workloads.items():
        sides = ((mine, one, orders[0]), (theirs, other, orders[1]))
        parts = [_part(name, some, load, order) for name, some, order in sides]
        if not all(part.cells for part in parts):
            continue
        rest = [name for name, some in parts[0].levels.items() if len(some) > 1 and name not in {*factors, *whatever}]
        groups: dict[tuple[str, ...], list[Cell]] = {}
        for cell in parts[0].cells:
            groups.setdefault(tuple(cell.levels[name] for name in rest), []).append(cell)
        for at, cells in groups.items():
            found.append(_matched((parts[0], parts[1]), dict(zip(rest, at, strict=True)), cells, factors, levels))
    return found


def several(one: Iterable[Observation], workloads: Iterable[str], whatever: Sequence[str]) -> list[str]:
    """Places that have several cells where nobody looks at the level of `whatever`: workload, levels, and these."""
    found: dict[tuple[str, ...], set[str]] = {}
    for each in one:
        if each.workload in workloads:
            place = (each.workload, *(level for name, level in each.factors.items() if name not in whatever))
            found.setdefault(place, set()).add(" ".join(each.factors.get(name, NONE) for name in whatever))
    return [f"{' '.join(place)}: {', '.join(sorted(levels))}" for place, levels in found.items() if len(levels) > 1]


def _part(name: str, some: Iterable[Observation], load: Load, order: Mapping[str, Sequence[str]]) -> Partition:
    kept, _, _ = set_apart([one for one in some if one.workload == name], load)
    return partition(name, kept, load, order)


def _matched(
    parts: tuple[Partition, Partition],
    at: dict[str, str],
    cells: list[Cell],
    factors: Mapping[str, str],
    levels: Mapping[str, Mapping[str, str]],
) -> Matched:
    mine = {tuple(cell.levels[name] for name in factors): cell for cell in cells}
    theirs: dict[tuple[str, ...], list[Cell]] = {}
    only: tuple[list[str], list[str]] = ([], [])
    without: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for cell in parts[1].cells:
        told = {name: cell.levels.get(factor, "") for name, factor in factors.items()}
        key = tuple(levels[name].get(level, "") if name in levels else level for name, level in told.items())
        if key in mine:
            theirs.setdefault(key, []).append(cell)
        else:
            only[1].append(" ".join(told.values()))
    only[0].extend(" ".join(key) for key in mine if key not in theirs)
    both: list[tuple[tuple[str, ...], str, str]] = []
    for key, cell in mine.items():
        if not _classed(cell):
            without[0].setdefault(_state(cell), []).append(" ".join(key))
        for there in theirs.get(key, ()):
            if not _classed(there):
                without[1].setdefault(_state(there), []).append(" ".join(key))
            elif _classed(cell):
                both.append((key, parts[0].name(cell), parts[1].name(there)))
    names = _names(both)
    columns, table = _table(parts, mine, theirs, names, levels_of=parts[0].levels, factors=tuple(factors))
    return Matched(
        workloads=(parts[0].workload, parts[1].workload),
        levels=at,
        cells=len(both),
        index=adjusted_rand([first for _, first, _ in both], [second for _, _, second in both]),
        partitions=_places(both),
        columns=columns,
        table=table,
        only=(_counted(only[0]), _counted(only[1])),
        without=(_by_state(without[0]), _by_state(without[1])),
    )


def _classed(cell: Cell) -> bool:
    return cell.kind == "bytes"


def _state(cell: Cell) -> str:
    return cell.kind if cell.kind == "noisy" else cell.status


def _places(both: list[tuple[tuple[str, ...], str, str]]) -> Agreement:
    """By the names of places; one where B has several classes stands once for each of them."""
    places = list(dict.fromkeys(both))
    several = {key for key, count in Counter(key for key, _, _ in places).items() if count > 1}
    named = {
        " ".join(key) + (f" [{second} in B]" if key in several else ""): (first, second)
        for key, first, second in places
    }
    return agreement(
        {name: first for name, (first, _) in named.items()}, {name: second for name, (_, second) in named.items()}
    )


def _names(both: list[tuple[tuple[str, ...], str, str]]) -> dict[str, str]:
    """What A's classes are called: B's letter of most cells in common, each letter once."""
    named: dict[str, str] = {}
    shared = Counter((first, second) for _, first, second in both)
    for (first, second), _ in sorted(shared.items(), key=lambda item: (-item[1], len(item[0][1]), item[0])):
        if first not in named and second not in named.values():
            named[first] = second
    return named


def _table(parts, mine, theirs, names, levels_of, factors) -> tuple[tuple[str, ...], tuple[MatchedRow, ...]]:
    """Rows and columns in the order of A's levels, but numbers by their size."""
    column = factors[-1]
    columns = tuple(level for level in levels_of[column] if any(key[-1] == level for key in mine))
    if all(level.isdecimal() for level in columns):
        columns = tuple(sorted(columns, key=int))
    small: dict[str, str] = {}

    def called(cell: Cell) -> str:
        name = parts[0].name(cell)
        if not _classed(cell):
            return NONE
        return names.get(name) or small.setdefault(name, letters(len(small)).lower())

    rows = []
    for row in dict.fromkeys(key[:-1] for key in mine):
        places = [(*row, level) for level in columns]
        rows.append(
            MatchedRow(
                name=" ".join(row) or parts[0].workload,
                one=tuple((called(mine[key]),) if key in mine else () for key in places),
                other=tuple(
                    tuple(sorted({parts[1].name(cell) if _classed(cell) else NONE for cell in theirs.get(key, ())}))
                    for key in places
                ),
            )
        )
    return columns, tuple(rows)


def _counted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name if count == 1 else f"{name} ({count} times)" for name, count in Counter(names).items())


def _by_state(found: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {state: _counted(found[state]) for state in sorted(found)}
