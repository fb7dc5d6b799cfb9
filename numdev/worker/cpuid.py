"""Executing CPUID, and answering it from a table.

The table is a text file prepared elsewhere (see docs/architecture.md); here it is only read and replayed. Pure
Python and ctypes, so that it runs beside any stack without a compiler.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from collections.abc import Callable, Iterable
from typing import Dict, Optional, Tuple

Registers = Tuple[int, int, int, int]

# Leaf 0x4e554d44 ("NUMD") answers how often the table was asked and that it is in force: the cell reads it back.
MAGIC = 0x4E554D44
HEADER = "numdev-cpuid 1"
# What a table passes that changes nothing: the basic, extended and hypervisor leaves.
EVERY_LEAF = (*range(0x40), *range(0x80000000, 0x80000040), *range(0x40000000, 0x40000011))
# Leaves whose answer names the core that executes them, or the caches it shares.
PER_CORE = frozenset((1, 4, 0xB, 0x1A, 0x1F, 0x8000001D, 0x8000001E))
LIMIT = 1 << 20
_KEPT_LIMIT = 4096
ANY = -1

# INT 0x42, which stands for CPUID in rewritten libraries: as long, used by no program, and refused by the kernel with
# the very signal that a faulting CPUID gives.
INSTRUCTION, TRAP = b"\x0f\xa2", b"\xcd\x42"

# void cpuid(uint32_t *eax_ebx_ecx_edx): eax and ecx are read from the array, all four are written to it.
CODE = bytes.fromhex("53 4989f8 418b00 418b4808 0fa2 418900 41895804 41894808 4189500c 5b c3")


class TableError(ValueError):
    """The table file is not one."""


def unavailable() -> str:
    """Why nothing of this may be executed here, or ""."""
    machine = platform.machine()
    return "" if machine in ("x86_64", "AMD64") else f"CPUID is an instruction of x86-64 processors; this is {machine}"


class Cpuid:
    """The processor's CPUID instruction, or what stands for it under the launcher."""

    def __init__(self, instruction: bytes = INSTRUCTION) -> None:
        if why := unavailable():
            raise OSError(why)
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(CODE.replace(INSTRUCTION, instruction))
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))(address)

    def __call__(self, leaf: int, subleaf: int = 0) -> Registers:
        """EAX, EBX, ECX and EDX of one leaf."""
        # An array of its own: other threads run while this one is answered.
        registers = (ctypes.c_uint32 * 4)(leaf, 0, subleaf, 0)
        self._call(registers)
        return (registers[0], registers[1], registers[2], registers[3])


class Kept(Cpuid):
    """The same for the launcher, which asks each question once: what a core says of itself does not change, and under a hypervisor
    each CPUID takes microseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: Dict[Tuple[int, int, int], Registers] = {}
        self._allowed = os.sched_getaffinity(0)

    def __call__(self, leaf: int, subleaf: int = 0) -> Registers:
        return self.on(ANY, leaf, subleaf)

    def on(self, processor: int, leaf: int, subleaf: int) -> Registers:
        """The same, executed on one of this machine's processors, for some leaves name the core they run on; ANY: on whichever."""
        key = (processor, leaf, subleaf)
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= _KEPT_LIMIT:
                self._kept.clear()
            kept = self._kept[key] = self._asked(processor, leaf, subleaf)
        return kept

    def _asked(self, processor: int, leaf: int, subleaf: int) -> Registers:
        if processor not in self._allowed:
            return super().__call__(leaf, subleaf)
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {processor})
        except OSError:
            # It was taken away from this process meanwhile.
            return super().__call__(leaf, subleaf)
        try:
            return super().__call__(leaf, subleaf)
        finally:
            os.sched_setaffinity(0, before)


