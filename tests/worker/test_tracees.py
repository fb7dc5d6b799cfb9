"""What a program has set up for itself stays as it was: signals, masks, handlers, its own use of CPUID."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap

import pytest

from numdev.worker import launcher

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is an instruction of x86-64")


class TestSignals:
    def test_a_handler_of_its_own_stays(self, under):
        code = """
        import faulthandler
        faulthandler.enable(open("/dev/null", "w"))
        assert status("SigCgt") == 1
        assert cpuid(0)[0] == 0x16
        assert status("SigCgt") == 1
        """
        assert under(code) == 0

    def test_a_handler_sees_a_real_crash_after_cpuid(self, under, tmp_path):
        code = f"""
        import faulthandler
        faulthandler.enable(open({str(tmp_path / "log")!r}, "w"))
        cpuid(0)
        ctypes.string_at(0)
        """
        assert under(code) == -signal.SIGSEGV
        assert "Segmentation fault" in (tmp_path / "log").read_text()

    def test_a_blocked_signal_stays_blocked_and_its_handler_there(self, under):
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

    def test_an_ignored_signal_stays_ignored(self, under):
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

    def test_threads_and_children_have_their_makers_mask(self, under):
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

    def test_what_is_ignored_and_blocked_survives_a_new_program(self, under):
        inner = under.program("assert cpuid(0)[0] == 0x16; sys.exit(10 + status('SigBlk') + 2 * status('SigIgn'))")
        code = f"""
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
        os.execv({inner[0]!r}, {inner!r})
        """
        assert under(code) == 13

    def test_without_a_launcher_the_checks_see_the_same(self, under):
        """What the tests above ask is what a program sees of itself anyway."""
        code = """
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
        sys.exit(10 + status("SigBlk") + 2 * status("SigIgn"))
        """
        assert subprocess.run(under.program(code), check=False).returncode == 13


# Lines for programs: a handler of theirs by sigaction(2) itself, which is on the stack of the signal while it runs.
SIGACTION = """
class Action(ctypes.Structure):
    _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_uint64 * 16), ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p)]
class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
SIGINFO, ONSTACK, NODEFER, RESETHAND = 4, 0x08000000, 0x40000000, 0x80000000
kept = []
def handle(number, handler, flags=0, mask=0):
    kept.append(ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.c_void_p)(handler))
    action = Action(ctypes.cast(kept[-1], ctypes.c_void_p), (ctypes.c_uint64 * 16)(mask), ctypes.c_int(flags | SIGINFO).value, None)
    assert libc.sigaction(number, ctypes.byref(action), None) == 0
"""


class TestHandlers:
    def test_it_is_told_of_a_real_crash_where_and_why(self, under):
        code = """
        def crashed(number, info, context):
            os._exit(40 if (number, info[2], ctypes.cast(info, ctypes.POINTER(ctypes.c_void_p))[2]) == (11, 1, 8) else 9)
        handle(11, crashed)
        assert [cpuid(0)[0] for _ in range(5)] == [0x16] * 5 and status("SigCgt") == 1
        ctypes.string_at(8)
        """
        assert under(SIGACTION + textwrap.dedent(code)) == 40

    def test_it_is_told_of_a_signal_that_someone_sent(self, under):
        code = """
        handle(11, lambda number, info, context: os._exit(40 if (info[2], info[4]) == (0, os.getpid()) else 9))
        cpuid(0)
        os.kill(os.getpid(), 11)
        """
        assert under(SIGACTION + textwrap.dedent(code)) == 40

    def test_one_for_one_time_only(self, under):
        code = """
        seen = []
        handle(11, lambda number, info, context: seen.append(cpuid(0)[0]), RESETHAND)
        assert cpuid(0)[0] == 0x16 and seen == [] and status("SigCgt") == 1
        libc.raise_ = libc["raise"]
        libc.raise_(11)
        assert seen == [0x16] and status("SigCgt") == 0
        assert cpuid(0)[0] == 0x16 and status("SigCgt") == 0
        libc.raise_(11)
        """
        assert under(SIGACTION + textwrap.dedent(code)) == -signal.SIGSEGV

    def test_a_stack_of_its_own(self, under):
        code = """
        memory = ctypes.create_string_buffer(1 << 18)
        own = Stack(ctypes.addressof(memory), 0, len(memory))
        assert libc.sigaltstack(ctypes.byref(own), None) == 0
        def crashed(number, info, context):
            now = Stack()
            libc.sigaltstack(None, ctypes.byref(now))
            os._exit(40 if (now.flags, cpuid(0)[0], status("SigCgt")) == (1, 0x16, 1) else 9)
        handle(11, crashed, ONSTACK)
        cpuid(0)
        ctypes.string_at(0)
        """
        assert under(SIGACTION + textwrap.dedent(code)) == 40

    @pytest.mark.parametrize("number", ["signal.SIGUSR1", "signal.SIGSEGV"])
    def test_cpuid_inside_a_handler_that_blocks_all(self, under, number):
        code = f"""
        handle(11, lambda *_: seen.append("crash"))
        seen = []
        def inside(*_):
            seen.append((status("SigBlk"), cpuid(0)[0], status("SigBlk"), status("SigCgt")))
        handle({number}, inside, 0, 0xFFFFFFFFFFFFFFFF)
        libc.raise_ = libc["raise"]
        for _ in range(3):
            libc.raise_(int({number}))
        assert seen == [(1, 0x16, 1, 1)] * 3, seen
        assert (status("SigBlk"), cpuid(0)[0], status("SigCgt")) == (0, 0x16, 1)
        """
        assert under(SIGACTION + textwrap.dedent(code)) == 0


class TestItsOwnUseOfFaulting:
    CALL = """
    def arch_prctl(*arguments):
        result = libc.syscall(158, *arguments)
        return -ctypes.get_errno() if result < 0 else result
    """

    def test_a_processor_without_faulting_says_so(self, under):
        code = f"""
        assert arch_prctl(0x1011, 0) == 1
        assert arch_prctl(0x1012, 0) == {-19 if under.table.rewritten else 0}
        assert arch_prctl(0x1012, 1) == {-19 if under.table.rewritten else 0}
        assert cpuid(0)[0] == 0x16
        """
        assert under(textwrap.dedent(self.CALL) + textwrap.dedent(code)) == 0

    def test_where_it_faults_the_programs_own_state_is_kept(self, under):
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
        fault = launcher.REWRITTEN_FAULT if under.table.rewritten else launcher.CPUID_FAULT
        tracer = launcher.Launcher(under.table, fault=fault, faulting=not under.table.rewritten)
        tracer.tracees.faulting = True
        status = tracer.run(under.program(textwrap.dedent(self.CALL) + textwrap.dedent(code)))
        assert os.waitstatus_to_exitcode(status) == -signal.SIGSEGV, "it wanted the fault itself"
