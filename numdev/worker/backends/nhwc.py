"""What frameworks share that compute a network in the `net` format as one function, of images with the channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Dict, Tuple

import numpy as np

from .. import net
from ..layers import Observe, Tapping, of_net
from . import Task

Network = Tuple[Dict[str, Any], Dict[str, np.ndarray]]
Made = Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]
# Of a network and the layers that are asked for besides, a function that infers once: the network's outputs, and these layers.
Function = Callable[[Task, Network, Sequence[str]], Callable[[], Made]]

# How weights lie in the `net` format, and how they lie here: OIHW to HWIO, [out, in] to [in, out].
_WEIGHT = {"conv": (2, 3, 1, 0), "dense": (1, 0)}


def prepare(task: Task, function: Function) -> Callable[[], Dict[str, np.ndarray]]:
    infer = function(task, net.load(str(task.model)), ())

    def outputs() -> Dict[str, np.ndarray]:
        return infer()[0]

    return outputs


def tapping(task: Task, function: Function) -> Tapping:
    description, arrays = network = net.load(str(task.model))

    def prepared(names: Sequence[str], observe: Observe) -> Callable[[], Dict[str, np.ndarray]]:
        added = [name for name in names if name not in description["outputs"]]
        infer = function(task, network, added)

        def outputs() -> Dict[str, np.ndarray]:
            found, more = infer()
            for name in names:
                observe(name, found[name] if name in found else more[name])
            return found

        return outputs

    return Tapping(of_net(description, arrays), prepared)


def outside(array: np.ndarray) -> np.ndarray:
    """A layer as the `net` format has it. What is only looked at is laid out so outside of the function, which has no step more for it."""
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def weights_of(layer: Dict[str, Any], arrays: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    given = {key: arrays[layer[key]] for key in ("weight", "bias", "scale", "mean", "variance") if layer.get(key)}
    if "weight" in given:
        given["weight"] = np.ascontiguousarray(given["weight"].transpose(_WEIGHT[layer["op"]]))
    return given
