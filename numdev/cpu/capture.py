"""Captures: a machine's whole CPUID table with its arithmetic fingerprint, as a file that is a profile elsewhere."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from numdev.cpu import dump
from numdev.cpu.features import present
from numdev.cpu.fingerprint import fingerprint
from numdev.cpu.host import Host, host, kind, need_x86, readable
from numdev.cpu.profile import Profile
from numdev.errors import InvalidInput, Problem
from numdev.files import read_bytes, write_json
from numdev.spec import yamlfile
from numdev.worker.cpuid import Cpuid, Registers

# 1: the fingerprint has no denormals, the table not all sub-leaves. 2: both.
FORMAT = 2
# The key by which a record of a machine (machine.py) holds its capture: such a file is read as one, too.
RECORD = "numdev-record"
_TYPES = {1: "data", 2: "instruction", 3: "unified"}
# Of a stranger's file: keys in one object, commas and opening brackets in all of it, and problems that are told. A capture has a thousand of
# them, the record of many stacks some ten thousands; once it is parsed, each may be a value of some hundred bytes.
_KEYS, _PARTS, _PROBLEMS = 5000, 300_000, 20
# Leaves that have sub-leaves, and how many are asked for at most; those beyond the first are kept where they say something.
_MOST = 64
_SUBLEAVES = frozenset(
    (
        *(4, 7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1B, 0x1D, 0x1E, 0x1F, 0x20, 0x23, 0x24),
        *(0x8000001D, 0x80000020, 0x80000026),
    )
)
# Lists of levels: a sub-leaf beyond the last has the type 0 in ECX, and repeats the number that it was asked by.
_LEVELS = (0xB, 0x1F, 0x80000026)

# The fact of a capture that says which processor it is where CPUID, and so the capture, has another.
PROCESSOR = "processor"

_LEAF = re.compile(" ".join([r"([0-9A-Fa-f]{1,8})"] * 6))
# What a stranger's file says is printed on a terminal.
Word = Annotated[str, Field(max_length=200, pattern=r"^[ -~]*$")]


class File(yamlfile.Strict):
    """A capture as a file has it."""

    capture: int = Field(alias="numdev-capture", ge=1, le=FORMAT)
    leaves: list[str] = Field(min_length=1, max_length=dump.LEAVES)
    facts: dict[Word, Word] = Field(default={}, max_length=100)
    fingerprint: dict[Word, Word] = Field(default={}, max_length=100)


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
    """This machine; nothing in it names the machine or its owner. Raises ProfileRefused where it is no x86-64 one."""
    need_x86("A capture")
    here = host()
    facts = {
        "kernel": platform.release().split("-")[0],
        "libc": " ".join(platform.libc_ver()),
        "microcode": _cpuinfo("microcode"),
        "hypervisor": _hypervisor(here),
        PROCESSOR: _processor(here),
    }
    known = {key: value for key, value in facts.items() if value}
    return Capture(whole_table(Cpuid()), known, fingerprint(here.features))


def whole_table(real: Cpuid) -> dict[tuple[int, int], Registers]:
    """Every leaf and sub-leaf that the processor or its hypervisor has, as one of its cores answers.

    Some leaves name the core they are executed on: always the same one is asked, or no two captures would be equal.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        return _whole_table(real)
    finally:
        os.sched_setaffinity(0, allowed)


def _whole_table(real: Cpuid) -> dict[tuple[int, int], Registers]:
    leaves: dict[tuple[int, int], Registers] = {}
    hypervisor = [0x40000000] if real(1)[2] >> 31 & 1 else []
    for first in (0, *hypervisor, 0x80000000):
        for leaf in range(first, min(real(first)[0], first + 0x40) + 1):
            for subleaf in range(_MOST if leaf in _SUBLEAVES else 1):
                row = real(leaf, subleaf)
                if leaf in _LEVELS and subleaf and not row[2] >> 8 & 0xFF:
                    break
                if subleaf == 0 or any(row):
                    leaves[leaf, subleaf] = row
    return leaves


