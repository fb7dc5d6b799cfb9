"""Sizes between the outputs of cells, each pair of arrays measured once while it is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from numdev.analysis.budget import spend
from numdev.analysis.classes import Load, Outputs, batch_only
from numdev.analysis.decisions import TOP_K
from numdev.analysis.deviation import Deviation, combined, compare

# Most of a comparison's time is reading; the same few tensors are read again and again.
KEPT = 16
# Of small ones to find them in their file is, and many fit into memory: 32 MiB of them at most.
SMALL, MANY = 1 << 14, 1 << 11
# Deviations that are remembered, of some 2 KiB each.
KNOWN = 1 << 14
# Steps of a comparison beside those of its elements, and of an output that is looked up.
_EACH, _LOOK = 1 << 11, 8


class Sizes:
    """Deviations between sets of outputs. `labels` are the workload's class names, empty where it has
    none.
    """

    def __init__(self, load: Load, labels: Sequence[str] = (), top_k: int = TOP_K) -> None:
        self._load = lru_cache(maxsize=KEPT)(load)
        self._small: dict[str, np.ndarray] = {}
        self._labels = len(labels)
        self._top_k = top_k
        self._compared = lru_cache(maxsize=KNOWN)(self._compare)

    def load(self, tensor: str) -> np.ndarray:
        """The array of a tensor's address."""
        if tensor in self._small:
            return self._small[tensor]
        found = self._load(tensor)
        if found.nbytes <= SMALL:
            if len(self._small) >= MANY:
                self._small.clear()
            # A copy of its own keeps no file mapped.
            self._small[tensor] = found = np.array(found)
        return found

    def outputs(self, value: Outputs, ref: Outputs) -> dict[str, Deviation]:
        """By output name. Where only the batch differs, the samples in common are compared."""
        spend(_LOOK * (len(value) + len(ref)))
        cut = batch_only(value, ref)
        named = {one.name: one for one in ref}
        found = {}
        for one in value:
            other = named.pop(one.name, None)
            if other is None:
                found[one.name] = Deviation(incomparable=f"only one side has an output {one.name!r}")
            else:
                found[one.name] = self._compared(one.tensor, other.tensor, cut)
        for name in named:
            found[name] = Deviation(incomparable=f"only one side has an output {name!r}")
        return found

    def between(self, value: Outputs, ref: Outputs) -> Deviation:
        """All outputs as one deviation."""
        return combined(list(self.outputs(value, ref).values()))

    def _compare(self, value: str, ref: str, cut: bool) -> Deviation:
        first, second = self.load(value), self.load(ref)
        if cut and first.shape != second.shape:
            count = min(first.shape[0], second.shape[0])
            first, second = first[:count], second[:count]
        spend(_EACH + first.size)
        return compare(first, second, self._labels, self._top_k)
