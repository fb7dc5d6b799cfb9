"""QEMU's user mode as another processor: what it is, what it can be told to be, and what a profile becomes on it.

It computes in software, so it can also show features that this host lacks. What it cannot show is not believed to be known
here: QEMU is asked, by executing CPUID under it.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numdev.worker
from numdev import digests
from numdev.cpu.features import FEATURES, INCIDENTAL, closed
from numdev.cpu.host import Host
from numdev.cpu.profile import Expected, Profile
from numdev.cpu.realised import misfits, unshown
from numdev.cpu.table import INTERSECT, REFUSE, Shown
from numdev.errors import ProfileRefused
from numdev.spec.architecture import X86, own

EMULATE = "emulate"
# What users have to know before they wait: seen with networks, of SSE4.2 to AVX2, see docs/profiles.md.
SLOWER = "10 to 2000 times slower"
_TIMEOUT = 60
_PT_INTERP = 3

# QEMU's own names where they are not the kernel's with a hyphen or a point for the underscore.
_NAMES = {
    "sse3": "pni",
    "avx512_vbmi2": "avx512vbmi2",
    "avx512_vnni": "avx512vnni",
    "avx512_bitalg": "avx512bitalg",
    "tsxldtrk": "tsx-ldtrk",
}
# What every x86-64 processor has and no profile names.
_BASE = [
    "fpu",
    "de",
    "pse",
    "tsc",
    "msr",
    "pae",
    "mce",
    "cx8",
    "apic",
    "sep",
    "mtrr",
    "pge",
    "mca",
    "cmov",
    "pat",
    "pse36",
    "clflush",
    "mmx",
    "fxsr",
    "sse",
    "sse2",
    "syscall",
    "nx",
    "lm",
]

# A vendor and a family, without which the system's own loader finds no x86-64 level; and as many leaves as there are.
_ANY = "base,vendor=GenuineIntel,family=6,model=63,stepping=2,level=36,xlevel=0x80000021"

# Prints all leaves of the processor that executes it; run with -I, so that it is this package that it finds.
_READ = """
import json, sys
sys.path.insert(0, sys.argv[1])
from worker.cpuid import Cpuid
real, leaves = Cpuid(), []
for first in (0, 0x80000000):
    for leaf in range(first, min(real(first)[0], first + 0x40) + 1):
        for subleaf in range(8 if leaf in (4, 7, 0xD, 0x8000001D) else 1):
            leaves.append([leaf, subleaf, *real(leaf, subleaf)])
print(json.dumps(leaves))
"""


@dataclass(frozen=True)
class Emulator:
    """QEMU's user mode for an architecture on this machine. `static`: it needs no library and runs in any container."""

    path: str
    version: str
    sha256: str
    static: bool

    def facts(self) -> dict[str, Any]:
        return {"emulator": self.version, "sha256": self.sha256}


@dataclass(frozen=True)
class Emulated(Shown):
    """A profile as QEMU shows it. `argument`: of `-cpu`; `paired`: made to be compared with the native side.

    Its `table` is None: nothing is replaced, QEMU's own CPUID answers.
    """

    argument: str = ""
    emulator: Emulator = field(default_factory=lambda: Emulator("", "", "", False))
    paired: bool = False

    @property
    def rung(self) -> str:
        return EMULATE

    @property
    def digest(self) -> str:
        return digests.of_json({"rung": EMULATE, "argument": self.argument, "emulator": self.emulator.sha256})

    def facts(self) -> dict[str, Any]:
        return {
            **super().facts(),
            "cpu": self.argument,
            # QEMU has caches and cores of its own and takes no others.
            "not_shown": ["caches", "topology"],
            "paired": self.paired,
            **self.emulator.facts(),
        }


def find(architecture: str = X86) -> tuple[Emulator | None, str]:
    """The emulator of this machine for an architecture; or None, and why."""
    if own() != X86:
        return None, f"emulated processors are for x86-64 machines; this is {own()}"
    programs = (f"qemu-{architecture}-static", f"qemu-{architecture}")
    for name in programs:
        if path := shutil.which(name):
            try:
                return _described(str(Path(path).resolve())), ""
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                return None, f"{path} does not run: {error}"
    return None, f"QEMU's user mode is not installed ({' or '.join(programs)}: apt-get install qemu-user-static)"


@cache
def _described(path: str) -> Emulator:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    version = done.stdout.splitlines()[0].strip() if done.stdout else ""
    if done.returncode or not version:
        raise ValueError(f"--version ended with exit code {done.returncode}")
    return Emulator(path, version, digests.of_file(Path(path)), is_static(Path(path)))


def is_static(path: Path) -> bool:
    """Whether an ELF program names no loader; ValueError where it is no 64-bit ELF file."""
    with open(path, "rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            raise ValueError("it is no 64-bit ELF program")
        offset, size, count = (*struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54))
        file.seek(offset)
        headers = file.read(size * count)
    kinds = [struct.unpack_from("<I", headers, at)[0] for at in range(0, len(headers) - 3, size or 1)]
    return _PT_INTERP not in kinds