def _cpuinfo(key: str) -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.split(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


def _processor(here: Host) -> str:
    """The processor by the kernel, which no profile changes, where CPUID says another one: then this machine itself is shown as another."""
    names = ("vendor_id", "cpu family", "model", "stepping")
    told = [_cpuinfo(name) for name in names]
    real = kind(*told)
    return real if all(told) and real != kind(here.vendor, *here.family_model_stepping) else ""


def _hypervisor(here: Host) -> str:
    if not here.cpuid(1)[2] >> 31 & 1:
        return ""
    words = Cpuid()(0x40000000)[1:]
    return readable(b"".join(word.to_bytes(4, "little") for word in words))


def read_capture(path: Path) -> Capture:
    """A capture, that of a record, or a dump that `dump.py` reads.

    Raises:
        InvalidInput: it is none of them; with all problems.
    """
    return capture_of(read_bytes(path, dump.LIMIT), str(path))


def capture_of(data: bytes, where: str) -> Capture:
    """What `read_capture` finds in a file's bytes."""
    if not data.lstrip(b"\xef\xbb\xbf\t\r\n ").startswith(b"{"):
        return Capture(dump.parse_dump(dump.decode(data), where))
    value = read_object(data, where)
    if RECORD in value:
        value = value.get("capture")
    return parsed(checked(File, value, where), where)


def checked(model: type[yamlfile.Model], value: Any, where: str) -> yamlfile.Model:
    """`yamlfile.validate` of what a stranger wrote: the first of its problems, in words that a terminal can be shown."""
    try:
        return yamlfile.validate(model, value, where)
    except InvalidInput as error:
        problems = [Problem(_plain(one.where), _plain(one.what), one.remedy) for one in error.problems[:_PROBLEMS]]
        raise InvalidInput(error.what, problems, error.remedy) from None


def _plain(text: str) -> str:
    """Printable ASCII, whatever it was: letters that are none of it by their numbers, which names a file as well."""
    shown = text[:300].encode("ascii", "backslashreplace").decode("ascii")
    return "".join(letter if letter.isprintable() else "?" for letter in shown)[:300]


def read_object(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in a stranger's file; a key may stand in it once. Raises InvalidInput where it is none, or has too much."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > _KEYS:
            raise ValueError(f"an object of more than {_KEYS} keys")
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice")
        return found

    if data.count(b",") + data.count(b"{") + data.count(b"[") > _PARTS:
        raise InvalidInput(f"{where} is no capture.", [Problem(where, f"more than {_PARTS} values")])
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is no capture.", [Problem(where, f"not JSON: {error}")]) from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is no capture.", [Problem(where, "not a JSON object")])
    return value


def parsed(file: File, where: str) -> Capture:
    """The capture that a file holds; raises InvalidInput with every leaf that is none."""
    leaves: dict[tuple[int, int], Registers] = {}
    problems = []
    for index, line in enumerate(file.leaves):
        found = _LEAF.fullmatch(line)
        place = f"{where}: leaves.{index}"
        if not found:
            problems.append(Problem(place, f"{line[:80]!a} is not six 32-bit numbers in hex"))
            continue
        leaf, subleaf, *row = (int(word, 16) for word in found.groups())
        if (leaf, subleaf) in leaves:
            problems.append(Problem(place, f"leaf {leaf:#x}, sub-leaf {subleaf:#x} stands twice"))
        leaves[leaf, subleaf] = (row[0], row[1], row[2], row[3])
    if problems:
        raise InvalidInput(f"{where} is no capture.", problems[:_PROBLEMS])
    return Capture(leaves, dict(file.facts), dict(file.fingerprint))


def profile_of(captured: Capture, name: str) -> Profile:
    """The processor of a capture as a profile.

    Raises:
        InvalidInput: it is of a kind that cannot be shown, or contradicts itself.
    """
    there = Host(captured.leaves, "")
    caches = caches_of(there)
    family, model, stepping = there.family_model_stepping
    shared = max((cache["threads"] for cache in caches), default=1)
    return checked(
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


def caches_of(there: Host) -> list[dict[str, Any]]:
    """Its caches as a profile's file has them."""
    return [
        {
            "level": eax >> 5 & 7,
            "type": _TYPES.get(eax & 31, "?"),
            "size": _size(((ebx >> 22) + 1) * ((ebx >> 12 & 1023) + 1) * ((ebx & 4095) + 1) * (ecx + 1)),
            "ways": (ebx >> 22) + 1,
            "line": (ebx & 4095) + 1,
            "threads": (eax >> 14 & 4095) + 1,
        }
        for eax, ebx, ecx, _ in there.caches()
    ]


def _size(count: int) -> str:
    if count % (1 << 20) == 0 and count >= 1 << 30:
        return f"{count >> 20}MiB"
    return f"{count / 1024:.3f}KiB" if count % 1024 else f"{count >> 10}KiB"
