"""The architecture as docs/architecture.md draws it: who may import whom, and how large a file may grow."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "numdev"

# Each layer with those it may import from, beside itself.
BASE = ["errors", "digests", "files"]
LAYERS = {
    "errors": [],
    "digests": [],
    "files": ["errors"],
    "worker": [],
    "spec": [*BASE, "worker.formats"],
    "cpu": [*BASE, "spec", "worker"],
    "stacks": [*BASE, "spec", "worker"],
    "workloads": [*BASE, "spec", "stacks"],
    "store": [*BASE, "spec"],
    "engines": [*BASE, "spec", "stacks", "store.record", "worker"],
    "analysis": ["digests"],
    "report": ["analysis"],
    "run": [*BASE, "spec", "cpu", "stacks", "workloads", "store", "engines", "analysis", "worker"],
    "imports": [*BASE, "spec", "cpu", "store", "analysis", "run.runfile"],
    "bundle": [
        *BASE,
        "spec",
        "cpu",
        "stacks",
        "workloads",
        "store",
        "engines",
        "analysis",
        "report",
        "run",
        "worker",
        "__version__",
    ],
    "cli": None,
    "__main__": None,
    "__init__": [],
}
LINES = 420
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, inside functions too."""
    found = set()
    package = ["numdev", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (start, node.module or "") if part)
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_reaches_backwards(path):
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    allowed = LAYERS[layer]
    for name in imports(path):
        if not name.startswith("numdev.") or allowed is None or name == "numdev.__version__":
            continue
        inner = name.removeprefix("numdev.")
        if inner.split(".")[0] == layer:
            continue
        assert any(f"{inner}.".startswith(f"{one}.") for one in allowed), f"{layer} imports {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "worker").rglob("*.py")), ids=lambda path: path.name)
def test_the_worker_stands_alone(path):
    own = {"ai_edge_litert", "jax", "numpy", "onnxruntime", "openvino", "tensorflow", "torch", "onnx", "threadpoolctl"}
    for name in imports(path):
        top = name.split(".")[0]
        assert name.startswith("numdev.worker") or top in own or top in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_one_module_knows_docker(path):
    if path != PACKAGE / "engines" / "docker.py":
        assert not any(name.split(".")[0] == "docker" for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= LINES
    assert "pickle" not in {name.split(".")[0] for name in imports(path)}
