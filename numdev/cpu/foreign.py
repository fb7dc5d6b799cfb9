"""Another architecture's processor on this machine: QEMU's user mode, which runs arm64 programs on x86-64.

It is one processor by name and not "all that this QEMU has": the same with each version, and one that exists. That it works is
found out by running a program of that architecture, for a file's presence says little.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.cpu import emulated
from numdev.cpu.emulated import EMULATE, Emulator
from numdev.cpu.table import Shown
from numdev.errors import ProfileRefused
from numdev.spec.architecture import ARM, X86, own

# Graviton2's and Altra's core: NEON, half precision and dot products, no SVE.
MODEL = "neoverse-n1"
# What Linux tells of such a core, with what QEMU's has (AT_HWCAP): the real /proc and /sys tell of an x86-64 processor, which
# libraries for arm64 do not expect. pytorch/cpuinfo, which is in onnxruntime, ends with SIGSEGV on reading its caches.
FEATURES = "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CORE = f"""BogoMIPS\t: 100.00
Features\t: {FEATURES}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0c
CPU revision\t: 1
"""
CPUINFO, CPUS = "/proc/cpuinfo", "/sys/devices/system/cpu"
_TIMEOUT = 60
# mov x0, #42; mov x8, #93 (exit); svc #0
_EXIT, _CODE = 42, bytes.fromhex("400580d2 a80b80d2 010000d4")
_ADDRESS, _HEADERS = 0x400000, 120


@dataclass(frozen=True)
class Foreign(Shown):
    """The profile `host` of another architecture. `argument`: of QEMU's `-cpu`. It has no CPUID, and so no table."""

    architecture: str = ARM
    argument: str = MODEL
    emulator: Emulator = field(default_factory=lambda: Emulator("", "", "", False))

    @property
    def rung(self) -> str:
        return EMULATE

    @property
    def digest(self) -> str:
        parts = {"architecture": self.architecture, "argument": self.argument, "emulator": self.emulator.sha256}
        return digests.of_json({"rung": EMULATE, "core": CORE, **parts})

    def system(self, folder: Path) -> tuple[tuple[str, Path], ...]:
        """Writes what the system tells of its processors into a folder: where programs look for it, and where it lies."""
        count = os.cpu_count() or 1
        (folder / "cpu").mkdir(parents=True)
        cores = "\n".join(f"processor\t: {number}\n{CORE}" for number in range(count))
        made = {folder / "cpuinfo": cores + "\n"}
        made |= {folder / "cpu" / name: f"0-{count - 1}\n" for name in ("online", "possible", "present")}
        for path, text in made.items():
            path.write_text(text, encoding="ascii")
            # The container's user is another one.
            path.chmod(0o644)
        (folder / "cpu").chmod(0o755)
        return (CPUINFO, folder / "cpuinfo"), (CPUS, folder / "cpu")

    def facts(self) -> dict[str, Any]:
        return {
            **super().facts(),
            "rung": EMULATE,
            "architecture": self.architecture,
            "silicon": "emulated",
            "cpu": self.argument,
            **self.emulator.facts(),
        }


def shown(architecture: str) -> Foreign:
    """That architecture's processor here, after a program for it has really run. Raises ProfileRefused."""
    what = f"Programs for {architecture} cannot run on this machine."
    if (own(), architecture) != (X86, ARM):
        raise ProfileRefused(
            what, f"it is {own()}, where only its own programs run", f"Use a machine that is {architecture}."
        )
    emulator, why = emulated.find(architecture)
    if emulator is not None:
        why = trial([emulator.path, "-cpu", MODEL])
    if emulator is None or why:
        raise ProfileRefused(what, why, "Install QEMU 7.0 or newer: apt-get install qemu-user-static.")
    return Foreign(None, None, architecture=architecture, emulator=emulator)


@cache
def _tried(prefix: tuple[str, ...]) -> str:
    descriptor, path = tempfile.mkstemp(prefix="numdev-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(program())
        os.chmod(path, 0o755)
        done = subprocess.run([*prefix, path], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a program for {ARM} does not run: {error}"
    finally:
        os.unlink(path)
    if done.returncode == _EXIT:
        return ""
    said = " ".join(done.stderr.split())[:300] or f"it ended with {done.returncode} instead of {_EXIT}"
    return f"a program for {ARM} does not run under {' '.join(prefix) or 'the kernel'}: {said}"


def trial(prefix: Sequence[str] = ()) -> str:
    """Why an aarch64 program does not run here behind these words, by running one; "" where it does.

    Without words it is the kernel that runs it: on its own processor, or by binfmt_misc.
    """
    return _tried(tuple(prefix))


def kernel(folder: Path = Path("/proc/sys/fs/binfmt_misc")) -> str:
    """Why the kernel does not run aarch64 programs in any root, by running one; "" where it does."""
    if trial():
        return f"the kernel runs no {ARM} programs: binfmt_misc has no emulator for them"
    entries = [entry for entry in folder.glob("*") if entry.name not in ("register", "status")]
    for text in map(_text, entries):
        if ARM in text and (flags := next((line for line in text.splitlines() if line.startswith("flags:")), "")):
            return (
                ""
                if "F" in flags.removeprefix("flags:")
                else "binfmt_misc has its emulator without the flag F, so not in another root"
            )
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def program() -> bytes:
    """The smallest aarch64 ELF program: it ends with an exit code of its own."""
    size = _HEADERS + len(_CODE)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, 183, 1, _ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x1000) + _CODE


def misplaced(architecture: str, found: Mapping[str, Any]) -> list[str]:
    """Why a cell does not count as run on an architecture, from what the worker read back (untrusted)."""
    machine = found.get("machine", own())
    return [] if machine == architecture else [f"it ran on {machine!r}, not on {architecture}"]
