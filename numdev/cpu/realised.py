"""Whether what the libraries chose is what the profile should make them choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numdev.cpu import xla
from numdev.cpu.features import NUMPY
from numdev.cpu.profile import Profile
from numdev.cpu.table import Shown

# What the kernels need that OpenBLAS takes when it is told to, whether they can run or not.
_NEEDS = {
    "sandybridge": {"avx"},
    **{kernel: {"avx2", "fma"} for kernel in ("haswell", "zen")},
    **{kernel: {"avx512f"} for kernel in ("skylakex", "cooperlake", "sapphirerapids")},
}
TORCH = {"AVX2": "avx2", "AVX512": "avx512bw"}


def contradictions(shown: Shown, realised: Mapping[str, Any], told: Mapping[str, str] | None = None) -> list[str]:
    """Reasons why a cell does not count as run under its profile; empty where everything agrees.

    Args:
        shown: what the cell was meant to see.
        realised: what the worker read back in the cell (worker/readback.py); untrusted.
        told: environment variables of the cell's own, by which libraries are told to choose less.
    """
    if shown.profile is None or shown.table is None:
        return []
    reasons = []
    cpuid = realised.get("cpuid")
    if not isinstance(cpuid, Mapping) or not cpuid.get("traps"):
        reasons.append("the CPUID table was not in force in the cell")
    elif cpuid.get("mismatches"):
        reasons.append(f"CPUID did not answer as the table says (leaves {cpuid['mismatches']})")
    elif cpuid.get("uncovered"):
        reasons.append(
            f"{cpuid['uncovered']} mapped files may have asked the real processor: what in them is CPUID is not known"
        )
    return reasons + unshown(shown, realised) + misfits(shown.profile, realised, told)


def unshown(shown: Shown, realised: Mapping[str, Any]) -> list[str]:
    """What of the profile is left out here that no library but the one that computed chooses by."""
    left_out = set(shown.dropped).difference(shown.essential) & xla.TELLING if xla.features(realised) else ()
    return [f"XLA chooses by {found}, which is left out here for this processor lacks it" for found in sorted(left_out)]


def misfits(profile: Profile, realised: Mapping[str, Any], told: Mapping[str, str] | None = None) -> list[str]:
    """What the libraries chose that a processor like `profile`, and what they were told, would not make them choose."""
    told = told or {}
    reasons = []
    features = set(profile.features)
    for found in words(realised.get("numpy_features")):
        needed = NUMPY.get(found)
        if needed and needed not in features:
            reasons.append(f"numpy uses {found}, which {profile.name} does not have")
    for found in words(realised.get("tensorflow_features")):
        if found not in features:
            reasons.append(f"TensorFlow uses {found}, which {profile.name} does not have")
    compiled = xla.features(realised)
    for found in compiled:
        if found not in features:
            reasons.append(f"XLA compiles for {found}, which {profile.name} does not have")
    flags = told.get(xla.VARIABLE, "")
    for found in (xla.beyond(flags, compiled) or []) if compiled else []:
        reasons.append(f"XLA compiles for {found}, whatever {xla.VARIABLE}={flags} says")
    expected = profile.expect
    # TensorFlow and XLA have products of their own: the OpenBLAS of their numpy computes nothing, and is older than many a profile.
    for kernel in kernels(realised) if not {"tensorflow_build", "jax_threads"} & set(realised) else []:
        # Prescott is what OpenBLAS takes on processors newer than itself: a fall-back to record, not to trust.
        wanted = told.get("OPENBLAS_CORETYPE", "")
        if wanted:
            if kernel.lower() != wanted.lower():
                reasons.append(f"OpenBLAS chose its {kernel} kernel, whatever OPENBLAS_CORETYPE={wanted} says")
            elif not _NEEDS.get(kernel.lower(), set()) <= features:
                # It does as it is told, and on the real processor it would end there.
                reasons.append(f"OpenBLAS uses its {kernel} kernel, for which {profile.name} has too little")
        elif expected.openblas and kernel not in expected.openblas:
            reasons.append(
                f"OpenBLAS chose its {kernel} kernel; on {profile.name} it chooses {' or '.join(expected.openblas)}"
            )
    capability = realised.get("torch_capability")
    needed = TORCH.get(str(capability))
    if needed and needed not in features:
        reasons.append(f"torch uses {capability}, which {profile.name} does not have")
    wanted = told.get("ATEN_CPU_CAPABILITY", "")
    if capability and wanted:
        if str(capability).lower() != wanted.lower():
            reasons.append(f"torch chose {capability}, whatever ATEN_CPU_CAPABILITY={wanted} says")
    elif capability and expected.torch and capability not in expected.torch:
        reasons.append(f"torch chose {capability}; on {profile.name} it chooses {' or '.join(expected.torch)}")
    return reasons


def kernels(realised: Mapping[str, Any]) -> list[str]:
    """The kernels that OpenBLAS chose, one for each copy of it in the process."""
    libraries = realised.get("blas")
    rows = [row for row in libraries if isinstance(row, Mapping)] if isinstance(libraries, list) else []
    found = [row.get("architecture") for row in rows if row.get("internal_api") == "openblas"]
    return [kernel for kernel in found if isinstance(kernel, str) and kernel]


def dispatch(realised: Mapping[str, Any]) -> dict[str, str]:
    """What the libraries of a cell say that they chose, in a word each: two cells alike in this chose alike."""
    found = {
        "numpy": " ".join(words(realised.get("numpy_dispatch"))),
        "OpenBLAS": " ".join(sorted(kernels(realised))),
        "torch": str(realised.get("torch_capability") or ""),
        "TensorFlow": " ".join(words(realised.get("tensorflow_features"))),
        "XLA": xla.chosen(realised),
    }
    if isinstance(realised.get("numpy_dispatch"), list) and not found["numpy"]:
        found["numpy"] = "its baseline"
    # It is shown to people, and may be a stranger's.
    plain = {name: "".join(letter if letter.isprintable() else "?" for letter in what) for name, what in found.items()}
    return {name: what for name, what in plain.items() if what}


def words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
