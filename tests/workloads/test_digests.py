"""What makes a workload another workload, and what does not."""

import itertools

import numpy as np
import pytest
from PIL import Image

from numdev.spec.workload import DeclaredWorkload
from numdev.workloads import prepare

PREPROCESS = {"input": "x", "size": [4, 2]}
MODEL = {"model": "m.onnx", "inputs": "x.npz"}
DIFFERENT = {
    "onnx": MODEL,
    "net": {**MODEL, "format": "net"},
    "other model": {**MODEL, "model": "n.onnx"},
    "other inputs": {**MODEL, "inputs": "y.npz"},
    "other name of the input": {**MODEL, "inputs": "z.npz"},
    "with a file": {**MODEL, "files": ["a.txt"]},
    "the same under another name": {**MODEL, "files": ["same-as-a.txt"]},
    "module": {"module": "m.py:f"},
    "other function": {"module": "m.py:g"},
    "module with inputs": {"module": "m.py:f", "inputs": "x.npz"},
    "package": {"module": "m:f"},
    "command": {"command": ["m.py"]},
    "command with its file": {"command": ["m.py"], "files": ["m.py"]},
    "other argument": {"command": ["m.py", "f"]},
    "other split of arguments": {"command": ["m.py f"]},
    "images": {"model": "m.onnx", "images": ["i.png"], "preprocess": PREPROCESS},
    "images of another size": {"model": "m.onnx", "images": ["i.png"], "preprocess": {**PREPROCESS, "size": [2, 2]}},
    "two images": {"model": "m.onnx", "images": ["i.png", "i.png"], "preprocess": PREPROCESS},
    "another mean": {"model": "m.onnx", "images": ["i.png"], "preprocess": {**PREPROCESS, "mean": ["0.5"]}},
    "bgr": {"model": "m.onnx", "images": ["i.png"], "preprocess": {**PREPROCESS, "channels": "bgr"}},
}


@pytest.fixture
def digest(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"one")
    (tmp_path / "n.onnx").write_bytes(b"other")
    (tmp_path / "copy.onnx").write_bytes(b"one")
    np.savez(tmp_path / "x.npz", x=np.arange(3))
    np.savez(tmp_path / "y.npz", x=np.arange(4))
    np.savez(tmp_path / "z.npz", z=np.arange(3))
    (tmp_path / "m.py").write_text("def f(inputs): return inputs\n")
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "same-as-a.txt").write_text("text")
    Image.new("RGB", (9, 9), (10, 20, 30)).save(tmp_path / "i.png")
    Image.new("RGB", (9, 9), (10, 20, 30)).save(tmp_path / "j.bmp")

    def of(declared: dict) -> str:
        workload = DeclaredWorkload.model_validate({"name": "own", **declared})
        return prepare(workload, tmp_path, tmp_path / "cache", lambda line: None).digest

    return of


def test_every_cause_makes_another_workload(digest):
    found = {name: digest(declared) for name, declared in DIFFERENT.items()}
    same = [pair for pair in itertools.combinations(found, 2) if found[pair[0]] == found[pair[1]]]
    assert same == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MODEL, {**MODEL, "model": "copy.onnx"}),
        (MODEL, {**MODEL, "name": "other", "labels": ["a"]}),
        (MODEL, {**MODEL, "format": "onnx"}),
        ({"module": "m.py:f"}, {"module": "m.py:f", "files": ["m.py"]}),
        (DIFFERENT["images"], {**DIFFERENT["images"], "images": ["j.bmp"]}),
        (DIFFERENT["images"], {**DIFFERENT["images"], "preprocess": {**PREPROCESS, "scale": "1/255", "mean": ["0.0"]}}),
    ],
    ids=["copy", "names", "format", "module", "pixels", "defaults"],
)
def test_what_cannot_change_a_result_changes_nothing(digest, one, other):
    assert digest(one) == digest(other)


def test_the_digest_never_changes(digest):
    """Another one for the same workload makes its stored results worthless."""
    assert digest(MODEL) == "1b897af84a17eccdbace35c6123d604f0e189f3c84c22e85fa4ec8ee6e1021fc"
