"""Whether what the libraries chose is what the profile should make them choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numdev.cpu.table import Shown

# numpy's words for groups of features, where a profile without them must not have them found.
_NUMPY = {
    "AVX": "avx",
    "AVX2": "avx2",
    "FMA3": "fma",
    "F16C": "f16c",
    "AVX512F": "avx512f",
    "AVX512_SKX": "avx512bw",
    "AVX512_CLX": "avx512_vnni",
    "AVX512_ICL": "avx512_bitalg",
    "AVX512_SPR": "avx512_fp16",
    "X86_V3": "avx2",
    "X86_V4": "avx512bw",
}
_TORCH = {"AVX2": "avx2", "AVX512": "avx512bw"}


def contradictions(shown: Shown, realised: Mapping[str, Any]) -> list[str]:
    """Reasons why a cell does not count as run under its profile; empty where everything agrees.

    Args:
        shown: what the cell was meant to see.
        realised: what the worker read back in the cell (worker/readback.py); untrusted.
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
    features = set(shown.profile.features)
    for found in _words(realised.get("numpy_features")):
        needed = _NUMPY.get(found)
        if needed and needed not in features:
            reasons.append(f"numpy uses {found}, which {shown.profile.name} does not have")
    for found in _words(realised.get("tensorflow_features")):
        if found not in features:
            reasons.append(f"TensorFlow uses {found}, which {shown.profile.name} does not have")
    expected = shown.profile.expect
    # TensorFlow multiplies with Eigen: the OpenBLAS of its numpy computes nothing, and is older than many a profile.
    libraries = realised.get("blas") if "tensorflow_build" not in realised else []
    for library in libraries if isinstance(libraries, list) else []:
        kernel = library.get("architecture") if isinstance(library, Mapping) else None
        if not kernel or library.get("internal_api") != "openblas" or not expected.openblas:
            continue
        # Prescott is what OpenBLAS takes on processors newer than itself: a fall-back to record, not to trust.
        if kernel not in expected.openblas:
            reasons.append(
                f"OpenBLAS chose its {kernel} kernel; on {shown.profile.name} it chooses {' or '.join(expected.openblas)}"
            )
    capability = realised.get("torch_capability")
    needed = _TORCH.get(str(capability))
    if needed and needed not in features:
        reasons.append(f"torch uses {capability}, which {shown.profile.name} does not have")
    if capability and expected.torch and capability not in expected.torch:
        reasons.append(f"torch chose {capability}; on {shown.profile.name} it chooses {' or '.join(expected.torch)}")
    return reasons


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
