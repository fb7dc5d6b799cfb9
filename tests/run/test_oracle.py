"""The oracle agrees with the profiles, and notices when they are not in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu.machine import Measured
from numdev.errors import EngineUnavailable, InvalidInput, ProfileRefused
from numdev.files import cache_dir
from numdev.run import causes, measured, oracle
from numdev.run.causes import EMULATOR, IGNORED, SAME, SILICON, UNEXPLAINED, Compared
from numdev.run.oracle import Checked
from numdev.spec.stack import load_stack
from numdev.worker import battery, defects

IMAGES = Path(__file__).resolve().parents[2] / "images"
A, B = "a" * 64, "b" * 64


def checked(profile: str, stack: str = "numpy-2.4", **how) -> Checked:
    try:
        (found,) = oracle.verify(load_stack(IMAGES, stack), [profile], cache_dir(), print, **how)
    except ProfileRefused as error:
        pytest.skip(error.why)
    return found


def others(found: Checked) -> dict[str, str]:
    return {one.operation: one.outcome for one in found.qemu if one.outcome != SAME}


@pytest.mark.qemu
@pytest.mark.network
@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("profile", "stack", "least", "known"),
    [
        ("nehalem", "numpy-2.4", 50, {}),
        ("haswell", "onnxruntime-1.32", 60, {}),
        ("sandybridge", "torch-2.13", 70, {"torch sqrt (MKL)": SILICON}),
    ],
)
def test_every_operation_is_equal_or_explained(profile, stack, least, known):
    found = checked(profile, stack)
    assert len(found.qemu) > least
    assert others(found) == known
    assert found.agrees


@pytest.mark.qemu
@pytest.mark.network
@pytest.mark.frameworks
def test_what_qemu_computes_wrongly_is_told_from_a_leak():
    found = checked("haswell", "numpy-1.26")
    (odd,) = [one for one in found.qemu if one.outcome != SAME]
    assert (odd.operation, odd.outcome) == ("numpy tanh float64", EMULATOR)
    assert found.agrees
    assert (defects.gathered(), defects.found()) == ([3, 5, 7, 9], []), "a processor has no such defect"


@pytest.mark.qemu
@pytest.mark.network
@pytest.mark.frameworks
def test_the_exceptions_are_known_and_explained():
    found = checked("nehalem", "onnxruntime-1.17")
    assert others(found) == {
        "onnxruntime sqrt": SILICON,
        "onnxruntime rsqrt": SILICON,
        "onnxruntime batchnorm": SILICON,
    }
    assert found.agrees


@pytest.mark.qemu
@pytest.mark.network
@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("leak", "seen"),
    [
        (oracle.ALL, ("BLAS", "numpy exp")),
        # Which kernel OpenBLAS then takes, and which operations it changes, depends on the real model.
        (oracle.MODEL, ("BLAS",)),
        (oracle.LOADER, ("numpy exp",)),
    ],
)
def test_a_leak_is_noticed(leak, seen):
    if "avx2" not in cpu.host().features:
        pytest.skip("this processor is not unlike a Nehalem")
    found = checked("nehalem", leak=leak)
    assert not found.agrees
    assert all(any(name.startswith(one) for name in others(found)) for one in seen)
    assert "numpy floor float64" not in others(found), "what is exact is equal on every processor"


def test_what_agrees():
    same = Compared("numpy-2.4", "BLAS sgemm", SAME)
    cannot_tell = Compared("numpy-2.4", "BLAS sgemm", IGNORED, "why")
    other = Compared("numpy-2.4", "BLAS sgemm", SILICON, "why")
    known = Compared("onnxruntime-1.17", "onnxruntime sqrt", SILICON, "why")
    wrong = Compared("numpy-1.26", "numpy tanh float64", EMULATOR, "why")
    odd = Compared("numpy-2.4", "BLAS sgemm", UNEXPLAINED, "why")
    for qemu, knobs, agrees in (
        (same, same, True),
        (same, cannot_tell, True),
        (known, same, True),
        (wrong, same, True),
        (other, same, False),
        (odd, same, False),
        (same, odd, False),
    ):
        assert Checked("haswell", "x", (qemu,), (knobs,)).agrees is agrees


def measured_as(operations: dict[str, str], **dispatch: str) -> Measured:
    return Measured(stack=A, battery=A, dispatch=dispatch, operations=operations)


@pytest.mark.parametrize(
    ("operation", "chosen", "outcome", "why"),
    [
        ("BLAS sgemm", "Haswell", UNEXPLAINED, "same dispatch"),
        ("BLAS sgemm", "SkylakeX", IGNORED, "OpenBLAS: Haswell as the profile, SkylakeX by its knob"),
        ("torch mm (MKL)", "SkylakeX", IGNORED, "MKL does not say"),
        ("onnxruntime conv", "Haswell", IGNORED, "no knob"),
    ],
)
def test_a_knob_refutes_only_where_its_library_says_that_it_obeyed(operation, chosen, outcome, why):
    shown = measured_as({operation: A}, OpenBLAS="Haswell")
    knobs = measured_as({operation: B}, OpenBLAS=chosen)
    (found,) = causes.against_knobs("x", shown, knobs)
    assert found.outcome == outcome
    assert why in found.why


def test_without_qemu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cpu.emulated.shutil, "which", lambda name: None)
    with pytest.raises(EngineUnavailable, match="no QEMU here") as caught:
        measured.emulated("Haswell")
    assert "qemu-user-static" in str(caught.value)


def test_processors_that_qemu_lacks_are_refused():
    with pytest.raises(InvalidInput) as caught:
        oracle.check_profiles(["haswell", "zen5", "x"])
    assert [problem.where for problem in caught.value.problems] == ["zen5", "x"]


def test_the_battery_is_the_same_each_time():
    assert battery.run([]) == battery.run([])
    assert len(battery.numpy_operations()) == len(battery.run([]))


def test_an_operation_is_wrong_only_in_an_emulator_that_was_seen_to_be():
    here = measured_as({"numpy tanh float64": A})
    for seen, outcome in (([defects.GATHER], EMULATOR), ([], UNEXPLAINED), (["another"], UNEXPLAINED)):
        there = Measured(stack=A, battery=A, operations={"numpy tanh float64": B}, defects=seen)
        (found,) = causes.compare("numpy-1.26", there, here, [])
        assert found.outcome == outcome
        (other,) = causes.compare("numpy-2.4", there, here, [])
        assert other.outcome == UNEXPLAINED
