"""`numdev platform record` and `replay` on the command line, and a record as a profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu.machine import Measured, Record, read_record
from numdev.run import machine

IMAGES = str(Path(__file__).resolve().parents[2] / "images")
A, B = "a" * 64, "b" * 64


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder, and a machine whose battery takes no time; `bits.txt` in it has what `numpy exp` gives."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bits.txt").write_text(A)

    def measure(stack, shown, *_):
        operations = {"numpy exp": (tmp_path / "bits.txt").read_text(), "BLAS sgemm": B}
        return Measured(stack=A, battery=A, dispatch={"OpenBLAS": "Zen"}, operations=operations)

    monkeypatch.setattr(machine, "measure", measure)
    monkeypatch.setattr(machine, "digest_of", lambda *_: A)
    return tmp_path


def test_what_was_recorded_is_replayed(numdev, folder):
    done = numdev("platform", "record", "m.json", "--stack", "numpy-2.4", "--images", IMAGES)
    assert done.code == 0
    assert "numpy-2.4: 2 operations; the libraries chose OpenBLAS Zen" in done.out
    assert list(read_record(folder / "m.json").stacks) == ["numpy-2.4"]
    done = numdev("platform", "replay", "m.json", "--images", IMAGES)
    assert done.code == 0, done.err
    assert "silicon: the same fingerprint" in done.out
    assert "numpy-2.4: 2 of 2 operations give the recorded bits." in done.out


def test_other_bits_are_told_and_have_an_exit_code(numdev, folder):
    numdev("platform", "record", "m.json", "--stack", "numpy-2.4", "--images", IMAGES)
    (folder / "bits.txt").write_text(B)
    done = numdev("platform", "replay", "m.json", "--images", IMAGES)
    assert done.code == 13
    assert "1 of 2 operations" in done.out
    assert "unexplained\n    numpy exp: the same dispatch and the same fingerprint" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    data = json.loads(numdev("platform", "replay", "m.json", "--images", IMAGES, "--json").out)
    assert data["same"] is False
    assert data["operations"]["numpy-2.4"]["numpy exp"]["outcome"] == "unexplained"
    assert data["operations"]["numpy-2.4"]["BLAS sgemm"] == {"outcome": "same"}


def test_silicon_is_said(numdev, folder):
    numdev("platform", "record", "m.json", "--stack", "numpy-2.4", "--images", IMAGES)
    record = read_record(folder / "m.json")
    print_ = {**record.capture.fingerprint, "rcpps": A}
    Record(cpu.Capture(record.capture.leaves, {}, print_), record.stacks).write(folder / "m.json")
    (folder / "bits.txt").write_text(B)
    done = numdev("platform", "replay", "m.json", "--images", IMAGES)
    assert done.code == 13
    assert "silicon differs: rcpps; what leans on them cannot be shown" in done.out
    assert "other bits by silicon" in done.out
    said = numdev("platform", "diff", "host", "m.json").out
    assert "silicon differs: rcpps" in said
    assert "kernel" not in said, "a record without facts is not another system"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("replay", "absent.json"), 3, "does not exist"),
        (("replay", "bits.txt"), 3, "not JSON"),
        (("replay", "m.json", "--stack", "torch-2.13"), 3, "was not recorded"),
        (("record", "n.json", "--stack", "absent"), 3, "absent"),
    ],
)
def test_bad_input(numdev, folder, arguments, code, words):
    numdev("platform", "record", "m.json", "--stack", "numpy-2.4", "--images", IMAGES)
    done = numdev("platform", *arguments, "--images", IMAGES)
    assert done.code == code
    assert words in done.err
    assert not (folder / "n.json").exists()


def test_a_record_is_a_profile(numdev, folder, monkeypatch):
    numdev("platform", "record", "m.json", "--stack", "numpy-2.4", "--images", IMAGES)
    done = numdev("platform", "show", "./m.json")
    assert done.code == 0
    assert cpu.host().vendor in done.out
    (folder / "x.yaml").write_text(
        "numdev: 1\nenforce: best\nfactors: {stack: [numpy-2.4], profile: [host, ./m.json]}\nworkloads: [cnn-small]\n"
    )
    done = numdev("matrix", "check", "x.yaml", "--images", IMAGES)
    assert done.code == 0, done.err
    assert numdev("platform", "import", "m.json", "c.json").code == 0
    assert cpu.read_capture(folder / "c.json") == cpu.read_capture(folder / "m.json")


@pytest.mark.parametrize(
    "pair", [("qemu-nehalem", "qemu-haswell"), ("qemu-haswell", "qemu-epyc-rome"), ("amd-26-2-1", "qemu-haswell")]
)
def test_diff_fits_a_terminal(numdev, pair):
    folder = Path(__file__).resolve().parents[1] / "machines"
    done = numdev("platform", "diff", *(folder / f"{name}.json" for name in pair))
    assert done.code == 0
    assert "first: " in done.out
    assert max(map(len, done.out.splitlines())) <= 80
