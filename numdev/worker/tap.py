"""The tap: what each layer of a network gives, seen in an inference beside the cell's own, which knows nothing of it.

It proves itself. The outputs of the tapped inference must have the bytes that those without it have; where looking at a
layer changes them (as it keeps an optimiser from fusing it with its neighbours), the layer is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from . import backends, tensors
from .layers import LAYERS, Layer, Tapping
from .looking import Seen, look_at_all, numeric

# Of searching for the layers that can be looked at without a change.
ATTEMPTS = 64
# Operators that optimisers fold into one another.
_SUMS = ("Conv", "Gemm", "MatMul", "conv", "dense")
_NORMALISING = ("BatchNormalization", "batchnorm")
_ADDING = ("Add", "add")
_REASON = 1000
_NAME = 1000

# What is written before the tap begins, and stays where its process is ended: the cell has its result all the same.
ENDED: Dict[str, Any] = {"status": "failed", "reason": "its process was ended", "layers": []}


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
    first, values, error = _attempt(tapping, every)
    if first == outcome:
        return _found("same", "", tapping, look_at_all(values), task, folder)
    # Of one inference at a time there is room for the layers.
    values.clear()
    seen: Seen = {}

    def same(some: List[str]) -> bool:
        # The last one that is gives what is reported: no inference is needed for that alone.
        nonlocal seen
        found, values, _ = _attempt(tapping, some)
        if found != outcome:
            return False
        seen = look_at_all(values)
        return True

    likely = _unfolded(tapping.layers)
    kept = likely if 0 < len(likely) < len(every) and same(likely) else []
    if not kept:
        # Before a search that may be long: is there anything to search for?
        noise = _noise(name, task, outcome, tapping if first else None)
        if noise:
            return _none("noisy", f"the outputs differ from one inference to the next{noise}")
    kept = _harmless(_groups(tapping.layers), kept, same, deadline)
    if not kept and error:
        return _none("failed", error)
    if not kept:
        return _none("changes", "looking at the layers changes the outputs, whichever are looked at")
    left = len(every) - len(kept)
    return _found(
        "partly", f"looking at {left} of {len(every)} layers changes the outputs", tapping, seen, task, folder
    )


def _attempt(tapping: Tapping, names: Sequence[str]) -> Tuple[str, Dict[str, Any], str]:
    """A tapped inference: the digest of its outputs ("" where it failed), the layers' values by name, why it failed."""
    values: Dict[str, Any] = {}
    try:
        return _digest(tapping.prepare(names, values.__setitem__)()), values, ""
    except Exception as error:
        # A type that a framework has and cannot hand out, for one: the search finds whose it is.
        return "", {}, f"{type(error).__name__}: {error}"


def _noise(name: str, task: backends.Task, outcome: str, tapping: Optional[Tapping]) -> str:
    """Where outputs differ from one inference to the next, as the end of a sentence; "" where they do not.

    Args:
        tapping: None where not all layers can be looked at.
    """
    if _digest(next(backends.rounds(name, task, 1))) != outcome:
        return ", without the tap"
    if tapping is None:
        return ""
    every = [layer.name for layer in tapping.layers]
    values: Dict[str, Any] = {}
    infer = tapping.prepare(every, values.__setitem__)
    first, seen = _digest(infer()), look_at_all(values)
    if _digest(infer()) == first:
        return ""
    other = look_at_all(values)
    apart = next((one for one in every if _bytes(seen, one) != _bytes(other, one)), "")
    return f"; the first layer that does is {apart}" if apart else "; of the layers, none does"


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
    """Layers but those that optimisers fold into what follows: sums of products before a normalisation or an addition.

    A normalisation that is folded becomes such a sum itself.
    """
    into = {op: {name for layer in layers if layer.op in op for name in layer.inputs} for op in (_NORMALISING, _ADDING)}
    sums = {layer.name for layer in layers if layer.op in _SUMS}
    normalised = sums & into[_NORMALISING]
    sums |= {layer.name for layer in layers if layer.op in _NORMALISING and normalised.intersection(layer.inputs)}
    folded = normalised | sums & into[_ADDING]
    return [layer.name for layer in layers if layer.name not in folded]


def _harmless(
    groups: List[List[str]], kept: List[str], same: Callable[[List[str]], bool], deadline: float
) -> List[str]:
    """As many of the layers as can be looked at together without a change, which all of them cannot; not for ever.

    Args:
        kept: those known to be harmless together. Where there are any, whole groups are tried and nothing less; else groups,
            and halves of these.
    """
    halving, count = not kept, sum(map(len, groups))
    known = set(kept)
    waiting = [[name for name in group if name not in known] for group in groups]
    for _ in range(ATTEMPTS):
        if not waiting or time.perf_counter() > deadline:
            break
        some = waiting.pop(0)
        whole = len(kept) + len(some) == count
        if some and not whole and same(kept + some):
            kept = kept + some
        elif halving and len(some) > 1:
            waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
    return kept


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
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    return outcome_of({name: tensors.digest(array) if numeric(array) else "" for name, array in arrays.items()})
