"""The oracle: is what a profile shows what a processor of that kind would do?

QEMU's user mode runs the same programs on another processor altogether: its own, in software, down to the features it is told to have.
It shares nothing with the launcher and its tables. Where both give the same bytes, each is right or both are wrong alike.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from numdev import cpu
from numdev.engines.local import interpreter
from numdev.errors import EngineUnavailable, StackFailed
from numdev.run.jobfolder import copy_worker
from numdev.spec.stack import Stack
from numdev.spec.workload import DeclaredWorkload
from numdev.stacks import finder, site_for
from numdev.worker import launcher
from numdev.workloads import prepare

# QEMU's processors that have what a profile has; it has no AVX-512.
MODELS = {"nehalem": "Nehalem", "sandybridge": "SandyBridge", "haswell": "Haswell"}
NETWORKS = ("cnn-small", "cnn-five", "matmul-integer")
TIMEOUT = 1800
Say = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """One operation under one profile: whether the profile and the oracle give the same bytes."""

    profile: str
    operation: str
    equal: bool


def qemu() -> str:
    """QEMU's user mode for x86-64; EngineUnavailable where it is not installed."""
    for name in ("qemu-x86_64-static", "qemu-x86_64"):
        if found := shutil.which(name):
            return found
    raise EngineUnavailable(
        "There is no QEMU here to compare with.",
        "neither qemu-x86_64-static nor qemu-x86_64 is on the PATH",
        "Install it, for example: apt-get install qemu-user-static",
    )


def verify(stack: Stack, profiles: list[str], cache: Path, say: Say, *, leak: bool = False) -> list[Verdict]:
    """Runs the battery under each profile and under QEMU, and compares the bytes of each operation.

    Args:
        leak: show nothing at all and compare the real processor instead: the check has to fail then.

    Raises:
        ProfileRefused: this host cannot show one of the profiles.
        EngineUnavailable: there is no QEMU.
        StackFailed: the battery does not run.
    """
    emulator = qemu()
    site = site_for(stack, cache, say)
    python = interpreter(stack.python)
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="numdev-") as name:
        folder = Path(name)
        copy_worker(folder / "numdev_worker")
        models = _models(stack, folder, cache, say)
        for profile in profiles:
            shown = cpu.shown(profile, cpu.host(), cpu.BEST)
            assert shown.table is not None

            def command(out: Path) -> list[str]:
                return [python, "-S", "-B", "-m", "numdev_worker.battery", str(out), *models]

            say(f"{profile}: the battery, {'as the real processor' if leak else f'shown by {shown.rung}'}")
            out = folder / "shown.json"
            environment = _environment(folder, site.path)
            if leak:
                status = subprocess.run(command(out), env=environment, check=False).returncode
            else:
                status = launcher.run(shown.table, command(out), environment, find=finder(cache, say))
            mine = _read(out, status, profile)
            say(f"{profile}: the same under {MODELS[profile]} of QEMU, which is slow")
            emulated = [emulator, "-cpu", MODELS[profile], *command(folder / "emulated.json")]
            environment = _environment(folder, site.path)
            try:
                done = subprocess.run(emulated, env=environment, capture_output=True, timeout=TIMEOUT, check=False)
            except subprocess.TimeoutExpired:
                raise StackFailed(f"QEMU's {MODELS[profile]} took longer than {TIMEOUT} s.") from None
            said = done.stderr.decode("utf-8", "replace").strip()[-500:]
            other = _read(folder / "emulated.json", done.returncode, f"QEMU's {MODELS[profile]}", said)
            verdicts += [Verdict(profile, name, mine[name] == other.get(name)) for name in sorted(mine)]
    return verdicts


def _environment(folder: Path, site: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": f"{folder}:{site}",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
    }


def _models(stack: Stack, folder: Path, cache: Path, say: Say) -> list[str]:
    """Pairs of model and inputs, where the stack can run them."""
    if stack.backend != "onnxruntime":
        return []
    pairs = []
    for name in NETWORKS:
        ready = prepare(DeclaredWorkload(name=name, builtin=name), folder, cache, say)
        assert ready.inputs is not None
        model = folder / f"{name}.onnx"
        shutil.copyfile(ready.formats["onnx"].path, model)
        pairs += [str(model), str(ready.inputs.path)]
    return pairs


def _read(out: Path, status: int, where: str, said: str = "") -> dict[str, str]:
    if status or not out.is_file():
        why = f"it ended with status {status}. {said}".strip()
        raise StackFailed(f"The battery did not run under {where}.", why, "Try another stack.")
    found = json.loads(out.read_text())
    out.unlink()
    return found
