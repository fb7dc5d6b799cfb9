"""What the tap costs: CPU seconds of an inference with it by those of one without, the least of each. `python tests/bench_tap.py`"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from numdev.worker import backends, tap
from numdev.workloads import net as nets
from numdev.workloads import onnxfile

TURNS, BATCH = 30, 4


def shortest(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(TURNS):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    for name, make in {
        "cnn-small": nets.small,
        "cnn-five": nets.five,
        "cnn-late": nets.late,
        "cnn-medium": nets.medium,
    }.items():
        net, outputs = make()
        description = net.description(outputs)
        x = {"input": np.random.default_rng(0).standard_normal((BATCH, *net.shape["input"])).astype(np.float32)}
        for backend in sys.argv[1:] or ["numpy", "onnxruntime"]:
            format = "onnx" if backend == "onnxruntime" else "net"
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"model.{format}"
                path.write_bytes((onnxfile.from_net if format == "onnx" else nets.pack)(description, net.weights))
                task = backends.Task(
                    format, str(path), folder, None, [], x, None, 1, "all", "float32", {}, "all", folder
                )
                outcome = tap._digest(next(backends.rounds(backend, task, 1)))
                found = tap.run(backend, task, outcome, folder, time.perf_counter() + 300)
                seen = [row["name"] for row in found["layers"] if "sha256" in row]
                values: dict[str, object] = {}
                infer = backends.tapping(backend, task).prepare(seen, values.__setitem__)
                pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

                def tapped(infer=infer, pool=pool, values=values) -> None:
                    infer()
                    list(pool.map(tap.look_at, values.values()))

                plain = shortest(backends.backend(backend).prepare(task))
                cost = shortest(tapped)
                what = f"{name} {backend}: {found['status']}, {len(seen)} of {len(found['layers'])} layers"
                print(f"{what:<55} {plain * 1e3:8.2f} ms {cost * 1e3:8.2f} ms   {cost / plain:.2f}x", flush=True)


if __name__ == "__main__":
    main()
