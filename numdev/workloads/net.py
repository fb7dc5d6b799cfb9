"""Small seeded networks in the `net` format of docs/workloads.md, and their construction."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from numdev.workloads import archive
from numdev.workloads.netcheck import check
from numdev.workloads.seeded import Seeded

Pair = tuple[int, int]


class Net:
    """A network under construction: each method adds a layer and returns the name of its output.

    Shapes are followed as [C, H, W] or [features], so that weights fit. Data is NCHW, weights OIHW and [out, in].
    """

    def __init__(self, seed: int, shape: tuple[int, int, int]) -> None:
        self.random = Seeded(seed)
        self.shape: dict[str, tuple[int, ...]] = {"input": shape}
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, np.ndarray] = {}
        self.last = "input"

    def _add(
        self, op: str, shape: tuple[int, ...], source: Any, weights: dict[str, np.ndarray], **attributes: Any
    ) -> str:
        name = f"{op}_{len(self.layers)}"
        layer = {"op": op, "input": source, "output": name, **attributes}
        for key, array in weights.items():
            layer[key] = f"{name}_{key}"
            self.weights[layer[key]] = array
        self.layers.append(layer)
        self.shape[name] = shape
        self.last = name
        return name

    def pad(self, amount: int) -> str:
        """Zeros on all four sides."""
        channels, height, width = self.shape[self.last]
        shape = (channels, height + 2 * amount, width + 2 * amount)
        return self._add("pad", shape, self.last, {}, padding=[amount] * 4)

    def conv(
        self,
        filters: int,
        kernel: int,
        stride: int = 1,
        *,
        bias: bool = True,
        source: str = "",
        valid: bool = False,
        gain: int = 0,
    ) -> str:
        """A convolution with padding `same` as TensorFlow has it: the odd pixel goes to the right and bottom; or with none.

        Its weights are 2**gain times the usual.
        """
        source = source or self.last
        channels, height, width = self.shape[source]
        padding, (out_height, out_width) = (unpadded if valid else same)((height, width), kernel, stride)
        usual = self.random.scaled((filters, channels, kernel, kernel), channels * kernel * kernel)
        weights = {"weight": np.ldexp(usual, gain).astype(np.float32)}
        if bias:
            weights["bias"] = self.random.normal((filters,), -4)
        shape = (filters, out_height, out_width)
        return self._add("conv", shape, source, weights, stride=[stride, stride], padding=padding)

    def maxpool(self, kernel: int, stride: int, *, source: str = "", valid: bool = False) -> str:
        source = source or self.last
        channels, height, width = self.shape[source]
        padding, (out_height, out_width) = (unpadded if valid else same)((height, width), kernel, stride)
        shape = (channels, out_height, out_width)
        return self._add(
            "maxpool", shape, source, {}, kernel=[kernel, kernel], stride=[stride, stride], padding=padding
        )

    def batchnorm(self, epsilon: float = 0.0009765625) -> str:
        count = self.shape[self.last][0]
        variance = np.abs(self.random.normal((count,), -2)) + np.float32(0.5)
        weights = {
            "scale": self.random.normal((count,), -4) + np.float32(1),
            "bias": self.random.normal((count,), -4),
            "mean": self.random.normal((count,), -4),
            "variance": variance,
        }
        return self._add("batchnorm", self.shape[self.last], self.last, weights, epsilon=epsilon)

    def relu(self) -> str:
        return self._add("relu", self.shape[self.last], self.last, {})

    def add(self, one: str, other: str) -> str:
        return self._add("add", self.shape[one], [one, other], {})

    def flatten(self) -> str:
        return self._add("flatten", (int(np.prod(self.shape[self.last])),), self.last, {})

    def global_average_pool(self) -> str:
        return self._add("global_average_pool", self.shape[self.last][:1], self.last, {})

    def dense(self, features: int) -> str:
        given = self.shape[self.last][0]
        weights = {
            "weight": self.random.scaled((features, given), given),
            "bias": self.random.normal((features,), -4),
        }
        return self._add("dense", (features,), self.last, weights)

    def softmax(self) -> str:
        return self._add("softmax", self.shape[self.last], self.last, {})

    def description(self, outputs: dict[str, str]) -> dict[str, Any]:
        """The JSON of `__net__`; `outputs` gives layers the names that they have as outputs."""
        rename = {layer: name for name, layer in outputs.items()}

        def renamed(value: Any) -> Any:
            return [rename.get(item, item) for item in value] if isinstance(value, list) else rename.get(value, value)

        layers = [
            {**layer, "input": renamed(layer["input"]), "output": renamed(layer["output"])} for layer in self.layers
        ]
        inputs = {"input": {"dtype": "float32", "shape": ["N", *self.shape["input"]]}}
        shapes = {rename.get(name, name): list(shape) for name, shape in self.shape.items()}
        return {"inputs": inputs, "layers": layers, "outputs": list(outputs), "shapes": shapes}


def same(extent: Pair, kernel: int, stride: int) -> tuple[list[int], Pair]:
    """Padding (top, left, bottom, right) and output extent of `same` padding."""
    before, after, out = [], [], []
    for size in extent:
        result = -(-size // stride)
        total = max(0, (result - 1) * stride + kernel - size)
        before.append(total // 2)
        after.append(total - total // 2)
        out.append(result)
    return [*before, *after], (out[0], out[1])


def unpadded(extent: Pair, kernel: int, stride: int) -> tuple[list[int], Pair]:
    """No padding, and the output extent."""
    height, width = ((size - kernel) // stride + 1 for size in extent)
    return [0, 0, 0, 0], (height, width)


def small() -> tuple[Net, dict[str, str]]:
    """The paper's small model: two convolutions and three dense layers, 32 x 32 x 3."""
    net = Net(1, (3, 32, 32))
    net.conv(3, 3)
    net.relu()
    net.maxpool(2, 2)
    net.conv(5, 5)
    net.relu()
    net.maxpool(2, 2)
    net.flatten()
    for _ in range(2):
        net.dense(128)
        net.relu()
    logits = net.dense(10)
    return net, {"logits": logits, "probabilities": net.softmax()}


