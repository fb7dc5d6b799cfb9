"""Numbers as a person reads them."""

from __future__ import annotations

import math


def number(value: float | None) -> str:
    """Two significant digits; whole numbers below 10**15 in full; `-` for None."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    if value == int(value) and abs(value) < 1e15:
        return whole(int(value))
    return f"{value:.2g}"


def whole(value: int) -> str:
    """With commas; beyond 10**9 in powers of ten."""
    return f"{value:,}" if abs(value) < 10**9 else f"{value:.1e}"
