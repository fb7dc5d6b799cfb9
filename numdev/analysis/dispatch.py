"""Factors that are the hardware as software sees it: all that CPUID tells, by which libraries choose their code."""

from __future__ import annotations

from collections.abc import Mapping

PROFILE, OWN = "profile", "own"
# What of a profile can be set alone; at the level OWN it is the profile's.
PARTS = ("features", "vendor", "model", "caches")
DISPATCH = (PROFILE, *PARTS)


def shown(levels: Mapping[str, str]) -> str:
    """The CPU that a cell was shown, for people: `haswell -fma vendor AMD`."""
    return " ".join([levels[PROFILE], *(part(name, levels[name]) for name in PARTS if levels.get(name, OWN) != OWN)])


def part(name: str, level: str) -> str:
    """One of PARTS at a level: `own vendor`, `vendor AMD`, `-fma`, `l1d=48KiB`."""
    if level == OWN:
        return f"{OWN} {name}"
    return level if level.startswith(("+", "-")) or "=" in level else f"{name} {level}"
