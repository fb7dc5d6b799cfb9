"""The oracle's battery, run once: on the real processor, under a profile by any rung, or on one of QEMU's own processors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numdev import cpu, digests
from numdev.cpu.machine import Measured
from numdev.engines.local import interpreter
from numdev.engines.protocol import stack_digest
from numdev.errors import EngineUnavailable, StackFailed
from numdev.run.jobfolder import copy_worker
from numdev.spec.stack import Stack
from numdev.spec.workload import DeclaredWorkload
from numdev.stacks import finder, linked, site_for
from numdev.worker import battery, launcher
from numdev.workloads import prepare

NETWORKS = ("cnn-small", "cnn-five", "matmul-integer", "operators")
TIMEOUT = 1800
Say = Callable[[str], None]


def measure(
    stack: Stack, shown: cpu.Shown, cache: Path, say: Say, *, skip: Sequence[str] = (), judged: bool = True
) -> Measured:
    """The battery of a stack under a profile, in one thread.

    Its environment is made from nothing: a knob in the user's shell would be recorded as the processor's own choice.

    Args:
        shown: Shown(None, None) is the real processor.
        skip: parts of paths of files that are not covered: a leak, to see that it is noticed.
        judged: whether the libraries must have chosen as on that processor.

    Raises:
        StackFailed: it does not run, or the profile was not in force.
    """
    site = site_for(stack, cache, say)
    where = _where(shown)
    say(f"{stack.name}: the battery, {where}")
    with tempfile.TemporaryDirectory(prefix="numdev-") as name:
        folder = Path(name)
        copy_worker(folder / "numdev_worker")
        models = _models(stack, folder, cache, say)
        out, table = folder / "measured.json", folder / "table.txt"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": f"{folder}:{site.path}",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "LC_ALL": "C.UTF-8",
            **linked(stack, str(site.path)),
            **(shown.settings if isinstance(shown, cpu.Knobbed) else {}),
        }
        argv = [interpreter(stack.python), "-S", "-B", "-m", "numdev_worker.measure", str(out)]
        said = ""
        if shown.table is None:
            prefix = [shown.emulator.path, "-cpu", shown.argument] if isinstance(shown, cpu.Emulated) else []
            kind = "emulated" if prefix else "-"
            try:
                done = subprocess.run(
                    [*prefix, *argv, kind, *models], env=environment, capture_output=True, timeout=TIMEOUT, check=False
                )
            except subprocess.TimeoutExpired:
                raise StackFailed(f"The battery of {stack.name} took longer than {TIMEOUT} s, {where}.") from None
            # QEMU warns of each feature that it cannot emulate; what its processor has is read back.
            status, said = done.returncode, done.stderr.decode("utf-8", "replace").strip()[-500:]
        else:
            table.write_text(shown.table.text(), encoding="ascii")
            status = launcher.run(
                shown.table, [*argv, str(table), *models], environment, find=finder(cache, say), skip=skip
            )
        if status or not out.is_file():
            why = f"it ended with status {status}. {said}".strip()
            raise StackFailed(f"The battery of {stack.name} did not run, {where}.", why, "Try another stack.")
        found = json.loads(out.read_text())
    realised = found["realised"]
    if judged and shown.profile is not None and (reasons := _unrealised(shown, realised)):
        raise StackFailed(f"The battery of {stack.name} did not see the profile.", "; ".join(reasons))
    return Measured(
        stack=stack_digest(stack, site.digest),
        battery=digests.of_bytes(Path(battery.__file__).read_bytes()),
        system={"libc": realised["libc"], "python": realised["python"]},
        dispatch=cpu.dispatch(realised),
        defects=found["defects"],
        operations=found["operations"],
    )


def emulated(model: str) -> cpu.Emulated:
    """A processor that QEMU has by name, as QEMU itself describes it; raises EngineUnavailable where there is no QEMU."""
    found, why = cpu.emulated.find()
    if found is None:
        raise EngineUnavailable(
            "There is no QEMU here to compare with.", why, "Install it, for example: apt-get install qemu-user-static"
        )
    return cpu.Emulated(profile=None, table=None, argument=model, emulator=found)


def _where(shown: cpu.Shown) -> str:
    if isinstance(shown, cpu.Emulated) and shown.profile is None:
        return f"{shown.argument} of QEMU"
    if shown.profile is None:
        return "the real processor"
    return f"{shown.profile.name} shown by {shown.rung}"


def _unrealised(shown: cpu.Shown, realised: dict[str, Any]) -> list[str]:
    if isinstance(shown, cpu.Knobbed):
        # What a library did about its knob is what is compared: it is a finding, not a failure.
        return []
    return cpu.contradictions(shown, realised)


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
