"""A matrix with stacks, workloads and a host that can show every profile, all made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.cpu import Host
from numdev.cpu.features import FEATURES
from numdev.engines import Environment, MemoryEngine
from numdev.run import execute, plan, resolve, runfile
from numdev.run.resolve import Resolved
from numdev.spec.matrix import load_matrix
from numdev.store import Store

BASE = 'suite: bookworm\npython: "3.11"\nglibc: "2.36"\ninclude: [python3]\nepoch: 1704067200\n'
STACK = 'base: bookworm\npython: "3.11"\nbackend: {backend}\npins:\n  numpy: "2.0.0"\n'
LOCK = f"numpy==2.0.0 --hash=sha256:{'0' * 64}\n"
# A processor with every feature there is, which lets itself be hidden.
ALL = 0xFFFFFFFF
LEAVES = {(leaf, subleaf): (ALL,) * 4 for leaf, subleaf, _, _ in FEATURES.values()}
LEAVES[0x80000000, 0] = (0x80000021, 0, 0, 0)
LEAVES[0, 0] = (0x24, 0x756E6547, 0x6C65746E, 0x49656E69)


class Bench:
    """A folder with images, models and matrices, and everything from a matrix's text to its answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.cache = folder / "cache"
        self.host = Host(LEAVES, "")
        (self.images / "base").mkdir(parents=True)
        (self.images / "base" / "bookworm.yaml").write_text(BASE)
        for name, backend in {
            "ort-1": "onnxruntime",
            "ort-2": "onnxruntime",
            "np-1": "numpy",
            "ref": "reference",
        }.items():
            self.stack(name, backend)
        (folder / "model.onnx").write_bytes(b"only a container would read this")
        (folder / "mine.py").write_text("def function(inputs): return inputs\n")
        np.savez(folder / "x.npz", x=np.arange(6, dtype=np.float32).reshape(6, 1))

    def stack(self, name: str, backend: str) -> None:
        (self.images / name).mkdir()
        (self.images / name / "stack.yaml").write_text(STACK.format(backend=backend))
        (self.images / name / "requirements.lock").write_text(LOCK)

    def matrix(self, text: str, name: str = "m") -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(f"numdev: 1\n{text}")
        return path

    def resolve(self, text: str) -> Resolved:
        return resolve.resolve(load_matrix(self.matrix(text)), self.images, self.cache, lambda line: None)

    def environments(self, resolved: Resolved, engine) -> dict[str, Environment]:
        return resolve.environments(resolved, sorted(resolved.stacks), engine, lambda line: None)

    def store(self, name: str = "store") -> Store:
        return Store.open(self.folder / name, create=True)

    def run(self, text: str, engine: MemoryEngine, store: Store | None = None, jobs: int = 1, **options) -> Ran:
        """Resolves, plans, runs and describes a matrix."""
        resolved = self.resolve(text)
        made = self.environments(resolved, engine)
        store = store or self.store()
        planned = plan.make_plan(resolved, made, store, **options)
        started, ended = [], []
        progress = execute.Progress(started.append, lambda item, record: ended.append((item, record)))
        run = execute.Execution(resolved, engine, made, store, self.cache, progress)
        run.run(planned, jobs)
        described = runfile.make_run(resolved, planned, engine.facts())
        return Ran(resolved, planned, store, described, started, ended)


class Ran:
    def __init__(self, resolved, planned, store, described, started, ended) -> None:
        self.resolved, self.plan, self.store, self.run = resolved, planned, store, described
        self.started, self.ended = started, ended

    @property
    def answer(self):
        return runfile.answer_of(self.run, self.store)

    def statuses(self, key: Callable = lambda item: item.cell.label()) -> dict[str, str]:
        return {key(item): self.store.record(item.digest).status for item in self.plan.items}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    monkeypatch.setattr(cpu, "host", lambda: made.host)
    return made
