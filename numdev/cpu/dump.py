"""Register dumps of real processors: `cpuid -r`, and both forms of the InstLatx64 collection.

All are read as a stranger's: in one pass, with limits on size, lines and leaves. Of several logical processors the first is taken.
"""

from __future__ import annotations

import codecs
import io
import re

from numdev.errors import InvalidInput, Problem
from numdev.worker.cpuid import Registers

LIMIT = 8 << 20
LEAVES = 4096
# No line of a dump is longer; what is, is none.
_LONGEST = 1000
_WORD = r"([0-9A-Fa-f]{8})"
# CPUID 00000004: EAX-EBX-ECX-EDX [SL 01] [L1D: 32 KB]; older dumps have spaces or a tab instead of the colon, and count
# sub-leaves by repetition.
_INSTLAT = re.compile(
    rf"\s*CPUID {_WORD}[:\s]\s*{_WORD}-{_WORD}-{_WORD}-{_WORD}(?![0-9A-Fa-f])(?:\s*\[SL ([0-9A-Fa-f]{{1,8}})\])?"
)
# 0x00000004 0x01: eax=0x... ebx=0x... ecx=0x... edx=0x...
_RAW = re.compile(
    rf"\s*0x{_WORD}\s+0x([0-9A-Fa-f]{{1,8}}):\s+eax=0x{_WORD}\s+ebx=0x{_WORD}\s+ecx=0x{_WORD}\s+edx=0x{_WORD}(?![0-9A-Fa-f])"
)
# What stands before the leaves of a logical processor:
#   CPU 1:     CPU#001 AffMask: 0x...     ------[ Logical CPU #1 ]------     CPUID Registers (CPU #1):
_NEXT = re.compile(
    r"\s*(?:CPU [0-9]+:\s*$|CPU#[0-9]+ AffMask|-+\[[^\]]*Logical CPU #[0-9]+ \]-+|CPUID Registers \(CPU #[0-9]+\):)"
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes) -> str:
    """A dump's text: Windows programs begin with a byte order mark and may write UTF-16. Never fails."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("utf-8", "replace")


def parse_dump(text: str, where: str) -> dict[tuple[int, int], Registers]:
    """The leaves of the first logical processor in a dump: (leaf, subleaf) -> EAX, EBX, ECX, EDX.

    Raises:
        InvalidInput: it is none of the known forms, lacks what every processor has, or has too much.
    """
    if len(text) > LIMIT:
        raise InvalidInput(f"{where} is too large.", [Problem(where, f"more than {LIMIT >> 20} MiB")])
    leaves: dict[tuple[int, int], Registers] = {}
    counted: dict[int, int] = {}
    # Not split as a whole: a gigantic dump of short lines would become millions of strings.
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if len(line) > _LONGEST:
            continue
        if found := _INSTLAT.match(line):
            leaf, rest, sub = int(found[1], 16), found.groups()[1:5], found[6]
            subleaf = int(sub, 16) if sub else counted.get(leaf, 0)
        elif found := _RAW.match(line):
            leaf, subleaf, rest = int(found[1], 16), int(found[2], 16), found.groups()[2:6]
        else:
            if leaves and _NEXT.match(line):
                break
            continue
        if leaf == 0 and (0, 0) in leaves:
            # The next logical processor begins again with leaf 0.
            break
        row = (int(rest[0], 16), int(rest[1], 16), int(rest[2], 16), int(rest[3], 16))
        if leaves.get((leaf, subleaf), row) != row:
            what = f"leaf {leaf:#x}, sub-leaf {subleaf:#x} stands twice, with other values"
            raise InvalidInput(f"{where} is damaged.", [Problem(f"{where}:{number}", what)])
        counted[leaf] = subleaf + 1
        leaves[leaf, subleaf] = row
        if len(leaves) > LEAVES:
            raise InvalidInput(f"{where} is too large.", [Problem(where, f"more than {LEAVES} leaves")])
    if (missing := [leaf for leaf in (0, 1, 0x80000000) if (leaf, 0) not in leaves]) or not leaves:
        what = f"no leaf {', '.join(f'{leaf:#x}' for leaf in missing)}" if leaves else "no line of a known form"
        raise InvalidInput(
            f"{where} is no CPUID dump that numdev reads.",
            [Problem(where, what, "it reads `cpuid -r` and the text files of InstLatx64")],
        )
    return leaves
