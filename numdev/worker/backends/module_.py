"""The user's own function: `file.py:function` or `package.module:function`, arrays in and arrays out."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Callable, Dict

import numpy as np

from ..tensors import Refused, named
from . import Task


def preload() -> None:
    """What a user's module imports is its own affair."""


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    where, _, name = str(task.entry).rpartition(":")
    if where.endswith(".py"):
        path = os.path.join(task.folder, os.path.basename(where))
        # Its own imports of files beside it work, as for a script.
        sys.path.insert(0, task.folder)
        spec = importlib.util.spec_from_file_location("numdev_user_module", path)
        if spec is None or spec.loader is None:
            raise Refused(f"{where} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(where)
    function = getattr(module, name, None)
    if not callable(function):
        raise Refused(f"{where} has no function {name!r}")
    return lambda: named(function(dict(task.inputs)), [])
