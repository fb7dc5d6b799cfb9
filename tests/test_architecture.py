"""arm64 for real: an image of it, and a matrix over both architectures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu import foreign
from numdev.engines import open_engine
from numdev.spec.architecture import own
from numdev.spec.stack import load_base, load_stack
from numdev.stacks.bases import known_base
from numdev.store import Store

pytestmark = [pytest.mark.docker, pytest.mark.network, pytest.mark.frameworks]

NUMDEV = [sys.executable, "-c", "from numdev.cli import main; main()"]
IMAGES = Path(__file__).resolve().parents[1] / "images"
STACK = "onnxruntime-1.32"
PROGRAM = """
import os, platform
import numpy as np
names = {"machine": platform.machine(), "cpuinfo": open("/proc/cpuinfo").read()}
np.savez(os.environ["NUMDEV_OUTPUTS"], **{key: np.frombuffer(text.encode(), np.uint8) for key, text in names.items()})
"""
MATRIX = f"""
numdev: 1
factors: {{stack: [{STACK}], architecture: [x86_64, aarch64]}}
workloads:
  - matmul-integer
  - cnn-small
  - {{name: program, command: [python, program.py], files: [program.py]}}
limits: {{timeout: 10min}}
"""


@pytest.fixture(scope="module")
def arm(real_cache):
    """Skips where arm64 programs do not run, or the base that they need can be had neither from the cache nor made."""
    if own() == foreign.X86:
        found, why = foreign.emulated.find("aarch64")
        if found is None or (why := foreign.trial([found.path, "-cpu", foreign.MODEL])):
            pytest.skip(why)
        base = load_base(IMAGES, load_stack(IMAGES, STACK).base)
        if not known_base(base, "aarch64", real_cache) and (why := foreign.kernel()):
            pytest.skip(f"the arm64 base cannot be made: {why}")


@pytest.mark.usefixtures("arm")
class TestArm:
    def test_the_image_is_one_for_arm64_and_has_one_id(self, real_cache):
        engine = open_engine("docker", real_cache)
        stack = load_stack(IMAGES, STACK, "aarch64")
        made = engine.environment(stack, print)
        assert made.architecture == ("" if own() == "aarch64" else "aarch64")
        described = engine.client.api.inspect_image(made.id)
        assert (described["Architecture"], described["Os"]) == ("arm64", "linux")
        engine.client.images.remove(made.id, force=True)
        assert engine.environment(stack, print) == made
        assert made.id != engine.environment(load_stack(IMAGES, STACK, "x86_64"), print).id

    def test_a_matrix_over_both(self, tmp_path, monkeypatch, real_cache):
        monkeypatch.setenv("NUMDEV_CACHE", str(real_cache))
        (tmp_path / "m.yaml").write_text(MATRIX)
        (tmp_path / "program.py").write_text(PROGRAM)
        command = [*NUMDEV, "matrix", "run", "m.yaml", "-e", "docker", "--images", str(IMAGES)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        store = Store.open(tmp_path / "numdev-store")
        found = {(record.workload, record.factors["architecture"]): record for record in store.records()}
        assert len(found) == 6
        if own() != foreign.X86:
            assert {record.status for (_, where), record in found.items() if where == "aarch64"} == {"ok"}
            return
        assert done.returncode == 0, done.stdout + done.stderr
        assert "hardware (architecture)" in done.stdout
        assert "aarch64 was emulated, by qemu-aarch64" in " ".join(done.stdout.split())
        for (_, where), record in found.items():
            assert record.realised["machine"] == where
        there = found["cnn-small", "aarch64"]
        assert there.environment["profile"]["silicon"] == "emulated"
        assert there.environment["profile"]["cpu"] == foreign.MODEL
        assert "ASIMDDP" in there.realised["numpy_features"]
        # What the system tells of the core, QEMU's core has; a newer QEMU may know of more.
        assert int(there.realised["hwcap"][0], 16) & hwcap(foreign.FEATURES) == hwcap(foreign.FEATURES)
        says = {
            output.name: store.load(output.tensor).tobytes().decode() for output in found["program", "aarch64"].outputs
        }
        assert says["machine"] == "aarch64"
        assert "CPU part\t: 0xd0c" in says["cpuinfo"]
        assert there.causes["stack"] != found["cnn-small", "x86_64"].causes["stack"]


def hwcap(features: str) -> int:
    """AT_HWCAP by the names in /proc/cpuinfo: arch/arm64/include/uapi/asm/hwcap.h."""
    bits = [
        "fp",
        "asimd",
        "evtstrm",
        "aes",
        "pmull",
        "sha1",
        "sha2",
        "crc32",
        "atomics",
        "fphp",
        "asimdhp",
        "cpuid",
        "asimdrdm",
        "jscvt",
        "fcma",
        "lrcpc",
        "dcpop",
        "sha3",
        "sm3",
        "sm4",
        "asimddp",
    ]
    return sum(1 << bits.index(name) for name in features.split())


@pytest.mark.skipif(own() != "x86_64", reason="here arm64 is the machine's own")
def test_on_the_local_engine_it_is_unsupported_and_the_rest_runs(tmp_path, monkeypatch, real_cache):
    monkeypatch.setenv("NUMDEV_CACHE", str(real_cache))
    (tmp_path / "m.yaml").write_text(MATRIX.replace("  - cnn-small\n", ""))
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [*NUMDEV, "matrix", "run", "m.yaml", "-e", "local", "--images", str(IMAGES), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["workloads"]
    records = list(Store.open(tmp_path / "numdev-store").records())
    assert {(record.factors["architecture"], record.status) for record in records} == {
        ("x86_64", "ok"), ("aarch64", "unsupported"),
    }  # fmt: skip
    reasons = {record.reason for record in records if record.status != "ok"}
    assert len(reasons) == 1
    assert "use Docker" in reasons.pop() or cpu.foreign.emulated.find("aarch64")[0] is None
