"""The user's own program: it reads the .npz named by NUMDEV_INPUTS and writes the one named by NUMDEV_OUTPUTS."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Dict

import numpy as np

from ..tensors import Refused, load_inputs, named
from . import Task

_TAIL = 2000


def preload() -> None:
    """A program imports what it needs itself."""


def run(task: Task) -> Dict[str, np.ndarray]:
    outputs = os.path.join(task.scratch, "outputs.npz")
    environment = {**os.environ, "NUMDEV_OUTPUTS": outputs, "NUMDEV_THREADS": str(task.threads)}
    if task.inputs_file:
        given = os.path.join(task.scratch, "inputs.npz")
        np.savez(given, **task.inputs)
        environment["NUMDEV_INPUTS"] = given
    command = list(task.command)
    if command[0] in ("python", "python3"):
        # The stack's own interpreter, and nothing of the system's packages.
        command[:1] = [sys.executable, "-S", "-B"]
    done = subprocess.run(
        command, cwd=task.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    sys.stderr.write(done.stdout.decode("utf-8", "replace")[-_TAIL:] + done.stderr.decode("utf-8", "replace")[-_TAIL:])
    if done.returncode < 0:
        # The cell ends as the program did, so that its status says which signal it was.
        os.kill(os.getpid(), -done.returncode)
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise Refused(f"{task.command[0]} ended with exit code {done.returncode}" + (f": {last[0]}" if last else ""))
    if not os.path.exists(outputs):
        raise Refused(f"{task.command[0]} did not write the file named by NUMDEV_OUTPUTS")
    return named(load_inputs(outputs), [])
