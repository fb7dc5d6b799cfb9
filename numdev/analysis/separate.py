"""The fewest cells that would identify what a design leaves open.

Two things are asked of a design: that cells which differ in one factor alone connect all its levels, unless it is a cause already;
and that where one of several factors is a cause and nobody knows which, two cells of different classes are connected by steps
of one factor each, one of which then changes the class. The search is greedy: no cell of its answer can be left out, which is not
to say that no other set has fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from numdev.analysis.design import Design
from numdev.analysis.identify import open_sets
from numdev.analysis.minimal import Minimal

Row = tuple[int, ...]
# Cells from which the search starts, pairs of cells it joins, and cells it asks for, at most.
MOST_ROWS = 256
MOST_PAIRS = 64
MOST_CELLS = 256
# All orders of more factors than this are too many to try.
MOST_STEPS = 5


@dataclass(frozen=True)
class Asked:
    """A cell to add, as levels by number in the order of the design's factors; `settles` names what it is for."""

    row: Row
    settles: tuple[str, ...]


def separating(
    design: Design, sets: Minimal, linked: Mapping[str, Sequence[int]], taken: frozenset[Row] = frozenset()
) -> list[Asked]:
    """Cells to add so that all factors are identified; none where they are, or where nothing can be done.

    Args:
        linked: the component of each level by factor, see identify.py.
        taken: cells that are there without a class; they are not asked for.
    """
    if not design.names or not design.cells or not sets.searched:
        return []
    open_ = open_sets(sets)
    if not open_ and all(name in sets.core or len(set(parts)) == 1 for name, parts in linked.items()):
        return []
    search = _Search(design, sets, linked, taken)
    for factors in open_:
        search.join([design.names.index(name) for name in factors])
    search.connect()
    return [Asked(row, tuple(design.names[place] for place in sorted(for_))) for row, for_ in search.asked.items()]


class _Search:
    def __init__(
        self, design: Design, sets: Minimal, linked: Mapping[str, Sequence[int]], taken: frozenset[Row]
    ) -> None:
        self.design = design
        rows = list(zip(*(column.tolist() for column in design.columns), strict=True))
        self.classes: dict[Row, int] = dict(zip(rows, design.classes.tolist(), strict=True))
        self.there = set(rows)
        self.taken = taken
        self.asked: dict[Row, set[int]] = {}
        # The component of each level, of the factors that need their levels connected.
        self.parts = {
            place: list(linked[name])
            for place, name in enumerate(design.names)
            if name not in sets.core and len(set(linked[name])) > 1
        }
        self.lines: dict[tuple[int, Row], set[int]] = {}
        for row in rows:
            self._draw(row)

    def _draw(self, row: Row) -> None:
        for place in self.parts:
            self.lines.setdefault((place, _without(row, place)), set()).add(row[place])

    def _ask(self, row: Row, settles: set[int]) -> None:
        self.asked.setdefault(row, set()).update(settles)
        self.there.add(row)
        self._draw(row)
        for place in self.parts:
            parts = self.parts[place]
            joined = {parts[level] for level in self.lines[place, _without(row, place)]}
            if len(joined) > 1:
                self.asked[row].add(place)
                self.parts[place] = [min(joined) if part in joined else part for part in parts]

    def merges(self, row: Row) -> int:
        """How many connections between levels a new cell makes."""
        count = 0
        for place, parts in self.parts.items():
            near = self.lines.get((place, _without(row, place)), ())
            count += len({parts[row[place]], *(parts[level] for level in near)}) - 1
        return count

    def join(self, places: list[int]) -> None:
        """Connects two cells of different classes that differ in just these factors, by the fewest new cells."""
        best: tuple[tuple[int, int, list[Row]], list[Row]] | None = None
        for one, other in self._pairs(places):
            for order in permutations(places) if len(places) <= MOST_STEPS else [tuple(places)]:
                row, path = one, []
                for place in order[:-1]:
                    row = _changed(row, place, other[place])
                    path.append(row)
                new = [step for step in path if step not in self.there]
                if self.taken.isdisjoint(new):
                    rank = (len(new), -sum(map(self.merges, new)), new)
                    if best is None or rank < best[0]:
                        best = rank, new
        for row in best[1] if best else ():
            self._ask(row, set(places))

    def _pairs(self, places: list[int]) -> Iterator[tuple[Row, Row]]:
        fixed = [place for place in range(len(self.design.names)) if place not in places]
        groups: dict[Row, list[Row]] = {}
        for row in self.classes:
            groups.setdefault(tuple(row[place] for place in fixed), []).append(row)
        left = MOST_PAIRS
        for rows in groups.values():
            # Without this many, pairs of a large group would be many more than are looked at.
            for one, other in product(rows[:MOST_PAIRS], repeat=2):
                differs = all(one[place] != other[place] for place in places)
                if differs and one < other and self._apart(one, other):
                    yield one, other
                    left -= 1
                    if not left:
                        return

    def _apart(self, one: Row, other: Row) -> bool:
        first, second = self.classes[one], self.classes[other]
        return first != second if self.design.apart is None else bool(self.design.apart[first, second])

    def connect(self) -> None:
        """Connects the levels of every factor, each time by the cell that makes the most connections."""
        while len(self.asked) < MOST_CELLS:
            best = max(self._twins(), key=lambda row: (self.merges(row), [-level for level in row]), default=None)
            if best is None or not self.merges(best):
                break
            self._ask(best, set())

    def _twins(self) -> set[Row]:
        """Cells that are not there and differ from one that is in a factor whose levels it would connect."""
        found = set()
        for place, parts in self.parts.items():
            if len(set(parts)) < 2:
                continue
            for row in self._starts(place):
                for level, part in enumerate(parts):
                    twin = _changed(row, place, level)
                    if part != parts[row[place]] and twin not in self.there and twin not in self.taken:
                        found.add(twin)
        return found

    def _starts(self, place: int) -> list[Row]:
        each = max(1, MOST_ROWS // self.design.sizes[place])
        by: dict[int, list[Row]] = {}
        for row in (*self.asked, *self.classes):
            some = by.setdefault(row[place], [])
            if len(some) < each:
                some.append(row)
        return [row for rows in by.values() for row in rows]


def _without(row: Row, place: int) -> Row:
    return row[:place] + row[place + 1 :]


def _changed(row: Row, place: int, level: int) -> Row:
    return (*row[:place], level, *row[place + 1 :])
