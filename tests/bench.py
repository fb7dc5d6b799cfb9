"""`make bench`: how fast numdev is, as ratios measured in one run on one machine."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from numdev import cpu, digests, files
from numdev.analysis.deviation import compare
from numdev.analysis.pairs import Pairs
from numdev.analysis.ulp import steps
from numdev.engines import choose_engine
from numdev.engines.local import interpreter
from numdev.spec.matrix import load_matrix
from numdev.spec.stack import load_stack
from numdev.stacks import finder, known_site, site_for
from numdev.store import Output, Record, Store
from numdev.worker import filter as filters
from numdev.worker import launcher, tracing
from numdev.worker.cpuid import Table
from numdev.workloads import prepare

ROOT = Path(__file__).resolve().parents[1]
NUMDEV = [sys.executable, "-m", "numdev"]
PAIRS = 15
POKEUSER = 6
TURNS = 5


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def row(what: str, figure: str, goal: str) -> None:
    print(f"{what:<52} {figure:>16}   {goal}", flush=True)


def bare_loop(matrix_file: Path) -> float:
    """Seconds for the matrix's inferences that this host can run, in one process a stack, without numdev's runner."""
    matrix = load_matrix(matrix_file)
    cache = files.cache_dir()
    jobs: dict[str, list[list[object]]] = {}
    for cell in matrix.cells:
        ready = prepare(matrix.workloads[cell.workload], matrix_file.parent, cache, print)
        options = [cell.factors[key] for key in ("threads", "optimization", "batch")]
        model, inputs = str(ready.formats["onnx"].path), str(ready.inputs.path) if ready.inputs else ""
        jobs.setdefault(cell.stack, []).append([model, inputs, *options])
    code = """
