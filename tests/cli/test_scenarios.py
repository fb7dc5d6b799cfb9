"""Scenarios that users ask for, on real frameworks: what `analyze` must say of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.errors import ProfileRefused

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.network, pytest.mark.frameworks]


def analysed(folder: Path, matrix: str) -> dict:
    """The only workload's analysis after a run on the local engine."""
    (folder / "m.yaml").write_text(f"numdev: 1\n{matrix}")
    store = ["-s", str(folder / "store")]
    for command in (
        ["matrix", "run", str(folder / "m.yaml"), "-e", "local", "--images", "images"],
        ["analyze", "--json"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "numdev", *command, *store],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["workloads"]
    return one


def quantised_convolution(path: Path) -> None:
    """QDQ(Conv) of u8 and s8 whose products are too large for AVX2's 16-bit sums (onnxruntime#5849)."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, numpy_helper

    make, rng = onnx.helper, np.random.default_rng(0)
    constants = {
        "xs": np.float32(0.02), "xz": np.uint8(0), "ws": np.float32(0.01), "wz": np.int8(0), "ys": np.float32(1),
        "yz": np.uint8(128), "wq": rng.integers(-128, 128, (8, 16, 3, 3)).astype(np.int8),
    }  # fmt: skip
    nodes = [
        make.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        make.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        make.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"]),
        make.make_node("Conv", ["xd", "wd"], ["c"], kernel_shape=[3, 3]),
        make.make_node("QuantizeLinear", ["c", "ys", "yz"], ["cq"]),
        make.make_node("DequantizeLinear", ["cq", "ys", "yz"], ["y"]),
    ]
    graph = make.make_graph(
        nodes,
        "s3",
        [make.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16, 12, 12])],
        [make.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8), path / "m.onnx")
    np.savez(path / "x.npz", x=(rng.integers(0, 256, (4, 16, 12, 12)) * 0.02).astype(np.float32))


def test_s3_follows_from_cpu_and_optimisation_together(tmp_path):
    for name in ("x86-64-v2", "x86-64-v3"):
        try:
            cpu.shown(name, cpu.host(), cpu.BEST)
        except ProfileRefused as error:
            pytest.skip(error.why)
    quantised_convolution(tmp_path)
    one = analysed(
        tmp_path,
        """
enforce: best
factors:
  stack: [onnxruntime-1.17, onnxruntime-1.32]
  profile: [x86-64-v2, x86-64-v3]
  optimization: [all, "off"]
  threads: [1, 2]
  batch: [1, 4]
workloads: [{name: s3, model: m.onnx, inputs: x.npz}]
repeats: 2
""",
    )
    assert len(one["classes"]) == 2
    assert one["sufficient"]["sets"] == [["profile", "optimization"]]
    assert one["group_sets"] == [["software", "dispatch"]]
    for name in ("stack", "threads", "batch"):
        assert one["factors"][name]["status"] == "no effect"
        assert one["factors"][name]["total"] == one["factors"][name]["alone"] == 0


def test_s15_a_race_is_noise(tmp_path):
    """Every twentieth inference of one process gives another bit; a factor that has nothing to do with it is not named."""
    (tmp_path / "racy.py").write_text(
        "import numpy as np\ncalls = []\n"
        "def f(inputs):\n    calls.append(1)\n    return {'y': np.float32([len(calls) % 20 == 8])}\n"
    )
    np.savez(tmp_path / "x.npz", x=np.zeros(1, np.float32))
    one = analysed(
        tmp_path,
        """
factors: {stack: [numpy-2.4], threads: [1, 2]}
workloads: [{name: racy, module: "racy.py:f", inputs: x.npz}]
repeats: 2
rounds: 40
""",
    )
    assert one["cells"] == {"noisy": 2}
    assert [each["inferences"] for each in one["noise"]] == [{"~1": 76, "~2": 4}] * 2
    noisy = "noise: 2 cells without a class, attributed to nothing"
    assert one["verdict"] == ["nothing can be said: no cell has a class", noisy]
