"""XLA's words for a processor: LLVM's names of features, and the instruction sets that it can be told to stay within."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from numdev.cpu.features import FEATURES, INCIDENTAL, simd_level

VARIABLE = "XLA_FLAGS"
# sse4a is on AMD's processors alone, and of two ways to an approximate square root XLA takes one by it.
TELLING = frozenset(FEATURES) - INCIDENTAL | {"sse4a"}
_ISA = re.compile(r"--xla_cpu_max_isa=(\S+)")
# What must not be compiled for under each instruction set that XLA can be told. Of others nothing is known here.
_BEYOND = {
    "SSE4_2": {"avx"},
    "AVX": {"avx2", "fma"},
    "AVX2": {"avx512f"},
    "AVX512": {"avx512_vnni"},
    "AVX512_VNNI": {"avx512_bf16"},
}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_NAMES = {_plain(name): name for name in FEATURES} | {"bmi": "bmi1", "lzcnt": "abm"}


def features(realised: Mapping[str, Any]) -> list[str]:
    """Of what XLA compiled for (untrusted), the features that a profile has or has not and that arithmetic follows; sorted."""
    said = realised.get("jax_features")
    words = [word for word in said if isinstance(word, str)] if isinstance(said, list) else []
    return sorted(TELLING & {_NAMES[_plain(word)] for word in words if _plain(word) in _NAMES})


def beyond(flags: str, found: Iterable[str]) -> list[str] | None:
    """What of `found` is more than the instruction set in XLA_FLAGS; None where they name none that is known here."""
    # Of several, XLA takes the last.
    named = _ISA.findall(flags)
    more = _BEYOND.get(named[-1].upper()) if named else None
    return None if more is None else sorted(more & set(found))


def chosen(realised: Mapping[str, Any]) -> str:
    """The processor that XLA compiled for, as LLVM calls it, and its SIMD level; "" where it does not say."""
    target, found = realised.get("jax_target"), features(realised)
    return f"{target}, {simd_level(found)}" if isinstance(target, str) and target and found else ""
