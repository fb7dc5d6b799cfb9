"""A convolution by an algorithm that is named, through torch: on the CPU, with a library that stands in for cuDNN."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from numdev.engines.local import interpreter
from numdev.run.jobfolder import copy_worker
from numdev.spec.stack import load_stack
from numdev.spec.workload import DeclaredWorkload
from numdev.stacks import site_for
from numdev.workloads import prepare

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import ctypes, sys
import torch
from numdev_worker import net, tensors
from numdev_worker.backends import torch_, torch_cuda_
library, model, inputs = sys.argv[1:]
description, arrays = net.load(model)
weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
given = {name: torch.from_numpy(array) for name, array in tensors.load_inputs(inputs).items()}
loaded = ctypes.CDLL(library)
mode = torch_cuda_._forcing(loaded, {"algorithm": "gemm", "tf32": "0"}, "float32")
with torch.inference_mode():
    plain = torch_._layers(description, weights, dict(given))
    with mode:
        forced = torch_._layers(description, weights, dict(given))
assert ctypes.c_int.in_dll(loaded, "last_algorithm").value == 2
for name, array in plain.items():
    assert abs(array - forced[name]).max() < 1e-5, name
    assert abs(array).max() > 0.01, name
assert any(plain[name].tobytes() != forced[name].tobytes() for name in plain)
"""


def test_every_convolution_of_a_network_is_forced(tmp_path, real_cache):
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    stub = (ROOT / "tests" / "worker" / "test_cudnn.py").read_text().partition('STUB = r"""')[2].partition('"""')[0]
    (tmp_path / "stub.c").write_text(stub)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", "libcudnn.so", "stub.c"], cwd=tmp_path, check=True)
    copy_worker(tmp_path / "numdev_worker")
    (tmp_path / "program.py").write_text(PROGRAM)
    stack = load_stack(ROOT / "images", "torch-2.13")
    site = site_for(stack, real_cache, lambda line: None).path
    declared = DeclaredWorkload(name="cnn-five", builtin="cnn-five")
    workload = prepare(declared, real_cache, real_cache, lambda line: None)
    files = [tmp_path / "libcudnn.so", workload.formats["net"].path, workload.inputs.path]
    command = [interpreter(stack.python), "-S", str(tmp_path / "program.py"), *map(str, files)]
    environment = {"PYTHONPATH": f"{tmp_path}:{site}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
