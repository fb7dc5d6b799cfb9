"""Run a program, and everything it starts, under another processor's CPUID.

    python -m numdev_worker.launcher --table TABLE -- PROGRAM ARGUMENTS...

`arch_prctl(ARCH_SET_CPUID, 0)` makes the CPUID instruction fault. The kernel clears that flag at every execve, so
the launcher traces the process tree and makes the call inside each new program before its first instruction:
the loader, libc and static programs are covered. Each fault is answered from the table and never reaches the
program. After start-up nothing faults any more, so the program runs at native speed. The model is rr
(https://github.com/rr-debugger/rr, src/Task.cc `post_exec_syscall`, src/record_signal.cc).

Where the table says `rewritten`, nothing is switched on: the program's libraries then have a trap in the place of
CPUID (see stacks/rewritten.py), which faults in the same way on every processor.

If the launcher dies, so does everything it traces. When the program ends, what it left running is ended too: it
could not live on untraced, since its CPUID instructions would kill it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Dict, List, NamedTuple, NoReturn, Optional

from . import cpuid as cpuids
from . import tracing

ARCH_SET_CPUID = 0x1012
_ARCH_PRCTL = 158
_SYSCALL = b"\x0f\x05"
_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)

# Exit codes, as those of env(1) and timeout(1): of the launcher itself, the program's own are passed on.
REFUSED, CANNOT_RUN, NOT_FOUND = 125, 126, 127


class Fault(NamedTuple):
    """How the instruction that stands for CPUID shows itself: a signal, its si_code, and the two bytes at fault."""

    signal: int
    code: int
    instruction: bytes


CPUID_FAULT = Fault(signal.SIGSEGV, tracing.SI_KERNEL, cpuids.INSTRUCTION)
REWRITTEN_FAULT = Fault(signal.SIGSEGV, tracing.SI_KERNEL, cpuids.TRAP)


class Failure(Exception):
    """The launcher cannot do its work; `code` is the exit code to end with."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code


class Launcher:
    """Traces one program and its descendants.

    Args:
        table: what CPUID answers.
        fault: what a CPUID instruction does. Tests name others, to take every step but the processor's own fault
            on processors that cannot fault.
        faulting: whether to switch CPUID faulting on; off for the same tests.
    """

    def __init__(self, table: cpuids.Table, *, fault: Fault = CPUID_FAULT, faulting: bool = True) -> None:
        self.table = table
        self.real = cpuids.Cpuid()
        self.fault = fault
        self.faulting = faulting
        self.traps = 0

    def run(self, argv: Sequence[str], environment: Optional[Dict[str, str]] = None) -> int:
        """Runs the program to its end and returns its wait status.

        Raises:
            Failure: it could not be started, or this host cannot make CPUID fault.
        """
        root = self._start(argv, dict(os.environ) if environment is None else environment)
        previous = {number: signal.getsignal(number) for number in (*_PASSED_ON, signal.SIGINT)}
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _frame: _kill(root, number))
        # The terminal sends an interrupt to the program as well; what it does about it is its own affair.
        signal.signal(signal.SIGINT, lambda *_: None)
        try:
            return self._trace(root)
        except BaseException:
            _kill(root, signal.SIGKILL)
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self, argv: Sequence[str], environment: Dict[str, str]) -> int:
        """Starts the program under trace, stopped at the door of its first instruction by the exec event."""
        gate_read, gate_write = os.pipe()
        failed_read, failed_write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(gate_write)
            os.close(failed_read)
            code = errno.EINTR
            try:
                if os.read(gate_read, 1):
                    os.execvpe(argv[0], list(argv), environment)
            except OSError as error:
                code = error.errno or errno.EINTR
            finally:
                os.write(failed_write, str(code).encode())
                os._exit(NOT_FOUND)
        os.close(gate_read)
        os.close(failed_write)
        try:
            tracing.seize(child)
        except (OSError, tracing.Gone) as error:
            os.close(gate_write)
            os.close(failed_read)
            os.waitpid(child, 0)
            raise Failure(f"this process may not trace its children: {error}") from None
        os.write(gate_write, b"g")
        os.close(gate_write)
        self._failed = failed_read
        return child

    def _trace(self, root: int) -> int:
        started = False
        while True:
            pid, status = os.waitpid(-1, 0x40000000)  # __WALL: threads of other groups too
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if pid == root:
                    if not started:
                        self._explain_failed_start(status)
                    return status
                continue
            try:
                event, number = status >> 16, os.WSTOPSIG(status)
                if event == tracing.EVENT_EXEC:
                    started = True
                    if self.faulting:
                        self._make_cpuid_fault(pid)
                    tracing.resume(pid)
                elif event == tracing.EVENT_STOP and number in _STOPS:
                    tracing.ptrace(tracing.LISTEN, pid)
                elif event or (number == self.fault.signal and self._answer(pid)):
                    tracing.resume(pid)
                else:
                    tracing.resume(pid, number)
            except tracing.Gone:
                continue

    def _explain_failed_start(self, status: int) -> None:
        text = os.read(self._failed, 16)
        os.close(self._failed)
        if text:
            code = int(text)
            raise Failure(os.strerror(code), NOT_FOUND if code == errno.ENOENT else CANNOT_RUN)
        raise Failure(f"the program ended before it began (wait status {status})")

    def _answer(self, pid: int) -> bool:
        """Answers a CPUID instruction at which `pid` has faulted; False for any other fault."""
        if tracing.signal_code(pid) != self.fault.code:
            return False
        state = tracing.registers(pid)
        # At the very end of a mapping eight bytes cannot be read, but two can.
        at = tracing.bytes_at(pid, state.rip) or tracing.read_memory(pid, state.rip, 2)
        if at[:2] != self.fault.instruction:
            return False
        self.traps += 1
        leaf, subleaf = state.rax & 0xFFFFFFFF, state.rcx & 0xFFFFFFFF
        if leaf == cpuids.MAGIC:
            answer = (1, self.traps & 0xFFFFFFFF, 0, 0)
        else:
            answer = self.table.answer(leaf, subleaf, self.real, lambda: tracing.processor_of(pid))
        state.rax, state.rbx, state.rcx, state.rdx = answer
        state.rip += 2
        tracing.set_registers(pid, state)
        return True

    def _make_cpuid_fault(self, pid: int) -> None:
        """Makes arch_prctl(ARCH_SET_CPUID, 0) inside `pid`, which has just executed a new program.

        Raises:
            Failure: this host cannot do it; nothing of the program has run yet.
        """
        result = self.call(pid, _ARCH_PRCTL, ARCH_SET_CPUID, 0)
        if result == -errno.ENODEV:
            raise Failure("this processor or its hypervisor does not offer CPUID faulting")
        if result != 0:
            raise Failure(f"CPUID faulting could not be switched on: {os.strerror(-result)}")

    def call(self, pid: int, number: int, *arguments: int) -> int:
        """The result of a system call made inside `pid` at its exec event; its state is as before afterwards."""
        # The program is still inside execve: a step completes that call before anything can be placed in registers.
        self._step(pid)
        saved = tracing.registers(pid)
        state = tracing.registers(pid)
        at = self._find_syscall(pid)
        state.rip, state.rax, state.orig_rax = at, number, 0xFFFFFFFFFFFFFFFF
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments):
            setattr(state, name, value)
        tracing.set_registers(pid, state)
        self._step(pid)
        after = tracing.registers(pid)
        tracing.set_registers(pid, saved)
        if after.rip != at + 2:
            raise Failure("a system call could not be made inside the program")
        return after.rax - (1 << 64) if after.rax >> 63 else after.rax

    def _step(self, pid: int) -> None:
        """One step; signals that arrive meanwhile are given back afterwards."""
        waiting: List[int] = []
        tracing.ptrace(tracing.SINGLESTEP, pid)
        while True:
            _, status = os.waitpid(pid, 0x40000000)
            if not os.WIFSTOPPED(status):
                raise Failure(f"the program was ended while it was started (wait status {status})")
            number = os.WSTOPSIG(status)
            if number == signal.SIGTRAP and status >> 16 == 0:
                break
            if status >> 16 == 0:
                waiting.append(number)
            tracing.ptrace(tracing.SINGLESTEP, pid)
        for number in waiting:
            _kill(pid, number)

    def _find_syscall(self, pid: int) -> int:
        start = tracing.vdso(pid)
        offset = tracing.read_memory(pid, start, 8192).find(_SYSCALL) if start else -1
        if offset < 0:
            raise Failure("no system call instruction was found in the program (no vDSO)")
        return start + offset


