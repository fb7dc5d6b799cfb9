"""The command line run in this process, in a folder with stacks and a matrix that a memory engine runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from numdev import cli
from numdev.cli import matrix as matrix_commands
from numdev.engines import MemoryEngine, Played
from numdev.worker import launcher

BASE = 'suite: bookworm\npython: "3.11"\nglibc: "2.36"\ninclude: [python3]\nepoch: 1704067200\n'
STACK = 'base: bookworm\npython: "3.11"\nbackend: onnxruntime\npins: {tiny: "1.0"}\n'
MATRIX = "numdev: 1\nfactors: {stack: [one, two]}\nworkloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"


@dataclass(frozen=True)
class Done:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def numdev(monkeypatch, capsys) -> Callable[..., Done]:
    """Runs `numdev ARGUMENTS`; what is no exit (a traceback for the user) is raised here as well."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["numdev", *map(str, arguments)])
        monkeypatch.setattr(launcher, "end_as", lambda status: sys.exit(os.waitstatus_to_exitcode(status)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Done(ended.value.code or 0, said.out, said.err)

    return run


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """A working folder with images/, m.yaml, and what it names; NUMDEV_CACHE in it, and no Docker engine."""
    for name in ("one", "two"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        (folder / "stack.yaml").write_text(STACK)
        (folder / "requirements.lock").write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    (tmp_path / "images" / "base").mkdir()
    (tmp_path / "images" / "base" / "bookworm.yaml").write_text(BASE)
    (tmp_path / "m.yaml").write_text(MATRIX)
    (tmp_path / "model.onnx").write_bytes(b"only a framework would read this")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 1), np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMDEV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    return tmp_path


@pytest.fixture
def plays(place, monkeypatch) -> Callable:
    """Has `matrix` run on a memory engine with the given player; gives the engines that were opened."""

    def use(player=lambda stack, cell, table: Played({"y": np.zeros(3, np.float32)})) -> list[MemoryEngine]:
        opened: list[MemoryEngine] = []

        def choose(name, cache):
            opened.append(MemoryEngine(player))
            return opened[-1], ""

        monkeypatch.setattr(matrix_commands, "choose_engine", choose)
        return opened

    return use
