"""Two hosts for real: this machine, and this machine declared as another, for it runs numdev itself under an emulator that says so."""

from __future__ import annotations

import json
import shutil

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.qemu, pytest.mark.frameworks, pytest.mark.network]

# CPUID says so; the kernel, which QEMU's user mode passes through, does not.
DECLARED = ["-cpu", "max,vendor=GenuineIntel,family=6,model=63,stepping=2"]
MATRIX = """
numdev: 1
enforce: best
factors: {stack: [onnxruntime-1.32], profile: [haswell, sandybridge]}
workloads: [cnn-small]
"""


def test_a_machine_and_the_same_one_declared_as_another(for_real, tmp_path, request):
    (tmp_path / "m.yaml").write_text(MATRIX)
    emulator = [shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64"), *DECLARED]
    for name, under in (("real", ()), ("declared", emulator)):
        images = request.config.rootpath / "images"
        for_real("matrix", "run", "m.yaml", "--images", images, "-e", "docker", "-s", name, under=under)
        for_real("bundle", "create", "-s", name, "-o", f"{name}.bundle.tar")
    for_real("bundle", "merge", "declared.bundle.tar", "real.bundle.tar", "--store", "both")
    answer = json.loads(for_real("report", "-s", "both", "--json"))
    real, declared = sorted(answer["hosts"], key=len)
    assert declared == f"{real}-as-intel-6-63-2"
    assert answer["hosts"][declared]["declared"] == "intel-6-63-2"
    assert answer["hosts"][declared]["silicon"] == answer["hosts"][real]["silicon"] == real
    (compared,) = answer["workloads"][0]["hosts"]["compared"]
    assert (compared["pairs"], compared["differ"]) == (2, 0)
    # Under an emulator nothing else can show a profile: its arithmetic is compared with the processor's, and nothing is said of silicon.
    assert (compared["silicon"], compared["told"]) == ("mixed", "together")
    for_real("bundle", "create", "-s", "both", "-o", "both.bundle.tar")
    assert "This bundle is whole." in for_real("bundle", "verify", "both.bundle.tar")
