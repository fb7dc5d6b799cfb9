"""Captures: a machine's whole CPUID table with its arithmetic fingerprint, as a file that is a profile elsewhere."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from numdev.cpu import dump
from numdev.cpu.features import present
from numdev.cpu.fingerprint import fingerprint
from numdev.cpu.host import Host, host
from numdev.cpu.profile import Profile
from numdev.errors import InvalidInput, Problem
from numdev.files import read_bytes, write_json
from numdev.spec import yamlfile
from numdev.worker.cpuid import Registers

FORMAT = 1
_TYPES = {1: "data", 2: "instruction", 3: "unified"}


class _File(yamlfile.Strict):
    capture: int = Field(alias="numdev-capture", ge=1, le=FORMAT)
    leaves: list[str] = Field(min_length=1, max_length=dump.LEAVES)
    facts: dict[str, str] = {}
    fingerprint: dict[str, str] = {}


@dataclass(frozen=True)
class Capture:
    """leaves: (leaf, subleaf) -> EAX, EBX, ECX, EDX. facts: of the system. fingerprint: see fingerprint.py."""

    leaves: dict[tuple[int, int], Registers]
    facts: dict[str, str] = field(default_factory=dict)
    fingerprint: dict[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return {
            "numdev-capture": FORMAT,
            "leaves": [" ".join(f"{word:08x}" for word in (*key, *row)) for key, row in sorted(self.leaves.items())],
            "facts": self.facts,
            "fingerprint": self.fingerprint,
        }

    def write(self, path: Path) -> None:
        write_json(path, self.json())


def capture() -> Capture:
    """This machine; nothing in it names the machine or its owner."""
    here = host()
    facts = {
        "kernel": platform.release().split("-")[0],
        "libc": " ".join(platform.libc_ver()),
        "microcode": _cpuinfo("microcode"),
        "hypervisor": _hypervisor(here),
    }
    return Capture(here.leaves, {key: value for key, value in facts.items() if value}, fingerprint(here.features))


def _cpuinfo(key: str) -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.split(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


def _hypervisor(here: Host) -> str:
    from numdev.worker.cpuid import Cpuid

    if not here.cpuid(1)[2] >> 31 & 1:
        return ""
    words = Cpuid()(0x40000000)[1:]
    return b"".join(word.to_bytes(4, "little") for word in words).split(b"\0")[0].decode("ascii", "replace")


def read_capture(path: Path) -> Capture:
    """A capture, or a dump that `dump.py` reads.

    Raises:
        InvalidInput: it is neither; with all problems.
    """
    data = read_bytes(path, dump.LIMIT)
    text = data.decode("utf-8", "replace")
    if not text.lstrip().startswith("{"):
        return Capture(dump.parse_dump(text, str(path)))
    try:
        file = yamlfile.validate(_File, json.loads(text), str(path))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is no capture.", [Problem(str(path), f"not JSON: {error}")]) from None
    leaves: dict[tuple[int, int], Registers] = {}
    problems = []
    for index, line in enumerate(file.leaves):
        words = line.split()
        try:
            numbers = [int(word, 16) for word in words]
            if len(numbers) != 6 or not all(0 <= number <= 0xFFFFFFFF for number in numbers):
                raise ValueError
        except ValueError:
            problems.append(Problem(f"{path}: leaves.{index}", f"{line[:80]!r} is not six 32-bit numbers in hex"))
            continue
        leaves[numbers[0], numbers[1]] = (numbers[2], numbers[3], numbers[4], numbers[5])
    if problems:
        raise InvalidInput(f"{path} is no capture.", problems)
    return Capture(leaves, file.facts, file.fingerprint)


def profile_of(captured: Capture, name: str) -> Profile:
    """The processor of a capture as a profile.

    Raises:
        InvalidInput: it is of a kind that cannot be shown, or contradicts itself.
    """
    there = Host(captured.leaves, "")
    caches = [
        {
            "level": eax >> 5 & 7,
            "type": _TYPES.get(eax & 31, "?"),
            "size": f"{((ebx >> 22) + 1) * ((ebx >> 12 & 1023) + 1) * ((ebx & 4095) + 1) * (ecx + 1) / 1024:g}KiB",
            "ways": (ebx >> 22) + 1,
            "line": (ebx & 4095) + 1,
            "threads": (eax >> 14 & 4095) + 1,
        }
        for eax, ebx, ecx, _ in there.caches()
    ]
    family, model, stepping = there.family_model_stepping
    shared = max((cache["threads"] for cache in caches), default=1)
    return yamlfile.validate(
        Profile,
        {
            "name": name,
            "about": there.brand or "captured",
            "source": f"capture {name}",
            "vendor": there.vendor,
            "family": family,
            "model": model,
            "stepping": stepping,
            "brand": there.brand[:47],
            "max_leaf": min(max(there.cpuid(0)[0], 0xD), 0x24),
            "features": sorted(present(there.cpuid)),
            "caches": caches,
            "topology": _topology(there, shared),
        },
        name,
    )


def _topology(there: Host, shared: int) -> dict[str, int]:
    """Cores and their numbers, of whatever a hypervisor may have made of them; `shared`: by a cache, at most."""
    logical = there.cpuid(1)[1] >> 16 & 255 if there.cpuid(1)[3] >> 28 & 1 else 1
    levels = [there.cpuid(0xB, level)[1] & 0xFFFF for level in (0, 1)]
    if there.vendor == "GenuineIntel":
        per_core = levels[0] or logical // ((there.cpuid(4)[0] >> 26) + 1)
        threads, ids = levels[1] or logical, logical
    else:
        size = there.cpuid(0x80000008)[2]
        per_core = (there.cpuid(0x8000001E)[1] >> 8 & 255) + 1
        threads, ids = (size & 255) + 1, 1 << (size >> 12 & 15)
    per_core = min(max(per_core, 1), 8)
    cores = min(max(threads // per_core, 1), 4096)
    return {
        "cores": cores,
        "threads_per_core": per_core,
        "ids": 1 << (max(ids, shared, cores * per_core) - 1).bit_length(),
    }


def differences(one: Capture, other: Capture) -> list[str]:
    """What differs between two processors, in words; empty where nothing does that a program could choose by."""
    first, second = Host(one.leaves, ""), Host(other.leaves, "")
    said = []
    for what, a, b in (
        ("vendor", first.vendor, second.vendor),
        ("brand", first.brand, second.brand),
        ("family, model, stepping", first.family_model_stepping, second.family_model_stepping),
        ("SIMD level", first.simd, second.simd),
    ):
        if a != b:
            said.append(f"{what}: {a} | {b}")
    for what, names in (
        ("only the first has", first.features - second.features),
        ("only the second has", second.features - first.features),
    ):
        if names:
            said.append(f"{what} {', '.join(sorted(names))}")
    a_caches, b_caches = (
        [f"L{cache.level} {cache.type} {cache.size}" for cache in profile_of(item, "x").caches] for item in (one, other)
    )
    if a_caches != b_caches:
        said.append(f"caches: {', '.join(a_caches)} | {', '.join(b_caches)}")
    both = sorted(one.fingerprint.keys() & other.fingerprint.keys())
    if odd := [name for name in both if one.fingerprint[name] != other.fingerprint[name]]:
        said.append(f"arithmetic: {', '.join(odd)} give other bits: silicon, which no profile can show")
    elif not both:
        said.append("arithmetic: not compared, for a dump has no fingerprint")
    return said
