"""The groups of factors in which causes are named: what a person can change at one place."""

from __future__ import annotations

from collections.abc import Iterable

from numdev.analysis.dispatch import DISPATCH
from numdev.analysis.observation import HOST

SOFTWARE, DISPATCHED, THREADS, SILICON = "software", "dispatch", "threads", "silicon"
# What machines were, where none of it was set: dispatch and silicon at once. A machine as a whole: its system, too.
OBSERVED, MACHINE, OTHER = "observed", "machine", "other"
# In the order in which they are told.
FAMILIES = (SOFTWARE, DISPATCHED, THREADS, SILICON, OBSERVED, MACHINE, OTHER)
_OF = {
    "stack": SOFTWARE,
    "optimization": SOFTWARE,
    "precision": SOFTWARE,
    **dict.fromkeys(DISPATCH, DISPATCHED),
    "threads": THREADS,
    "silicon": SILICON,
    "architecture": SILICON,
    # Of measurements of others (numdev/imports).
    "Python": SOFTWARE,
    "cores": THREADS,
    **dict.fromkeys(("microarchitecture", "SIMD", "L1d", "L2", "instance", "host_CPU", "GPU", "generation"), OBSERVED),
    # Of joined runs (bundle/merge.py).
    HOST: MACHINE,
}
# Variables and session entries that choose code by the processor, or its threads: their names say so.
_OPTIONS = {
    "threads": THREADS,
    "isa": DISPATCHED,
    "capability": DISPATCHED,
    "coretype": DISPATCHED,
    "cbwr": DISPATCHED,
    "cpu_features": DISPATCHED,
    "instructions": DISPATCHED,
}


def family(factor: str) -> str:
    """The group of a factor: `env.*` and `session.*` are software, but for those that set dispatch or threads."""
    if factor in _OF:
        return _OF[factor]
    kind, _, name = factor.partition(".")
    if kind not in ("env", "session"):
        return OTHER
    lower = name.lower()
    return next((group for word, group in _OPTIONS.items() if word in lower), SOFTWARE)


def families(factors: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The factors by their group, in the order of FAMILIES; groups without any are left out."""
    found: dict[str, list[str]] = {}
    for factor in factors:
        found.setdefault(family(factor), []).append(factor)
    return {name: tuple(found[name]) for name in FAMILIES if name in found}
