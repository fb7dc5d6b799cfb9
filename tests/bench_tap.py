"""What the tap costs, in milliseconds of all processors, the least of some turns. `python tests/bench_tap.py [BACKEND ...]`

One inference:
  infer    without the tap
  seen     with the layers as outputs: what is not fused any more, and memory for all of them
  hash     SHA-256 of the layers and nothing else
  look     hash, sizes and samples
  x        seen and look by infer
A whole cell, in its process:
  cell     the model is loaded, infers once, and the outputs are hashed
  tap      the whole tap: the model is read, loaded, infers, is looked at, samples are written; once more for each search step
  loads    how many models the tap loaded
  x        tap by cell
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from numdev.worker import backends, looking, tap
from numdev.workloads import net as nets
from numdev.workloads import onnxfile, resnets

TURNS, WHOLE = 30, 3
NETWORKS = {
    "cnn-small": (nets.small, 4),
    "cnn-five": (nets.five, 4),
    "cnn-late": (nets.late, 4),
    "cnn-medium": (nets.medium, 4),
    "cnn-large": (resnets.large, 2),
    "deep-weeds": (resnets.deep_weeds, 1),
}


def least(run: Callable[[], object], turns: int = TURNS) -> float:
    """Milliseconds."""
    run()
    times = []
    for _ in range(turns):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times) * 1e3


def measure(backend: str, name: str, folder: str) -> str:
    make, batch = NETWORKS[name]
    net, outputs = make()
    description = net.description(outputs)
    x = {"input": np.random.default_rng(0).standard_normal((batch, *net.shape["input"])).astype(np.float32)}
    format = "onnx" if backend == "onnxruntime" else "net"
    path = Path(folder) / f"model.{format}"
    path.write_bytes((onnxfile.from_net if format == "onnx" else nets.pack)(description, net.weights))
    task = backends.Task(format, str(path), folder, None, [], x, None, 1, "all", "float32", {}, "all", folder)

    def cell() -> str:
        return tap._digest(next(backends.rounds(backend, task, 1)))

    outcome = cell()
    loads = 0
    made = backends.tapping(backend, task)

    def counted(*arguments):
        nonlocal loads
        loads += 1
        return made.prepare(*arguments)

    genuine, backends.tapping = backends.tapping, lambda *_: made._replace(prepare=counted)
    found = tap.run(backend, task, outcome, folder, time.perf_counter() + 300)
    backends.tapping = genuine
    looked = [row["name"] for row in found["layers"] if "sha256" in row]

    values: dict[str, np.ndarray] = {}
    seeing = made.prepare(looked, values.__setitem__)
    turns = 5 if path.stat().st_size > 1 << 26 else TURNS
    infer = least(backends.backend(backend).prepare(task), turns)
    seen = least(seeing, turns)
    flat = [np.ascontiguousarray(value).reshape(-1) for value in values.values()]
    hashed = least(lambda: [hashlib.sha256(one).digest() for one in flat], turns)
    look = least(lambda: looking.look_at_all(values), turns)
    once = least(cell, WHOLE)

    def tapped() -> None:
        # In a folder of its own, as in a cell: file systems flush what replaces a file.
        with tempfile.TemporaryDirectory() as fresh:
            tap.run(backend, task._replace(scratch=fresh), outcome, fresh, time.perf_counter() + 300)

    whole = least(tapped, WHOLE)
    size = sum(value.nbytes for value in values.values()) / 1e6
    return (
        f"{name:<11}{found['status']:<7}{len(looked):>4}/{len(made.layers):<4}{size:6.1f}{infer:7.2f}{seen:7.2f}{hashed:7.2f}"
        f"{look:7.2f}{(seen + look) / infer:6.2f}{once:8.1f}{whole:8.1f}{loads:6}{whole / once:6.2f}"
    )


def main() -> None:
    for backend in sys.argv[1:] or ["numpy", "onnxruntime"]:
        print(
            f"{backend:<18}{'layers':>7}{'MB':>8}{'infer':>7}{'seen':>7}{'hash':>7}{'look':>7}{'x':>6}"
            f"{'cell':>8}{'tap':>8}{'loads':>6}{'x':>6}"
        )
        for name in NETWORKS:
            with tempfile.TemporaryDirectory() as folder:
                print(measure(backend, name, folder), flush=True)


if __name__ == "__main__":
    main()
