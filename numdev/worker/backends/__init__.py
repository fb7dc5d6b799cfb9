"""One module a backend: `preload()` imports the framework, `prepare(task)` loads the model and gives a function of no
arguments that infers once and returns the outputs by name. Where layers can be looked at, `tapping(task)` says how (layers.py).
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Dict, List, NamedTuple, Optional, Union

import numpy as np

from ..layers import Tapping


class Unsupported(Exception):
    """This stack cannot do what the cell asks for; the message says what."""


class Task(NamedTuple):
    """One run of one model.

    folder: where the workload's files lie. prefix: the words before a program, of an emulator. model: the file of the format, or None. inputs: arrays by name.
    """

    format: str
    model: Optional[str]
    folder: str
    entry: Optional[str]
    command: List[str]
    inputs: Dict[str, np.ndarray]
    inputs_file: Optional[str]
    threads: int
    optimization: str
    precision: str
    session: Dict[str, str]
    batch: Union[int, str]
    scratch: str
    prefix: Sequence[str] = ()


def backend(name: str) -> ModuleType:
    """The module of a backend; the name is one of formats.BACKENDS, `module` or `command`."""
    return importlib.import_module(f".{name}_", __name__)


def rounds(
    name: str, task: Task, count: int, took: Optional[List[List[float]]] = None
) -> Iterator[Dict[str, np.ndarray]]:
    """The outputs of each of `count` inferences in a row with one and the same loaded model.

    A program of the user's own ends with its inference: it has one round. `took` receives the seconds of each inference
    alone, without loading the model: by the clock, and of all processors. The first one often makes what later ones only use.
    """
    module: Any = backend(task.format if task.format in ("module", "command") else name)
    infer = module.prepare(task)
    for _ in range(1 if task.format == "command" else count):
        started, used = time.perf_counter(), time.process_time()
        outputs = infer()
        if took is not None:
            took.append([time.perf_counter() - started, time.process_time() - used])
        yield outputs


def tapping(name: str, task: Task) -> Tapping:
    """How the layers of a task's model can be looked at; raises Unsupported where they cannot."""
    if task.format in ("module", "command"):
        raise Unsupported("a program of your own has no layers that are known here")
    made = getattr(backend(name), "tapping", None)
    if made is None:
        raise Unsupported(f"the layers of {name} cannot be looked at")
    return made(task)
