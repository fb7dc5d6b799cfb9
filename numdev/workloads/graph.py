"""ONNX graphs layer by layer: each call adds one node and gives the name of its output."""

from __future__ import annotations

from typing import Any

import numpy as np

from numdev.workloads import onnxfile


class Graph:
    """Nodes and weights of one model.

    weights: arrays by name, as initializers.
    """

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.weights: dict[str, np.ndarray] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def weight(self, name: str, array: np.ndarray) -> str:
        """A named initializer; raises ValueError for a second one of the name."""
        if name in self.weights:
            raise ValueError(f"{name!r} is there twice")
        self.weights[name] = array
        return name

    def numbers(self, *values: int) -> str:
        """An int64 vector, as many operators take for axes and shapes."""
        return self._constant(np.array(values, np.int64))

    def real(self, value: float) -> str:
        """A float32 scalar."""
        return self._constant(np.array(value, np.float32))

    def _constant(self, array: np.ndarray) -> str:
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.weight(f"constant_{len(self._constants)}", array)
        return self._constants[key]

    def add(self, op: str, *inputs: str, output: str = "", count: int = 1, **attributes: Any) -> str:
        """A node; its first output is `output`, or a name made of its number. An empty input is one left out."""
        first = output or f"{op.lower()}_{len(self.nodes)}"
        outputs = [first, *(f"{first}_{index}" for index in range(1, count))]
        self.nodes.append(onnxfile.node(op, inputs, outputs, f"{op.lower()}_{len(self.nodes)}", **attributes))
        return first
