"""What a program has set up for itself stays as it was: signals, masks, handlers, job control, its own use of CPUID.

On any x86-64 host, by the trap that stands for CPUID where it cannot fault.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from numdev.worker import launcher, tracing
from numdev.worker.cpuid import Table
from numdev.worker.start import Failure

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is an instruction of x86-64")

ROOT = Path(__file__).resolve().parents[2]
TABLE = Table({(0, None): (0x16, 1, 2, 3)}, {}, [], rewritten=True)
START = """
import ctypes, os, signal, sys, threading
sys.path.insert(0, {root!r})
from numdev.worker.cpuid import Cpuid, TRAP
cpuid = Cpuid(TRAP)
libc = ctypes.CDLL(None, use_errno=True)
def status(word):
    with open("/proc/thread-self/status") as file:
        return int(next(line for line in file if line.startswith(word)).split()[1], 16) >> 10 & 1
"""


def program(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", START.format(root=str(ROOT)) + textwrap.dedent(code)]


def ask_nobody(path: str, name: str) -> tuple[int, ...]:
    """Nothing in the system's files is rewritten: these programs have a trap of their own."""
    return ()


def under(code: str, table: Table = TABLE) -> int:
    return os.waitstatus_to_exitcode(launcher.run(table, program(code), find=ask_nobody))


