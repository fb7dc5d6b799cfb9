"""Why an operation has other bits than it had elsewhere: by what the libraries chose, by the system, by silicon, or unexplained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from numdev.cpu.machine import Measured
from numdev.worker.defects import GATHER

# What became of an operation; all but the first are other bits. IGNORED: a library did not do what its knob says, or
# cannot be told to have. EMULATOR: an emulator gets it wrong, and was seen to.
SAME, DISPATCH, SYSTEM, SILICON, UNEXPLAINED, GONE = "same", "dispatch", "system", "silicon", "unexplained", "gone"
IGNORED, EMULATOR = "ignored", "emulator"

# Operations seen to lean on instructions that processors approximate: other bits under the same dispatch where the
# fingerprints differ, with what showed it; by stack and operation.
_SQRT = "it multiplies with rsqrtps and takes one step of Newton's (tests/run/test_rungs_for_real.py computes both sides' bits)"
_VML = (
    "MKL's vector library executes rsqrtps for it, and for nothing else of the battery (qemu-x86_64 -d in_asm); a fifth of its results "
    "are not correctly rounded on real processors"
)
_LEANING = {
    **{
        (stack, f"onnxruntime {name}"): _SQRT
        for stack in ("onnxruntime-1.17", "onnxruntime-1.20")
        for name in ("sqrt", "rsqrt", "batchnorm")
    },
    ("torch-2.13", "torch sqrt (MKL)"): _VML,
}

# Operations seen to come out wrong by a defect of an emulator (worker/defects.py), with what showed it; by stack and operation.
_TANH = (
    "QEMU computes it wrongly: numpy 1.26 takes the coefficients by gathers with the index in register 4, which this QEMU does not "
    "look at (it was tried); tanh of 0.75 is -4e305 there"
)
_WRONG = {(stack, "numpy tanh float64"): (GATHER, _TANH) for stack in ("numpy-1.26", "onnxruntime-1.17")}

# By what an operation's name begins with, or has in brackets at its end: the libraries whose choices it depends on. Those of
# an unknown library depend on all.
_CHOOSERS: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "BLAS": ("numpy", "OpenBLAS"),
    "LAPACK": ("numpy", "OpenBLAS"),
    "torch": ("torch",),
}
# They do not say what they chose: by CPUID alone, and they were shown the same.
_SILENT = ("onnxruntime", "MKL", "oneDNN")


@dataclass(frozen=True)
class Compared:
    """One operation of a stack: `outcome` is one of the words above, `why` what it rests on, in words."""

    stack: str
    operation: str
    outcome: str
    why: str = ""


def leaning(stack: str, operation: str) -> str:
    """What showed that an operation leans on approximate instructions; "" where nothing did."""
    return _LEANING.get((stack, operation), "")


def library(operation: str) -> str:
    """Who computes an operation of the battery."""
    return operation.rpartition("(")[2].rstrip(")") if operation.endswith(")") else operation.split()[0]


def against_knobs(stack: str, shown: Measured, knobs: Measured) -> list[Compared]:
    """Each operation under a profile beside what the libraries' own knobs give on the real processor.

    A knob can confirm a profile and seldom refute it: only where a library says that it chose the same.
    """
    found = []
    for one in compare(stack, shown, knobs, []):
        who = library(one.operation)
        if one.outcome == UNEXPLAINED and who in _SILENT:
            why = "it has no knob" if who == "onnxruntime" else f"{who} does not say whether it obeyed its knob"
            one = replace(one, outcome=IGNORED, why=why)
        elif one.outcome == DISPATCH:
            one = replace(
                one, outcome=IGNORED, why=one.why.replace(" there", " as the profile").replace(" here", " by its knob")
            )
        found.append(one)
    return found


def compare(stack: str, before: Measured, now: Measured, silicon: list[str] | None) -> list[Compared]:
    """Each recorded operation beside what it gives now.

    Args:
        silicon: what of the two processors' fingerprints differs; None where one has none.
    """
    changed = (
        "" if before.battery == now.battery else "; the battery has changed since, and may mean something else by it"
    )
    found = []
    for name, digest in sorted(before.operations.items()):
        if name not in now.operations:
            found.append(Compared(stack, name, GONE, "the battery no longer has it"))
        elif now.operations[name] == digest:
            found.append(Compared(stack, name, SAME))
        else:
            outcome, why = _cause(stack, name, before, now, silicon)
            found.append(Compared(stack, name, outcome, why + changed))
    return found


def _cause(stack: str, name: str, before: Measured, now: Measured, silicon: list[str] | None) -> tuple[str, str]:
    """Why an operation has other bits. What was chosen comes first: the silicon is to blame only where all else is equal."""
    who = library(name)
    everything = tuple(before.dispatch.keys() | now.dispatch.keys())
    libraries = () if who in _SILENT else _CHOOSERS.get(who, everything)
    odd = [one for one in sorted(libraries) if before.dispatch.get(one) != now.dispatch.get(one)]
    if odd:
        return DISPATCH, "; ".join(_choice(one, before.dispatch.get(one), now.dispatch.get(one)) for one in odd)
    defect, evidence = _WRONG.get((stack, name), ("", ""))
    if (defect in before.defects) != (defect in now.defects):
        return EMULATOR, evidence
    if silicon and (evidence := leaning(stack, name)):
        return SILICON, f"it leans on approximate instructions, and {', '.join(silicon)} differ: {evidence}"
    parts = sorted(before.system.keys() | now.system.keys())
    if other := [
        f"{key} {before.system.get(key)}, here {now.system.get(key)}" for key in parts if _odd(key, before, now)
    ]:
        doubt = f", or silicon, for {', '.join(silicon)} differ" if silicon else ""
        return SYSTEM, f"the same dispatch on another system: {'; '.join(other)}{doubt}"
    if silicon is None:
        return UNEXPLAINED, "the same dispatch; the record has no fingerprint that would tell whether it is silicon"
    if silicon:
        return SILICON, f"the same dispatch, and the processors' {', '.join(silicon)} differ"
    return UNEXPLAINED, "the same dispatch and the same fingerprint"


def _odd(key: str, before: Measured, now: Measured) -> bool:
    return before.system.get(key) != now.system.get(key)


def _choice(library: str, before: str | None, now: str | None) -> str:
    """What a library chose there and here; of long lists only what differs."""
    there, here = set((before or "").split()), set((now or "").split())
    if len(there) <= 3 and len(here) <= 3:
        return f"{library}: {before or 'nothing'} there, {now or 'nothing'} here"
    return f"{library}: only there {' '.join(sorted(there - here)) or 'nothing'}, only here {' '.join(sorted(here - there)) or 'nothing'}"
