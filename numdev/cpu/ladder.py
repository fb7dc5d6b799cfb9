"""The ladder: by which rung a profile is shown here, and how the two sides of a comparison of silicon are made alike.

    cpuid     CPUID faulting: every program, at native speed
    rewrite   libraries with a trap in the place of CPUID: the same table, at native speed
    emulate   QEMU's user mode: another processor altogether, in software
    knobs     the libraries' own environment variables: partial

Which of them it was is in every record and in every cell's digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numdev.cpu import emulated, knobbed, realised
from numdev.cpu.capture import Capture, profile_of
from numdev.cpu.emulated import EMULATE, Emulated
from numdev.cpu.features import INCIDENTAL
from numdev.cpu.host import Host, only_here
from numdev.cpu.knobbed import Knobbed
from numdev.cpu.profile import HOST, Profile
from numdev.cpu.table import BEST, CPUID, REFUSE, REWRITE, Shown, build, find, shown
from numdev.errors import ProfileRefused

KNOBS = knobbed.RUNG
RUNGS = (CPUID, REWRITE, EMULATE, KNOBS)


def enforced(name: str, host: Host, enforce: str = CPUID, folder: Path = Path(), missing: str = REFUSE) -> Shown:
    """What the profile called `name` becomes on `host`, by the rung that `enforce` names; `best`: the first that works.

    Args:
        folder: what the path of a capture is relative to.
        missing: INTERSECT shows a profile without what that rung lacks, and `Shown.essential` has that.

    Raises:
        InvalidInput: there is no such profile.
        ProfileRefused: this host cannot show it; says which features or what mechanism is missing.
    """
    if name == HOST or enforce in (CPUID, REWRITE):
        return shown(name, host, enforce, folder, missing)
    if only_here():
        # No rung is any better than the first: it says why.
        return shown(name, host, CPUID, folder, missing)
    if enforce == EMULATE:
        return emulated.shown(find(name, folder), missing=missing)
    if enforce == KNOBS:
        return knobbed.shown(find(name, folder), host, missing)
    try:
        return shown(name, host, BEST, folder, missing)
    except ProfileRefused as error:
        first = error
    refusals = [first.why]
    # Where a table could be shown, it is features that are missing, and knobs need the same ones.
    works = not host.refusal or not host.rewriting
    for lower in (EMULATE,) if works else (EMULATE, KNOBS):
        try:
            return enforced(name, host, lower, folder, missing)
        except ProfileRefused as error:
            refusals.append(_neither(find(name, folder), host) or error.why)
    raise ProfileRefused(first.what, "; ".join(dict.fromkeys(refusals)), first.remedy) from None


def _neither(profile: Profile, host: Host) -> str:
    """Why neither this processor nor QEMU has a profile's features, where they are the same ones; else ""."""
    missing = set(profile.features) - host.features - INCIDENTAL
    emulator, _ = emulated.find()
    if not missing or emulator is None or not missing <= set(emulated.lacking(profile, emulator)):
        return ""
    return f"{emulator.version.partition(' (')[0]} lacks them too"


def pair(name: str, host: Host, enforce: str, folder: Path = Path(), missing: str = REFUSE) -> tuple[Shown, Emulated]:
    """The profile on this processor and on QEMU's, alike in all that a program could choose by.

    Features that either side lacks and nothing computes by are left out on both, with `missing` INTERSECT also others.
    QEMU's caches and cores are its own, so the native side is shown those.

    Raises:
        InvalidInput: there is no such profile.
        ProfileRefused: one of the two sides cannot be had.
    """
    native = enforced(name, host, enforce, folder, missing)
    if native.rung == EMULATE:
        raise ProfileRefused(
            f"This host has no silicon of its own for the profile {name!r}.",
            "it can only emulate it, so that there is nothing to compare the emulator with",
        )
    other = emulated.shown(find(name, folder), without=native.dropped, paired=True, missing=missing)
    assert other.profile is not None
    there = emulated.processor(other.emulator, other.argument)
    captured = profile_of(Capture(there.leaves), name)
    # The emulated side has left out all that either lacks.
    own = {"caches": captured.caches, "topology": captured.topology}
    common = other.profile.model_copy(update=own)
    alike = replace(native, profile=common, dropped=other.dropped, essential=other.essential)
    return (alike if native.table is None else replace(alike, table=build(common, host, native.table.rewritten))), other


def contradictions(
    declared: Shown, found: Mapping[str, Any], separate: bool = False, told: Mapping[str, str] | None = None
) -> list[str]:
    """Reasons why a cell does not count as run under its profile; empty where everything agrees.

    Args:
        found: what the worker read back in the cell (worker/readback.py); untrusted.
        separate: the work was done by a program of its own, beside the process that was read back.
        told: environment variables of the cell's own, by which libraries may have been told to choose less.
    """
    if isinstance(declared, Emulated):
        return emulated.contradictions(declared, found)
    if isinstance(declared, Knobbed):
        return knobbed.disobeyed(knobbed.obedience(declared, found), separate)
    return realised.contradictions(declared, found, told)
