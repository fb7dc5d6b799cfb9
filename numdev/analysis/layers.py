"""What the trace starts from: tapped cells, and how two of them stand apart in one layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from numdev.analysis.deviation import Deviation, compare

Load = Callable[[str], np.ndarray]
# The unit roundoff of float types: half the distance from 1 to the next number.
_ROUNDOFF = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}


@dataclass(frozen=True)
class Layer:
    """One layer as it was seen; `digest` of all its bytes, "" where it was not looked at. See store/record.py."""

    name: str
    op: str
    inputs: tuple[str, ...]
    multiplications: int | None
    roundings: int | None
    digest: str
    dtype: str
    shape: tuple[int, ...]
    sample: str


@dataclass(frozen=True)
class Tapped:
    """One replicate of a cell. `name` tells cells apart; `status` and `reason` are the tap's, or why there is none.

    `record` is the digest of the stored record.
    """

    workload: str
    name: str
    levels: dict[str, str] = field(hash=False)
    replicate: int
    status: str
    reason: str
    layers: tuple[Layer, ...]
    record: str = ""

    @property
    def seen(self) -> bool:
        return self.status in ("same", "partly")


def bound(layer: Layer) -> float | None:
    """gamma_n = n u / (1 - n u) for the n roundings between a layer's inputs and its output (Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, section 3.1): of a sum of products, it bounds the error relative to the sum of their
    magnitudes, in whatever order they are added. None where n or u is unknown, or n u is not below 1.
    """
    unit = _ROUNDOFF.get(layer.dtype)
    if unit is None or layer.roundings is None or layer.roundings * unit >= 1:
        return None
    return layer.roundings * unit / (1 - layer.roundings * unit)


def apart(one: Layer, other: Layer, load: Load) -> tuple[Deviation, float | None]:
    """The deviation of `other` from `one` over their samples, and its root mean square relative to that of `one`.

    The second is None where nothing can be compared or `one` is zero everywhere.
    """
    if one.shape != other.shape:
        shapes = " against ".join("x".join(map(str, layer.shape)) or "scalar" for layer in (other, one))
        return Deviation(incomparable=f"shape {shapes}"), None
    ref, value = load(one.sample), load(other.sample)
    size = compare(value, ref)
    if size.rms is None or ref.dtype.kind not in "biuf" or value.dtype.kind not in "biuf":
        return size, None
    with np.errstate(all="ignore"):
        finite = np.isfinite(ref) & np.isfinite(value)
        numbers = ref[finite].astype(np.float64)
        largest = float(np.abs(numbers).max(initial=0.0))
        scale = largest * math.sqrt(float(np.mean((numbers / largest) ** 2))) if largest else 0.0
    return size, size.rms / scale if scale else None
