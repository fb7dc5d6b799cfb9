"""Records this machine and QEMU's processors again: `make machines`, after the battery or a stack has changed.

What is recorded of other machines stays as it is; the tests say of each which of its stacks are out of date.
"""

from __future__ import annotations

from pathlib import Path

from numdev import cpu
from numdev.cli.machine import STACKS
from numdev.files import cache_dir
from numdev.run import machine
from numdev.spec.stack import load_stack

HERE = Path(__file__).resolve().parent
# The processors that the oracle compares profiles with, and one in AMD's name.
EMULATED = ("Nehalem", "SandyBridge", "Haswell", "EPYC-Rome")


def kind(host: cpu.Host) -> str:
    """A processor's kind, as its record is called: amd-26-2-1 is AMD's, family 26, model 2, stepping 1."""
    vendor = cpu.VENDORS.get(host.vendor, host.vendor)
    return "-".join([vendor.lower(), *map(str, host.family_model_stepping)])


def main() -> None:
    stacks = [load_stack(HERE.parents[1] / "images", name) for name in STACKS]
    for emulator in ("", *EMULATED):
        name = f"qemu-{emulator.lower()}" if emulator else kind(cpu.host())
        machine.record(stacks, cache_dir(), print, emulator).write(HERE / f"{name}.json")
        print(f"{name}.json")


if __name__ == "__main__":
    main()
