"""The last rung: libraries told by their own environment variables to behave as on another processor.

Partial by nature. Each library has a knob of its own or none, some ignore theirs without a word, and CPUID stays the real
one. So what each library says that it chose is read back, and only that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numdev import digests
from numdev.cpu.features import INCIDENTAL, closed
from numdev.cpu.host import Host
from numdev.cpu.knobs import for_profile
from numdev.cpu.profile import Expected, Profile
from numdev.cpu.realised import NUMPY, TORCH, kernels, words
from numdev.cpu.table import INTERSECT, REFUSE, Shown
from numdev.errors import ProfileRefused

RUNG = "knobs"
OBEYED, UNKNOWN = "obeyed", "cannot be told"

# Frameworks that compute on their own: beside them numpy only carries arrays, and what it obeys says nothing.
_COMPUTES = {
    "onnxruntime": ("onnxruntime",),
    "jax": ("jax",),
    "tensorflow": ("tensorflow",),
    "torch": ("torch", "MKL", "oneDNN"),
}
_WHY = {
    "onnxruntime": "it has no knob",
    "jax": "of its libraries, XLA alone has one",
    "tensorflow": "it has no knob",
    "MKL": "it does not say what it chose",
    "oneDNN": "it does not say what it chose",
    "glibc": "it does not say what it chose",
}


@dataclass(frozen=True)
class Knobbed(Shown):
    """A profile as far as knobs go; `table` is None, for CPUID stays the real one."""

    settings: dict[str, str] = field(default_factory=dict)

    @property
    def rung(self) -> str:
        return RUNG

    @property
    def digest(self) -> str:
        # What the libraries may choose is judged by the profile, so it is a cause of the record too.
        profile = self.profile.model_dump(mode="json") if self.profile else {}
        return digests.of_json({"rung": RUNG, "variables": self.settings, "profile": profile})

    def facts(self) -> dict[str, Any]:
        not_shown = ["CPUID", "vendor", "model", "caches", "topology"]
        return {**super().facts(), "partial": True, "not_shown": not_shown, "variables": dict(self.settings)}


def shown(profile: Profile, host: Host, missing: str = REFUSE) -> Knobbed:
    """The profile as knobs for this host's libraries.

    Args:
        missing: INTERSECT shows a profile without what this host lacks, and `Shown.essential` has that.

    Raises:
        ProfileRefused: no knob adds a feature.
    """
    left = closed(host.features.intersection(profile.features))
    dropped = tuple(sorted(set(profile.features) - left))
    essential = tuple(feature for feature in dropped if feature not in INCIDENTAL)
    if essential and missing != INTERSECT:
        raise ProfileRefused(
            f"This host cannot show the profile {profile.name!r}.",
            f"its processor lacks {', '.join(essential)}; a knob can hide features, never add them",
            "Use a lower profile, or a machine that has them.",
        )
    if essential:
        kept = [feature for feature in profile.features if feature in left]
        profile = profile.model_copy(update={"features": kept, "expect": Expected()})
    return Knobbed(profile, None, dropped, essential, for_profile(profile))


def obedience(shown: Knobbed, realised: Mapping[str, Any]) -> dict[str, str]:
    """What each library in a cell did about its knob: `obeyed`, `cannot be told: why`, or what it chose instead.

    Args:
        realised: what the worker read back in the cell (worker/readback.py); untrusted.
    """
    assert shown.profile is not None
    have = set(shown.profile.features)
    found: dict[str, str] = {}
    versions = realised.get("versions")
    there = set(versions) if isinstance(versions, Mapping) else set()
    groups = words(realised.get("numpy_dispatch"))
    if "numpy" in there:
        odd = [name for name in groups if NUMPY.get(name) and NUMPY[name] not in have]
        read = isinstance(realised.get("numpy_dispatch"), list)
        found["numpy"] = f"uses {', '.join(odd)}" if odd else OBEYED if read else f"{UNKNOWN}: nothing was read back"
    if chosen := kernels(realised):
        # As it was told: an OpenBLAS that does not know the name takes the real processor's kernel, silently.
        allowed = {
            shown.settings["OPENBLAS_CORETYPE"].lower(),
            *(name.lower() for name in shown.profile.expect.openblas),
        }
        wrong = [name for name in chosen if name.lower() not in allowed]
        found["OpenBLAS"] = f"chose {', '.join(wrong)}" if wrong else OBEYED
    if "torch" in there:
        capability = str(realised.get("torch_capability") or "")
        needed = TORCH.get(capability)
        wanted = shown.settings["ATEN_CPU_CAPABILITY"].upper()
        agreed = capability.upper() == wanted and (needed is None or needed in have)
        found["torch"] = OBEYED if agreed else f"chose {capability}" if capability else f"{UNKNOWN}: it does not say"
        found["MKL"] = found["oneDNN"] = f"{UNKNOWN}: {_WHY['MKL']}"
    for name in ("onnxruntime", "tensorflow", "jax"):
        if name in there:
            found[name] = f"{UNKNOWN}: {_WHY[name]}"
    found["glibc"] = f"{UNKNOWN}: {_WHY['glibc']}"
    return {name: found[name] for name in sorted(found)}


def disobeyed(found: Mapping[str, str], separate: bool = False) -> list[str]:
    """Why a cell does not count as run under its profile, from its `obedience`; empty where it does as far as can be told.

    Args:
        separate: the cell's work was done by a program of its own, of which nothing is read back.
    """
    if separate:
        return ["a program of your own: whether its libraries obey a knob is not read back"]
    counted = set(found) - {"glibc"}
    if frameworks := [name for name in _COMPUTES if name in found]:
        counted &= {library for name in frameworks for library in _COMPUTES[name]}
    odd = [f"{name} {found[name]}" for name in sorted(counted) if not _silent(found[name]) and found[name] != OBEYED]
    if odd:
        return [f"{one}, whatever its knob says" for one in odd]
    if not any(found[name] == OBEYED for name in counted):
        told = "; ".join(f"{name} {found[name]}" for name in sorted(counted)) or "no library was read back"
        return [f"no library here obeys a knob, as far as can be told ({told})"]
    return []


def in_words(found: Mapping[str, str]) -> str:
    """Who obeyed and who did not, in a line."""
    by: dict[str, list[str]] = {}
    for name, what in found.items():
        by.setdefault(UNKNOWN if _silent(what) else what, []).append(name)
    return "; ".join(
        f"{', '.join(names)} {what}" for what, names in sorted(by.items(), key=lambda pair: pair[0] != OBEYED)
    )


def _silent(what: str) -> bool:
    return what.startswith(UNKNOWN)
