"""CPUID instructions in a shared library: where they are, told from bytes that only look like one.

Two bytes may be an instruction or a part of another one. A library's unwind table (`.eh_frame_hdr`, which stripped libraries
have too) says where each function begins; a function that holds the two bytes is disassembled from there. Assembly without such
entries (MKL's) is decoded from each of the bytes before: x86 code falls into step after a few instructions, data does not.
"""

from __future__ import annotations

import bisect
import struct
from dataclasses import dataclass

import capstone

from numdev.worker.cpuid import INSTRUCTION

CPUID = INSTRUCTION
_LOAD, _EH_FRAME = 1, 0x6474E550
_EXECUTABLE, _PROGBITS = 1, 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_HOLDS_CODE = 4
_FUNCTION_LIMIT = 1 << 20
# Decodings begun this many bytes before; how many must arrive, and what share of them in step, for an instruction.
_BACK = range(16, 64)
_ARRIVED, _IN_STEP = 24, 0.8


class NotElf(ValueError):
    """The bytes are no x86-64 ELF file; the message says what is wrong."""


@dataclass(frozen=True)
class Part:
    """A part of the file that is mapped: its offset in the file, its address, its size in bytes."""

    offset: int
    address: int
    size: int


@dataclass(frozen=True)
class Found:
    """File offsets of CPUID instructions, and of bytes that could not be decided."""

    instructions: tuple[int, ...]
    undecided: tuple[int, ...]


def find_cpuid(data: bytes) -> Found:
    """Every CPUID instruction in the code of an x86-64 ELF file.

    Raises:
        NotElf: it is none, or its headers point outside of it.
    """
    code, unwind = _layout(data)
    candidates = [
        (at, part.address + at - part.offset)
        for part in code
        for at in _occurrences(data, part.offset, part.offset + part.size)
    ]
    if not candidates:
        return Found((), ())
    starts = _function_starts(data, unwind) if unwind else []
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.skipdata = False
    instructions, undecided = [], []
    for at, address in candidates:
        index = bisect.bisect_right(starts, address) - 1
        length = address - starts[index] if index >= 0 else _FUNCTION_LIMIT
        verdict = None
        if length < _FUNCTION_LIMIT:
            verdict = _is_instruction(decoder, data[at - length : at + 16], length)
        if verdict is None:
            verdict = _falls_into_step(decoder, data, at)
        if verdict is None:
            undecided.append(at)
        elif verdict:
            instructions.append(at)
    return Found(tuple(instructions), tuple(undecided))


def _occurrences(data: bytes, start: int, end: int) -> list[int]:
    found = []
    at = data.find(CPUID, start, end)
    while at >= 0:
        found.append(at)
        at = data.find(CPUID, at + 1, end)
    return found


def _is_instruction(decoder: capstone.Cs, code: bytes, at: int) -> bool | None:
    """Whether decoding from the start of `code` meets `at` as an instruction; None where it breaks off before."""
    for start, size, mnemonic, _ in decoder.disasm_lite(code, 0):
        if start == at:
            return mnemonic == "cpuid"
        if start + size > at:
            return False if start < at < start + size else None
    return None


def _falls_into_step(decoder: capstone.Cs, data: bytes, at: int) -> bool | None:
    """The same without a known start, by the decodings from many; None where they do not agree."""
    verdicts = [_is_instruction(decoder, data[at - back : at + 16], back) for back in _BACK if back <= at]
    arrived = [verdict for verdict in verdicts if verdict is not None]
    in_step = sum(arrived)
    if not in_step:
        return False
    # Zeros decode as well, always in step: numbers in a table between functions.
    zeros = data[at - 8 : at + 8].count(0) > 8
    if len(arrived) >= _ARRIVED and in_step >= _IN_STEP * len(arrived) and not zeros:
        return True
    return None


def _layout(data: bytes) -> tuple[list[Part], Part | None]:
    """The parts of a file that hold code (sections, or without them executable segments), and the unwind table."""
    if len(data) < _HEADER.size or data[:6] != b"\x7fELF\x02\x01":
        raise NotElf("not a 64-bit little-endian ELF file")
    header = _HEADER.unpack_from(data)
    machine, programs, sections = header[2], header[5], header[6]
    program_size, program_count, section_size, section_count = header[9:13]
    if machine != 62:
        raise NotElf("not for x86-64")
    if program_size != _PROGRAM.size or programs + program_count * program_size > len(data):
        raise NotElf("its program headers are not where it says")
    segments, unwind = [], None
    for index in range(program_count):
        kind, flags, start, address, _, size, _, _ = _PROGRAM.unpack_from(data, programs + index * program_size)
        part = Part(start, address, size)
        if kind in (_LOAD, _EH_FRAME) and start + size > len(data):
            raise NotElf("a segment ends after the file")
        if kind == _LOAD and flags & _EXECUTABLE:
            segments.append(part)
        elif kind == _EH_FRAME:
            unwind = part
    code = []
    if section_count and section_size == _SECTION.size and sections + section_count * section_size <= len(data):
        for index in range(section_count):
            _, kind, flags, address, start, size, *_ = _SECTION.unpack_from(data, sections + index * section_size)
            if flags & _HOLDS_CODE and kind == _PROGBITS and start + size <= len(data):
                code.append(Part(start, address, size))
    return code or segments, unwind


def _function_starts(data: bytes, unwind: Part) -> list[int]:
    """Addresses from the sorted table of .eh_frame_hdr (LSB 5.0, 10.6.2); empty for encodings that nobody writes."""
    if unwind.size < 12:
        return []
    version, pointer, counting, table = data[unwind.offset : unwind.offset + 4]
    # sdata4 relative to the instruction pointer, udata4, and sdata4 relative to this header.
    if (version, pointer, counting, table) != (1, 0x1B, 0x03, 0x3B):
        return []
    (count,) = struct.unpack_from("<I", data, unwind.offset + 8)
    if 12 + count * 8 > unwind.size:
        return []
    return sorted(
        unwind.address + start for start, _ in struct.iter_unpack("<ii", data[unwind.offset + 12 :][: count * 8])
    )
