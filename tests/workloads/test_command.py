"""`numdev workload`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from numdev.cli.workload import app
from numdev.errors import InvalidInput
from numdev.spec import yamlfile
from numdev.spec.workload import DeclaredWorkload, Preprocess, parse_workload
from numdev.workloads import BUILTINS

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "workloads.md").read_text()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMDEV_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return call


def test_list_fits_a_terminal(run):
    lines = run("list").splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert {line.split()[0] for line in lines} >= set(BUILTINS)


def test_show(run):
    text = run("show", "cnn-five")
    assert "onnx" in text
    assert "net" in text
    data = json.loads(run("show", "cnn-five", "--json"))
    assert (data["name"], sorted(data["formats"])) == ("cnn-five", ["net", "onnx"])
    assert data["digest"] in text


def test_show_a_model_of_ones_own(run, tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"weights")
    text = run("show", "model.pt2")
    assert "export" in text
    assert "7 bytes" in text
    assert "digest" not in text


def test_fetch(run):
    assert run("fetch", "cnn-five", "matmul-integer").splitlines()[0].startswith("cnn-five: ")


@pytest.mark.parametrize("arguments", [("fetch", "a", "b"), ("show", "a"), ("show", "")])
def test_unknown_names_are_all_told(run, arguments):
    with pytest.raises(InvalidInput) as caught:
        run(*arguments)
    assert [problem.where for problem in caught.value.problems] == [repr(name) for name in arguments[1:]]
    assert "cnn-five" in caught.value.remedy


def test_show_a_missing_model(run):
    with pytest.raises(InvalidInput, match="does not exist"):
        run("show", "nothing.onnx")


def test_the_docs_example_is_valid():
    text = DOCS.split("```yaml\n")[1].split("```")[0]
    found = [parse_workload(value, "docs") for value in yamlfile.parse(text.encode(), "docs")["workloads"]]
    assert [workload.name for workload in found] == ["cnn-five", "detector", "classifier", "function", "pipeline"]


def test_the_docs_name_every_builtin_and_key():
    first = [line.split("|")[1] for line in DOCS.splitlines() if line.startswith("| `")]
    for name in (*BUILTINS, *Preprocess.model_fields):
        assert any(f"`{name}`" in column for column in first), name
    for key in DeclaredWorkload.model_fields:
        assert f"`{key}`" in DOCS or f"{key}:" in DOCS or f"### {key}" in DOCS, key
