"""Sizes of memory and lengths of time as people write them."""

from __future__ import annotations

import re

_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIMES = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def memory(text: str) -> int:
    """Bytes of e.g. `512MiB` or `4GiB`; raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(KiB|MiB|GiB)", text)
    if not found or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is not an amount of memory: write for example 512MiB or 4GiB")
    return int(float(found[1]) * _SIZES[found[2]])


def duration(text: str) -> float:
    """Seconds of e.g. `500ms`, `90s`, `2min`; raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(ms|s|min|h)", text)
    if not found or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is not a length of time: write for example 90s or 2min")
    return float(found[1]) * _TIMES[found[2]]


def show_memory(size: int) -> str:
    """`size` bytes in the largest unit that leaves at least one."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _SIZES[unit]:
            return f"{size / _SIZES[unit]:.3g} {unit}"
    return f"{size} B"
