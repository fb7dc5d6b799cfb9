"""The user's own program: it reads the .npz named by NUMDEV_INPUTS and writes the one named by NUMDEV_OUTPUTS."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Callable, Dict, List

import numpy as np

from ..tensors import Refused, load_inputs, named
from . import Task

_TAIL = 2000
# A script may name another as its interpreter; the kernel follows four.
_SCRIPTS, _LINE = 5, 256


def preload() -> None:
    """A program imports what it needs itself."""


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    return lambda: _run(task)


def _run(task: Task) -> Dict[str, np.ndarray]:
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
        emulated(task.prefix, command, task.folder),
        cwd=task.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
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


def emulated(prefix: Sequence[str], command: Sequence[str], folder: str) -> List[str]:
    """The command under an emulator, which neither searches the PATH nor reads the first line of scripts.

    What the program then starts itself runs on the real processor: an emulator does not follow it.
    """
    if not prefix:
        return list(command)
    words = list(command)
    for _ in range(_SCRIPTS):
        found = shutil.which(words[0])
        path = os.path.join(folder, words[0]) if os.sep in words[0] else found
        if path is None or not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), words[0])
        with open(path, "rb") as file:
            line = file.readline(_LINE).decode("utf-8", "replace")
        if not line.startswith("#!"):
            return [*prefix, path, *words[1:]]
        interpreter = line[2:].split(None, 1)
        if interpreter and os.path.basename(interpreter[0]) == "env":
            interpreter = interpreter[1].replace("-S", "", 1).split() if len(interpreter) > 1 else []
        if not interpreter:
            break
        words = [*(word.strip() for word in interpreter), path, *words[1:]]
    raise Refused(f"{command[0]} is a script whose first line does not lead to a program that can be emulated")
