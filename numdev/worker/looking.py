"""What is kept of a layer's values: their digest, sizes and a sample, in one pass over the bytes."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Tuple

import numpy as np

from . import tensors

SAMPLE = 4096
_PIECE = 1 << 16
# Sums of pieces of these are good enough for a mean, and much faster than those of what has to be widened first.
_WIDE = (np.dtype(np.float32), np.dtype(np.float64))
# Threads are started for no less than this: schedulers move them to a processor of their own after milliseconds only, and a
# gigabyte is hashed in less than a second.
_WORTH = 1 << 22

Seen = Dict[str, Dict[str, Any]]


def numeric(value: Any) -> bool:
    """Whether it is an array of numbers."""
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc"


def look_at_all(values: Mapping[str, Any]) -> Seen:
    """What is to be said of each array of numbers. Hashing leaves the interpreter to others, so that much is shared out."""
    arrays = {name: value for name, value in values.items() if numeric(value)}
    workers = min(8, len(os.sched_getaffinity(0)))
    if workers < 2 or sum(value.nbytes for value in arrays.values()) < _WORTH:
        return {name: look_at(value) for name, value in arrays.items()}
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(arrays, pool.map(look_at, arrays.values())))


def look_at(value: Any) -> Dict[str, Any]:
    """Digest (of the bytes as a .npy), type, shape, sizes and sample of an array of numbers."""
    array = tensors.plain(value)
    state = hashlib.sha256(tensors.header(array))
    flat = array.reshape(-1)
    largest, total, nonfinite = 0.0, 0.0, 0
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            state.update(piece)
            piece, high, low = _finite(piece)
            nonfinite += min(_PIECE, flat.size - start) - piece.size
            if piece.size:
                largest = max(largest, high, -low)
                total += float(np.add.reduce(piece) if piece.dtype in _WIDE else np.add.reduce(piece, dtype=np.float64))
    count = flat.size - nonfinite
    mean = total / count if count else None
    # An odd step, so that a sample is not of one column of an image only.
    step = -(-flat.size // SAMPLE) | 1
    return {
        "sha256": state.hexdigest(),
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "max_abs": largest if count else None,
        "mean": mean if mean is not None and math.isfinite(mean) else None,
        "nonfinite": nonfinite,
        "sample": flat[::step].copy(),
    }


def _finite(piece: np.ndarray) -> Tuple[np.ndarray, float, float]:
    """The finite numbers of a piece, the largest and the smallest. Of complex ones they are magnitudes, which can overflow where both parts do not."""
    piece = np.abs(piece.astype(np.complex128)) if piece.dtype.kind == "c" else piece
    high, low = float(np.maximum.reduce(piece)), float(np.minimum.reduce(piece))
    if not math.isfinite(high - low):
        piece = piece[np.isfinite(piece)]
        if piece.size:
            high, low = float(np.maximum.reduce(piece)), float(np.minimum.reduce(piece))
    return piece, high, low