def medium() -> tuple[Net, dict[str, str]]:
    """The paper's medium model: like ResNet-18, 32 x 32 x 3."""
    net = Net(2, (3, 32, 32))
    net.conv(64, 7, 2)
    net.maxpool(3, 2)
    for segment, filters in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if segment and not block else 1
            start = net.last
            net.conv(filters, 3, stride)
            net.batchnorm()
            net.relu()
            inner = net.conv(filters, 3)
            if stride == 2:
                start = net.conv(filters, 1, 2, bias=False, source=start)
            net.add(inner, start)
            net.batchnorm()
            net.relu()
    net.global_average_pool()
    logits = net.dense(10)
    return net, {"logits": logits, "probabilities": net.softmax()}


def five() -> tuple[Net, dict[str, str]]:
    """Five convolutions, 16 x 16 x 3: the smallest network here whose class follows the SIMD level."""
    net = Net(5, (3, 16, 16))
    for filters in (16, 32, 32, 64, 64):
        net.conv(filters, 3)
        features = net.relu()
    net.global_average_pool()
    return net, {"features": features, "logits": net.dense(10)}


def late() -> tuple[Net, dict[str, str]]:
    """Four convolutions, 32 x 32 x 3, and the last one's feature map: its sums are long enough to be cut into blocks."""
    net = Net(6, (3, 32, 32))
    for filters, stride in ((32, 1), (64, 2), (128, 2), (128, 1)):
        net.conv(filters, 3, stride)
        features = net.relu()
    return net, {"features": features}


def pack(description: dict[str, Any], weights: dict[str, np.ndarray]) -> bytes:
    """The network as one file; raises ValueError where it is not whole."""
    if problems := check(description, weights):
        raise ValueError("; ".join(problems))
    text = json.dumps(description, sort_keys=True, separators=(",", ":")).encode("ascii")
    return archive.pack({"__net__": np.frombuffer(text, np.uint8), **weights})
