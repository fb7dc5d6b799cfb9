"""Run a program, and everything it starts, under another processor's CPUID.

    python -m numdev_worker.launcher --table TABLE [--sites SITES] -- PROGRAM ARGUMENTS...

`arch_prctl(ARCH_SET_CPUID, 0)` makes the CPUID instruction fault. The kernel clears that flag at every execve, so
the launcher traces the process tree and makes the call inside each new program before its first instruction:
the loader, libc and static programs are covered. Each fault is answered from the table and never reaches the
program. After start-up nothing faults any more, so the program runs at native speed. The model is rr
(https://github.com/rr-debugger/rr, src/Task.cc `post_exec_syscall`, src/record_signal.cc).

Where the table says `rewritten`, nothing is switched on: the launcher puts a trap in the place of each CPUID instruction as
code is mapped (patches.py), which faults in the same way on every processor.

If the launcher dies, so does everything it traces. When the program ends, what it left running is ended too: it
could not live on untraced, since its CPUID instructions would kill it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Dict, NoReturn, Optional, Set

from . import cpuid as cpuids
from . import filter as filters
from . import inject, proc, tracing
from .answers import CPUID_FAULT, REWRITTEN_FAULT, Answers, Fault
from .patches import Find, Patcher, Sites, SitesError, read_sites
from .start import REFUSED, Failure, Start
from .tracees import Tracees

_WALL = 0x40000000  # threads and clones of all kinds
_CODE_32 = 0x23  # the code segment of 32-bit programs
_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_KEYS = (signal.SIGINT, signal.SIGQUIT)


class Launcher:
    """Traces one program and its descendants.

    Args:
        table: what CPUID answers.
        fault: what a CPUID instruction does. Tests name others, to take every step but the processor's own fault
            on processors that cannot fault.
        faulting: whether to switch CPUID faulting on; off for the same tests.
        patcher: puts traps into code that is mapped, where CPUID does not fault.
        skip: parts of paths of files whose CPUID is answered by the real processor: a leak, to see that it is noticed.
    """

    def __init__(
        self,
        table: cpuids.Table,
        *,
        fault: Fault = CPUID_FAULT,
        faulting: bool = True,
        patcher: Optional[Patcher] = None,
        skip: Sequence[str] = (),
    ) -> None:
        self.faulting = faulting
        self.patcher = patcher
        self.tracees = Tracees(faulting)
        self.answers = Answers(table, fault, self.tracees, patcher, skip)
        self._seen: Set[int] = set()
        self._calling: Dict[int, tracing.Registers] = {}

    def run(self, argv: Sequence[str], environment: Optional[Dict[str, str]] = None) -> int:
        """Runs the program to its end and returns its wait status.

        Raises:
            Failure: it could not be started, or this host cannot make CPUID fault.
        """
        rules = filters.Filter(mappings=self.patcher is not None)
        start = Start(argv, dict(os.environ) if environment is None else environment, rules)
        root = start.pid
        previous = {number: signal.getsignal(number) for number in (*_PASSED_ON, *_KEYS)}
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _frame: inject.send(root, number))
        for number in _KEYS:
            signal.signal(number, lambda number, _frame: None if _at_terminal() else inject.send(root, number))
        try:
            return self._trace(start)
        except inject.CannotInject as error:
            raise Failure(str(error)) from None
        except OSError as error:
            unreadable = error.errno == errno.EACCES
            why = "it may be run, but not looked into" if unreadable else "it cannot be traced to its end"
            raise Failure(f"{why} ({error})") from None
        finally:
            self._end_all()
            self.tracees.close()
            self.answers.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _trace(self, start: Start) -> int:
        while True:
            pid, status = os.waitpid(-1, _WALL)
            try:
                if os.WIFSTOPPED(status):
                    self._stopped(pid, status, start)
                    continue
            except tracing.Gone:
                continue
            except inject.Ended as end:
                status = end.status
            self._forget(pid)
            if pid == start.pid:
                if not start.has_begun:
                    raise start.failure(status)
                return status

    def _stopped(self, pid: int, status: int, start: Start) -> None:
        """Does what is to be done at this stop, and lets the thread go on."""
        if pid not in self._seen:
            # Before it can change anything: what a new thread has is what its maker had.
            self._seen.add(pid)
            self.tracees.of(pid)
        event, number = status >> 16, os.WSTOPSIG(status)
        if number == self.answers.fault.signal and not event:
            tracing.resume(pid, 0 if self.answers.give(pid) else number)
        elif event == tracing.EVENT_EXEC:
            start.begun()
            # A thread that is not the first takes the number of the process, and its own ends unreported.
            before = tracing.event_message(pid)
            if before != pid:
                self._forget(before)
            self._program(pid)
            tracing.resume(pid)
        elif event == tracing.EVENT_SECCOMP:
            tracing.resume(pid, request=self._called(pid))
        elif number == tracing.SYSCALL_STOP:
            self._returned(pid)
            tracing.resume(pid)
        elif event == tracing.EVENT_STOP and number in _STOPS:
            tracing.ptrace(tracing.LISTEN, pid)
        else:
            tracing.resume(pid, 0 if event else number)

    def _forget(self, pid: int) -> None:
        self._seen.discard(pid)
        self._calling.pop(pid, None)
        self.tracees.ended(pid)
        self.answers.ended(pid)

    def _end_all(self) -> None:
        """Ends what still runs, and waits for it: after the program's own end, or where the launcher gives up."""
        left = set(self._seen) or _unseen()
        while left:
            for pid in left:
                inject.send(pid, signal.SIGKILL)
            while left:
                try:
                    pid, status = os.waitpid(-1, _WALL)
                except ChildProcessError:
                    return
                if os.WIFSTOPPED(status):
                    # Born meanwhile.
                    left.add(pid)
                    inject.send(pid, signal.SIGKILL)
                else:
                    left.discard(pid)
            left = _unseen()
        self._seen.clear()

    def _program(self, pid: int) -> None:
        """A new program, before its first instruction.

        Raises:
            Failure: this host cannot show it another CPUID; nothing of the program has run yet.
        """
        self.tracees.executed(pid)
        # The program is still inside execve: a step completes that call before anything can be placed in registers.
        inject.step(pid)
        if tracing.registers(pid).cs == _CODE_32:
            raise Failure(f"{_name(pid)} is a 32-bit program; profiles are shown to 64-bit programs only")
        if self.patcher:
            self.patcher.everything(pid)
        if self.faulting:
            self._make_cpuid_fault(pid)

    def _make_cpuid_fault(self, pid: int) -> None:
        """Makes arch_prctl(ARCH_SET_CPUID, 0) inside `pid`."""
        result = inject.call(pid, filters.ARCH_PRCTL, filters.ARCH_SET_CPUID, 0)
        if result == -errno.ENODEV:
            raise Failure("this processor or its hypervisor does not offer CPUID faulting")
        if result != 0:
            raise Failure(f"CPUID faulting could not be switched on: {os.strerror(-result)}")

    def _called(self, pid: int) -> int:
        """Before a system call that the filter stops; how `pid` goes on from there."""
        state = tracing.registers(pid)
        if state.orig_rax in (filters.MMAP, filters.MPROTECT, filters.PKEY_MPROTECT):
            # Only at its end is it known where the code came to lie.
            self._calling[pid] = state
            return tracing.SYSCALL
        self.tracees.called(pid, state)
        return tracing.CONT

    def _returned(self, pid: int) -> None:
        """At the end of a call that has mapped code, before any of it can run."""
        called = self._calling.pop(pid, None)
        if called is None or self.patcher is None:
            return
        result = tracing.registers(pid).rax
        if called.orig_rax == filters.MMAP:
            if result >> 63 == 0:
                self.patcher.range(pid, result, called.rsi)
        elif result == 0:
            self.patcher.range(pid, called.rdi, called.rsi)


