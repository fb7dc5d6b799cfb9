"""Which stacks `numdev images build` takes where none is named."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from numdev.cli import app, images

IMAGES = Path(__file__).resolve().parents[2] / "images"


def test_stacks_for_gpus_are_built_where_they_are_named(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(images, "_write", lambda stack, archive, cache: written.append(stack.name))
    arguments = ["images", "build", "--images", str(IMAGES), "--archive", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "torch-2.13" in written
    assert not [name for name in written if "cuda" in name]
    assert "torch-cuda-2.9, torch-cuda-2.9-cudnn-9.14: left out" in done.output
    written.clear()
    assert CliRunner().invoke(app, [*arguments, "torch-cuda-2.9"]).exit_code == 0
    assert written == ["torch-cuda-2.9"]
