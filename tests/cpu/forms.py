"""Writers of the dump forms that are found in public, so that dumps nobody has put into a test are read as well.

Sources: `cpuid -r` (etallen), AIDA64 and EVEREST dumps and reports, InstLatx64's own program.
"""

from __future__ import annotations

from collections.abc import Callable

from numdev import cpu
from numdev.cpu.host import Host
from numdev.cpu.table import build

Leaves = dict[tuple[int, int], tuple[int, int, int, int]]
PROSE = """------[ Versions ]------

Program Version : AIDA64 v6.90.6500
------[ CPU Info ]------

CPU Type          : 2x 18-Core Intel Xeon, 2300 MHz
Instruction Set   : x86, x86-64, MMX, SSE
CPUID Manufacturer: GenuineIntel
CPUID Revision    : 000306F2h
HTT / CMP Units   : 2 / 18

"""
GARBAGE = """
------[ MSR Registers ]------

MSR 00000017: 0004-0000-0000-0000 [PlatID = 1]
MSR 0000001B: 0000-0000-FEE0-0900
CPUID 0000
The end. \N{REGISTERED SIGN}
"""
HYPERVISOR: Leaves = {
    (0x40000000, 0): (0x40000001, 0x4B4D564B, 0x564B4D56, 0x4D),
    (0x40000001, 0): (0x01007EFB, 0, 0, 0),
}


def table_of(name: str, host: Host) -> Leaves:
    """A catalogue profile as a processor of that kind would answer; every leaf once, sub-leaves from 0 without a gap."""
    values = build(cpu.load(name), host).values
    found = {(leaf, subleaf or 0): row for (leaf, subleaf), row in values.items()}
    return {
        (leaf, subleaf): row
        for (leaf, subleaf), row in sorted(found.items())
        if all((leaf, before) in found for before in range(subleaf))
    }


def _several(leaves: Leaves) -> set[int]:
    return {leaf for leaf, subleaf in leaves if subleaf}


def _registers(row: tuple[int, int, int, int]) -> str:
    return "-".join(f"{word:08X}" for word in row)


def instlat(leaves: Leaves) -> str:
    """CPUID 00000004: 1C004121-01C0003F-0000003F-00000000 [SL 00] [L1D: 32 KB]"""
    several = _several(leaves)
    notes = {0: " [GenuineIntel]", 4: " [L1D: 32 KB]", 0xD: " [x87]", 0x80000003: " [ CPU @ 2.00GHz]"}
    return "".join(
        f"CPUID {leaf:08X}: {_registers(row)}"
        + (f" [SL {subleaf:02X}]" if leaf in several else "")
        + f"{notes.get(leaf, '') if not subleaf else ''} \n"
        for (leaf, subleaf), row in leaves.items()
    )


def repeated(leaves: Leaves) -> str:
    """CPUID 00000004 <tab> 1C004121-...: older dumps, where sub-leaves are only counted."""
    return "".join(f"CPUID {leaf:08X}  \t{_registers(row)}\n" for (leaf, _), row in leaves.items())


def report(leaves: Leaves) -> str:
    """A report of AIDA64: indented, and wide."""
    several = _several(leaves)
    return "".join(
        f"      CPUID {leaf:08X}{' ' * 36}{_registers(row)}" + (f" [SL {sub:02X}]" if leaf in several else "") + "\n"
        for (leaf, sub), row in leaves.items()
    )


def raw(leaves: Leaves) -> str:
    """0x00000004 0x01: eax=0x... ebx=0x... ecx=0x... edx=0x..."""
    names = ("eax", "ebx", "ecx", "edx")
    return "".join(
        f"   0x{leaf:08x} 0x{sub:02x}: "
        + " ".join(f"{n}=0x{word:08x}" for n, word in zip(names, row, strict=True))
        + "\n"
        for (leaf, sub), row in leaves.items()
    )


# name: (body, what stands before each processor, what stands before all of them)
FORMS: dict[str, tuple[Callable[[Leaves], str], Callable[[int], str], str]] = {
    "instlat": (instlat, lambda cpu: f"CPU#{cpu:03d} AffMask: 0x{1 << cpu:016X} \n", ""),
    "bare": (instlat, lambda cpu: "", ""),
    "aida64": (
        instlat,
        lambda cpu: f"------[ Logical CPU #{cpu} ]------\n\nallcpu: Package 0 / Core {cpu} / Thread 0: Valid\n\n",
        PROSE,
    ),
    "aida64 new": (
        instlat,
        lambda cpu: (
            f"------[ CPUID Registers / Logical CPU #{cpu} ]------\n\nallcpu: Package 0 / Core {cpu}: Valid, P-Core\n\n"
        ),
        PROSE,
    ),
    "report": (report, lambda cpu: f"    CPUID Registers (CPU #{cpu}):\n", PROSE),
    "everest": (repeated, lambda cpu: f"------[ Logical CPU #{cpu} ]------\n\n", PROSE),
    "repeated": (repeated, lambda cpu: "", ""),
    "cpuid -r": (raw, lambda cpu: f"CPU {cpu}:\n", ""),
    "cpuid -1 -r": (raw, lambda cpu: "CPU:\n", "Disclaimer: cpuid may not support decoding of all cpuid registers.\n"),
}


def written(form: str, leaves: Leaves, processors: int = 1) -> str:
    """The dump of a machine whose further processors answer leaf 1 otherwise, as their APIC ids are others."""
    body, before, start = FORMS[form]
    parts = [start]
    for number in range(processors):
        eax, ebx, ecx, edx = leaves[1, 0]
        parts += [before(number), body({**leaves, (1, 0): (eax, ebx ^ number << 24, ecx, edx)}), "\n"]
    return "".join(parts)