def run(
    table: cpuids.Table,
    argv: Sequence[str],
    environment: Optional[Dict[str, str]] = None,
    *,
    sites: Optional[Sites] = None,
    find: Optional[Find] = None,
    skip: Sequence[str] = (),
) -> int:
    """Runs `argv` under `table`; the wait status.

    Args:
        sites, find: where files have their CPUID instructions, for a table that says `rewritten`.
        skip: files that are left as they are, by parts of their paths: a leak, to see that it is noticed.

    Raises:
        Failure: it could not be started, or this host cannot do it.
    """
    if why := cpuids.unavailable():
        raise Failure(why)
    if table.rewritten:
        patcher = Patcher(sites or Sites({}), find, skip)
        return Launcher(table, fault=REWRITTEN_FAULT, faulting=False, patcher=patcher).run(argv, environment)
    return Launcher(table, skip=skip).run(argv, environment)


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


def _at_terminal() -> bool:
    """Whether the keys of a terminal are for this process, and so for the program too: it has their signals already."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _unseen() -> Set[int]:
    """Processes that were born traced and have not shown themselves yet."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT | _WALL)
    except ChildProcessError:
        return set()
    return set(proc.of_tracer(os.getpid()))


def _name(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return "this"


def main(arguments: Sequence[str], find: Optional[Find] = None) -> None:
    words = list(arguments)
    files = {}
    while len(words) > 2 and words[0] in ("--table", "--sites"):
        files[words[0]] = words[1]
        del words[:2]
    if "--table" not in files or words[:1] != ["--"] or len(words) < 2:
        print("usage: launcher --table TABLE [--sites SITES] -- PROGRAM ARGUMENTS...", file=sys.stderr)
        sys.exit(REFUSED)
    try:
        table = cpuids.read_table(files["--table"])
        sites = read_sites(files["--sites"]) if "--sites" in files else None
    except (OSError, cpuids.TableError, SitesError) as error:
        print(f"numdev: {' '.join(files.values())}: {error}", file=sys.stderr)
        sys.exit(REFUSED)
    try:
        status = run(table, words[1:], sites=sites, find=find)
    except Failure as failure:
        print(f"numdev: {words[1]}: {failure}", file=sys.stderr)
        sys.exit(failure.code)
    end_as(status)


if __name__ == "__main__":
    main(sys.argv[1:])
