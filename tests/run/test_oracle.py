"""The oracle agrees with the profiles, and notices when they are not in force."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from numdev import cpu
from numdev.errors import EngineUnavailable, ProfileRefused
from numdev.files import cache_dir
from numdev.run import oracle
from numdev.spec.stack import load_stack
from numdev.worker import battery

IMAGES = Path(__file__).resolve().parents[2] / "images"

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-x86_64-static") is None, reason="QEMU (qemu-user-static) is not installed"
)


def verdicts(profile: str, **how) -> dict[str, bool]:
    try:
        found = oracle.verify(load_stack(IMAGES, "numpy-2.4"), [profile], cache_dir(), print, **how)
    except ProfileRefused as error:
        pytest.skip(error.why)
    return {one.operation: one.equal for one in found}


@pytest.mark.network
@pytest.mark.frameworks
@needs_qemu
@pytest.mark.parametrize("profile", ["nehalem", "haswell"])
def test_every_operation_is_equal(profile):
    found = verdicts(profile)
    assert len(found) > 40
    assert [name for name, equal in found.items() if not equal] == []


@pytest.mark.network
@pytest.mark.frameworks
@needs_qemu
def test_a_leak_is_noticed():
    if "avx2" not in cpu.host().features:
        pytest.skip("this processor is not unlike a Nehalem")
    found = verdicts("nehalem", leak=True)
    assert not found["BLAS sgemm"]
    assert not found["numpy exp float64"]
    assert found["numpy floor float64"], "what is exact is equal on every processor"


def test_without_qemu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(oracle.shutil, "which", lambda name: None)
    with pytest.raises(EngineUnavailable, match="no QEMU here") as caught:
        oracle.qemu()
    assert "qemu-user-static" in str(caught.value)


def test_the_battery_is_the_same_each_time():
    assert battery.run([]) == battery.run([])
    assert len(battery.numpy_operations()) == len(battery.run([]))
