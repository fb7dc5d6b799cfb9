"""Programs of all kinds under the launcher, what it refuses, and what passes through it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from numdev.worker import filter as filters
from numdev.worker import launcher, tracing
from numdev.worker.cpuid import Table
from numdev.worker.start import Failure

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is an instruction of x86-64")

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = next((path for path in ("/usr/bin/python3", sys.executable) if os.path.exists(path)), sys.executable)


def elf(file: Path, code: bytes) -> Path:
    """A static program of these instructions: two headers, one segment, no sections."""
    at = 0x400000 + 120
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, at, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120 + len(code), 120 + len(code), 4096)
    file.write_bytes(header + code)
    file.chmod(0o755)
    return file


def forbid_ptrace(allowed: list[int]) -> None:
    """A seccomp filter for this process: ptrace with any other request than these is EPERM, as under a strict sandbox."""
    tests = [(0x15, 1, 0, request) for request in allowed]
    program = [(0x20, 0, 0, 0), (0x15, 0, len(tests) * 2 + 2, 101), (0x20, 0, 0, 16)]
    for index, request in enumerate(allowed):
        program.append((0x15, len(allowed) - index, 0, request))
    program += [(0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)]
    program[1] = (0x15, 0, len(program) - 3, 101)
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    rules = filters.Filter(mappings=False)
    rules._program = filters._Program(len(program), code)
    rules.install()


def assert_none_left() -> None:
    """No child of this process, running or ended."""
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class TestPrograms:
    def test_a_static_program(self, under, tmp_path):
        """exit_group(EAX of leaf 0), by hand: no loader, no libc, and CPUID among its first instructions."""
        code = bytes.fromhex("31c0 31c9") + under.table.instruction + bytes.fromhex("89c7 b8e7000000 0f05")
        file = elf(tmp_path / "static", code)
        assert os.waitstatus_to_exitcode(under.run([str(file)])) == 0x16

    def test_its_cpuid_instructions_are_found_where_they_are_rewritten(self, tmp_path):
        code = bytes.fromhex("31c0 31c9 0fa2 89c7 b8e7000000 0f05")
        file = elf(tmp_path / "static", code)
        table = Table({(0, None): (0x16, 0, 0, 0)}, {}, [], rewritten=True)
        at = file.read_bytes().index(b"\x0f\xa2")
        status = launcher.run(table, [str(file)], find=lambda path, name: (at,))
        assert os.waitstatus_to_exitcode(status) == 0x16

    def test_a_child_of_vfork_before_it_is_a_program(self, under):
        """The child borrows its parent's memory: vfork, CPUID, exit(EAX)."""
        code = """
        import mmap
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(bytes.fromhex("53 b83a000000 0f05 85c0 750f 31c0 31c9") + INSTRUCTION + bytes.fromhex("89c7 b83c000000 0f05 5b c3"))
        vfork = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        for _ in range(3):
            assert os.waitstatus_to_exitcode(os.waitpid(vfork(), 0)[1]) == 0x16
        """
        assert under(code.replace("INSTRUCTION", repr(under.table.instruction))) == 0

    def test_a_program_begun_by_a_thread(self, under):
        """The process goes on under its old number, with the thread's mask; all other threads are gone."""
        inner = under.program("sys.exit(cpuid(0)[0] + status('SigBlk'))")
        code = f"""
        import time
        for _ in range(8):
            threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
        def begin():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
            cpuid(0)
            os.execv({inner[0]!r}, {inner!r})
        threading.Thread(target=begin).start()
        time.sleep(100)
        """
        assert under(code) == 0x17

    def test_children_that_are_ended_while_they_start(self, under):
        code = """
        import subprocess
        for turn in range(60):
            child = subprocess.Popen(["/bin/true"])
            for _ in range(turn * 20): pass
            child.kill()
            assert child.wait() in (0, -9)
        sys.exit(cpuid(0)[0])
        """
        assert under(code) == 0x16
        assert_none_left()

    def test_children_of_every_kind(self, under):
        inner = under.program("sys.exit(cpuid(0)[0])")
        code = f"""
        import subprocess
        assert subprocess.run({inner!r}).returncode == 0x16
        pid = os.posix_spawn({inner[0]!r}, {inner!r}, os.environ)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0x16
        """
        assert under(code) == 0

    def test_64_threads_start_and_end(self, under):
        code = """
        seen = []
        for _ in range(3):
            threads = [threading.Thread(target=lambda: seen.append(cpuid(0)[0])) for _ in range(64)]
            [thread.start() for thread in threads]; [thread.join() for thread in threads]
        assert seen == [0x16] * 192
        """
        assert under(code) == 0

    def test_many_starts_leave_nothing_behind(self, under):
        for _ in range(100):
            assert under.run(["/bin/true"]) == 0
        assert_none_left()

    def test_a_program_that_forks_until_it_is_forbidden(self, under):
        """A fork bomb: the limit on processes binds no root, so it runs as somebody who has no others."""
        code = """
        import resource
        if os.getuid() == 0:
            os.setgroups([]); os.setgid(54321); os.setuid(54321)
            resource.setrlimit(resource.RLIMIT_NPROC, (40, 40))
        else:
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        assert cpuid(0)[0] == 0x16
        while True:
            try:
                os.fork()
            except OSError:
                break
        assert cpuid(0)[0] == 0x16
        """
        assert under(code) == 0
        assert_none_left()

    @pytest.mark.parametrize(("machine", "kind", "word"), [(183, 2, "aarch64"), (3, 1, "32-bit x86")])
    def test_programs_for_others_are_refused(self, under, machine, kind, word, tmp_path):
        file = tmp_path / "program"
        file.write_bytes(b"\x7fELF" + bytes([kind, 1, 1]) + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44))
        file.chmod(0o755)
        with pytest.raises(Failure, match=f"a program for {word}"):
            under.run([str(file)])

    def test_a_32_bit_child_is_refused(self, under, tmp_path):
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
            under.run(["/bin/sh", "-c", f"{file}; exit 0"])

    @pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
    def test_a_static_program_that_a_compiler_made(self, tmp_path):
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


