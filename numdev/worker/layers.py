"""What a tapped network is made of: its layers by name, and how many roundings stand between their inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import net

# The most that a network may have to be tapped.
LAYERS = 2000

Shapes = Mapping[str, Sequence[int]]
# (multiplications per output, roundings between an input and an output); None where that depends on who computes.
Counts = Tuple[Optional[int], Optional[int]]
Observe = Callable[[str, Any], None]

UNKNOWN: Counts = (None, None)
# Choosing, moving and changing signs round nothing.
EXACT: Counts = (0, 0)
ONE_SUM: Counts = (0, 1)
ONE_PRODUCT: Counts = (1, 1)
# (x - mean) * (scale / sqrt(variance + epsilon)) + bias: six operations, of which one multiplies x.
NORMALISATION: Counts = (1, 6)


class Layer(NamedTuple):
    """`inputs`: names of layers and of the network's inputs, without weights. `counts`: from the shapes of all tensors that are known."""

    name: str
    op: str
    inputs: List[str]
    counts: Callable[[Shapes], Counts]


class Tapping(NamedTuple):
    """A model that can be tapped.

    `layers` are in the order in which they are computed. `prepare(names, observe)` gives a function that infers once, tells
    `observe` the name and value of each of these layers, and returns the outputs as an untapped model does.
    """

    layers: List[Layer]
    prepare: Callable[[Sequence[str], Observe], Callable[[], Dict[str, np.ndarray]]]


def product(products: int, bias: bool) -> Counts:
    """A sum of products: one rounding for a product, one less than there are products for the sum, one for the bias."""
    return products, products + bias


def average(count: int) -> Counts:
    """A sum of `count` numbers, and one division."""
    return 1, max(1, count)


def size(shape: Sequence[int]) -> int:
    return math.prod(int(extent) for extent in shape)


def of_net(description: Dict[str, Any], weights: Mapping[str, Any]) -> List[Layer]:
    """The layers of a network in the `net` format."""
    shapes = {name: tuple(array.shape) for name, array in weights.items()}
    return [
        Layer(layer["output"], layer["op"], net.names(layer), _counting(layer, shapes))
        for layer in description["layers"]
    ]


def _counting(layer: Dict[str, Any], weights: Shapes) -> Callable[[Shapes], Counts]:
    return lambda shapes: _counts(layer, weights, shapes)


def _counts(layer: Dict[str, Any], weights: Shapes, shapes: Shapes) -> Counts:
    op = layer["op"]
    if op in ("conv", "dense"):
        return product(size(weights[layer["weight"]][1:]), "bias" in layer)
    if op == "batchnorm":
        return NORMALISATION
    if op == "global_average_pool":
        given = shapes.get(net.names(layer)[0])
        return average(size(given[2:])) if given is not None else UNKNOWN
    if op == "add":
        return ONE_SUM
    return EXACT if op in ("relu", "maxpool", "pad", "flatten") else UNKNOWN
