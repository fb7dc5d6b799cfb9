"""JAX in its stack: every operator is right, XLA compiles for the processor that is shown, and its knob agrees with the profile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.errors import ProfileRefused
from numdev.spec.workload import DeclaredWorkload
from numdev.store import Store
from numdev.worker import net
from numdev.workloads import archive, prepare

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

ROOT = Path(__file__).resolve().parents[1]
# Of IEEE operators each bit is prescribed, so no processor may give another.
EXACT = {"sqrt", "reciprocal"}
# What XLA compiles itself, with FMA where there is one.
COMPILED = {"exp", "sigmoid", "tanh", "softmax", "batchnorm", "rsqrt"}


@pytest.fixture(scope="module")
def exact(real_cache) -> dict[str, np.ndarray]:
    """The built-in workload of single operators in float64, by numpy."""
    declared = DeclaredWorkload(name="operators", builtin="operators")
    workload = prepare(declared, real_cache, real_cache, lambda line: None)
    description, weights = net.load(str(workload.formats["net"].path))
    wide = {name: array.astype(np.float64) for name, array in weights.items()}
    given = {name: array.astype(np.float64) for name, array in archive.unpack(workload.inputs.path).items()}
    return net.run(description, wide, given)


def run(folder: Path, matrix: str, engine: str = "local") -> Store:
    (folder / "m.yaml").write_text(matrix)
    command = [sys.executable, "-m", "numdev", "matrix", "run", str(folder / "m.yaml"), "--images", "images"]
    command += ["-e", engine, "-s", str(folder / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode in (0, 4), done.stderr
    return Store.open(folder / "store")


def needs(name: str) -> None:
    try:
        cpu.shown(name, cpu.host(), cpu.BEST)
    except ProfileRefused as error:
        pytest.skip(error.why)


SHOWN = """
numdev: 1
enforce: best
factors: {stack: [jax-0.10], profile: [nehalem, sandybridge, haswell], threads: [1, 2], precision: [float32, float64]}
workloads: [operators]
repeats: 2
exclude:
  - {profile: nehalem, threads: 2}
  - {profile: [nehalem, sandybridge], precision: float64}
"""


@pytest.mark.parametrize("engine", [pytest.param("docker", marks=pytest.mark.docker), "local"])
def test_operators_on_processors_that_are_shown(tmp_path, exact, engine):
    needs("haswell")
    if engine == "docker":
        listed = subprocess.run(["docker", "images", "-q", "numdev/jax-0.10"], capture_output=True, check=True)
        if not listed.stdout:
            pytest.skip("the image of jax-0.10 is large and not here: numdev images build jax-0.10")
    store, bits = run(tmp_path, SHOWN, engine), {}
    for record in store.records():
        profile, threads, precision = (record.factors[key] for key in ("profile", "threads", "precision"))
        if profile == "nehalem":
            assert (record.status, record.outputs) == ("unsupported", [])
            assert "AVX" in record.reason
            continue
        assert record.status == "ok", record.reason
        assert record.realised["versions"]["jax"] == record.realised["versions"]["jaxlib"] == "0.10.2"
        assert record.realised["jax_threads"] == threads
        assert record.realised["jax_target"] == profile
        assert ({"avx2", "fma"} <= set(record.realised["jax_features"])) is (profile == "haswell")
        assert record.realised["jax_libraries"] == ["ynn_fusion"]
        assert not record.realised["cpuid"]["uncovered"]
        bound = 2e-6 if precision == "float32" else 1e-14
        assert {output.name for output in record.outputs} == set(exact)
        for output in record.outputs:
            array, right = store.load(output.tensor), exact[output.name]
            assert (array.dtype, array.shape) == (np.dtype(precision), right.shape)
            assert np.abs(array - right).max() <= bound * np.abs(right).max(), output.name
            bits.setdefault((profile, precision, output.name), set()).add(output.tensor)
    # Neither the process nor the number of threads changes a bit; the processor does.
    assert len(bits) == 3 * len(exact)
    assert all(len(one) == 1 for one in bits.values())
    apart = {name for name in exact if bits["haswell", "float32", name] != bits["sandybridge", "float32", name]}
    assert {*COMPILED, "conv", "matmul"} <= apart
    assert not EXACT & apart


TOLD = """
numdev: 1
enforce: best
factors:
  stack: [jax-0.10]
  profile: [sandybridge, haswell]
  env.XLA_FLAGS: [--xla_cpu_max_isa=AVX, --xla_cpu_max_isa=AVX2, --xla_cpu_max_isa=SSE9]
workloads: [operators]
"""


def test_its_knob_agrees_with_the_profile_where_xla_compiles(tmp_path):
    needs("haswell")
    store, bits = run(tmp_path, TOLD), {}
    for record in store.records():
        isa = record.factors["env.XLA_FLAGS"].rpartition("=")[2]
        if isa == "SSE9":
            assert record.status == "unsupported"
            assert "SSE9" in record.reason
            continue
        assert record.status == "ok", record.reason
        bits[record.factors["profile"], isa] = {output.name: output.tensor for output in record.outputs}
    told, shown, free = bits["haswell", "AVX"], bits["sandybridge", "AVX2"], bits["haswell", "AVX2"]
    assert {name for name in COMPILED if told[name] != shown[name]} == set()
    assert all(told[name] != free[name] for name in COMPILED)
    # It is no knob of YNNPACK's, which asks CPUID itself.
    assert told["conv"] == free["conv"] != shown["conv"]
    assert told["matmul"] == free["matmul"] != shown["matmul"]


TAPPED = """
numdev: 1
tap: layers
factors: {stack: [jax-0.10], threads: [2]}
workloads: [cnn-small]
"""


def test_the_tap_sees_every_layer_and_changes_nothing(tmp_path):
    (record,) = run(tmp_path, TAPPED).records()
    assert record.status == "ok", record.reason
    assert record.tap.status == "same", record.tap.reason
    layers = {layer.name: layer.sha256 for layer in record.tap.layers}
    assert {name: layers[name] for name in ("logits", "probabilities")} == {
        output.name: output.tensor for output in record.outputs
    }
