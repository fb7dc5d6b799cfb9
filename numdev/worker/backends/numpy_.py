"""numpy: networks in the `net` format, their matrix products by the BLAS that numpy brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Dict, Tuple

import numpy as np

from .. import net
from ..layers import Observe, Tapping, of_net
from ..tensors import cast
from . import Task


def preload() -> None:
    """numpy is imported with this module."""


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    network = _loaded(task)
    return lambda: net.run(*network)


def tapping(task: Task) -> Tapping:
    description, weights, inputs = _loaded(task)

    def prepared(names: Sequence[str], observe: Observe) -> Callable[[], Dict[str, np.ndarray]]:
        wanted = set(names)
        return lambda: net.run(
            description, weights, inputs, lambda name, value: observe(name, value) if name in wanted else None
        )

    return Tapping(of_net(description, weights), prepared)


def _loaded(task: Task) -> Tuple[Dict[str, Any], Dict[str, np.ndarray], Dict[str, np.ndarray]]:
    """Description, weights and inputs, in the task's precision."""
    description, weights = net.load(str(task.model))
    weights = {name: cast(array, task.precision) for name, array in weights.items()}
    return description, weights, {name: cast(array, task.precision) for name, array in task.inputs.items()}
