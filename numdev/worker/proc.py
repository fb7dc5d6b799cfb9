"""What /proc tells of traced programs."""

from __future__ import annotations

import errno
import os
import struct
from typing import Dict, List, NamedTuple

from .tracing import registers


class Mapping(NamedTuple):
    """A part of a file that a process has mapped as code: addresses, offset in the file, path in its own world."""

    start: int
    end: int
    offset: int
    path: str


def code_mappings(pid: int) -> List[Mapping]:
    """The files that `pid` has mapped as code; anonymous memory is none. PermissionError where it may not be looked into."""
    found = []
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            lines = file.read().splitlines()
    except (ProcessLookupError, FileNotFoundError):
        raise _missing(pid) from None
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[1][2:3] == b"x" and fields[5][:1] == b"/":
            start, _, end = fields[0].partition(b"-")
            found.append(Mapping(int(start, 16), int(end, 16), int(fields[2], 16), os.fsdecode(fields[5])))
    return found


def vdso(pid: int) -> int:
    """Where the kernel mapped the vDSO: it holds a `syscall` instruction in every process, static ones too.

    PermissionError where the process may not be looked into.
    """
    AT_SYSINFO_EHDR = 33
    try:
        with open(f"/proc/{pid}/auxv", "rb") as file:
            data = file.read(4096)
    except (ProcessLookupError, FileNotFoundError):
        raise _missing(pid) from None
    for key, value in struct.iter_unpack("=QQ", data[: len(data) // 16 * 16]):
        if key == AT_SYSINFO_EHDR:
            return value
    return 0


def _missing(pid: int) -> OSError:
    """Raises Gone where the process is gone; else /proc hides it (mounted with `hidepid`), and the reason is returned."""
    registers(pid)
    return PermissionError(errno.EACCES, f"/proc does not show process {pid}")


def of_tracer(tracer: int) -> List[int]:
    """The processes that `tracer` traces."""
    line, found = b"\nTracerPid:\t%d\n" % tracer, []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/status", "rb") as file:
                if line in file.read(4096):
                    found.append(int(name))
        except OSError:
            continue
    return found


class Files:
    """One file in /proc of many threads. They stay open: to open one takes several times as long as to read it."""

    LIMIT = 64

    def __init__(self, name: str) -> None:
        self.name = name
        self._files: Dict[int, int] = {}

    def read(self, pid: int) -> bytes:
        """The file's first page; OSError where the thread is gone."""
        file = self._files.get(pid)
        if file is None:
            if len(self._files) >= self.LIMIT:
                self.close()
            # The thread's own file: that of the process adds up what all its threads have.
            file = self._files[pid] = os.open(f"/proc/{pid}/task/{pid}/{self.name}", os.O_RDONLY)
        return os.pread(file, 4096, 0)

    def forget(self, pid: int) -> None:
        """The thread has ended; another may get its number."""
        file = self._files.pop(pid, None)
        if file is not None:
            os.close(file)

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()


def processor(stat: bytes) -> int:
    """The processor that a thread ran on last, by its /proc/.../stat; -1 where that does not say it."""
    try:
        # The name, which stands first, may hold anything.
        return int(stat.rpartition(b")")[2].split(None, 37)[36])
    except (IndexError, ValueError):
        return -1


def signals(status: bytes, which: bytes) -> int:
    """A set of signals in /proc/.../status, `SigCgt` for one; bit N-1 is signal N. All of them where it does not say."""
    _, found, rest = status.partition(b"\n" + which + b":\t")
    return int(rest[:16], 16) if found else -1


def number(status: bytes, name: bytes) -> int:
    """A number in /proc/.../status, 0 where it is not there."""
    _, found, rest = status.partition(b"\n" + name + b":\t")
    return int(rest.split(None, 1)[0]) if found else 0
