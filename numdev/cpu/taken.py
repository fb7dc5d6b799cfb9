"""Whether a library did what a pin told it, as far as it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numdev.cpu import xla
from numdev.cpu.realised import kernels, words

YES, NO, UNKNOWN = "yes", "no", "cannot be told"


def taken(factor: str, level: Any, realised: Mapping[str, Any]) -> str:
    """`yes`, `no`, or `cannot be told`.

    Args:
        factor: `env.NAME`, `threads`, ...
        level: what it was set to.
        realised: what the worker read back in the cell (worker/readback.py); untrusted.
    """
    if factor == "env.ATEN_CPU_CAPABILITY" and "torch_capability" in realised:
        return _said(str(realised["torch_capability"]).lower() == str(level).lower())
    if factor == "env.OPENBLAS_CORETYPE" and (found := kernels(realised)):
        return _said(all(kernel.lower() == str(level).lower() for kernel in found))
    if factor == "env.NPY_DISABLE_CPU_FEATURES" and isinstance(realised.get("numpy_dispatch"), list):
        return _said(not set(words(realised["numpy_dispatch"])) & set(str(level).split(",")))
    if factor == f"env.{xla.VARIABLE}" and (found := xla.features(realised)):
        more = xla.beyond(str(level), found)
        return UNKNOWN if more is None else _said(not more)
    if factor == "threads":
        for key in ("torch_threads", "tensorflow_threads", "jax_threads"):
            if key in realised:
                return _said(realised[key] == level)
    return UNKNOWN


def seconds(realised: Mapping[str, Any], threads: int) -> list[float]:
    """The times of a cell's inferences; without the first one, which prepares, where there are others. Untrusted.

    Of one thread it is the processor's time: what else the machine does makes that no longer. Of several, which share the
    work, it is the clock's.
    """
    found = realised.get("inference_seconds")
    rows = [one for one in found if isinstance(one, list) and len(one) == 2] if isinstance(found, list) else []
    times = [row[1 if threads == 1 else 0] for row in rows]
    times = [one for one in times if isinstance(one, float) and one > 0]
    return times[1:] or times


def _said(yes: bool) -> str:
    return YES if yes else NO
