"""One operator an output, in the `net` format: which of them lean on what the processor approximates or chooses?"""

from __future__ import annotations

from typing import Any

import numpy as np

from numdev.workloads.seeded import Seeded

SAMPLES = 2
IMAGE, VECTOR, POSITIVE = (32, 16, 16), (512,), (2048,)


def operators() -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The description, weights and inputs of a network of single layers side by side.

    `image` is [N, C, H, W], `vector` [N, K], and `positive` from 2**-10 to 2**10: nothing of one operator's deviation
    reaches another's output.
    """
    random = Seeded(8)
    channels, features = IMAGE[0], VECTOR[0]
    weights = {
        "conv_weight": random.scaled((channels, channels, 3, 3), channels * 9),
        "batchnorm_scale": random.normal((channels,), -4) + np.float32(1),
        "batchnorm_bias": random.normal((channels,), -4),
        "batchnorm_mean": random.normal((channels,), -4),
        "batchnorm_variance": np.abs(random.normal((channels,), -2)) + np.float32(0.5),
        "matmul_weight": random.scaled((features, features), features),
    }
    inputs = {
        "image": random.normal((SAMPLES, *IMAGE)),
        "vector": random.normal((SAMPLES, *VECTOR)),
        "positive": np.ldexp(random.integers(1, 1 << 20, (SAMPLES, *POSITIVE)).astype(np.float32), -10),
    }
    batchnorm = {key: f"batchnorm_{key}" for key in ("scale", "bias", "mean", "variance")}
    layers: list[dict[str, Any]] = [
        {"op": "conv", "input": "image", "weight": "conv_weight", "stride": [1, 1], "padding": [1, 1, 1, 1]},
        {"op": "batchnorm", "input": "image", "epsilon": 0.0009765625, **batchnorm},
        {"op": "dense", "input": "vector", "weight": "matmul_weight"},
    ]
    layers += [{"op": op, "input": "vector"} for op in ("softmax", "exp", "tanh", "sigmoid")]
    layers += [{"op": op, "input": "positive"} for op in ("sqrt", "rsqrt", "reciprocal")]
    for layer in layers:
        layer["output"] = "matmul" if layer["op"] == "dense" else layer["op"]
    shapes = {"image": IMAGE, "vector": VECTOR, "positive": POSITIVE}
    description = {
        "inputs": {name: {"dtype": "float32", "shape": ["N", *shape]} for name, shape in shapes.items()},
        "layers": layers,
        "outputs": [layer["output"] for layer in layers],
        "shapes": {name: list(shape) for name, shape in shapes.items()}
        | {layer["output"]: list(shapes[layer["input"]]) for layer in layers},
    }
    return description, weights, inputs
