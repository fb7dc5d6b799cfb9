"""Processor architectures: those that stacks can be made for, and this machine's own."""

from __future__ import annotations

import platform

X86, ARM = ARCHITECTURES = ("x86_64", "aarch64")


def own() -> str:
    """This machine's architecture, by the kernel's name for it."""
    machine = platform.machine()
    return {"AMD64": X86, "arm64": ARM}.get(machine, machine)