class TestTracing:
    def test_a_program_that_is_traced_already(self, under, capfd):
        status = under.run(under.launching("/bin/true"))
        assert os.waitstatus_to_exitcode(status) == 125
        assert "it would be traced twice: process" in capfd.readouterr().err

    def test_where_tracing_is_forbidden(self, under, monkeypatch):
        def refused(pid):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(tracing, "seize", refused)
        with pytest.raises(Failure, match="may not trace its children"):
            under.run(["/bin/true"])

    def test_if_the_launcher_dies_so_does_the_program(self, under, tmp_path):
        process = subprocess.Popen(under.launching("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 100"))
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

    @pytest.mark.parametrize("allowed", [[], [tracing.SEIZE]], ids=["at once", "half-way"])
    def test_where_a_filter_forbids_it(self, under, allowed):
        done = under.apart("/bin/true", preexec_fn=lambda: forbid_ptrace(allowed))
        assert done.returncode == 125
        assert "Traceback" not in done.stderr
        assert "ptrace" in done.stderr

    def test_a_program_that_may_be_run_but_not_read(self, under):
        """An ordinary user can then neither trace it fully nor find out what it maps; it must not hang."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            shutil.copytree(ROOT / "numdev" / "worker", folder / "numdev_worker")
            shutil.copy("/bin/true", folder / "secret")
            (folder / "secret").chmod(0o711)
            (folder / "table").write_text(under.table.text())
            user = {"user": 54321, "group": 54321, "extra_groups": []} if os.getuid() == 0 else {}
            argv = [
                SYSTEM_PYTHON,
                "-m",
                "numdev_worker.launcher",
                "--table",
                str(folder / "table"),
                "--",
                str(folder / "secret"),
            ]
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": name}, **user
            )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert "not be looked into" in done.stderr or "not looked into" in done.stderr
        assert done.returncode == (0 if under.table.rewritten else 125)

    @pytest.mark.parametrize(
        "code",
        ["31c0 8b00", "48b80000000000000080 8b00", "0f0b", "31c9 f7f1", "f4", "cc"],
        ids=["no memory", "no address", "no instruction", "division", "privileged", "trap"],
    )
    def test_a_real_crash_stays_one(self, under, code, tmp_path):
        file = elf(tmp_path / "crash", bytes.fromhex(code))
        alone = subprocess.run([file], check=False).returncode
        assert alone < 0
        assert os.waitstatus_to_exitcode(under.run([str(file)])) == alone

    def test_the_same_bytes_where_nothing_may_be_executed_are_a_crash(self, under):
        code = f"""
        import mmap
        page = mmap.mmap(-1, 4096, prot=3)
        page.write({under.table.instruction!r} + b"\\xc3")
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        """
        assert under(code) == -signal.SIGSEGV

    @pytest.mark.parametrize(
        "number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
    )
    def test_signals_to_the_launcher_reach_the_program(self, under, number):
        code = f"""
        signal.signal({int(number)}, lambda *_: os._exit(40))
        cpuid(0)
        print("ready", flush=True)
        while True: signal.pause()
        """
        process = subprocess.Popen(
            under.launching(*under.program(code)), stdout=subprocess.PIPE, text=True, start_new_session=True
        )  # fmt: skip
        with process:
            try:
                assert process.stdout.readline() == "ready\n"
                process.send_signal(number)
                assert process.wait(20) == 40
            finally:
                process.kill()

    def test_input_passes_through(self, under):
        done = subprocess.run(under.launching("/bin/cat"), input=b"given", capture_output=True, check=True)
        assert done.stdout == b"given"

    def test_job_control(self, under):
        """As a shell does it: Ctrl-Z stops launcher and program, `fg` lets both go on, Ctrl-C ends them."""
        job = under.launching("/bin/sh", "-c", "echo ready; while :; do sleep 0.05; done")
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
