"""The worker runs on CPython 3.9, and imports nothing of the orchestrator."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import numdev.worker

WORKER = Path(numdev.worker.__file__).parent
FILES = sorted(WORKER.rglob("*.py"))
ALLOWED = {"numpy", "onnx", "onnxruntime", "tensorflow", "torch", "threadpoolctl"} | sys.stdlib_module_names


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


def test_a_real_3_9_compiles_and_imports_it(tmp_path):
    python = shutil.which("python3.9")
    works = python and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    if not works:
        pytest.skip("there is no CPython 3.9 here")
    shutil.copytree(WORKER, tmp_path / "numdev_worker", ignore=shutil.ignore_patterns("__pycache__"))
    plain = ("formats", "job", "cpuid", "launcher", "tracing", "supervisor")
    code = "; ".join(f"import numdev_worker.{name}" for name in plain)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for command in (["-m", "compileall", "-q", str(tmp_path)], ["-c", code]):
        done = subprocess.run([python, *command], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
