"""A stack that cannot be had, a GPU that is not there, a BLAS that is not the one asked for: recorded, and the run goes on."""

from __future__ import annotations

import numpy as np
import pytest

from numdev.engines import MemoryEngine, Played, gpu
from numdev.errors import DownloadFailed, HashMismatch, NoBase, StackFailed, StorageFailed
from numdev.spec.stack import load_stack

MATRIX = """
factors: {stack: [np-1, np-2]}
workloads: [{name: own, model: net.npz, inputs: x.npz}]
"""


def player(stack, cell, table):
    gemm = {"library": "OpenBLAS" if stack == "np-1" else "ATLAS", "file": "libblas.so.3"}
    return Played({"y": np.ones(3, np.float32)}, realised={"gemm": gemm})


class Lacking(MemoryEngine):
    """An engine that cannot make some stacks."""

    def __init__(self, errors):
        super().__init__(player)
        self.errors, self.asked = errors, []

    def environment(self, stack, say):
        self.asked.append(stack.name)
        if stack.name in self.errors:
            raise self.errors[stack.name]
        return super().environment(stack, say)


@pytest.fixture
def two(bench):
    bench.stack("np-2", "numpy")
    np.savez(bench.folder / "net.npz", x=np.ones(1))
    return bench


def statuses(ran):
    return {record.factors["stack"]: (record.status, record.reason) for record in ran.store.records()}


@pytest.mark.parametrize("kind", [DownloadFailed, HashMismatch, StackFailed])
def test_the_others_run(two, kind):
    ran = two.run(MATRIX, Lacking({"np-2": kind("No wheel.", "it is gone", "Wait.")}))
    found = statuses(ran)
    assert found["np-1"][0] == "ok"
    assert found["np-2"] == ("unsupported", "the stack np-2 cannot be made: No wheel. it is gone.")
    assert ran.plan.apart == {"np-2": found["np-2"][1]}
    # What is there later runs then.
    two.run(MATRIX, MemoryEngine(player), ran.store)
    later = sorted(record.status for record in ran.store.records() if record.factors["stack"] == "np-2")
    assert later == ["ok", "unsupported"]


@pytest.mark.parametrize(
    "errors",
    [
        {"np-1": DownloadFailed("a"), "np-2": DownloadFailed("b")},
        {"np-2": NoBase("no base")},
        {"np-2": StorageFailed("full")},
    ],
)
def test_what_is_no_matter_of_one_stack_ends_the_run(two, errors):
    with pytest.raises(type(errors["np-2"])):
        two.run(MATRIX, Lacking(errors))


def test_without_a_gpu_nothing_is_fetched(two):
    with open(two.images / "np-2" / "stack.yaml", "a") as file:
        file.write("gpu: true\n")
    if not gpu.missing(load_stack(two.images, "np-2")):
        pytest.skip("this host has a GPU")
    engine = Lacking({})
    found = statuses(two.run(MATRIX, engine))
    assert engine.asked == ["np-1"]
    assert found["np-1"][0] == "ok"
    assert found["np-2"][0] == "unsupported"
    assert "np-2 needs a GPU of NVIDIA" in found["np-2"][1]


def test_what_a_host_with_a_gpu_has(two, tmp_path):
    with open(two.images / "np-2" / "stack.yaml", "a") as file:
        file.write("gpu: true\n")
    stack, driver, devices = load_stack(two.images, "np-2"), tmp_path / "version", tmp_path / "dev"
    devices.mkdir()
    (devices / "nvidiactl").touch()
    assert "no driver" in gpu.missing(stack, driver, devices)
    driver.touch()
    assert "has none" in gpu.missing(stack, driver, devices)
    (devices / "nvidia0").touch()
    assert gpu.missing(stack, driver, devices) == ""
    assert gpu.missing(load_stack(two.images, "np-1"), tmp_path / "none", devices) == ""


def test_another_blas_than_declared_does_not_count(two):
    for name in ("np-1", "np-2"):
        with open(two.images / name / "stack.yaml", "a") as file:
            file.write("blas: ATLAS\n")
    found = statuses(two.run(MATRIX, MemoryEngine(player)))
    assert found["np-2"] == ("ok", "")
    what = "numpy's matrix products are computed by OpenBLAS (libblas.so.3), not by ATLAS"
    assert found["np-1"] == ("unrealised", what)


@pytest.mark.parametrize("realised", [{}, {"gemm": {}}, {"gemm": 5}, {"gemm": {"library": ["ATLAS"]}}])
def test_what_cannot_be_read_back_does_not_count(two, realised):
    with open(two.images / "np-1" / "stack.yaml", "a") as file:
        file.write("blas: ATLAS\n")
    ran = two.run(MATRIX, MemoryEngine(lambda *_: Played({"y": np.ones(3, np.float32)}, realised=realised)))
    assert statuses(ran)["np-1"][0] == "unrealised"
    assert "could not be read back" in statuses(ran)["np-1"][1]
