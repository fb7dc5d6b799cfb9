"""LiteRT, which was TensorFlow Lite, on the CPU: .tflite models, by XNNPACK or by its own kernels."""

from __future__ import annotations

from typing import Callable, Dict

import numpy as np

from ..tensors import Refused
from . import Task, Unsupported


def preload() -> None:
    import ai_edge_litert.interpreter  # noqa: F401


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    if task.precision != "float32":
        raise Unsupported(f"LiteRT computes in the model's own precision, not {task.precision}")
    kernels = {"all": OpResolverType.AUTO, "off": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    interpreter = Interpreter(
        task.model, num_threads=task.threads, experimental_op_resolver_type=kernels[task.optimization]
    )
    places = {item["name"]: item["index"] for item in interpreter.get_input_details()}
    if set(places) != set(task.inputs):
        raise Refused(f"the model's inputs are {sorted(places)}, the workload gives {sorted(task.inputs)}")
    for name, array in task.inputs.items():
        interpreter.resize_tensor_input(places[name], array.shape, strict=True)
    interpreter.allocate_tensors()

    def infer() -> Dict[str, np.ndarray]:
        for name, array in task.inputs.items():
            interpreter.set_tensor(places[name], array)
        interpreter.invoke()
        return {item["name"]: interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()}

    return infer
