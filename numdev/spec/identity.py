"""The CPU that a cell is shown, as five factors: a profile, and what of it is not its own.

    {profile: haswell, features: -fma, vendor: AMD, caches: "l1d=48KiB"}   ->   haswell-fma@vendor=AMD@l1d=48KiB

The result is a variant's name (cpu/variant.py), so nothing else has to know that there are several factors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from numdev.spec.quantities import memory

OWN = "own"
HOST = "host"
# In the order in which they are applied, which does not matter: each changes a part of its own.
FACTORS = ("features", "vendor", "model", "caches")
VENDORS = {"Intel": "GenuineIntel", "AMD": "AuthenticAMD"}
# What a cache is called, and what CPUID calls it: level and type.
CACHES = {"l1d": (1, "data"), "l1i": (1, "instruction"), "l2": (2, "unified"), "l3": (3, "unified")}
_NAME = re.compile(r"[A-Za-z0-9_./-]+")
_FEATURES = re.compile(r"[A-Za-z0-9_./-]*(?:[+-][a-z0-9_]+)*")


def compose(factors: Mapping[str, Any]) -> str:
    """The name of the profile that a cell's factors come to; factors that are left out are `host` and `own`."""
    profile = str(factors.get("profile", HOST))
    return profile + "".join(change(key, str(factors.get(key, OWN))) for key in FACTORS)


def change(key: str, level: str) -> str:
    """What one of FACTORS at this level adds to a profile's name."""
    if level == OWN:
        return ""
    if key == "features" and level.startswith(("+", "-")):
        return level
    if key == "caches":
        return "".join(f"@{part}" if "=" in part else f"@caches={part}" for part in level.split(","))
    return f"@{key}={level}"


def refusal(factors: Mapping[str, Any]) -> str:
    """Why these levels cannot go together on any machine, or ""."""
    if factors.get("profile", HOST) != HOST or compose(factors) == HOST:
        return ""
    changed = ", ".join(key for key in FACTORS if factors.get(key, OWN) != OWN)
    return f"the profile host is the real processor, and keeps its own {changed}"


def names(key: str, level: str) -> list[str]:
    """The profiles that a level of one of FACTORS names."""
    if level == OWN or key == "vendor" or level[0] in "+-":
        return []
    return [part for part in level.split(",") if "=" not in part]


def problem(key: str, level: str) -> str:
    """What is wrong with a level of one of FACTORS, as far as that is known without the profiles; or ""."""
    if level == OWN:
        return ""
    if key == "vendor":
        return "" if level in VENDORS else f"{level!r} is not one of {OWN}, {', '.join(VENDORS)}"
    if key == "features":
        return "" if _FEATURES.fullmatch(level) else f"{level!r} is neither a profile's name nor changes like +f16c-fma"
    if key == "model":
        return "" if _NAME.fullmatch(level) else f"{level!r} is no profile's name"
    seen = set()
    for place, part in enumerate(level.split(",")):
        kind, sign, size = part.partition("=")
        if not sign and (place or not _NAME.fullmatch(part)):
            return f"{level!r} is no profile's name, nor sizes like l1d=48KiB,l2=2MiB after it"
        if sign and kind not in CACHES:
            return f"{part!r} is no cache: there are {', '.join(CACHES)}"
        if kind in seen:
            return f"{kind} stands twice in {level!r}"
        seen.add(kind)
        try:
            if sign:
                memory(size)
        except ValueError as error:
            return str(error)
    return ""
