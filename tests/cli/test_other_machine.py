"""numdev on an arm64 machine: it helps and explains, refuses what is x86-64's, and never executes machine code of x86-64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Memory that may be executed is made by what executes machine code of its own, and by nothing else here.
PRELUDE = """
import mmap, os, platform, sys
platform.machine = lambda: "aarch64"
plain = mmap.mmap
def guarded(*arguments, **named):
    if named.get("prot", 0) & mmap.PROT_EXEC:
        print("EXECUTABLE MEMORY", file=sys.stderr)
        os._exit(99)
    return plain(*arguments, **named)
mmap.mmap = guarded
sys.argv = ["numdev", *sys.argv[1:]]
"""


def python(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_HOST": "unix:///nonexistent", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code, *arguments],
        cwd=cwd, capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode != 99, done.stderr
    return done


def numdev(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return python("from numdev.cli import main\nmain()", *arguments, cwd=cwd)


def test_the_guard_of_these_tests_notices_machine_code():
    code = PRELUDE + "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 99


@pytest.mark.parametrize(
    "command",
    [["--help"], ["as", "--help"], ["matrix", "--help"], ["platform", "verify", "--help"], ["images", "list"]],
    ids=" ".join,
)
def test_help_is_there(command):
    done = numdev(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_doctor_says_what_it_is_and_what_it_cannot():
    done = numdev("doctor")
    said = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stderr
    assert "CPU profiles: profiles are the CPUID of x86-64 processors, which this aarch64 machine does not have" in said
    assert "ok aarch64: this machine's own architecture" in said


@pytest.mark.parametrize(
    "command",
    [
        ["platform", "capture", "here.json"],
        ["platform", "record", "here.json"],
        ["platform", "record", "here.json", "--emulated", "Haswell"],
        ["platform", "replay", str(ROOT / "tests/machines/qemu-haswell.json")],
        ["platform", "verify", "haswell"],
        ["platform", "diff", "host", "host"],
        ["as", "haswell", "--", "true"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_what_needs_cpuid_is_refused_with_a_word(command, tmp_path):
    (tmp_path / "images").symlink_to(ROOT / "images")
    done = numdev(*command, cwd=tmp_path)
    assert done.returncode == 7, done.stdout + done.stderr
    assert "which this aarch64 machine does not have" in " ".join(done.stderr.split())
    assert not (tmp_path / "here.json").exists()


def test_the_real_processor_is_shown_and_listed():
    assert numdev("as", "host", "--", "true").returncode == 0
    listed = numdev("platform", "list")
    assert listed.returncode == 0, listed.stderr
    assert "yes: the real one" in listed.stdout
    assert numdev("platform", "show", "haswell").returncode == 0


def test_a_launcher_in_a_container_refuses(tmp_path):
    (tmp_path / "table").write_text("numdev-cpuid 1\npass 00000000\n")
    code = "from numdev.worker import launcher\nlauncher.main(sys.argv[1:])"
    for head in ("", "rewritten\n"):
        (tmp_path / "table").write_text(f"numdev-cpuid 1\n{head}pass 00000000\n")
        done = python(code, "--table", str(tmp_path / "table"), "--", "true")
        assert done.returncode == 125
        assert "this is aarch64" in done.stderr


def test_a_matrix_is_checked_with_what_cannot_run_said():
    done = numdev("matrix", "check", "matrices/cpu.yaml")
    assert done.returncode == 0, done.stderr
    assert "Cannot be shown here" in done.stdout
