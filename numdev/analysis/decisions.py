"""What a deviation does to decisions: the largest scores of each row, and how far they were from changing."""

from __future__ import annotations

import numpy as np

from numdev.analysis import pairs as memory
from numdev.analysis.pairs import Pairs, widened

EXAMPLES = 3
TOP_K = 5
# A longer row is no list of classes, and a row is the least that can be looked at.
_LONGEST = 1 << 20


def decisions(
    pairs: Pairs, shape: tuple[int, ...], dtypes: tuple[np.dtype, np.dtype], classes: int, max_abs: float | None, k: int
) -> dict:
    """The fields of a Deviation about top-1, top-k and margins; none where the output is not one score a class."""
    floats = dtypes[0].kind == "f" or dtypes[0] == memory.BFLOAT16
    scores = (len(shape) >= 1 and shape[-1] == classes) if classes else (len(shape) == 2 and floats)
    numbers = all(dtype.kind in "biuf" or dtype == memory.BFLOAT16 for dtype in dtypes)
    if not scores or not numbers or not 2 <= shape[-1] <= _LONGEST or not pairs.size:
        return {}
    width = shape[-1]
    rows = pairs.size // width
    ranked = k < width
    changed = in_top = at_risk = 0
    margin: float | None = None
    examples: list[tuple[int, int, int]] = []
    for start, stop in pairs.spans(max(1, memory.PIECE // width) * width):
        value, ref = (widened(each).reshape(-1, width) for each in pairs.at(start, stop))
        margins = _margins(ref)
        if margins.size:
            margin = min(float(margins.min()), float("inf") if margin is None else margin)
            if max_abs:
                at_risk += int(np.count_nonzero(margins <= 2 * max_abs))
        moved = np.flatnonzero((value != ref).any(axis=1))
        if not moved.size:
            continue
        value, ref = value[moved], ref[moved]
        now, before = value.argmax(axis=1), ref.argmax(axis=1)
        other = np.flatnonzero(now != before)
        changed += other.size
        for row in other[: EXAMPLES - len(examples)]:
            examples.append((start // width + int(moved[row]), int(before[row]), int(now[row])))
        if ranked:
            in_top += int(np.count_nonzero((np.sort(_top(value, k)) != np.sort(_top(ref, k))).any(axis=1)))
    return {
        "changed_top1": changed,
        "samples": rows,
        "examples": tuple(examples),
        "top_k": k if ranked else None,
        "changed_topk": in_top if ranked else None,
        "margin": margin,
        "at_risk": at_risk if margin is not None else None,
    }


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest of each row: as argmax has it, NaN is largest and the first of equals goes before."""
    backwards = np.argsort(scores[:, ::-1], axis=1, kind="stable")[:, -k:]
    return scores.shape[1] - 1 - backwards


def _margins(scores: np.ndarray) -> np.ndarray:
    """Largest less second largest of the rows in which that is a number."""
    wide = np.asarray(scores, np.float64)
    two = np.partition(wide, -2, axis=1)[:, -2:]
    with np.errstate(invalid="ignore", over="ignore"):
        margins = two[:, 1] - two[:, 0]
    return margins[np.isfinite(margins)]