@cache
def names(emulator: Emulator) -> dict[str, str]:
    """QEMU's name of each feature that this QEMU has a name for, by the kernel's."""
    done = subprocess.run(
        [emulator.path, "-cpu", "help"], capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    known = set(done.stdout.partition("Recognized CPUID flags:")[2].split())
    found = {}
    for feature in FEATURES:
        candidates = (_NAMES.get(feature, feature), feature.replace("_", "-"), feature.replace("_", "."))
        if name := next((one for one in candidates if one in known), ""):
            found[feature] = name
    return found


@cache
def features(emulator: Emulator) -> frozenset[str]:
    """The features that this QEMU really has: told to have all that it knows by name, it is asked by CPUID.

    Raises:
        ProfileRefused: no program runs under it here.
    """
    every = ",".join(f"+{name}" for name in [*_BASE, *names(emulator).values()])
    return processor(emulator, f"{_ANY},{every}").features


@cache
def processor(emulator: Emulator, argument: str) -> Host:
    """The processor that QEMU is with `-cpu ARGUMENT`, by executing CPUID under it. Raises ProfileRefused."""
    package = str(Path(numdev.worker.__file__).parents[1])
    command = [emulator.path, "-cpu", argument, sys.executable, "-I", "-S", "-B", "-c", _READ, package]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False)
        rows = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        done, rows = None, None
        why = str(error)
    if rows is None:
        why = done.stderr.decode("utf-8", "replace").strip()[-300:] if done is not None else why
        raise ProfileRefused(
            "No program runs under QEMU here.",
            f"{emulator.version} could not execute CPUID: {why}",
            "Try another version of QEMU.",
        )
    return Host({(leaf, subleaf): (a, b, c, d) for leaf, subleaf, a, b, c, d in rows}, "")


def argument(profile: Profile, shown: Collection[str], called: dict[str, str]) -> str:
    """What `-cpu` has to be for a profile with the features `shown`, of which `called` has QEMU's names."""
    parts = [
        "base",
        f"vendor={profile.vendor}",
        f"family={profile.family}",
        f"model={profile.model}",
        f"stepping={profile.stepping}",
        f"level={profile.max_leaf}",
        f"xlevel={0x80000008 if profile.vendor == 'GenuineIntel' else 0x8000001E:#x}",
        # A comma ends an entry, whatever stands around it.
        f"model-id={profile.brand.replace(',', ' ')}",
        *(f"+{name}" for name in _BASE),
        *(f"+{called[feature]}" for feature in FEATURES if feature in shown),
    ]
    return ",".join(parts)


def lacking(profile: Profile, emulator: Emulator) -> list[str]:
    """The features without which libraries would choose otherwise, and which this QEMU does not have."""
    return sorted(set(profile.features) - features(emulator) - INCIDENTAL)


def shown(profile: Profile, without: Collection[str] = (), paired: bool = False, missing: str = REFUSE) -> Emulated:
    """The profile on this machine's QEMU.

    Args:
        without: features that are left out although QEMU has them, because the side it is compared with has not.
        missing: INTERSECT shows a profile without what QEMU lacks, and `Shown.essential` has that.

    Raises:
        ProfileRefused: there is no QEMU, or it lacks features that libraries choose by.
    """
    emulator, why = find()
    if emulator is None:
        raise ProfileRefused(f"The profile {profile.name!r} cannot be emulated here.", why, "Install it.")
    if missing != INTERSECT and (essential := lacking(profile, emulator)):
        raise ProfileRefused(
            f"The profile {profile.name!r} cannot be emulated here.",
            f"{emulator.version.partition(' (')[0]} has no {', '.join(essential)}",
            "Use a profile without them, such as haswell or x86-64-v3; `missing: intersect` in a matrix shows it without.",
        )
    left = closed(features(emulator).intersection(profile.features).difference(without))
    kept = [feature for feature in profile.features if feature in left]
    dropped = tuple(sorted(set(profile.features) - left))
    essential = tuple(feature for feature in dropped if feature not in INCIDENTAL)
    # What the libraries choose on what is left is not known beforehand.
    changes = {"features": kept, **({"expect": Expected()} if essential else {})}
    return Emulated(
        profile=profile.model_copy(update=changes),
        table=None,
        dropped=dropped,
        essential=essential,
        argument=argument(profile, kept, names(emulator)),
        emulator=emulator,
        paired=paired,
    )


def contradictions(shown: Emulated, realised: Mapping[str, Any]) -> list[str]:
    """Reasons why a cell does not count as run under its profile: CPUID as executed in it, and what libraries chose.

    Args:
        realised: what the worker read back in the cell (worker/readback.py); untrusted.
    """
    assert shown.profile is not None
    there = _identity(realised.get("identity"))
    if there is None:
        return ["CPUID was not read back in the cell, which should have been emulated"]
    profile, reasons = shown.profile, []
    for what, asked, found in (
        ("vendor", profile.vendor, there.vendor),
        (
            "family, model and stepping",
            (profile.family, profile.model, profile.stepping),
            there.family_model_stepping,
        ),
        ("features", set(profile.features), set(there.features)),
    ):
        if isinstance(asked, set) and isinstance(found, set) and asked != found:
            odd = [f"no {name}" for name in sorted(asked - found)] + [f"also {name}" for name in sorted(found - asked)]
            reasons.append(f"QEMU has other features than {profile.name}: {', '.join(odd)}")
        elif asked != found:
            reasons.append(f"QEMU has the {what} {found}, not {asked}")
    return reasons + unshown(shown, realised) + misfits(profile, realised)


def _identity(value: Any) -> Host | None:
    """The processor whose leaves were read back, as lists of six numbers; None where that is not what it is."""
    leaves = {}
    for row in value if isinstance(value, list) else []:
        if not (
            isinstance(row, list) and len(row) == 6 and all(type(word) is int and 0 <= word < 1 << 32 for word in row)
        ):
            return None
        leaves[row[0], row[1]] = (row[2], row[3], row[4], row[5])
    return Host(leaves, "") if leaves else None
