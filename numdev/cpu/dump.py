"""Register dumps of real processors: `cpuid -r`, and both forms of the InstLatx64 collection.

All are read as a stranger's: in one pass, with limits on size, lines and leaves. Of several logical processors the first is taken.
"""

from __future__ import annotations

import re

from numdev.errors import InvalidInput, Problem
from numdev.worker.cpuid import Registers

LIMIT = 8 << 20
LEAVES = 4096
_WORD = r"([0-9A-Fa-f]{8})"
# CPUID 00000004: EAX-EBX-ECX-EDX [SL 01]; older dumps have a tab instead of the colon, and count sub-leaves by repetition.
_INSTLAT = re.compile(rf"\s*CPUID {_WORD}[:\s]\s*{_WORD}-{_WORD}-{_WORD}-{_WORD}(?:\s*\[SL ([0-9A-Fa-f]{{1,8}})\])?")
# 0x00000004 0x01: eax=0x... ebx=0x... ecx=0x... edx=0x...
_RAW = re.compile(rf"\s*0x{_WORD} 0x([0-9A-Fa-f]{{1,8}}): eax=0x{_WORD} ebx=0x{_WORD} ecx=0x{_WORD} edx=0x{_WORD}\s*$")
_NEXT = re.compile(r"\s*CPU [0-9]+:\s*$")


def parse_dump(text: str, where: str) -> dict[tuple[int, int], Registers]:
    """The leaves of the first logical processor in a dump: (leaf, subleaf) -> EAX, EBX, ECX, EDX.

    Raises:
        InvalidInput: it is none of the known forms, lacks what every processor has, or has too much.
    """
    if len(text) > LIMIT:
        raise InvalidInput(f"{where} is too large.", [Problem(where, f"more than {LIMIT >> 20} MiB")])
    leaves: dict[tuple[int, int], Registers] = {}
    counted: dict[int, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := _INSTLAT.match(line):
            leaf, rest, sub = int(found[1], 16), found.groups()[1:5], found[6]
            subleaf = int(sub, 16) if sub else counted.get(leaf, 0)
        elif found := _RAW.match(line):
            leaf, subleaf, rest = int(found[1], 16), int(found[2], 16), found.groups()[2:6]
        else:
            if _NEXT.match(line) and leaves:
                break
            continue
        if leaf == 0 and leaves:
            # The next logical processor begins again with leaf 0.
            break
        if (leaf, subleaf) in leaves and found.re is _RAW:
            raise InvalidInput(f"{where} is damaged.", [Problem(f"{where}:{number}", f"leaf {leaf:#x} stands twice")])
        counted[leaf] = subleaf + 1
        leaves.setdefault((leaf, subleaf), (int(rest[0], 16), int(rest[1], 16), int(rest[2], 16), int(rest[3], 16)))
        if len(leaves) > LEAVES:
            raise InvalidInput(f"{where} is too large.", [Problem(where, f"more than {LEAVES} leaves")])
    if (missing := [leaf for leaf in (0, 1, 0x80000000) if (leaf, 0) not in leaves]) or not leaves:
        what = f"no leaf {', '.join(f'{leaf:#x}' for leaf in missing)}" if leaves else "no line of a known form"
        raise InvalidInput(
            f"{where} is no CPUID dump that numdev reads.",
            [Problem(where, what, "it reads `cpuid -r` and the text files of InstLatx64")],
        )
    return leaves
