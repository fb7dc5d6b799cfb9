"""Whether two partitions of the same cells agree: the adjusted Rand index, and the pairs in which they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import comb


@dataclass(frozen=True)
class Agreement:
    """Two partitions of `cells` cells that both know.

    `index`: the adjusted Rand index of Hubert & Arabie (1985): 1 where they are the same but for the names of their
    classes, about 0 where they agree as often as by chance, None for fewer than two cells. `together`: pairs of
    cells that are in one class in the first only, and `apart`: in the second only, by the cells' names.
    """

    cells: int
    index: float | None
    together: tuple[tuple[str, str], ...]
    apart: tuple[tuple[str, str], ...]

    @property
    def agree(self) -> bool:
        return not self.together and not self.apart


def agreement(one: Mapping[str, str], other: Mapping[str, str]) -> Agreement:
    """How two partitions agree, each the class of a cell by the cell's name; cells that only one has are left out."""
    names = [name for name in one if name in other]
    together, apart = [], []
    for first, second in combinations(names, 2):
        in_one, in_other = one[first] == one[second], other[first] == other[second]
        if in_one != in_other:
            (together if in_one else apart).append((first, second))
    index = adjusted_rand([one[name] for name in names], [other[name] for name in names])
    return Agreement(len(names), index, tuple(together), tuple(apart))


def adjusted_rand(one: list[str], other: list[str]) -> float | None:
    """The adjusted Rand index of two lists of classes, exact before the last step; None for fewer than two cells."""
    pairs = comb(len(one), 2)
    if not pairs:
        return None
    both = sum(comb(count, 2) for count in Counter(zip(one, other, strict=True)).values())
    first, second = (sum(comb(count, 2) for count in Counter(each).values()) for each in (one, other))
    expected = Fraction(first * second, pairs)
    most = Fraction(first + second, 2)
    # Both have one class, or a class for each cell: then they are the same.
    return 1.0 if most == expected else float((both - expected) / (most - expected))
