"""numpy: networks in the `net` format, their matrix products by the BLAS that numpy brings."""

from __future__ import annotations

from typing import Callable, Dict

import numpy as np

from .. import net
from . import Task


def preload() -> None:
    """numpy is imported with this module."""


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    kind = np.dtype(task.precision).type

    def cast(array: np.ndarray) -> np.ndarray:
        return array.astype(kind) if array.dtype.kind == "f" else array

    description, weights = net.load(str(task.model))
    weights = {name: cast(array) for name, array in weights.items()}
    inputs = {name: cast(array) for name, array in task.inputs.items()}
    return lambda: net.run(description, weights, inputs)
