"""Declared workloads: what is accepted, and that every mistake is named with its place."""

from __future__ import annotations

import pytest

from numdev.errors import InvalidInput
from numdev.spec.workload import DeclaredWorkload, parse_workload

WHERE = "m.yaml: workloads.0"
IMAGES = {"images": ["a.png"], "preprocess": {"input": "x", "size": [32, 24]}}


def problems(value) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_workload(value, WHERE)
    assert caught.value.problems
    assert all(problem.where.startswith(WHERE) for problem in caught.value.problems)
    return str(caught.value)


def test_a_word_is_a_builtin():
    assert parse_workload("cnn-small", WHERE) == DeclaredWorkload(name="cnn-small", builtin="cnn-small")


@pytest.mark.parametrize("value", ["", "model.onnx", "models/a", "Cnn", "-x", "a" * 65, "a b", "a\n"])
def test_another_word_is_explained(value):
    assert "name: ..., model: ..." in problems(value)


@pytest.mark.parametrize(
    ("model", "format"),
    [("a.onnx", "onnx"), ("a.pt", "torchscript"), ("a.pt2", "export"), ("a.npz", "net"), ("dir/a.b.onnx", "onnx")],
)
def test_the_ending_says_the_format(model, format):
    declared = parse_workload({"name": "a", "model": model, "inputs": "x.npz"}, WHERE)
    assert declared.model_format == format


def test_a_given_format_wins():
    declared = parse_workload({"name": "a", "model": "a.bin", "format": "export", "inputs": "x.npz"}, WHERE)
    assert declared.model_format == "export"


@pytest.mark.parametrize(
    "value",
    [
        {"module": "mine.py:run"},
        {"module": "package.module:run", "inputs": "x.npz", "files": ["data.txt"]},
        {"command": ["python3", "x.py"], "files": ["x.py"]},
        {"model": "a.onnx", **IMAGES, "labels": ["cat", "dog"]},
        {"model": "a.onnx", **IMAGES, "labels": "labels.txt"},
    ],
)
def test_own_workloads(value):
    assert parse_workload({"name": "own", **value}, WHERE).name == "own"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "exactly one of"),
        ({"model": "a.onnx", "builtin": "b", "inputs": "x.npz"}, "exactly one of"),
        ({"builtin": "b", "inputs": "x.npz"}, "brings its own inputs"),
        ({"builtin": "b", "labels": ["x"]}, "brings its own inputs"),
        ({"builtin": ""}, "builtin"),
        ({"builtin": "b", "format": "onnx"}, "format belongs to a model"),
        ({"model": "a.onnx"}, "needs inputs or images"),
        ({"model": "a.bin", "inputs": "x.npz"}, "give `format`"),
        ({"model": "a.onnx", "format": "caffe", "inputs": "x.npz"}, "format"),
        ({"model": "a.onnx", "inputs": "x.npz", **IMAGES}, "exclude each other"),
        ({"model": "a.onnx", "images": ["a.png"]}, "belong together"),
        ({"model": "a.onnx", "images": []}, "images"),
        ({"model": "a.onnx", "inputs": "x.npz", "preprocess": IMAGES["preprocess"]}, "belong together"),
        ({"module": "mine.py"}, "module must be"),
        ({"module": "mine.py:run()"}, "module must be"),
        ({"command": []}, "command"),
        ({"command": ["", "x"]}, "first word of command"),
        ({"command": "python x.py"}, "command"),
        ({"command": ["sleep", 1]}, 'put it in quotes: "..."'),
        ({"module": "a:b", "labels": [0, 180]}, "put it in quotes"),
        ({"module": "a:b", "model_path": "x"}, "unknown key"),
        ({"module": "a:b", "name": "Über"}, "lower-case letters"),
        ({"module": "a:b", "name": 3}, "must be text"),
    ],
)
def test_mistakes(value, said):
    assert said in problems({"name": "own", **value})


def test_a_missing_name_and_an_unknown_key_are_told_at_once():
    text = problems({"model": "a.onnx", "inputs": "x.npz", "input": "y", "fromat": "onnx"})
    assert "name: missing" in text
    assert "input: unknown key" in text
    assert "fromat: unknown key" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": [0, 10]}, "from 1 to 16384"),
        ({"size": [10, 99999]}, "from 1 to 16384"),
        ({"size": [10]}, "size"),
        ({"size": "10x10"}, "size"),
        ({"mean": ["0.5", "0.5"]}, "mean must have one value or 3"),
        ({"channels": "gray", "std": ["1", "1", "1"]}, "std must have one value"),
        ({"std": ["0.0"]}, "std must not be zero"),
        ({"mean": ["1e-3"]}, "decimal numbers as text"),
        ({"mean": ["nan"]}, "decimal numbers as text"),
        ({"mean": [1]}, "put it in quotes"),
        ({"scale": "1/0"}, "scale"),
        ({"scale": "2"}, "scale"),
        ({"layout": "hwc"}, "layout"),
        ({"resize": "lanczos"}, "resize"),
        ({"crop": True}, "unknown key"),
    ],
)
def test_mistakes_in_preprocess(change, said):
    declared = {"name": "own", "model": "a.onnx", **IMAGES, "preprocess": {**IMAGES["preprocess"], **change}}
    assert said in problems(declared)


def test_several_mistakes_in_preprocess_are_told_at_once():
    change = {"size": [0, 0], "mean": ["a"], "std": ["0"]}
    text = problems({"name": "own", "model": "a.onnx", **IMAGES, "preprocess": {**IMAGES["preprocess"], **change}})
    assert "size" in text
    assert "mean" in text
    assert "std" in text