import json, sys, numpy as np, onnxruntime as ort
ort.set_default_logger_severity(3)
levels = {"off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL, "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL}
for model, inputs, threads, level, batch in json.load(sys.stdin):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.graph_optimization_level = threads, levels[level]
    given = {name: array[:batch] for name, array in np.load(inputs).items()}
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, given)
"""
    total = 0.0
    for name, some in jobs.items():
        stack = load_stack(ROOT / "images", name)
        site = known_site(stack, cache)
        assert site is not None
        environment = {"PYTHONPATH": str(site.path), "PATH": os.environ["PATH"]}
        command = [interpreter(stack.python), "-S", "-c", code]
        total += timed(
            lambda command=command, some=some, environment=environment: subprocess.run(
                command, input=json.dumps(some), text=True, env=environment, check=True
            )
        )
    return total


def matrix_speed() -> None:
    matrix_file = ROOT / "matrices" / "speed.yaml"
    engine, why = choose_engine("auto", files.cache_dir())
    if why:
        print(why)
    for name in load_matrix(matrix_file).factors["stack"]:
        engine.environment(load_stack(ROOT / "images", name), print)
    cells, seconds, runs = 0, 0.0, 0
    # A host that cannot show profiles runs `host` as often as there are profiles, so that the figures compare.
    while cells < len(load_matrix(matrix_file).cells):
        with tempfile.TemporaryDirectory() as folder:
            command = [*NUMDEV, "matrix", "run", str(matrix_file), "-j", "2", "-s", f"{folder}/store", "--json"]
            started = time.perf_counter()
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            seconds += time.perf_counter() - started
        if done.returncode not in (0, 4):
            sys.exit(done.stderr)
        cells += sum(sum(one["cells"].values()) for one in json.loads(done.stdout)["workloads"])
        runs += 1
    bare = bare_loop(matrix_file) * cells / len(load_matrix(matrix_file).cells)
    row(f"{cells} cells on the {engine.name} engine, {runs} runs", f"{seconds:.1f} s", "480 within 60 s")
    row("  as a ratio to the same inferences in a bare loop", f"{seconds / bare:.1f} x", f"bare: {bare:.1f} s")


def rebuild_speed() -> None:
    command = [*NUMDEV, "images", "build"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    seconds = timed(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, check=False))
    row("rebuilding an unchanged image set", f"{seconds:.2f} s", "under 2 s")


# Does nothing but ask: `sys.argv[2]` times leaf 1, the dearest, for its answer depends on the processor it is asked on.
ASKING = """
import ctypes, mmap, os, sys, time
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("53 4189f8 89f0 31c9") + INSTRUCTION + bytes.fromhex("41ffc8 75f5 5b c3"))
ask = ctypes.CFUNCTYPE(None, ctypes.c_uint, ctypes.c_uint)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
count = int(sys.argv[2])
started = time.perf_counter(); ask(count, 1)
os.write(int(sys.argv[1]), str(count / (time.perf_counter() - started)).encode())
"""
PRODUCTS = """
import os, sys, time, numpy
count = int(sys.argv[2])
a = numpy.ones((400, 400), numpy.float32)
for _ in range(1 + count // 15): a @ a
times = []
for _ in range(count):
    started = time.perf_counter(); a @ a; times.append(time.perf_counter() - started)
os.write(int(sys.argv[1]), str(sorted(times)[count // 2]).encode())
"""
Show = Callable[[list[str]], None]


def told(show: Show, python: list[str], code: str, count: int) -> float:
    """The number that a program says."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    show([*python, code, str(writing), str(count)])
    os.close(writing)
    with open(reading) as file:
        return float(file.read())


def launcher_speed() -> None:
    """What showing a profile costs, in both ways: numpy of a stack, bare, under a table that changes nothing, and in QEMU."""
    host = cpu.host()
    cache = files.cache_dir()
    stack = load_stack(ROOT / "images", "numpy-2.4")
    site = site_for(stack, cache, print)
    find = finder(cache, print)
    plain = {"PYTHONPATH": f"{site.path}:{ROOT}", "OPENBLAS_NUM_THREADS": "1"}
    python = [interpreter(stack.python), "-S", "-B", "-c"]

    def bare(argv: list[str]) -> None:
        subprocess.run(argv, env=plain, check=True, close_fds=False)

    def under(table: Table) -> Show:
        def show(argv: list[str]) -> None:
            if launcher.run(table, argv, plain, find=find):
                sys.exit(f"{argv} does not run under the launcher")

        return show

    for how, refused, rewritten in (
        ("CPUID faulting", host.refusal, False),
        ("rewriting CPUID", host.rewriting, True),
    ):
        if refused:
            row(f"under a profile by {how}", "not measured", refused)
            continue
        table = cpu.replica(rewritten)
        least = floor(table.instruction)
        rate = told(under(table), python, asking(table.instruction), 20000)
        added, ratio = costs(bare, under(table), python, PAIRS, 300)
        row(f"start-up added by {how} (median of pairs)", f"{added:.3f} s", "under 0.10 s")
        row("  steady state (median ratio of pairs)", f"{ratio:.3f} x", "within 1 %")
        row("  CPUID answered in one second, all of leaf 1", f"{rate:,.0f}", "10,000 or more")
        row("  as a ratio to a tracer that only steps over them", f"{least / rate:.1f} x", f"that one: {least:,.0f}")
    emulator = shutil.which("qemu-x86_64-static")
    if emulator is None:
        row("the same under QEMU", "not measured", "there is no qemu-x86_64-static")
        return

    def emulated(argv: list[str]) -> None:
        # It warns of each feature that it lacks.
        command = [emulator, "-cpu", "Haswell", *argv]
        subprocess.run(command, env=plain, check=True, close_fds=False, stderr=subprocess.DEVNULL)

    added, ratio = costs(bare, emulated, python, 3, 3)
    row("start-up added by QEMU's Haswell (median of pairs)", f"{added:.3f} s", "for comparison")
    row("  steady state (median ratio of pairs)", f"{ratio:.0f} x", "for comparison")
    rate = told(emulated, python, asking(b"\x0f\xa2"), 20000)
    row("  CPUID answered in one second, all of leaf 1", f"{rate:,.0f}", "for comparison")


def asking(instruction: bytes) -> str:
    return ASKING.replace("INSTRUCTION", repr(instruction))


def costs(bare: Show, show: Show, python: list[str], pairs: int, count: int) -> tuple[float, float]:
    """Seconds added at start-up, and the ratio of steady states; medians of pairs."""
    program = [*python, "import numpy"]
    show(program)
    added, ratios = [], []
    for pair in range(pairs):
        # Turn about, for a machine that gets slower or faster meanwhile must not look like an effect.
        turns = (bare, show) if pair % 2 else (show, bare)
        seconds = {one: timed(lambda one=one: one(program)) for one in turns}
        added.append(seconds[show] - seconds[bare])
        medians = {one: told(one, python, PRODUCTS, count) for one in turns}
        ratios.append(medians[show] / medians[bare])
    return statistics.median(added), statistics.median(ratios)


def floor(instruction: bytes) -> float:
    """How often in one second a tracer in Python can be told of a CPUID and step over it, without an answer."""
    child = os.fork()
    if child == 0:
        _, writing = os.pipe()
        os.kill(os.getpid(), signal.SIGSTOP)
        # The call that makes CPUID fault; where the instruction is a trap, it is without effect.
        ctypes.CDLL(None).syscall(filters.ARCH_PRCTL, filters.ARCH_SET_CPUID, 0)
        sys.argv = ["", str(writing), str(1 << 30)]
        exec(asking(instruction), {})
    os.waitpid(child, os.WUNTRACED)
    tracing.seize(child)
    os.kill(child, signal.SIGCONT)
    faults, started, beyond = 0, 0.0, 0
    while faults < 20000:
        _, status = os.waitpid(child, 0)
        if status >> 8 == signal.SIGSEGV:
            if not beyond:
                started, beyond = time.perf_counter(), tracing.registers(child).rip + 2
            faults += 1
            tracing.ptrace(POKEUSER, child, tracing.Registers.rip.offset, ctypes.c_void_p(beyond))
        tracing.resume(child)
    seconds = time.perf_counter() - started
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return faults / seconds


def ulp_speed() -> None:
    """ULP distances of two 1 GiB float32 tensors against numpy.array_equal on the same two; the fastest of turns."""
    size = 1 << 28
    generator = np.random.default_rng(0)
    one = generator.standard_normal(size, dtype=np.float32)
    kinds = {
        "equal": lambda: one.copy(),
        "up to 3 ulp apart": lambda: (one.view(np.int32) + generator.integers(-3, 4, size, np.int32)).view(np.float32),
        "apart by noise of 1e-6": lambda: one + generator.standard_normal(size, dtype=np.float32) * np.float32(1e-6),
        "unrelated": lambda: generator.standard_normal(size, dtype=np.float32),
    }
    for kind, made in kinds.items():
        other = made()
        turns = [
            [
                timed(run)
                for run in (
                    lambda other=other: np.array_equal(one, other),
                    lambda other=other: steps(Pairs(one, other), histogram=False),
                    lambda other=other: steps(Pairs(one, other)),
                )
            ]
            for _ in range(TURNS)
        ]
        equal, bare, full = (min(times) for times in zip(*turns, strict=True))
        row(f"ULP of two 1 GiB tensors, {kind}", f"{bare / equal:.1f} x", f"3 x of array_equal: {equal:.2f} s")
        row("  with their histogram", f"{full / equal:.1f} x", "")
    some = size // 16
    noisy = one[:some] + generator.standard_normal(some, dtype=np.float32) * np.float32(1e-6)
    whole = timed(lambda: compare(noisy, one[:some])) * 16
    row("all sizes with exact quantiles, apart by noise", f"{whole:.0f} s a GiB", f"array_equal: {equal:.2f} s")
    tracemalloc.start()
    compare(noisy, one[:some])
    row("  memory taken for that", f"{tracemalloc.get_traced_memory()[1] / 2**20:.0f} MiB", "whatever the size")
    tracemalloc.stop()


# Where programs in a process of their own find peak.py.
PEAK = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}

ANALYSIS = """
import hashlib, sys, time
import numpy as np
from numdev.analysis.design import design
from numdev.analysis.indices import indices
from numdev.analysis.minimal import minimal
from peak import peak
levels = np.indices((4,) * 10, dtype=np.int8).reshape(10, -1)
kinds = levels[0].astype(int) * 64 + levels[3] * 16 + levels[5] * 4 + (levels[1] > 1) * levels[7]
digests = np.array([hashlib.sha256(b"%d" % kind).digest() for kind in range(256)])
outcomes = digests[kinds]
kept = np.random.default_rng(0).random(len(kinds)) > float(sys.argv[1])
columns = {f"factor{n}": column[kept] for n, column in enumerate(levels)}
outcomes = outcomes[kept]
points = np.random.default_rng(0).normal(size=(256, 3))
started = time.perf_counter()
found = design(columns, outcomes)
sets = minimal(found)
by_class = indices(found)
squares = np.square(points[:, None] - points[None]).sum(-1)[: found.kinds, : found.kinds]
by_size = indices(found, squares)
seconds = time.perf_counter() - started
assert sets.core == ("factor0", "factor1", "factor3", "factor5", "factor7"), sets
assert by_class.by["factor0"].shapley and by_size.by["factor0"].shapley
print(found.cells, found.kinds, seconds, peak())
"""


def analysis_speed() -> None:
    """Classes, minimal sets, and all indices of ten factors by both distances, from the digests of outputs."""
    for gaps, what in (("0", "complete"), ("0.03", "3 % missing")):
        done = subprocess.run(
            [sys.executable, "-c", ANALYSIS, gaps], env=PEAK, capture_output=True, text=True, check=True
        )
        cells, _, seconds, memory = map(float, done.stdout.split())
        row(f"{cells:,.0f} cells, ten factors, {what}", f"{seconds:.1f} s", f"10 s, 1 GiB: {memory:.0f} MiB")


def store_speed(count: int = 100_000) -> None:
    """A store of many records: opened, read from its files, and read again by its index."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        Store.open(folder, create=True)
        for number in range(count):
            digest = digests.of_json(number)
            factors = {"stack": "s", "threads": number}
            made = Record(record=1, digest=digest, workload="w", factors=factors, replicate=1, status="failed")
            data = made.json_data()
            path = folder / "records" / digest[:2] / f"{digest}-1.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**data, "sha256": digests.of_json(data)}))
        time.sleep(3)
        row(f"opening a store of {count:,} records", f"{timed(lambda: Store.open(folder)):.2f} s", "no file is read")
        first = timed(lambda: list(Store.open(folder).records()))
        second = timed(lambda: list(Store.open(folder).records()))
        row("  reading all of them, by files and by the index", f"{first:.1f} s, {second:.1f} s", "the index is faster")


# Seconds and the most memory of one process that makes a bundle.
BUNDLING = """
import sys, time
from pathlib import Path
from numdev.bundle.create import Options, create
from numdev.store import Store
from peak import peak
folder = Path(sys.argv[1])
started = time.perf_counter()
create(Store.open(folder / "store"), "bench", folder / "bench.bundle.tar", folder / "cache", Options())
seconds = time.perf_counter() - started
print(seconds, peak())
"""


def many_outputs(folder: Path, size: int, workloads: int = 8, classes: int = 4) -> Store:
    """A store with the run `bench`: outputs of `size` bytes together, of workloads with some classes each; a hundredth of their numbers differs."""
    store = Store.open(folder, create=True)
    numbers = np.random.default_rng(0).normal(size=max(1, size // (workloads * classes) // 4)).astype(np.float32)
    levels = [str(number + 1) for number in range(classes)]
    asked = []
    for workload in range(workloads):
        for level in levels:
            changed = numbers + np.float32(workload)
            changed[int(level) :: 100] *= np.float32(1 + 1e-6 * int(level))
            path = folder / "new.npy"
            np.save(path, changed)
            tensor = store.put_tensor(path.read_bytes())
            path.unlink()
            cell = {
                "workload": f"w{workload}",
                "factors": {"stack": "s", "profile": "host", "threads": level},
                "replicate": 1,
            }
            digest = digests.of_json(cell)
            output = Output(name="y", dtype="float32", shape=[len(numbers)], tensor=tensor)
            causes = {"workload": digests.of_json(workload)}
            store.put(Record(record=1, digest=digest, **cell, status="ok", outputs=[output], causes=causes))
            asked.append({"digest": digest, **cell, "reference": False})
    factors = {"stack": ["s"], "profile": ["host"], "threads": levels}
    run = {"run": 1, "matrix": "bench", "engine": {}, "factors": factors, "order": list(factors), "labels": {}}
    run |= {"baseline": {key: some[0] for key, some in factors.items()}, "profiles": {}, "refused": {}}
    named = {f"w{number}": {"name": f"w{number}"} for number in range(workloads)}
    store.write_run("bench", run | {"workloads": named, "cells": asked, "made": "2026-01-31"})
    return store


def bundle_speed() -> None:
    """A bundle beside what any tool would need for the same data. `NUMDEV_BENCH_MIB=5120` says how much that is."""
    size = int(os.environ.get("NUMDEV_BENCH_MIB", "1024"))
    with tempfile.TemporaryDirectory(dir=os.environ.get("NUMDEV_BENCH_DIR")) as name:
        folder = Path(name)
        tensors = many_outputs(folder / "store", size << 20).folder / "tensors"
        files_ = sorted(str(path) for path in tensors.rglob("*.npy"))
        tarred = ["tar", "-cf", str(folder / "plain.tar"), "-C", str(tensors), "."]
        turns: list[tuple[float, float, float]] = []
        for _ in range(3):
            summed = timed(lambda: subprocess.run(["sha256sum", *files_], check=True, stdout=subprocess.DEVNULL))
            packed = timed(lambda: subprocess.run(tarred, check=True))
            command = [sys.executable, "-c", BUNDLING, str(folder)]
            done = subprocess.run(command, env=PEAK, capture_output=True, text=True, check=True, cwd=ROOT)
            seconds, memory = map(float, done.stdout.split())
            turns.append((seconds / (summed + packed), seconds, memory))
        ratio, seconds, memory = sorted(turns)[1]
        row(f"a bundle of {size:,} MiB of outputs, to sha256sum + tar", f"{ratio:.2f} x", f"2 x: {seconds:.1f} s")
        row("  memory taken for that", f"{max(turn[2] for turn in turns):.0f} MiB", "300, whatever the size")


def main() -> None:
    """`bench.py launcher` measures that alone."""
    print(f"{cpu.host().brand}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    parts = {
        "analysis": analysis_speed,
        "store": store_speed,
        "rebuild": rebuild_speed,
        "matrix": matrix_speed,
        "launcher": launcher_speed,
        "ulp": ulp_speed,
        "bundle": bundle_speed,
    }
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
