"""CPUID instructions in mapped code, replaced in memory by a trap of the same two bytes.

For processors whose CPUID cannot fault. The trap faults on every processor, and is answered in the same way. Only the program's own
copy of a page changes, no file. Where the instructions are in a file is found out beforehand (numdev/stacks/elf.py) or asked for
when the file is mapped; data that only looks like one must stay as it is, so nothing is guessed here.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Sequence
from typing import Dict, Optional, Tuple

from . import proc, tracing
from .cpuid import INSTRUCTION, TRAP

# Where a file has its CPUID instructions, by asking whoever can tell: a path to open it by, and its name. None: nobody can.
Find = Callable[[str, str], Optional[Sequence[int]]]
Key = Tuple[int, int, int, int]
HEADER = "numdev-sites 1"
LIMIT = 16 << 20


class SitesError(ValueError):
    """The file of sites is none."""


class Sites:
    """The offsets of CPUID instructions by path and size of the file; a file with none has an empty row.

    `folders`: where every file with what may be one is listed, so that others there need no look.
    """

    def __init__(self, rows: Dict[Tuple[str, int], Tuple[int, ...]], folders: Sequence[str] = ()) -> None:
        self.rows = dict(rows)
        self.folders = tuple(folders)
        self._paths = {path for path, _ in self.rows}

    def get(self, path: str, size: int) -> Optional[Tuple[int, ...]]:
        offsets = self.rows.get((path, size))
        if offsets is None and path.startswith(self.folders) and path not in self._paths:
            return ()
        return offsets

    def text(self) -> str:
        """The file's content; sorted, so that equal sites are equal files."""
        lines = [HEADER, *(f"folder {folder}" for folder in sorted(self.folders))]
        for (path, size), offsets in sorted(self.rows.items()):
            lines.append(f"{size} {','.join(map(str, offsets)) or '-'} {path}")
        return "\n".join(lines) + "\n"


def parse(text: str) -> Sites:
    """The sites in a file's text; SitesError naming the line that is not right."""
    lines = text.splitlines()
    if not lines or lines[0] != HEADER:
        raise SitesError(f"the first line is not {HEADER!r}")
    rows: Dict[Tuple[str, int], Tuple[int, ...]] = {}
    folders = []
    for number, line in enumerate(lines[1:], 2):
        first, _, rest = line.partition(" ")
        try:
            if first == "folder":
                folders.append(rest)
                continue
            offsets, _, path = rest.partition(" ")
            rows[path, int(first)] = () if offsets == "-" else tuple(int(word) for word in offsets.split(","))
        except ValueError as error:
            raise SitesError(f"line {number}: {error}") from None
    return Sites(rows, folders)


def read_sites(path: str) -> Sites:
    """The sites in a file; OSError where it cannot be read, SitesError where it is none."""
    with open(path, "rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise SitesError(f"more than {LIMIT} bytes")
    return parse(data.decode("utf-8", "surrogateescape"))


class Patcher:
    """Puts the trap into code as programs map it.

    uncovered: how many files hold what may be CPUID and could not be told or changed. skip: parts of paths that are left as
    they are, so that a test can open a leak on purpose.
    """

    def __init__(self, sites: Sites, find: Optional[Find] = None, skip: Sequence[str] = ()) -> None:
        self.sites = sites
        self.find = find
        self.skip = tuple(skip)
        self.uncovered = 0
        self._known: Dict[Key, Tuple[int, ...]] = {}
        self._told = set()

    def everything(self, pid: int) -> None:
        """All code that `pid` has mapped: of a new program its own and its loader's."""
        self.range(pid, 0, 1 << 64)

    def range(self, pid: int, address: int, size: int) -> None:
        """What part of a file `pid` has mapped as code at some addresses."""
        try:
            mappings = proc.code_mappings(pid)
        except PermissionError:
            self._leave(f"process {pid}", "it may not be looked into")
            return
        for mapping in mappings:
            if mapping.start < address + size and mapping.end > address:
                self.mapping(pid, mapping, f"/proc/{pid}/root{mapping.path}")

    def mapping(self, pid: int, mapping: proc.Mapping, openable: str) -> None:
        """One part of a file.

        Args:
            openable: by which this process can open the file.
        """
        if any(part in mapping.path for part in self.skip):
            return
        for offset in self._offsets(mapping.path, openable):
            address = mapping.start + offset - mapping.offset
            if not mapping.start <= address or address + 2 > mapping.end:
                continue
            found = tracing.read_memory(pid, address, 2)
            if found == INSTRUCTION and not tracing.write_bytes(pid, address, TRAP):
                self._leave(mapping.path, "its code cannot be changed")
            elif found not in (INSTRUCTION, TRAP):
                self._leave(mapping.path, "it is not the file whose CPUID instructions are known")

    def _offsets(self, path: str, openable: str) -> Sequence[int]:
        try:
            status = os.stat(openable)
        except OSError:
            self._leave(path, "it cannot be opened")
            return ()
        listed = self.sites.get(path, status.st_size)
        if listed is not None:
            return listed
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in self._known:
            self._known[key] = tuple(self._ask(path, openable))
        return self._known[key]

    def _ask(self, path: str, openable: str) -> Sequence[int]:
        found = self.find(openable, path) if self.find else None
        if found is None:
            if holds_cpuid(openable):
                self._leave(path, "nothing here can tell its CPUID instructions from its data")
            return ()
        return found

    def _leave(self, path: str, why: str) -> None:
        if path not in self._told:
            self._told.add(path)
            self.uncovered += 1
            print(f"numdev: {path} may ask the real processor: {why}", file=sys.stderr)


def holds_cpuid(path: str) -> bool:
    """Whether a file has the two bytes anywhere; True where it cannot be read."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(INSTRUCTION) >= 0
    except ValueError:
        return False
    except OSError:
        return True
