"""The worker runs on every CPython from 3.9, and imports nothing of the orchestrator."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import numdev.worker
from numdev.engines import local
from numdev.errors import StackFailed
from numdev.worker.cpuid import EVERY_LEAF, Cpuid, Table

WORKER = Path(numdev.worker.__file__).parent
FILES = sorted(WORKER.rglob("*.py"))
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
FRAMEWORKS = {
    "ai_edge_litert",
    "jax",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorflow",
    "torch",
    "threadpoolctl",
}
ALLOWED = FRAMEWORKS | sys.stdlib_module_names


def test_there_are_files():
    assert {"cell.py", "supervisor.py", "zygote.py", "launcher.py", "onnxruntime_.py"} <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_python_3_9(file):
    tree = ast.parse(file.read_text(), str(file), feature_version=(3, 9))
    for node in ast.walk(tree):
        assert not isinstance(node, getattr(ast, "Match", ())), f"line {node.lineno}"
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            assert {name.partition(".")[0] for name in names} <= ALLOWED


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_annotations_are_not_evaluated(file):
    """`X | None` and the like fail on 3.9 where they are evaluated."""
    tree = ast.parse(file.read_text())
    if any(isinstance(node, (ast.FunctionDef, ast.AnnAssign)) for node in ast.walk(tree)):
        futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        assert any(alias.name == "annotations" for node in futures for alias in node.names)


# What a program under the launcher has to find, on each interpreter: its own state, threads, children, and the table.
CHECKS = """
import ctypes, faulthandler, os, signal, subprocess, sys, threading
from numdev_worker.cpuid import Cpuid, read_table
cpuid = Cpuid(read_table(sys.argv[1]).instruction)
faulthandler.enable()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
seen = [cpuid(0)[0]]
threads = [threading.Thread(target=lambda: seen.append(cpuid(0)[0])) for _ in range(64)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
assert seen == [0x16] * 65, seen
assert signal.SIGSEGV in signal.pthread_sigmask(signal.SIG_BLOCK, [])
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGSEGV])
code = "import sys; from numdev_worker.cpuid import *; sys.exit(Cpuid(read_table(sys.argv[1]).instruction)(0)[0])"
assert subprocess.run([sys.executable, "-S", "-c", code, sys.argv[1]]).returncode == 0x16
if os.fork() == 0:
    os._exit(cpuid(0)[0])
assert os.WEXITSTATUS(os.wait()[1]) == 0x16
assert cpuid(0x4E554D44)[0] == 1
print("all seen", flush=True)
ctypes.string_at(0)
"""


@pytest.fixture(params=VERSIONS)
def interpreter(request) -> str:
    """A CPython of this version, found as stacks find theirs."""
    try:
        return local.interpreter(request.param)
    except StackFailed as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture
def beside(tmp_path) -> dict[str, str]:
    """An environment in which the worker is there as jobs have it."""
    shutil.copytree(WORKER, tmp_path / "numdev_worker", ignore=shutil.ignore_patterns("__pycache__"))
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "error"}


def test_it_compiles_and_imports(tmp_path, interpreter, beside):
    plain = ("formats", "job", "cpuid", "launcher", "tracing", "supervisor")
    code = "; ".join(f"import numdev_worker.{name}" for name in plain)
    for command in (["-m", "compileall", "-q", str(tmp_path)], ["-c", code]):
        done = subprocess.run([interpreter, *command], capture_output=True, text=True, env=beside, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is an instruction of x86-64")
@pytest.mark.parametrize(
    "rewritten", [pytest.param(False, id="faulting", marks=pytest.mark.faulting), pytest.param(True, id="rewritten")]
)
def test_the_launcher_runs_on_it(tmp_path, interpreter, beside, rewritten):
    values = {(0, None): (0x16, *Cpuid()(0)[1:])}
    (tmp_path / "table").write_text(Table(values, {}, set(EVERY_LEAF) - {0}, rewritten).text())
    launch = ["-S", "-m", "numdev_worker.launcher", "--table", str(tmp_path / "table"), "--"]
    argv = [interpreter, *launch, interpreter, "-S", "-c", CHECKS, str(tmp_path / "table")]
    done = subprocess.run(argv, capture_output=True, text=True, env=beside, timeout=120, check=False)
    assert done.stdout == "all seen\n", done.stderr
    assert done.returncode == -signal.SIGSEGV, "a real crash stays one"
    assert "Fatal Python error: Segmentation fault" in done.stderr
    code = f"from numdev_worker import selftest; print(repr(selftest.check({rewritten})))"
    done = subprocess.run([interpreter, "-S", "-c", code], capture_output=True, text=True, env=beside, check=False)
    assert done.stdout == "''\n", done.stderr
