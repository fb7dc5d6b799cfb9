"""The tap: what each layer of a network gives, seen in an inference beside the cell's own, which knows nothing of it.

It proves itself. The outputs of the tapped inference must have the bytes that those without it have; where looking at a
layer changes them (as it keeps an optimiser from fusing it with its neighbours), the layer is left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from . import backends, tensors
from .layers import LAYERS, Layer, Tapping

SAMPLE = 4096
# Of searching for the layers that can be looked at without a change.
ATTEMPTS = 64
_FOLDED = ("Conv", "Gemm", "MatMul", "conv", "dense")
_FOLDING = ("BatchNormalization", "Add", "batchnorm", "add")
_PIECE = 1 << 16
# Sums of pieces of these are good enough for a mean, and much faster than those of what has to be widened first.
_WIDE = (np.dtype(np.float32), np.dtype(np.float64))
_REASON = 1000
_NAME = 1000

# What is written before the tap begins, and stays where its process is ended: the cell has its result all the same.
ENDED: Dict[str, Any] = {"status": "failed", "reason": "its process was ended", "layers": []}

Seen = Dict[str, Dict[str, Any]]


def run(name: str, task: backends.Task, outcome: str, folder: str, deadline: float) -> Dict[str, Any]:
    """What is known of the layers: {"status", "reason", "layers": rows}. Whatever goes wrong is the tap's status, never the cell's.

    Statuses: `same` (the outputs are those without the tap), `partly` (so, with some layers left out), `changes` (looking at any
    layer changes the result), `noisy`, `too deep`, `unsupported`, `failed`. Layers are given for the first two only.

    Args:
        outcome: of the inference without the tap (see `outcome_of`).
        folder: where samples are written.
        deadline: by time.perf_counter(), when to stop searching.
    """
    try:
        return _run(name, task, outcome, folder, deadline)
    except backends.Unsupported as error:
        return _none("unsupported", str(error))
    except BaseException as error:
        # Frameworks raise what they like, as in a cell.
        return _none("failed", f"{type(error).__name__}: {error}")


def outcome_of(digests: Mapping[str, str]) -> str:
    """One digest for all outputs of an inference, from their own."""
    text = json.dumps(sorted([name, digest] for name, digest in digests.items()), separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _run(name: str, task: backends.Task, outcome: str, folder: str, deadline: float) -> Dict[str, Any]:
    tapping = backends.tapping(name, task)
    if len(tapping.layers) > LAYERS:
        return _none("too deep", f"it has more than {LAYERS} layers")
    every = [layer.name for layer in tapping.layers]
    first, seen, error = _attempt(tapping, every)
    if first == outcome:
        return _found("same", "", tapping, seen, task, folder)
    if _digest(next(backends.rounds(name, task, 1))) != outcome:
        return _none("noisy", "the outputs differ from one inference to the next, without the tap")
    if first:
        second, other, _ = _attempt(tapping, every)
        if second != first:
            apart = next((one for one in every if _bytes(seen, one) != _bytes(other, one)), "")
            where = f"the first layer that does is {apart}" if apart else "of the layers, none does"
            return _none("noisy", f"the outputs differ from one inference to the next; {where}")
    kept = _harmless(
        _groups(tapping.layers),
        _unfolded(tapping.layers),
        lambda some: _attempt(tapping, some, look=False)[0] == outcome,
        deadline,
    )
    last, seen, _ = _attempt(tapping, kept)
    if not kept and error:
        return _none("failed", error)
    if not kept or last != outcome:
        return _none("changes", "looking at the layers changes the outputs, whichever are looked at")
    left = len(every) - len(kept)
    return _found(
        "partly", f"looking at {left} of {len(every)} layers changes the outputs", tapping, seen, task, folder
    )


def _attempt(tapping: Tapping, names: Sequence[str], look: bool = True) -> Tuple[str, Seen, str]:
    """A tapped inference: the digest of its outputs ("" where it failed, and why), and what was seen."""
    values: Dict[str, Any] = {}
    try:
        outputs = tapping.prepare(names, values.__setitem__)()
    except Exception as error:
        # A type that a framework has and cannot hand out, for one: the search finds whose it is.
        return "", {}, f"{type(error).__name__}: {error}"
    # Hashing takes longer than a small inference, and leaves the interpreter to others.
    with ThreadPoolExecutor(max(1, min(8, len(os.sched_getaffinity(0))))) as pool:
        found = dict(zip(values, pool.map(look_at, values.values()))) if look else {}
    return _digest(outputs), {name: seen for name, seen in found.items() if seen is not None}, ""


def _groups(layers: Sequence[Layer]) -> List[List[str]]:
    """Layers that an optimiser treats alike: of one operator, whose outputs go to the same operators."""
    users: Dict[str, List[str]] = {}
    for layer in layers:
        for name in layer.inputs:
            users.setdefault(name, []).append(layer.op)
    groups: Dict[Tuple[str, ...], List[str]] = {}
    for layer in layers:
        groups.setdefault((layer.op, *sorted(users.get(layer.name, []))), []).append(layer.name)
    return list(groups.values())


def _unfolded(layers: Sequence[Layer]) -> List[str]:
    """Layers but those that optimisers fold into what follows: sums of products before a normalisation or an addition."""
    folded = {name for layer in layers if layer.op in _FOLDING for name in layer.inputs}
    return [layer.name for layer in layers if not (layer.op in _FOLDED and layer.name in folded)]


def _harmless(
    groups: List[List[str]], likely: List[str], same: Callable[[List[str]], bool], deadline: float
) -> List[str]:
    """As many of the layers as can be looked at together without a change: by groups, then by halves of these; not for ever."""
    kept: List[str] = []
    waiting = list(groups)
    if likely and same(likely):
        # The usual case, found at once; of the rest, whole groups are tried and nothing less.
        for some in [[name for name in group if name not in likely] for group in groups]:
            if some and time.perf_counter() <= deadline and same(likely + some):
                likely = likely + some
        return likely
    for _ in range(ATTEMPTS):
        if not waiting or time.perf_counter() > deadline:
            break
        some = waiting.pop(0)
        if same(kept + some):
            kept += some
        elif len(some) > 1:
            waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
    return kept


def look_at(value: Any) -> Optional[Dict[str, Any]]:
    """Digest (of the bytes as a .npy), type, shape, sizes and sample of an array; None of what is none of numbers."""
    if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in "biufc":
        return None
    # numpy's ascontiguousarray makes a 0-d array 1-d; its asarray with an order does not.
    array = np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    state = hashlib.sha256(header.getvalue())
    flat = array.reshape(-1)
    state.update(flat.view(np.uint8))
    # An odd step, so that a sample is not of one column of an image only.
    step = -(-flat.size // SAMPLE) | 1
    return {
        "sha256": state.hexdigest(),
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        **_sizes(flat),
        "sample": flat[::step].copy(),
    }


def _sizes(flat: np.ndarray) -> Dict[str, Any]:
    """Largest magnitude and mean of the finite elements, and how many are not."""
    largest, total, nonfinite = 0.0, 0.0, 0
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            piece = np.abs(piece) if piece.dtype.kind == "c" else piece
            high, low = float(piece.max()), float(piece.min())
            if not np.isfinite(high - low):
                finite = piece[np.isfinite(piece)]
                nonfinite += piece.size - finite.size
                if not finite.size:
                    continue
                piece, high, low = finite, float(finite.max()), float(finite.min())
            largest = max(largest, high, -low)
            total += float(piece.sum() if piece.dtype in _WIDE else piece.sum(dtype=np.float64))
    count = flat.size - nonfinite
    mean = total / count if count else None
    return {
        "max_abs": largest if count else None,
        "mean": mean if mean is not None and np.isfinite(mean) else None,
        "nonfinite": nonfinite,
    }


def rows(layers: Sequence[Layer], seen: Seen, inputs: Mapping[str, Any], folder: str) -> List[Dict[str, Any]]:
    """A row for every layer, those that were not looked at included; samples become files of `folder`."""
    shapes = {name: list(np.shape(array)) for name, array in inputs.items()}
    shapes.update({name: found["shape"] for name, found in seen.items()})
    made = []
    for index, layer in enumerate(layers):
        multiplications, roundings = layer.counts(shapes)
        row: Dict[str, Any] = {
            "name": layer.name[:_NAME],
            "op": layer.op[:_NAME],
            "inputs": [name[:_NAME] for name in layer.inputs],
            "multiplications": multiplications,
            "roundings": roundings,
        }
        if layer.name in seen:
            found = dict(seen[layer.name])
            row["file"] = f"tap-{index}.npy"
            row["sample"] = tensors.save(found.pop("sample"), os.path.join(folder, row["file"]))
            row.update(found)
        made.append(row)
    return made


def _found(status: str, reason: str, tapping: Tapping, seen: Seen, task: backends.Task, folder: str) -> Dict[str, Any]:
    return {"status": status, "reason": reason, "layers": rows(tapping.layers, seen, task.inputs, folder)}


def _none(status: str, reason: str) -> Dict[str, Any]:
    return {"status": status, "reason": reason[:_REASON], "layers": []}


def _bytes(seen: Seen, name: str) -> str:
    return seen.get(name, {}).get("sha256", "")


def _digest(outputs: Mapping[str, Any]) -> str:
    """The outcome of outputs that are not kept: by what their files would be."""
    found = {}
    for name, array in outputs.items():
        seen = look_at(np.asarray(array))
        found[name] = seen["sha256"] if seen else ""
    return outcome_of(found)
