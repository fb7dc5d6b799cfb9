"""Whether the library that computed in a cell is the one that its stack declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numdev.spec.stack import Stack


def misfits(stack: Stack, realised: Mapping[str, Any], program: bool = False) -> list[str]:
    """Reasons why a cell does not count as run on its stack; empty where everything agrees.

    Args:
        realised: what the worker read back in the cell (worker/readback.py); untrusted.
        program: whether the cell was a program of the user's own, into which nobody has looked.
    """
    if not stack.blas or program:
        return []
    gemm = realised.get("gemm")
    library = gemm.get("library") if isinstance(gemm, Mapping) else None
    if not isinstance(library, str) or not library:
        return [f"which library computes numpy's matrix products could not be read back; {stack.blas} is declared"]
    if library != stack.blas:
        file = f" ({gemm['file']})" if isinstance(gemm, Mapping) and gemm.get("file") else ""
        return [f"numpy's matrix products are computed by {library}{file}, not by {stack.blas}"[:500]]
    return []
