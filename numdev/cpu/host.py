"""This machine's processor, and whether it lets itself be hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from numdev import digests
from numdev.cpu.features import present, simd_level
from numdev.errors import ProfileRefused
from numdev.spec.architecture import X86, own
from numdev.worker import selftest
from numdev.worker.cpuid import Cpuid, Registers

VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}


@dataclass(frozen=True)
class Host:
    """The real CPUID table, as far as it tells what the processor computes with.

    leaves: (leaf, subleaf) -> EAX, EBX, ECX, EDX. refusal: why CPUID cannot be made to fault here, or "".
    rewriting: why CPUID cannot be rewritten in memory either, or "".
    """

    leaves: dict[tuple[int, int], Registers]
    refusal: str
    rewriting: str = ""

    def cpuid(self, leaf: int, subleaf: int = 0) -> Registers:
        return self.leaves.get((leaf, subleaf), (0, 0, 0, 0))

    @cached_property
    def vendor(self) -> str:
        _, ebx, ecx, edx = self.cpuid(0)
        return readable(b"".join(part.to_bytes(4, "little") for part in (ebx, edx, ecx)))

    @cached_property
    def family_model_stepping(self) -> tuple[int, int, int]:
        eax = self.cpuid(1)[0]
        family, model = eax >> 8 & 15, eax >> 4 & 15
        if family in (6, 15):
            model |= eax >> 12 & 0xF0
        if family == 15:
            family += eax >> 20 & 0xFF
        return family, model, eax & 15

    @cached_property
    def features(self) -> frozenset[str]:
        return present(self.cpuid)

    @cached_property
    def brand(self) -> str:
        words = [word for leaf in (0x80000002, 0x80000003, 0x80000004) for word in self.cpuid(leaf)]
        return " ".join(readable(b"".join(word.to_bytes(4, "little") for word in words)).split())

    @property
    def simd(self) -> str:
        return simd_level(self.features)

    def facts(self) -> dict[str, object]:
        """What a record says of the machine: nothing that names it, all that its arithmetic may depend on."""
        family, model, stepping = self.family_model_stepping
        return {
            "vendor": self.vendor,
            "family": family,
            "model": model,
            "stepping": stepping,
            "brand": self.brand,
            "features": sorted(self.features),
            "simd": self.simd,
        }

    @property
    def digest(self) -> str:
        """The platform's part of a cell's digest."""
        facts = self.facts()
        del facts["brand"]
        return digests.of_json({**facts, "caches": [list(row) for row in self.caches()]})

    def caches(self) -> list[Registers]:
        # AMD's list is in a leaf of its own.
        leaf = 4 if self.vendor == "GenuineIntel" else 0x8000001D
        return [self.cpuid(leaf, sub) for sub in range(8) if self.cpuid(leaf, sub)[0] & 31]


def readable(data: bytes) -> str:
    """A name in registers, up to its end; what is no printable ASCII, as a hostile dump may have it, as `?`."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in data.split(b"\0")[0])


def kind(vendor: object, family: object, model: object, stepping: object) -> str:
    """A processor's kind in a word, `intel-6-207-2`: lower-case letters, digits and signs, whatever a record says."""
    short = str(VENDORS.get(str(vendor), vendor))
    parts = (re.sub(r"[^a-z0-9]+", "-", str(part)[:20].lower()).strip("-") for part in (short, family, model, stepping))
    return "-".join(part or "none" for part in parts)


def read_leaves(real: Cpuid) -> dict[tuple[int, int], Registers]:
    """All leaves that the table of a profile may draw on."""
    leaves: dict[tuple[int, int], Registers] = {}
    for first in (0, 0x80000000):
        for leaf in range(first, min(real(first)[0], first + 0x40) + 1):
            for subleaf in range(8 if leaf in (4, 7, 0xB, 0xD, 0x8000001D) else 1):
                leaves[leaf, subleaf] = real(leaf, subleaf)
    return leaves


@dataclass(frozen=True)
class OtherHost(Host):
    """A machine that is no x86-64 one: it computes as itself and shows nothing else. `cpuinfo`: what the system says of a core."""

    architecture: str = ""
    cpuinfo: tuple[tuple[str, str], ...] = ()

    def _told(self, key: str) -> str:
        return dict(self.cpuinfo).get(key, "")

    @cached_property
    def vendor(self) -> str:
        return self._told("CPU implementer")

    @cached_property
    def brand(self) -> str:
        return f"{self.architecture} {self.vendor} {self._told('CPU part')}".strip()

    @cached_property
    def features(self) -> frozenset[str]:
        return frozenset(self._told("Features").split())

    @property
    def simd(self) -> str:
        return "SVE" if "sve" in self.features else "NEON" if "asimd" in self.features else ""

    def facts(self) -> dict[str, object]:
        parts = {key: self._told(f"CPU {key}") for key in ("part", "variant", "revision")}
        return {
            "architecture": self.architecture,
            "vendor": self.vendor,
            **parts,
            "brand": self.brand,
            "features": sorted(self.features),
            "simd": self.simd,
        }

    def caches(self) -> list[Registers]:
        return []


def _cpuinfo() -> tuple[tuple[str, str], ...]:
    """The first core in /proc/cpuinfo."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return ()
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return tuple((key.strip(), value.strip()) for key, value in pairs)


def only_here() -> str:
    """Why this machine shows no other CPU, where that is because it is no x86-64 one; else ""."""
    return (
        "" if own() == X86 else f"profiles are the CPUID of x86-64 processors, which this {own()} machine does not have"
    )


def need_x86(what: str) -> None:
    """Refuses on other machines what only makes sense on x86-64 ones, before anything is executed. Raises ProfileRefused."""
    if why := only_here():
        raise ProfileRefused(f"{what} needs an x86-64 machine.", why, "Here, the profile `host` is this processor.")


@cache
def host() -> Host:
    """This machine."""
    if why := only_here():
        return OtherHost({}, why, why, architecture=own(), cpuinfo=_cpuinfo())
    refusal = selftest.check()
    # Where a faulting CPUID was traced, a trap can be: the second self-test would only cost a process each time.
    return Host(read_leaves(Cpuid()), refusal, selftest.check(rewritten=True) if refusal else "")
