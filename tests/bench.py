"""`make bench`: how fast numdev is, as ratios measured in one run on one machine."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from numdev import cpu, digests, files
from numdev.engines import choose_engine
from numdev.engines.local import interpreter
from numdev.spec.matrix import load_matrix
from numdev.spec.stack import load_stack
from numdev.stacks import finder, known_site, site_for
from numdev.store import Record, Store
from numdev.worker import launcher
from numdev.worker.cpuid import Table
from numdev.workloads import prepare

ROOT = Path(__file__).resolve().parents[1]
NUMDEV = [sys.executable, "-m", "numdev"]
PAIRS = 15


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


def launcher_speed() -> None:
    """What showing a profile costs: numpy of a stack, bare and under a table that changes nothing."""
    host = cpu.host()
    if host.refusal and host.rewriting:
        row("start-up and steady state under a profile", "not measured", host.rewriting)
        return
    cache = files.cache_dir()
    stack = load_stack(ROOT / "images", "numpy-2.4")
    site = site_for(stack, cache, print)
    rewritten = host.refusal != ""
    how = "rewriting CPUID" if rewritten else "CPUID faulting"
    table = cpu.replica(rewritten)
    find = finder(cache, print)
    plain = {"PYTHONPATH": f"{site.path}:{ROOT}", "OPENBLAS_NUM_THREADS": "1"}
    python = [interpreter(stack.python), "-S", "-B", "-c"]

    def show(argv: list[str]) -> None:
        if launcher.run(table, argv, plain, find=find):
            sys.exit(f"{argv} does not run under the launcher")

    program = [*python, "import numpy"]
    show(program)
    extra = [
        timed(lambda: show(program)) - timed(lambda: subprocess.run(program, env=plain, check=True))
        for _ in range(PAIRS)
    ]
    row(f"start-up added by {how} (median of pairs)", f"{statistics.median(extra):.3f} s", "under 0.10 s")
    row("CPUID answered in one second", f"{answers(table, show, python):,.0f}", "10,000 or more")
    code = """
import os, sys, time, numpy
a = numpy.ones((400, 400), numpy.float32)
for _ in range(20): a @ a
times = []
for _ in range(300):
    started = time.perf_counter(); a @ a; times.append(time.perf_counter() - started)
os.write(int(sys.argv[1]), str(sorted(times)[150]).encode())
"""
    ratios = []
    for pair in range(PAIRS):
        medians = {}
        # Turn about, for a machine that gets slower or faster meanwhile must not look like an effect.
        for under in (False, True) if pair % 2 else (True, False):
            reading, writing = os.pipe()
            os.set_inheritable(writing, True)
            argv = [*python, code, str(writing)]
            if under:
                show(argv)
            else:
                subprocess.run(argv, env=plain, check=True, close_fds=False)
            medians[under] = float(os.read(reading, 100))
            os.close(reading)
            os.close(writing)
        ratios.append(medians[True] / medians[False])
    row(f"steady state under {how} (ratio of medians)", f"{statistics.median(ratios):.3f} x", "within 1 %")
    emulator_speed(python, code, plain)


def answers(table: Table, show: Callable[[list[str]], None], python: list[str]) -> float:
    """The rate for one thread that does nothing but ask, leaf 1 above all, whose answer depends on the core."""
    code = f"""
import os, sys, time
from numdev.worker.cpuid import Cpuid
cpuid = Cpuid({table.instruction!r})
started = time.perf_counter()
for _ in range(5000): cpuid(1); cpuid(7)
os.write(int(sys.argv[1]), str(10000 / (time.perf_counter() - started)).encode())
"""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    show([*python, code, str(writing)])
    os.close(writing)
    with open(reading) as file:
        return float(file.read())


def emulator_speed(python: list[str], code: str, environment: dict[str, str]) -> None:
    """What users gain: the same matrix products in QEMU's user mode, against the bare processor."""
    emulator = shutil.which("qemu-x86_64-static")
    if emulator is None:
        row("the same under QEMU", "not measured", "there is no qemu-x86_64-static")
        return
    medians = []
    for command in (python, [emulator, "-cpu", "Haswell", *python]):
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        shorter = code.replace("range(300)", "range(5)").replace("[150]", "[2]").replace("range(20)", "range(1)")
        subprocess.run([*command, shorter, str(writing)], env=environment, check=True, close_fds=False)
        os.close(writing)
        with open(reading) as file:
            medians.append(float(file.read()))
    row("the same under QEMU's Haswell", f"{medians[1] / medians[0]:.0f} x", "for comparison")


ANALYSIS = """
import hashlib, resource, sys, time
import numpy as np
from numdev.analysis.design import design
from numdev.analysis.indices import indices
from numdev.analysis.minimal import minimal
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
print(found.cells, found.kinds, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def analysis_speed() -> None:
    """Classes, minimal sets, and all indices of ten factors by both distances, from the digests of outputs."""
    for gaps, what in (("0", "complete"), ("0.03", "3 % missing")):
        done = subprocess.run([sys.executable, "-c", ANALYSIS, gaps], capture_output=True, text=True, check=True)
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


def main() -> None:
    print(f"{cpu.host().brand}, {os.cpu_count()} processors")
    analysis_speed()
    store_speed()
    rebuild_speed()
    matrix_speed()
    launcher_speed()


if __name__ == "__main__":
    main()
