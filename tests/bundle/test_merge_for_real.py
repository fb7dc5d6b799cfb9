"""Two hosts for real: this machine, and this machine declared as another, for it runs numdev itself under an emulator that says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.qemu, pytest.mark.frameworks, pytest.mark.network]

NUMDEV = [sys.executable, "-c", "from numdev.cli import main; main()"]
# CPUID says so; the kernel, which QEMU's user mode passes through, does not.
DECLARED = ["-cpu", "max,vendor=GenuineIntel,family=6,model=63,stepping=2"]
MATRIX = """
numdev: 1
enforce: best
factors: {stack: [onnxruntime-1.32], profile: [haswell, sandybridge]}
workloads: [cnn-small]
"""


@pytest.fixture
def run(tmp_path, real_cache):
    def run(*arguments, under=()):
        done = subprocess.run(
            [*under, *NUMDEV, *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            env={**os.environ, "NUMDEV_CACHE": str(real_cache)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_machine_and_the_same_one_declared_as_another(run, tmp_path, request):
    (tmp_path / "m.yaml").write_text(MATRIX)
    emulator = [shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64"), *DECLARED]
    for name, under in (("real", ()), ("declared", emulator)):
        images = request.config.rootpath / "images"
        run("matrix", "run", "m.yaml", "--images", images, "-e", "docker", "-s", name, under=under)
        run("bundle", "create", "-s", name, "-o", f"{name}.bundle.tar")
    run("bundle", "merge", "declared.bundle.tar", "real.bundle.tar", "--store", "both")
    answer = json.loads(run("report", "-s", "both", "--json"))
    real, declared = sorted(answer["hosts"], key=len)
    assert declared == f"{real}-as-intel-6-63-2"
    assert answer["hosts"][declared]["declared"] == "intel-6-63-2"
    assert answer["hosts"][declared]["silicon"] == answer["hosts"][real]["silicon"] == real
    (compared,) = answer["workloads"][0]["hosts"]["compared"]
    assert (compared["pairs"], compared["differ"]) == (2, 0)
    # Under an emulator nothing else can show a profile; so its words are not the real one's, and nothing is said of silicon.
    assert (compared["silicon"], compared["told"]) == ("emulated", "together")
    run("bundle", "create", "-s", "both", "-o", "both.bundle.tar")
    assert "This bundle is whole." in run("bundle", "verify", "both.bundle.tar")
