"""Single convolutions in the `net` format, an output each: what of a convolution decides whether it deviates?"""

from __future__ import annotations

from typing import Any

import numpy as np

from numdev.workloads.seeded import Seeded

Built = tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]

# Filters, kernel, channels and input size of the one that the others differ from in one of these.
BASE = (32, 3, 16, 16)
SHAPES = {
    "base": BASE,
    **{f"filters_{n}": (n, *BASE[1:]) for n in (1, 4, 8, 64, 128)},
    **{f"kernel_{n}": (BASE[0], n, *BASE[2:]) for n in (1, 5, 7)},
    **{f"channels_{n}": (*BASE[:2], n, BASE[3]) for n in (1, 3, 64, 256)},
    **{f"size_{n}": (*BASE[:3], n) for n in (4, 8, 32, 64)},
}
INPUTS = ("normal", "positive", "sparse", "wide", "integers")
WEIGHTS = ("normal", "positive", "sparse", "integers")


def convolutions() -> Built:
    """One convolution for each of SHAPES, stride 1, output as large as input; inputs [N, C, H, W] by number of channels and size."""
    random = Seeded(21)
    return _network(
        {
            name: (
                f"image_{channels}x{size}",
                (channels, size, size),
                random.scaled((filters, channels, kernel, kernel), channels * kernel * kernel),
            )
            for name, (filters, kernel, channels, size) in SHAPES.items()
        },
        lambda name, shape: random.normal((1, *shape)),
    )


def distributions() -> Built:
    """The base convolution on every pair of INPUTS and WEIGHTS: outputs are called `inputs_weights`.

    `positive`: absolute values of normal ones. `sparse`: seven of eight are zero. `wide`: normal ones times powers of two from 2**-12 to
    2**12. `integers`: whole numbers from -8 to 8, whose sums are exact in any order.
    """
    random = Seeded(22)
    filters, kernel, channels, size = BASE
    fan_in = channels * kernel * kernel
    weights = {name: _drawn(random, name, (filters, channels, kernel, kernel), fan_in) for name in WEIGHTS}
    return _network(
        {
            f"{name}_{weight}": (name, (channels, size, size), drawn)
            for name in INPUTS
            for weight, drawn in weights.items()
        },
        lambda name, shape: _drawn(random, name, (1, *shape), 0),
    )


def _drawn(random: Seeded, name: str, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    if name == "integers":
        return random.integers(-8, 8, shape).astype(np.float32)
    drawn = random.scaled(shape, fan_in) if fan_in else random.normal(shape)
    if name == "positive":
        return np.abs(drawn)
    if name == "sparse":
        return np.where(random.integers(0, 7, shape) == 0, drawn, np.float32(0))
    if name == "wide":
        return np.ldexp(drawn, random.integers(-12, 12, shape).astype(np.int32))
    return drawn


def _network(layers: dict[str, tuple[str, tuple[int, ...], np.ndarray]], draw: Any) -> Built:
    """`layers`: by output the input's name and shape, and the weights; `draw` gives an input."""
    inputs: dict[str, np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    weights: dict[str, np.ndarray] = {}
    described = []
    for name, (source, shape, weight) in layers.items():
        if source not in inputs:
            inputs[source], shapes[source] = draw(source, shape), shape
        weights[f"{name}_weight"] = weight
        pad = weight.shape[2] // 2
        described.append(
            {
                "op": "conv",
                "input": source,
                "output": name,
                "weight": f"{name}_weight",
                "stride": [1, 1],
                "padding": [pad] * 4,
            }
        )
    description = {
        "inputs": {name: {"dtype": "float32", "shape": ["N", *shapes[name]]} for name in inputs},
        "layers": described,
        "outputs": list(layers),
        "shapes": {name: list(shape) for name, shape in shapes.items()}
        | {name: [weight.shape[0], *shape[1:]] for name, (_, shape, weight) in layers.items()},
    }
    return description, weights, inputs
