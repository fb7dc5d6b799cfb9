"""One replicate of one cell, in the process it has for itself.

python -m numdev_worker.cell JOB OUT CELL
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, Dict, List

from . import backends, readback, tap, tensors
from .job import Job, die_with_parent, write_result

_REASON = 2000


def run(job: Job, cell_id: str) -> None:
    """Runs a cell and writes its result; whatever the model raises becomes the cell's status and reason."""
    cell = job.cells[cell_id]
    folder = job.result_folder(cell_id)
    os.makedirs(folder, exist_ok=True)
    _log_to(os.path.join(folder, "log.txt"))
    scratch = tempfile.mkdtemp(prefix="numdev-")
    started = time.perf_counter()
    result: Dict[str, Any] = {"status": "ok", "reason": "", "outputs": [], "realised": {}}
    try:
        count = cell.get("rounds", 1)
        took: List[List[float]] = []
        inferences = backends.rounds(job.backend, _task(job, cell, scratch), count, took)
        outputs = next(inferences)
        result["seconds"] = time.perf_counter() - started
        for index, name in enumerate(sorted(outputs)):
            file = f"{index}.npy"
            sha256 = tensors.save(outputs[name], os.path.join(folder, file))
            result["outputs"].append({"name": name, "file": file, "sha256": sha256})
        first = tap.outcome_of({row["name"]: row["sha256"] for row in result["outputs"]})
        if count > 1:
            result["rounds"] = [first, *(tap.outcome_of(_saved(one, scratch)) for one in inferences)]
        result["realised"] = readback.read(job.table, emulated=bool(job.prefix))
        result["realised"]["inference_seconds"] = took
        if cell.get("tap"):
            # The model of the cell's own inference is not needed any more; its result is there, whatever the tap does.
            inferences.close()
            write_result(folder, {**result, "tap": tap.ENDED})
            until = started + cell["timeout"] / 2
            result["tap"] = tap.run(job.backend, _task(job, cell, scratch), first, folder, until)
    except backends.Unsupported as error:
        result.update(status="unsupported", reason=str(error), outputs=[])
    except MemoryError as error:
        result.update(status="oom", reason=f"MemoryError: {error}"[:_REASON], outputs=[])
    except (KeyboardInterrupt, SystemExit) as error:
        result.update(status="failed", reason=f"the model's code ended the process: {error!r}"[:_REASON], outputs=[])
    except BaseException as error:
        # Frameworks raise what they like, some not even an Exception; all of it is the cell's result.
        result.update(status="failed", reason=f"{type(error).__name__}: {error}"[:_REASON], outputs=[])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    write_result(folder, result)


def _saved(outputs: Mapping[str, Any], scratch: str) -> Dict[str, str]:
    """The digests that these outputs would have as files; one after the other, for they may be large."""
    return {name: tensors.save(outputs[name], os.path.join(scratch, "round.npy")) for name in sorted(outputs)}


def _log_to(path: str) -> None:
    """What libraries print goes to the cell's log, with the output of native code."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _task(job: Job, cell: Dict[str, Any], scratch: str) -> backends.Task:
    digest = cell["workload"]
    workload = job.workloads[digest]
    folder = os.path.join(job.folder, "workloads", digest)
    inputs_file = os.path.join(folder, workload["inputs"]) if workload.get("inputs") else None
    inputs = tensors.load_inputs(inputs_file) if inputs_file else {}
    file = workload["formats"].get(cell["format"])
    return backends.Task(
        format=cell["format"],
        model=os.path.join(folder, file) if file else None,
        folder=folder,
        entry=workload.get("entry"),
        command=workload.get("command") or [],
        inputs=tensors.batch_of(inputs, cell["batch"]),
        inputs_file=inputs_file,
        threads=cell["threads"],
        optimization=cell["optimization"],
        precision=cell["precision"],
        session=cell["session"],
        batch=cell["batch"],
        scratch=scratch,
        prefix=job.prefix,
    )


if __name__ == "__main__":
    die_with_parent()
    run(Job(sys.argv[1], sys.argv[2]), sys.argv[3])
    sys.stdout.flush()
    # Frameworks' threads must not turn a finished cell into a crash at exit.
    os._exit(0)
