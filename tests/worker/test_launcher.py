"""The launcher: everything but the fault itself on any x86-64 host, the whole of it where CPUID faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from numdev import cpu
from numdev.errors import ProfileRefused
from numdev.worker import inject, launcher
from numdev.worker.cpuid import MAGIC, Cpuid, Table, TableError, parse
from numdev.worker.launcher import Fault, Launcher
from numdev.worker.start import Failure

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is an instruction of x86-64")

# A program that reaches `cpuid` in a page that may not be executed: it faults there on every processor, as it
# does anywhere once CPUID faults. The two bytes end the page; what follows them may be executed again.
PROGRAM = textwrap.dedent(
    """
    import ctypes, mmap, sys, threading
    libc = ctypes.CDLL(None)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    pages = mmap.mmap(-1, 8192, prot=7)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    pages[4094:4096] = bytes.fromhex("0fa2")
    after = bytes.fromhex("418900 41895804 41894808 4189500c 5b c3")
    pages[4096:4096 + len(after)] = after
    entry = bytes.fromhex("53 4989f8 418b00 418b4808")
    jump = 4094 - (4096 + 64 + len(entry) + 5)
    pages[4160:4160 + len(entry) + 5] = entry + b"\\xe9" + jump.to_bytes(4, "little", signed=True)
    assert libc.mprotect(address, 4096, 3) == 0
    call = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))(address + 4160)
    def cpuid(leaf, subleaf=0):
        registers = (ctypes.c_uint32 * 4)(leaf, 0, subleaf, 0)
        call(registers)
        return tuple(registers)
    """
)
NOT_EXECUTABLE = Fault(signal.SIGSEGV, 2, b"\x0f\xa2")
VALUES = {(0, None): (0x16, 1, 2, 3), (7, 0): (0, 5, 6, 7), (7, 1): (8, 9, 10, 0xFFFFFFFF)}


def simulated(table: Table, program: str) -> tuple[int, Launcher]:
    tracer = Launcher(table, fault=NOT_EXECUTABLE, faulting=False)
    return tracer.run([sys.executable, "-S", "-c", PROGRAM + textwrap.dedent(program)]), tracer


def test_answers_come_from_the_table():
    status, tracer = simulated(
        Table(VALUES, {}, []),
        """
        assert cpuid(0, 77) == (0x16, 1, 2, 3)
        assert cpuid(7, 0) == (0, 5, 6, 7) and cpuid(7, 1) == (8, 9, 10, 0xFFFFFFFF)
        assert cpuid(0x1234) == (0, 0, 0, 0), "unknown leaves are zero"
        """,
    )
    assert status == 0
    assert tracer.answers.given == 4


def test_masks_and_passed_leaves_come_from_the_processor():
    real = Cpuid()
    status, _ = simulated(
        Table({(1, None): (0xABC, 0, 0, 0)}, {(1, None): (0, 0, 0xFFFFFFFF, 0)}, [0x80000002]),
        f"""
        assert cpuid(1)[0] == 0xABC and cpuid(1)[2] == {real(1)[2]}, cpuid(1)
        assert cpuid(0x80000002) == {real(0x80000002)}
        """,
    )
    assert status == 0


def test_threads_and_forks_are_covered():
    status, tracer = simulated(
        Table(VALUES, {}, []),
        """
        import os
        results = []
        def ask():
            for _ in range(20):
                results.append(cpuid(0)[0])
        threads = [threading.Thread(target=ask) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert results == [0x16] * 160
        if (child := os.fork()) == 0:
            os._exit(cpuid(7)[1])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        """,
    )
    assert status == 0
    assert tracer.answers.given == 161


def test_the_magic_leaf_counts():
    status, _ = simulated(Table(VALUES, {}, []), f"assert cpuid(0)[0] == 0x16 and cpuid({MAGIC:#x})[:2] == (1, 2)")
    assert status == 0


def test_a_real_crash_stays_one():
    status, _ = simulated(Table(VALUES, {}, []), "ctypes.string_at(0)")
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV


def test_a_programs_own_handler_sees_its_own_faults_only():
    status, _ = simulated(
        Table(VALUES, {}, []),
        """
        import signal
        seen = []
        signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
        signal.raise_signal(signal.SIGUSR1)
        assert cpuid(0)[0] == 0x16 and seen == [1]
        """,
    )
    assert status == 0


@pytest.mark.parametrize(
    ("code", "expected"), [("raise SystemExit(37)", 37), ("import os; os.kill(os.getpid(), 15)", -15)]
)
def test_the_end_is_passed_on(code, expected):
    status, _ = simulated(Table({}, {}, []), code)
    assert os.waitstatus_to_exitcode(status) == expected


def test_a_system_call_can_be_made_inside_a_new_program(monkeypatch):
    """What switches faulting on, with a harmless call in its place: the program goes on undisturbed."""
    made = []

    def instead(self, pid):
        made.append((pid, inject.call(pid, 39), inject.call(pid, 158, 0x1011, 0)))

    monkeypatch.setattr(Launcher, "_make_cpuid_fault", instead)
    status = Launcher(Table({}, {}, [])).run(["/bin/sh", "-c", "/bin/true && exit 5"])
    assert os.waitstatus_to_exitcode(status) == 5
    assert len(made) == 2
    assert all(pid == answer and flag == 1 for pid, answer, flag in made), "CPUID is enabled until we change it"


@pytest.mark.parametrize(("name", "code"), [("/nowhere/program", 127), ("/etc/passwd", 126)])
def test_a_program_that_cannot_start(name, code):
    with pytest.raises(Failure) as caught:
        Launcher(Table({}, {}, []), faulting=False).run([name])
    assert caught.value.code == code


def test_refused_where_cpuid_does_not_fault():
    reason = cpu.host().refusal
    if not reason:
        pytest.skip("CPUID faults here")
    with pytest.raises(Failure, match="does not offer CPUID faulting"):
        launcher.run(Table({}, {}, []), ["/bin/true"])


def test_what_it_left_running_is_ended(tmp_path):
    code = f"""
    import subprocess
    child = subprocess.Popen(["/bin/sleep", "100"])
    open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
    """
    script = textwrap.dedent(
        f"""
        import sys
        from numdev.worker.launcher import Launcher
        from numdev.worker.cpuid import Table
        Launcher(Table({{}}, {{}}, []), faulting=False).run([sys.executable, "-c", {textwrap.dedent(code)!r}])
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        state = _state(pid)
        if state in ("", "Z"):
            return
        __import__("time").sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"the child of an ended program still runs ({state})")


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize(
    "text",
    ["", "numdev-cpuid 2", "numdev-cpuid 1\n00000000 * 0 0 0", "numdev-cpuid 1\nx * 0 0 0 0", "numdev-cpuid 1\npass 1ffffffff",
     "numdev-cpuid 1\n00000000 * 0 0 0 0\n00000000 * 0 0 0 0"],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(text):
    with pytest.raises(TableError):
        parse(text)


@pytest.fixture(params=[pytest.param(cpu.CPUID, marks=pytest.mark.faulting), cpu.REWRITE])
def rung(request) -> str:
    return request.param


def under(rung: str, profile: str, code: str) -> subprocess.CompletedProcess[str]:
    """A program under a profile; in its code, `Cpuid` is asked by the instruction that the rung answers."""
    try:
        table = cpu.shown(profile, cpu.host(), rung).table
    except ProfileRefused as error:
        pytest.skip(error.why)
    code = (
        f"from functools import partial; from numdev.worker import cpuid as c; Cpuid = partial(c.Cpuid, {table.instruction!r})\n"
        + textwrap.dedent(code)
    )
    script = (
        "import sys; from numdev.worker import launcher; from numdev.worker.cpuid import parse\n"
        "from numdev.files import cache_dir; from numdev.stacks import finder\n"
        f"launcher.end_as(launcher.run(parse({table.text()!r}), [sys.executable, '-c', {code!r}], "
        "find=finder(cache_dir(), lambda line: None)))"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


class TestShown:
    """By every rung of the ladder that this host has."""

    def test_a_program_sees_the_profile(self, rung):
        done = under(
            rung,
            "sandybridge",
            """
            from numdev.cpu.features import present
            real = Cpuid()
            print(real(1)[0] & 0xfff0ff0, "avx2" in present(real), "avx" in present(real), real(0x4e554d44)[0])
            """,
        )
        assert done.stdout.split() == [str(0x206D0), "False", "True", "1"], done

    def test_children_threads_and_crashes(self, rung):
        done = under(
            rung,
            "x86-64-v2",
            """
            import subprocess, sys, threading, os, signal
            seen = []
            threads = [threading.Thread(target=lambda: seen.append(Cpuid()(7)[1] >> 5 & 1)) for _ in range(16)]
            [t.start() for t in threads]; [t.join() for t in threads]
            code = f"from numdev.worker.cpuid import Cpuid; print(Cpuid({Cpuid.args[0]!r})(7)[1] >> 5 & 1)"
            child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            print(sum(seen), child.stdout.strip(), flush=True)
            os.kill(os.getpid(), signal.SIGABRT)
            """,
        )
        assert done.stdout.split() == ["0", "0"], done
        assert done.returncode == -signal.SIGABRT

    def test_numpy_dispatches_by_the_profile(self, rung):
        code = """
        import numpy
        from numpy._core._multiarray_umath import __cpu_features__ as found
        print(found.get("X86_V3", found.get("AVX2")), found["AVX"] if "AVX" in found else None)
        """
        assert under(rung, "haswell", code).stdout.startswith("True")
        assert under(rung, "sandybridge", code).stdout.startswith("False")
