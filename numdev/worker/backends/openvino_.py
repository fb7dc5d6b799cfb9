"""OpenVINO on the CPU: ONNX models in one stream, in float32 also where a processor could do with less."""

from __future__ import annotations

from typing import Any, Callable, Dict

import numpy as np

from ..tensors import Refused
from . import Task, Unsupported

# What the plugin says of a model that it has compiled; see readback.py.
CHOSEN: Dict[str, Any] = {}


def preload() -> None:
    """Not even the import: it starts threads, and a process forked from one that has some may wait for them without end."""


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    import openvino as ov

    if task.precision != "float32":
        raise Unsupported(f"OpenVINO computes in the model's own precision, not {task.precision}")
    settings: Dict[str, Any] = {
        "INFERENCE_NUM_THREADS": task.threads,
        "NUM_STREAMS": 1,
        # Where there is bfloat16, the plugin would take it by itself: another precision, not another CPU.
        "INFERENCE_PRECISION_HINT": "f32",
        **task.session,
    }
    core = ov.Core()
    model = core.read_model(task.model)
    wanted = {item.get_any_name() for item in model.inputs}
    if wanted != set(task.inputs):
        raise Refused(f"the model's inputs are {sorted(wanted)}, the workload gives {sorted(task.inputs)}")
    compiled = core.compile_model(model, "CPU", settings)
    CHOSEN.clear()
    for name in ("INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT", "RUNTIME_REQUIREMENTS"):
        try:
            CHOSEN[name] = str(compiled.get_property(name))
        except RuntimeError:
            # Older versions do not know all of them.
            continue
    request = compiled.create_infer_request()

    def infer() -> Dict[str, np.ndarray]:
        found = request.infer(task.inputs)
        # The request's own memory is written to again by the next inference.
        return {item.get_any_name(): np.array(found[item]) for item in compiled.outputs}

    return infer