class Table:
    """What CPUID answers instead: values by leaf and sub-leaf, some bits or leaves from the real processor.

    A leaf that the table does not have answers zero, as reserved leaves do. `rewritten`: whether programs under it have
    the trap in the place of the CPUID instruction.
    """

    def __init__(
        self,
        values: Dict[Tuple[int, Optional[int]], Registers],
        masks: Dict[Tuple[int, Optional[int]], Registers],
        passed: Iterable[int],
        rewritten: bool = False,
    ) -> None:
        self.values = dict(values)
        self.masks = dict(masks)
        self.passed = frozenset(passed)
        self.rewritten = rewritten

    @property
    def instruction(self) -> bytes:
        """What programs under this table execute to ask it."""
        return TRAP if self.rewritten else INSTRUCTION

    def answer(self, leaf: int, subleaf: int, real: Kept, processor: Callable[[], int] = lambda: ANY) -> Registers:
        """The four registers for one execution of CPUID on a processor, which is only asked for where it matters."""
        if leaf in self.passed:
            return self._real(real, processor, leaf, subleaf)
        key = (leaf, subleaf) if (leaf, subleaf) in self.values else (leaf, None)
        value = self.values.get(key, (0, 0, 0, 0))
        mask = self.masks.get(key)
        if mask is None:
            return value
        own = self._real(real, processor, leaf, subleaf)
        mixed = [(v & ~m & 0xFFFFFFFF) | (o & m) for v, m, o in zip(value, mask, own)]
        return (mixed[0], mixed[1], mixed[2], mixed[3])

    @staticmethod
    def _real(real: Kept, processor: Callable[[], int], leaf: int, subleaf: int) -> Registers:
        number = processor() if leaf in PER_CORE else ANY
        return real(leaf, subleaf) if number == ANY else real.on(number, leaf, subleaf)

    def text(self) -> str:
        """The file's content; sorted, so that equal tables are equal files."""

        def line(key: Tuple[int, Optional[int]], row: Registers) -> str:
            sub = "*" if key[1] is None else f"{key[1]:08x}"
            return f"{key[0]:08x} {sub} " + " ".join(f"{register:08x}" for register in row)

        lines = [
            HEADER,
            *(["rewritten"] if self.rewritten else []),
            *(f"pass {leaf:08x}" for leaf in sorted(self.passed)),
        ]
        lines += sorted(f"mask {line(key, row)}" for key, row in self.masks.items())
        lines += sorted(line(key, row) for key, row in self.values.items())
        return "\n".join(lines) + "\n"


def parse(text: str) -> Table:
    """The table in a file's text.

    Raises:
        TableError: naming the first line that is not right.
    """
    lines = text.splitlines()
    if not lines or lines[0] != HEADER:
        raise TableError(f"the first line is not {HEADER!r}")
    values: Dict[Tuple[int, Optional[int]], Registers] = {}
    masks: Dict[Tuple[int, Optional[int]], Registers] = {}
    passed = set()
    rewritten = False
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        try:
            if not words:
                continue
            if words == ["rewritten"]:
                rewritten = True
                continue
            if words[0] == "pass" and len(words) == 2:
                passed.add(_hex(words[1]))
                continue
            into = values
            if words[0] == "mask":
                into, words = masks, words[1:]
            if len(words) != 6:
                raise ValueError("wrong number of words")
            key = (_hex(words[0]), None if words[1] == "*" else _hex(words[1]))
            if key in into:
                raise ValueError("the same leaf twice")
            into[key] = (_hex(words[2]), _hex(words[3]), _hex(words[4]), _hex(words[5]))
        except ValueError as error:
            raise TableError(f"line {number}: {error}") from None
    return Table(values, masks, passed, rewritten)


def read_table(path: str) -> Table:
    """The table in a file; OSError where it cannot be read, TableError where it is none."""
    with open(path, "rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise TableError(f"more than {LIMIT} bytes")
    try:
        return parse(data.decode("ascii"))
    except UnicodeDecodeError:
        raise TableError("not ASCII text") from None


def _hex(word: str) -> int:
    value = int(word, 16)
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{word!r} is not a 32-bit number")
    return value