def launching(*argv: str) -> list[str]:
    """The launcher as a program of its own, as `numdev as` is one."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from numdev.worker import launcher; from numdev.worker.cpuid import parse\n"
        f"launcher.end_as(launcher.run(parse({TABLE.text()!r}), sys.argv[1:], find=lambda path, name: ()))"
    )
    return [sys.executable, "-c", script, *argv]


class TestSignals:
    def test_a_handler_of_its_own_stays(self):
        code = """
        import faulthandler
        faulthandler.enable(open("/dev/null", "w"))
        assert status("SigCgt") == 1
        assert cpuid(0)[0] == 0x16
        assert status("SigCgt") == 1
        """
        assert under(code) == 0

    def test_a_handler_sees_a_real_crash_after_cpuid(self, tmp_path):
        code = f"""
        import faulthandler
        faulthandler.enable(open({str(tmp_path / "log")!r}, "w"))
        cpuid(0)
        ctypes.string_at(0)
        """
        assert under(code) == -signal.SIGSEGV
        assert "Segmentation fault" in (tmp_path / "log").read_text()

    def test_a_blocked_signal_stays_blocked_and_its_handler_there(self):
        code = """
        import faulthandler
        faulthandler.enable(open("/dev/null", "w"))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV, signal.SIGUSR1])
        for _ in range(3):
            assert cpuid(0)[0] == 0x16
            assert (status("SigBlk"), status("SigCgt")) == (1, 1)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGSEGV, signal.SIGUSR1}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGSEGV])
        assert cpuid(0)[0] == 0x16
        assert (status("SigBlk"), status("SigCgt")) == (0, 1)
        signal.pthread_sigmask(signal.SIG_SETMASK, range(1, 65))
        assert cpuid(0)[0] == 0x16 and status("SigBlk") == 1
        """
        assert under(code) == 0

    def test_an_ignored_signal_stays_ignored(self):
        code = """
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)
        assert cpuid(0)[0] == 0x16
        assert status("SigIgn") == 1
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
        assert cpuid(0)[0] == 0x16
        assert (status("SigIgn"), status("SigBlk")) == (1, 1)
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        assert cpuid(0)[0] == 0x16
        assert (status("SigIgn"), status("SigBlk")) == (0, 1)
        """
        assert under(code) == 0

    def test_threads_and_children_have_their_makers_mask(self):
        code = """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)
        seen = []
        def ask():
            for _ in range(5):
                seen.append((cpuid(0)[0], status("SigBlk")))
        threads = [threading.Thread(target=ask) for _ in range(8)]
        [thread.start() for thread in threads]; [thread.join() for thread in threads]
        assert seen == [(0x16, 1)] * 40, seen
        assert status("SigIgn") == 1
        if (child := os.fork()) == 0:
            os._exit(cpuid(0)[0] + status("SigBlk") + status("SigIgn"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0x18
        assert status("SigBlk") == 1
        """
        assert under(code) == 0

    def test_what_is_ignored_and_blocked_survives_a_new_program(self):
        inner = program("assert cpuid(0)[0] == 0x16; sys.exit(10 + status('SigBlk') + 2 * status('SigIgn'))")
        code = f"""
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
        os.execv({inner[0]!r}, {inner!r})
        """
        assert under(code) == 13

    def test_without_a_launcher_the_checks_see_the_same(self):
        """What the tests above ask is what a program sees of itself anyway."""
        code = """
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
        sys.exit(10 + status("SigBlk") + 2 * status("SigIgn"))
        """
        assert subprocess.run(program(code), check=False).returncode == 13


class TestItsOwnUseOfFaulting:
    CALL = """
    def arch_prctl(*arguments):
        result = libc.syscall(158, *arguments)
        return -ctypes.get_errno() if result < 0 else result
    """

    def test_a_processor_without_faulting_says_so(self):
        code = (
            self.CALL
            + """
        assert arch_prctl(0x1011, 0) == 1
        assert arch_prctl(0x1012, 0) == -19
        assert cpuid(0)[0] == 0x16
        """
        )
        assert under(textwrap.dedent(self.CALL) + textwrap.dedent(code.removeprefix(self.CALL))) == 0

    def test_where_it_faults_the_programs_own_state_is_kept(self):
        code = """
        assert arch_prctl(0x1011, 0) == 1
        assert arch_prctl(0x1012, 0) == 0
        assert arch_prctl(0x1011, 0) == 0
        if (child := os.fork()) == 0:
            os._exit(arch_prctl(0x1011, 0))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert arch_prctl(0x1012, 1) == 0
        assert arch_prctl(0x1011, 0) == 1 and cpuid(0)[0] == 0x16
        arch_prctl(0x1012, 0)
        cpuid(0)
        """
        tracer = launcher.Launcher(TABLE, fault=launcher.REWRITTEN_FAULT, faulting=False)
        tracer.tracees.faulting = True
        status = tracer.run(program(textwrap.dedent(self.CALL) + textwrap.dedent(code)))
        assert os.waitstatus_to_exitcode(status) == -signal.SIGSEGV, "it wanted the fault itself"


class TestPrograms:
    def test_children_of_every_kind(self):
        inner = program("sys.exit(cpuid(0)[0])")
        code = f"""
        import subprocess
        assert subprocess.run({inner!r}).returncode == 0x16
        pid = os.posix_spawn({inner[0]!r}, {inner!r}, os.environ)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0x16
        """
        assert under(code) == 0

    def test_64_threads_start_and_end(self):
        code = """
        seen = []
        for _ in range(3):
            threads = [threading.Thread(target=lambda: seen.append(cpuid(0)[0])) for _ in range(64)]
            [thread.start() for thread in threads]; [thread.join() for thread in threads]
        assert seen == [0x16] * 192
        """
        assert under(code) == 0

    @pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
    def test_a_static_program(self, tmp_path):
        from numdev.stacks import finder

        source = tmp_path / "static.c"
        source.write_text(
            "#include <cpuid.h>\nint main(void) { unsigned a, b, c, d; __cpuid(0, a, b, c, d); return a; }"
        )
        made = subprocess.run(["gcc", "-static", "-o", tmp_path / "static", source], capture_output=True, check=False)
        if made.returncode:
            pytest.skip("gcc cannot make static programs here")
        table = Table({(0, None): (0x16, 0, 0, 0)}, {}, [], rewritten=True)
        status = launcher.run(table, [str(tmp_path / "static")], find=finder(tmp_path, print))
        assert os.waitstatus_to_exitcode(status) == 0x16

    def test_many_starts_leave_nothing_behind(self):
        for _ in range(100):
            assert launcher.run(TABLE, ["/bin/true"], find=ask_nobody) == 0
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    @pytest.mark.parametrize(("machine", "kind", "word"), [(183, 2, "aarch64"), (3, 1, "32-bit x86")])
    def test_programs_for_others_are_refused(self, machine, kind, word, tmp_path):
        file = tmp_path / "program"
        file.write_bytes(b"\x7fELF" + bytes([kind, 1, 1]) + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44))
        file.chmod(0o755)
        with pytest.raises(Failure, match=f"a program for {word}"):
            launcher.run(TABLE, [str(file)])

    def test_a_32_bit_child_is_refused(self, tmp_path):
        """exit(7) in the 32-bit way: 84 bytes of headers and the code after them."""
        code = bytes.fromhex("b801000000 bb07000000 cd80")
        header = (
            b"\x7fELF\x01\x01\x01"
            + bytes(9)
            + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        )
        header += struct.pack("<IIIIIIII", 1, 0, 0x8048000, 0x8048000, 84 + len(code), 84 + len(code), 5, 4096)
        file = tmp_path / "small"
        file.write_bytes(header + code)
        file.chmod(0o755)
        try:
            alone = subprocess.run([file], check=False).returncode
        except OSError:
            pytest.skip("this kernel runs no 32-bit programs")
        assert alone == 7
        with pytest.raises(Failure, match="is a 32-bit program"):
            launcher.run(TABLE, ["/bin/sh", "-c", f"{file}; exit 0"], find=ask_nobody)


class TestTracing:
    def test_a_program_that_is_traced_already(self, capfd):
        status = launcher.run(TABLE, launching("/bin/true"), find=ask_nobody)
        assert os.waitstatus_to_exitcode(status) != 0
        assert "it would be traced twice: process" in capfd.readouterr().err

    def test_where_tracing_is_forbidden(self, monkeypatch):
        def refused(pid):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(tracing, "seize", refused)
        with pytest.raises(Failure, match="may not trace its children"):
            launcher.run(TABLE, ["/bin/true"])

    def test_if_the_launcher_dies_so_does_the_program(self, tmp_path):
        process = subprocess.Popen(launching("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 100"))
        for _ in range(500):
            if (tmp_path / "pid").exists() and (text := (tmp_path / "pid").read_text()):
                break
            time.sleep(0.01)
        process.kill()
        process.wait()
        for _ in range(500):
            if not Path(f"/proc/{int(text)}").exists() or _state(int(text)) == "Z":
                return
            time.sleep(0.01)
        pytest.fail("the program outlived its launcher")

    def test_input_passes_through(self):
        done = subprocess.run(launching("/bin/cat"), input=b"given", capture_output=True, check=True)
        assert done.stdout == b"given"

    def test_job_control(self):
        """As a shell does it: Ctrl-Z stops launcher and program, `fg` lets both go on, Ctrl-C ends them."""
        job = launching("/bin/sh", "-c", "echo ready; while :; do sleep 0.05; done")
        leader, follower = pty.openpty()
        shell = subprocess.Popen(
            [sys.executable, "-c", SHELL, *job],
            stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        said = b""
        try:
            for word, key in ((b"ready", b"\x1a"), (b"stopped", b""), (b"on again", b"\x03"), (b"ended by 2", b"")):
                while word not in said:
                    assert select.select([leader], [], [], 20)[0], said
                    said += os.read(leader, 1000)
                os.write(leader, key)
        finally:
            os.close(leader)
            shell.kill()
            shell.wait()


# A shell with one job in the foreground of its terminal.
SHELL = """
import fcntl, os, signal, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
assert os.WIFSTOPPED(os.waitpid(job, os.WUNTRACED)[1])
os.tcsetpgrp(0, os.getpgrp())
time.sleep(0.1)
assert os.waitpid(job, os.WNOHANG | os.WUNTRACED) == (0, 0)
print("stopped", flush=True)
os.tcsetpgrp(0, job)
os.killpg(job, signal.SIGCONT)
time.sleep(0.2)
print("on again", flush=True)
print("ended by", os.WTERMSIG(os.waitpid(job, 0)[1]), flush=True)
"""


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
