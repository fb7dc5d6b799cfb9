"""onnxruntime on the CPU: sequential, with threads, graph optimisation and session entries as the cell says."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Sequence
from typing import Any, Callable, Dict, Optional

import numpy as np

from .. import onnxgraph
from ..layers import LAYERS, Observe, Tapping
from ..tensors import Refused
from . import Task, Unsupported


def preload() -> None:
    import onnxruntime

    # Warnings go to the log of the cell that causes them; version skew messages of a forked import do not help.
    onnxruntime.set_default_logger_severity(3)


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    session = _session(task, task.model)
    outputs = [item.name for item in session.get_outputs()]
    return lambda: dict(zip(outputs, session.run(outputs, task.inputs)))


def tapping(task: Task) -> Tapping:
    with open(str(task.model), "rb") as file:
        # Most of it are weights, which are not looked at here. It is closed with what was read of it.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    graph, size = onnxgraph.read(data, LAYERS + 1), len(data)
    if graph.external:
        raise Unsupported("the model's weights lie in other files, so that no outputs can be added to it")
    copy = os.path.join(task.scratch, "tapped.onnx")

    def prepared(names: Sequence[str], observe: Observe) -> Callable[[], Dict[str, np.ndarray]]:
        added = [name for name in names if name not in graph.outputs]
        # A session of bytes would have them twice more in memory; the copy is made once.
        if not os.path.exists(copy):
            shutil.copyfile(str(task.model), copy)
        with open(copy, "r+b") as file:
            file.truncate(size)
            file.seek(size)
            file.write(onnxgraph.more_outputs(added))
        session = _session(task, copy)

        def infer() -> Dict[str, np.ndarray]:
            found = dict(zip([*graph.outputs, *added], session.run([*graph.outputs, *added], task.inputs)))
            for name in names:
                observe(name, found[name])
            return {name: found[name] for name in graph.outputs}

        return infer

    return Tapping(onnxgraph.layers(graph), prepared)


def _session(task: Task, model: Optional[str]) -> Any:
    import onnxruntime as ort

    levels = {
        "off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }
    options = ort.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = levels[task.optimization]
    options.log_severity_level = 3
    for key, value in sorted(task.session.items()):
        if key == "deterministic":
            # The one switch that is an attribute and no entry.
            options.use_deterministic_compute = value == "1"
            continue
        options.add_session_config_entry(f"session.{key}", value)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    wanted = {item.name for item in session.get_inputs()}
    if wanted != set(task.inputs):
        raise Refused(f"the model's inputs are {sorted(wanted)}, the workload gives {sorted(task.inputs)}")
    if task.precision != "float32":
        raise Unsupported(f"onnxruntime computes in the model's own precision, not {task.precision}")
    return session