def run(table: cpuids.Table, argv: Sequence[str], environment: Optional[Dict[str, str]] = None) -> int:
    """Runs `argv` under `table`; the wait status. Raises Failure."""
    if table.rewritten:
        return Launcher(table, fault=REWRITTEN_FAULT, faulting=False).run(argv, environment)
    return Launcher(table).run(argv, environment)


def check(rewritten: bool = False) -> str:
    """Whether CPUID faulting works here, by executing CPUID under it: "" if it does, else the reason.

    Args:
        rewritten: check the trap that stands for CPUID in rewritten libraries instead.
    """
    # A leaf that no processor has: only the table can have put this there.
    marker = (0x4E554D44, 0x45563031, 0x53454C46, 0x54455354)
    try:
        table = cpuids.Table({(0x4E554D45, None): marker}, {}, cpuids.EVERY_LEAF, rewritten)
        program = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from " + __package__ + ".cpuid import Cpuid\n"
            f"sys.exit(0 if Cpuid({table.instruction!r})(0x4E554D45) == {marker} else 9)"
        )
        root = __file__
        for _ in __package__.split("."):
            root = os.path.dirname(root)
        argv = [sys.executable, "-S", "-B", "-c", program, os.path.dirname(root)]
        status = run(table, argv)
    except (Failure, OSError) as error:
        return str(error)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return ""
    mechanism = "a trap in the place of CPUID" if rewritten else "CPUID faulting"
    return f"{mechanism} is there, but a program under it did not see the table (wait status {status})"


def end_as(status: int) -> NoReturn:
    """Ends this process in the way the wait status says: same exit code, or the same signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass
        os.kill(os.getpid(), number)
        os._exit(128 + number)
    os._exit(os.WEXITSTATUS(status))


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def main(arguments: Sequence[str]) -> None:
    if len(arguments) < 4 or arguments[0] != "--table" or arguments[2] != "--":
        print("usage: launcher --table TABLE -- PROGRAM ARGUMENTS...", file=sys.stderr)
        sys.exit(REFUSED)
    try:
        status = run(cpuids.read_table(arguments[1]), arguments[3:])
    except Failure as failure:
        print(f"numdev: {arguments[3]}: {failure}", file=sys.stderr)
        sys.exit(failure.code)
    except (OSError, cpuids.TableError) as error:
        print(f"numdev: {arguments[1]}: {error}", file=sys.stderr)
        sys.exit(REFUSED)
    end_as(status)


if __name__ == "__main__":
    main(sys.argv[1:])
