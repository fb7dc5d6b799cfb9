"""num_multiplications: how many mantissa bits pairs of platforms keep, by the size of a convolution.

The tables have a row for each pair of platforms and no outputs, so they become no records; what they say is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from numdev.analysis.ranks import spearman

COLUMNS = ("c", "f", "k", "i", "multiplications", "precision", "l2_distance")
# Root mean square difference of an output (f filters of i x i) between two platforms: among roundings at most 1.7e-7, between
# sets of weights at least 0.24. Inputs and weights are of order one.
NOT_ROUNDING = 1e-2


@dataclass(frozen=True)
class Multiplications:
    """One table. `mixed`: configurations whose platforms had two sets of weights. `spearman`: rank correlation of the
    multiplications with the fewest mantissa bits that any pair keeps; None where a configuration is mixed, or nothing varies.
    """

    path: str
    configurations: int
    mixed: tuple[str, ...]
    spearman: float | None


def evaluate(path: str, columns: Mapping[str, Sequence[float]]) -> Multiplications:
    """Raises ValueError where columns are missing, or of another kind than the published ones."""
    if absent := [name for name in COLUMNS if name not in columns]:
        raise ValueError(f"it has no column {', '.join(absent)}")
    table = np.array([columns[name] for name in COLUMNS], dtype=np.float64)
    if not np.isfinite(table).all():
        raise ValueError("some of its numbers are missing, or none")
    configurations: dict[tuple[int, ...], list[int]] = {}
    for place, key in enumerate(table[:4].T.astype(np.int64).tolist()):
        configurations.setdefault(tuple(key), []).append(place)
    mixed, sizes, bits = [], [], []
    for key, places in sorted(configurations.items()):
        mine = table[:, places]
        outputs = key[1] * key[3] ** 2
        if outputs < 1:
            raise ValueError(f"a convolution has {outputs} outputs")
        if mine[6].max() > NOT_ROUNDING * outputs**0.5:
            mixed.append("c{} f{} k{} i{}".format(*key))
        sizes.append(mine[4].max())
        bits.append(mine[5].min())
    return Multiplications(path, len(configurations), tuple(mixed), None if mixed else spearman(sizes, bits))
