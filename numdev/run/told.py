"""How profiles were shown, in lines for people: nothing but the real processor's own CPUID is shown without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numdev import cpu
from numdev.cpu.emulated import SLOWER
from numdev.run import identities
from numdev.run.resolve import Resolved
from numdev.spec.architecture import own as own_architecture
from numdev.spec.cell import EMULATED, NATIVE
from numdev.store import Record

if TYPE_CHECKING:
    from numdev.run.runfile import RunCell


def rungs(resolved: Resolved) -> list[str]:
    """Before a run: which profiles are shown by another rung than CPUID faulting, and what that means."""
    by: dict[str, list[str]] = {}
    for name, shown in resolved.profiles.items():
        by.setdefault(shown.rung, []).append(name)
    said = []
    if names := by.get(cpu.REWRITE):
        said.append(f"Shown by rewriting CPUID in memory, for it cannot fault here: {_few(names)}.")
    emulated = {name: shown for name, shown in resolved.profiles.items() if isinstance(shown, cpu.Emulated)}
    for which, shown in (("Emulated", emulated), ("Emulated as the other silicon", resolved.emulated)):
        if shown:
            version = next(iter(shown.values())).emulator.version
            limit = resolved.matrix.limits.timeout
            said.append(
                f"{which} by {version}, {SLOWER} and with its own caches: {_few(shown)}. Each run ends after {limit}."
            )
    for shown in resolved.foreign.values():
        what = f"{shown.architecture} is emulated by {shown.emulator.version} as {shown.argument}"
        said.append(f"{what}, {SLOWER}. Each run ends after {resolved.matrix.limits.timeout}.")
    if names := by.get(cpu.KNOBS):
        said.append(
            f"Shown by the libraries' own knobs, which is partial, on this processor's real CPUID: {_few(names)}."
        )
    left_out: dict[tuple[str, ...], list[str]] = {}
    for name, shown in resolved.emulated.items():
        if shown.paired:
            left_out.setdefault(shown.dropped, []).append(name)
    for dropped, names in left_out.items():
        without = f" and without {', '.join(dropped)}" if dropped else ""
        said.append(f"{_few(names)}: both sides of `silicon` with QEMU's caches and cores{without}, to be alike.")
    return said


def _few(names: Iterable[str]) -> str:
    """Profiles without the variants of them: what is said of one is said of those."""
    return ", ".join(identities.fewest(dict.fromkeys(names, "")))


def notes(found: Iterable[tuple[RunCell, Record]]) -> list[str]:
    """After a run: what was emulated, and how slowly; who obeyed its knob, and who did not."""
    pairs = [(cell, record, _profile(record)) for cell, record in found]
    said = []
    own = [one for one in pairs if not one[2].get("architecture")]
    for version, names in _grouped(own, cpu.EMULATE, _version).items():
        said.append(
            f"Emulated by {version}, whose caches are its own: {', '.join(names)}{_slower(pairs, 'silicon', NATIVE, EMULATED)}."
        )
    for architecture in dict.fromkeys(str(one[2]["architecture"]) for one in pairs if one[2].get("architecture")):
        there = [one for one in pairs if one[2].get("architecture") == architecture]
        how = dict.fromkeys(f"{_version(one[2])} as {one[2].get('cpu')}" for one in there)
        slower = _slower(pairs, "architecture", own_architecture(), architecture)
        said.append(f"{architecture} was emulated, by {', '.join(how)}{slower}: its silicon is none that is sold.")
    # What is unrealised has said so itself.
    obeyed = [one for one in pairs if one[1].status == "ok"]
    for words, names in _grouped(obeyed, cpu.KNOBS, _obeyed).items():
        stacks = dict.fromkeys(one[0].factors["stack"] for one in obeyed if _obeyed(one[2]) == words)
        said.append(f"Shown by knobs, which is partial: {', '.join(names)} in {', '.join(stacks)} ({words}).")
    return said


_Told = tuple["RunCell", Record, Mapping[str, Any]]


def _profile(record: Record) -> Mapping[str, Any]:
    facts = record.environment.get("profile")
    return facts if isinstance(facts, Mapping) else {}


def _grouped(found: Sequence[_Told], rung: str, key: Callable[[Mapping[str, Any]], str]) -> dict[str, list[str]]:
    by: dict[str, list[str]] = {}
    for cell, _, facts in found:
        if facts.get("rung") == rung:
            names = by.setdefault(key(facts), [])
            name = cell.factors.get("profile", str(facts.get("profile")))
            if name not in names:
                names.append(name)
    return by


def _obeyed(facts: Mapping[str, Any]) -> str:
    found = facts.get("knobs")
    return cpu.in_words({str(name): str(what) for name, what in found.items()}) if isinstance(found, Mapping) else ""


def _version(facts: Mapping[str, Any]) -> str:
    return str(facts.get("emulator", "QEMU"))


def _slower(found: Sequence[_Told], factor: str, native: str, emulated: str) -> str:
    """How many times slower cells were than the same ones on this processor, at a factor's other level, where both ran."""
    times: dict[tuple[Any, ...], dict[str, float]] = {}
    for cell, record, _ in found:
        if record.status == "ok" and record.seconds and not cell.reference:
            rest = sorted((name, level) for name, level in cell.factors.items() if name != factor)
            side = times.setdefault((cell.workload, cell.replicate, *rest), {})
            side[cell.factors.get(factor, native)] = record.seconds
    ratios = sorted(both[emulated] / both[native] for both in times.values() if native in both and emulated in both)
    if not ratios:
        return ""
    times_as_long = " to ".join(dict.fromkeys((f"{ratios[0]:.0f}", f"{ratios[-1]:.0f}")))
    return f" (took {times_as_long} times as long as on this processor)"
