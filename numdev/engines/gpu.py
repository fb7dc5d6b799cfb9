"""Whether a stack that needs a GPU has one here: found out before anything of it is fetched, for that is gigabytes."""

from __future__ import annotations

from pathlib import Path

from numdev.spec.stack import Stack

_DRIVER, _DEVICES = Path("/proc/driver/nvidia/version"), Path("/dev")


def missing(stack: Stack, driver: Path = _DRIVER, devices: Path = _DEVICES) -> str:
    """Why there is no GPU for a stack that needs one, or ""."""
    if not stack.gpu:
        return ""
    if not driver.is_file():
        return f"{stack.name} needs a GPU of NVIDIA, and this host has no driver of one ({driver} does not exist)"
    if not any(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia*")):
        return (
            f"{stack.name} needs a GPU of NVIDIA, and this host has none ({devices}/nvidia0 and the like do not exist)"
        )
    return ""
