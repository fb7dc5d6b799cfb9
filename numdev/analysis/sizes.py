"""Sizes between the outputs of cells, each measured once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from numdev.analysis.classes import Load, Outputs, batch_only
from numdev.analysis.decisions import TOP_K
from numdev.analysis.deviation import Deviation, combined, compare

# Most of a comparison's time is reading; the same few tensors are read again and again.
KEPT = 16


class Sizes:
    """Deviations between sets of outputs. `labels` are the workload's class names, empty where it has
    none.
    """

    def __init__(self, load: Load, labels: Sequence[str] = (), top_k: int = TOP_K) -> None:
        self.load = lru_cache(maxsize=KEPT)(load)
        self._labels = len(labels)
        self._top_k = top_k
        self._known: dict[tuple[Outputs, Outputs], dict[str, Deviation]] = {}

    def outputs(self, value: Outputs, ref: Outputs) -> dict[str, Deviation]:
        """By output name. Where only the batch differs, the samples in common are compared."""
        if (value, ref) not in self._known:
            self._known[value, ref] = self._measure(value, ref)
        return self._known[value, ref]

    def between(self, value: Outputs, ref: Outputs) -> Deviation:
        return combined(list(self.outputs(value, ref).values()))

    def _measure(self, value: Outputs, ref: Outputs) -> dict[str, Deviation]:
        cut = batch_only(value, ref)
        named = {one.name: one for one in ref}
        found = {}
        for one in value:
            other = named.pop(one.name, None)
            if other is None:
                found[one.name] = Deviation(incomparable=f"only one side has an output {one.name!r}")
                continue
            first, second = self.load(one.tensor), self.load(other.tensor)
            if cut and first.shape != second.shape:
                count = min(first.shape[0], second.shape[0])
                first, second = first[:count], second[:count]
            found[one.name] = compare(first, second, self._labels, self._top_k)
        for name in named:
            found[name] = Deviation(incomparable=f"only one side has an output {name!r}")
        return found
