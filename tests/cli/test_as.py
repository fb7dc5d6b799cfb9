"""`numdev as`: a program's end is passed on, whatever it is."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys

import pytest

from numdev import cpu
from numdev.cpu.features import FEATURES
from numdev.run import oracle
from numdev.worker import filter as filters
from numdev.worker import launcher, start

NUMDEV = [sys.executable, "-c", "from numdev.cli import main; main()", "as"]
pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is an instruction of x86-64")


def under(profile: str, *command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NUMDEV, profile, *command], capture_output=True, text=True, timeout=60, check=False, **options
    )


def forbid_ptrace() -> None:
    """A seccomp filter for this process and its children: ptrace is EPERM."""
    lines = [(0x20, 0, 0, 0), (0x15, 0, 1, 101), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)]
    rules = filters.Filter(mappings=False)
    rules._program = filters._Program(len(lines), b"".join(struct.pack("=HBBI", *line) for line in lines))
    rules.install()


@pytest.mark.parametrize("code", [0, 1, 3, 37, 255])
def test_exit_codes(code):
    done = under("host", "--", sys.executable, "-c", f"raise SystemExit({code})")
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_signals(number):
    done = under("host", "--", sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})")
    assert done.returncode == -number


def test_input_output_arguments_and_environment_pass_through():
    code = "import os, sys; print(sys.stdin.read(), sys.argv[1:], os.environ['MINE']); print('e', file=sys.stderr)"
    done = under(
        "host", "--", sys.executable, "-c", code, "--help", "-j", "--", "x", input="given", env={**os.environ, "MINE": "1"}
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("given ['--help', '-j', '--', 'x'] 1\n", "e\n")


def test_without_the_dashes():
    assert under("host", "echo", "-n", "--version").stdout == "--version"


@pytest.mark.parametrize(
    ("name", "code"), [("/nowhere/program", 127), ("/etc/passwd", 126), ("no-such-program-at-all", 127)]
)
def test_a_program_that_cannot_start(name, code):
    done = under("host", "--", name)
    assert done.returncode == code
    assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("machine", "kind", "word"), [(183, 2, "aarch64"), (3, 1, "32-bit x86")])
def test_a_program_for_another_processor(machine, kind, word, tmp_path):
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF" + bytes([kind, 1, 1]) + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44))
    file.chmod(0o755)
    done = under("x86-64-v2", "--", str(file))
    assert done.returncode == 7
    assert f"it is a program for {word}" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_tracing_is_forbidden():
    """As under a sandbox: found out by the self-tests of both ways, before anything is run."""
    done = under("haswell", "--", "true", preexec_fn=forbid_ptrace)
    assert done.returncode == 7
    assert "this process may not trace its children" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_tracing_is_forbidden_on_the_way(numdev, place, monkeypatch):
    def refused(*_, **options):
        raise start.Failure("it cannot be traced to its end")

    monkeypatch.setattr(oracle, "verify", refused)
    done = numdev("platform", "verify", "--images", place / "images", "--stack", "one", "haswell")
    assert done.code == 7
    assert "it cannot be traced to its end" in done.err


@pytest.mark.faulting
def test_a_profile_is_seen_and_the_end_passed_on():
    code = (
        "import sys; from numpy._core._multiarray_umath import __cpu_features__ as found;"
        "print(found.get('AVX2', found.get('X86_V3'))); sys.exit(9)"
    )
    done = under("x86-64-v2", "--", sys.executable, "-c", code)
    assert (done.stdout.strip(), done.returncode) == ("False", 9)


def test_a_knob_in_the_users_shell_is_said(monkeypatch):
    """A library obeys its knob whatever the processor is: someone who asks for a profile has to know."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    done = subprocess.run([*NUMDEV, "host", "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "OPENBLAS_CORETYPE=Haswell is set: OpenBLAS obeys it, whatever the processor" in done.stderr


@pytest.fixture
def poor(monkeypatch):
    """A processor that has all but AVX-512 VNNI and SHA, and a launcher that only remembers what it was to show."""
    leaves: dict[tuple[int, int], list[int]] = {(0x80000000, 0): [0x80000021, 0, 0, 0], (0, 0): [0x24, 0, 0, 0]}
    for name, (leaf, subleaf, register, bit) in FEATURES.items():
        row = leaves.setdefault((leaf, subleaf), [0, 0, 0, 0])
        row[register] |= (name not in ("avx512_vnni", "sha_ni")) << bit
    leaves[7, 0][0] = 1
    host = cpu.Host({key: tuple(row) for key, row in leaves.items()}, "")
    tables = []
    monkeypatch.setattr(cpu, "host", lambda: host)
    monkeypatch.setattr(launcher, "run", lambda table, *rest, **options: tables.append(table) or 0)
    return tables


def test_what_this_processor_lacks_is_refused_with_the_list(numdev, poor):
    done = numdev("as", "icelake-sp", "true")
    assert (done.code, poor) == (7, [])
    assert "its processor lacks avx512_vnni;" in done.err
    assert "numdev as --intersect" in done.err


def test_what_is_left_out_is_said(numdev, poor):
    done = numdev("as", "--intersect", "icelake-sp", "true")
    assert (done.code, len(poor)) == (0, 1)
    assert "icelake-sp is shown without what this processor lacks: avx512_vnni, sha_ni" in done.err
    leaf, subleaf, register, bit = FEATURES["avx512_vnni"]
    assert not poor[0].values[leaf, subleaf][register] >> bit & 1
    assert poor[0].values[7, 0][1] >> 16 & 1, "AVX-512 itself is there"


def test_where_nothing_is_left_out_nothing_is_said(numdev, poor):
    done = numdev("as", "--intersect", "haswell", "true")
    assert (done.code, done.err, len(poor)) == (0, "", 1)
