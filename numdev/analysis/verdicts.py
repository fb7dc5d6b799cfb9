"""Sentences about the reference: what is exact, wrong, closer, or not rounding at all."""

from __future__ import annotations

from collections.abc import Mapping

from numdev.analysis.classes import Partition
from numdev.analysis.numbers import number, whole
from numdev.analysis.reference import (
    CHECK,
    EXACT,
    ROUNDING,
    SAME,
    SATURATED,
    STEP,
    UNKNOWN,
    WRONG,
    Judgement,
    Reference,
    nearest,
)
from numdev.analysis.sentences import listed, place


def reference_sentences(part: Partition, judged: Mapping[str, Judgement | None], ref: Reference) -> list[str]:
    """The worst first; nothing where the workload has no reference."""
    said = [_wrong(part, judged), _check(part, judged), _step(part, judged), _exact(part, judged)]
    said.append(_rounding(judged))
    for name, one in judged.items():
        if one is not None and one.verdict == UNKNOWN:
            said.append(f"class {name} was not compared: {one.why}")
    said += ref.problems
    unjudged = [one.name for one in part.classes if not one.failed and judged[one.name] is None]
    if ref.outputs and unjudged:
        which = f"class {unjudged[0]}" if len(unjudged) == 1 else f"classes {listed(unjudged)}"
        said.append(f"no reference for the batch of {which}")
    return [text for text in said if text]


def _of(judged: Mapping[str, Judgement | None], verdict: str) -> dict[str, Judgement]:
    return {name: one for name, one in judged.items() if one is not None and one.verdict == verdict}


def _where(part: Partition, names: Mapping[str, Judgement]) -> str:
    cells = [cell for name in names for cell in part.by_name(name).cells]
    where = place(part, cells)
    return f"in {where}" if where.startswith("every") or where[:1].isdigit() else f"on {where}"


def _wrong(part: Partition, judged: Mapping[str, Judgement | None]) -> str:
    found = _of(judged, WRONG)
    if not found:
        return ""
    most = max(found.values(), key=lambda one: one.deviation.differ).deviation
    error = max(one.deviation.max_abs or 0 for one in found.values())
    off = f"{whole(most.differ)} of {whole(most.total)} outputs off, max error {number(error)}"
    against = "rounded float" if all(one.why for one in found.values()) else "exact integer"
    return f"WRONG against the {against} reference {_where(part, found)}: {off}{_looks(found)}"


def _check(part: Partition, judged: Mapping[str, Judgement | None]) -> str:
    found = _of(judged, CHECK)
    if not found:
        return ""
    relative = max((one.relative or 0 for one in found.values()), default=0)
    odd = sum(one.deviation.nonfinite for one in found.values())
    size = f"off by {number(relative)} of the reference's scale"
    if odd:
        size = f"{whole(odd)} NaN or infinite where the reference is not"
    return f"not rounding: check the model {_where(part, found)} ({size}){_looks(found)}"


def _looks(found: Mapping[str, Judgement]) -> str:
    """What they have in common, where that says something."""
    saturated = all(one.looks == SATURATED for one in found.values())
    return "; nearer to zero, as where a kernel saturates" if saturated else ""


def _step(part: Partition, judged: Mapping[str, Judgement | None]) -> str:
    found = _of(judged, STEP)
    return f"within one step of the rounded reference {_where(part, found)}" if found else ""


def _exact(part: Partition, judged: Mapping[str, Judgement | None]) -> str:
    exact, same = _of(judged, EXACT), _of(judged, SAME)
    if same:
        return f"the reference's bytes {_where(part, same)}"
    return f"exact {_where(part, exact)}" if exact else ""


def _rounding(judged: Mapping[str, Judgement | None]) -> str:
    found = _of(judged, ROUNDING)
    if not found:
        return ""
    sizes = {name: one.relative or 0.0 for name, one in found.items()}
    largest, smallest = max(sizes.values()), min(sizes.values())
    if len(found) == 1 or largest == smallest:
        return f"rounding only, {number(largest)} of the reference's scale"
    close = [name for name in nearest(judged) if name in found]
    far = [name for name, size in sizes.items() if size == largest]
    best = f"closest {listed(close)} ({number(smallest)} of its scale), " if close else ""
    return f"rounding only: {best}furthest {listed(far)} ({number(largest)})"
