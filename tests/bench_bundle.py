"""How fast a bundle is verified, beside `sha256sum` and `tar` on the same file: `python tests/bench_bundle.py --gigabytes 5`.

All are measured one after the other in one run, each with the file in the page cache as far as memory goes.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from numdev import digests
from numdev.bundle.create import Options, create
from numdev.engines.protocol import stack_digest
from numdev.run.runfile import Run, RunCell
from numdev.spec.cell import DEFAULTS, Cell
from numdev.spec.stack import stack_in
from numdev.store import Output, Record, Store

made = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("bundle") / "conftest.py")))
# Elements of one output: 32 MiB of float32.
SIZE = 8 << 20
# numdev in a process that says how much memory it had.
NUMDEV = [sys.executable, str(Path(__file__).with_name("peak.py"))]


def large(folder: Path, gigabytes: float, classes: int, brand: str = "Made by hand", seed: int = 1) -> Path:
    """A bundle of about that size: workloads of six cells, whose outputs are a little different in each class.

    brand: of its processor. seed: of its outputs.
    """
    made.a_store(folder / "store", brand=brand)
    store = Store.open(folder / "store")
    small = Run.model_validate(store.run("m"))
    host, random = made.processor(brand), np.random.default_rng(seed)
    workloads = {}
    count = max(1, round(gigabytes * 2**30 / (classes * 4 * SIZE)))
    cells = []
    for number in range(count):
        name = f"w{number:03d}"
        told = {"formats": {}, "entry": None, "command": [name], "files": {}, "inputs": None}
        workload = digests.of_json(told)
        workloads[name] = {"name": name, **told, "facts": {}, "digest": workload}
        values = random.standard_normal(SIZE, np.float32)
        tensors = []
        for at in range(classes):
            values[random.integers(0, SIZE, 1000 * at)] *= np.float32(1 + 2**-20)
            path = folder / "new.npy"
            np.save(path, values)
            tensors.append(store.put_tensor(path.read_bytes()))
        for at, (stack, profile) in enumerate((stack, profile) for profile in made.PROFILES for stack in made.STACKS):
            tensor = tensors[at * classes // 6]
            factors = {**DEFAULTS, "architecture": "x86_64", "stack": stack, "profile": profile}
            causes = {
                "stack": stack_digest(stack_in(made.STACK.encode(), stack, stack), made.SITES[stack]),
                "platform": host.digest,
                "table": digests.of_bytes(made.table(profile).encode()),
                "workload": workload,
                "worker": digests.of_json("worker"),
            }
            digest = Cell(name, factors).digest(**causes, replicate=1)
            store.put(
                Record(
                    record=1,
                    digest=digest,
                    workload=name,
                    factors=factors,
                    replicate=1,
                    status="ok",
                    outputs=[Output(name="y", dtype="float32", shape=[SIZE], tensor=tensor)],
                    seconds=0.25,
                    causes=causes,
                    environment={
                        "engine": "memory",
                        "platform": host.facts(),
                        "site": made.SITES[stack],
                        "profile": {"profile": profile, "rung": "cpuid"},
                    },
                )
            )
            levels = {"stack": stack, "profile": profile}
            cells.append(RunCell(digest=digest, workload=name, factors=levels, replicate=1, reference=False))
    source = {**small.source, "workloads": [{"name": name, "command": [name]} for name in workloads]}
    run = small.model_copy(update={"cells": cells, "workloads": workloads, "source": source, "origins": {}})
    store.write_run("m", run.model_dump(mode="json"))
    create(store, "m", folder / "large.bundle.tar", folder / "cache", Options())
    shutil.rmtree(folder / "store")
    return folder / "large.bundle.tar"


def timed(command: list[str], **how) -> tuple[float, subprocess.CompletedProcess]:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    return time.perf_counter() - started, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--classes", type=int, default=2, choices=(1, 2, 3, 6), help="of each workload; 6 is the worst")
    parser.add_argument("--keep", type=Path, help="where to leave the bundle, to look closer")
    parser.add_argument("--folder", type=Path, help="where there is room for twice as much")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        path = large(Path(name), asked.gigabytes, asked.classes)
        size = path.stat().st_size / 2**30
        # Once for the page cache.
        timed(["sha256sum", str(path)])
        summed, _ = timed(["sha256sum", str(path)])
        listed = tar(path)
        verified, done = timed([*NUMDEV, "bundle", "verify", str(path)], env={**os.environ, "COLUMNS": "80"})
        peak = done.stderr.split()[-1]
        if asked.keep:
            shutil.move(path, asked.keep)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        print(
            f"{size:.2f} GiB in {asked.classes} classes: sha256sum {summed:.1f} s, tar {listed:.1f} s, numdev bundle verify {verified:.1f} s"
        )
        print(f"  {verified / (summed + listed):.2f} times sha256sum and tar (at most 2); {peak} MiB (at most 300)")


def tar(path: Path) -> float:
    """Reading all members by tar, into nothing."""
    started = time.perf_counter()
    with open(os.devnull, "wb") as nothing:
        subprocess.run(["tar", "-xOf", str(path)], stdout=nothing, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
