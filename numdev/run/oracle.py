"""The oracle: is what a profile shows what a processor of that kind would do?

QEMU's user mode runs the same programs on another processor altogether: its own, in software, down to the features it is told to have.
It shares nothing with the launcher and its tables. Where both give the same bytes, each is right or both are wrong alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from numdev import cpu
from numdev.cpu.machine import Measured
from numdev.errors import InvalidInput, Problem, ProfileRefused
from numdev.run import causes
from numdev.run.causes import SAME, Compared, compare
from numdev.run.measured import Say, emulated, measure
from numdev.spec.stack import Stack

# QEMU's processors that have what a profile has; it has no AVX-512.
MODELS = {"nehalem": "Nehalem", "sandybridge": "SandyBridge", "haswell": "Haswell"}

# Leaks that are opened on purpose, to see that the oracle notices: nothing is shown; the system's loader asks the real processor,
# and with it libc; the family and model stay the real ones.
ALL, LOADER, MODEL = "all", "loader", "model"
LEAKS = (ALL, LOADER, MODEL)
_LOADERS = ("/ld-linux", "/ld-2.", "/ld-musl")


@dataclass(frozen=True)
class Checked:
    """One profile of one stack. `qemu`, `knobs`: each operation beside QEMU's processor and beside the libraries' knobs.

    `knobs` is empty, and `no_knobs` says why, where knobs cannot be tried here.
    """

    profile: str
    stack: str
    qemu: tuple[Compared, ...]
    knobs: tuple[Compared, ...]
    no_knobs: str = ""

    @property
    def agrees(self) -> bool:
        """Every operation has QEMU's bytes, but for those known to lean on approximate instructions or to be wrong in QEMU; no knob contradicts."""
        return all(one.outcome in (SAME, causes.EMULATOR) or _leans(one) for one in self.qemu) and all(
            one.outcome in (SAME, causes.IGNORED) for one in self.knobs
        )


def _doubt(one: Compared) -> Compared:
    """What is not known to lean on approximate instructions is not put down to them: it may be a leak."""
    if one.outcome != causes.SILICON or _leans(one):
        return one
    why = (
        "the same dispatch, as far as the libraries say: a program or library asked the real processor, or the operation leans on "
        "approximate instructions, which nothing has shown so far"
    )
    return replace(one, outcome=causes.UNEXPLAINED, why=why)


def _leans(one: Compared) -> bool:
    return one.outcome == causes.SILICON and causes.leaning(one.stack, one.operation) != ""


def verify(stack: Stack, profiles: Sequence[str], cache: Path, say: Say, *, leak: str = "") -> list[Checked]:
    """Runs the battery under each profile, under QEMU and with knobs, and compares the bytes of each operation.

    Args:
        profiles: of MODELS.
        leak: one of LEAKS, opened on purpose: the check has to fail then.

    Raises:
        ProfileRefused: this host cannot show one of the profiles.
        EngineUnavailable: there is no QEMU.
        StackFailed: the battery does not run.
    """
    cpu.need_x86("`numdev platform verify`")
    checked = []
    # QEMU computes exactly what processors approximate.
    silicon = ["rcpps", "rsqrtps"]
    for name in profiles:
        processor = emulated(MODELS[name])
        skip = _LOADERS if leak == LOADER else ()
        mine = measure(stack, _leaking(name, leak), cache, say, skip=skip, judged=not leak)
        there = measure(stack, processor, cache, say)
        knobs, no_knobs = _knobs(stack, name, mine, cache, say)
        checked.append(
            Checked(name, stack.name, tuple(map(_doubt, compare(stack.name, there, mine, silicon))), knobs, no_knobs)
        )
    return checked


def _knobs(stack: Stack, name: str, shown: Measured, cache: Path, say: Say) -> tuple[tuple[Compared, ...], str]:
    try:
        knobs = cpu.enforced(name, cpu.host(), cpu.KNOBS)
    except ProfileRefused as error:
        return (), error.why
    return tuple(causes.against_knobs(stack.name, shown, measure(stack, knobs, cache, say))), ""


def _leaking(name: str, leak: str) -> cpu.Shown:
    host = cpu.host()
    shown = cpu.shown(name, host, cpu.BEST)
    assert shown.table is not None
    assert shown.profile is not None
    if leak == ALL:
        return cpu.Shown(None, None)
    if leak == MODEL:
        family, model, stepping = host.family_model_stepping
        other = shown.profile.model_copy(update={"family": family, "model": model, "stepping": stepping})
        return replace(shown, profile=other, table=cpu.table.build(other, host, shown.table.rewritten))
    return shown


def check_profiles(wanted: Sequence[str]) -> None:
    """Raises InvalidInput for profiles that QEMU has no processor for."""
    if unknown := [name for name in wanted if name not in MODELS]:
        known = ", ".join(MODELS)
        raise InvalidInput(
            "QEMU has no such processor.",
            [Problem(name, "cannot be compared", f"there are: {known}") for name in unknown],
        )
