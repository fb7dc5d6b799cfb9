"""How far each class is from the reference: exact integers, the same model in float64, or a cell that was named."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from numdev.analysis.budget import spend
from numdev.analysis.classes import Outputs, key_of, without_host
from numdev.analysis.deviation import Deviation, combined
from numdev.analysis.observation import HOST, OK, Observation
from numdev.analysis.pairs import stretches
from numdev.analysis.sizes import Sizes

# Rounding in float16 accumulates to about 1e-3 of an output's scale, other models and samples start at some
# per cent.
NOT_ROUNDING = 1e-2

# Where fewer elements are off, or fewer of these lie nearer to zero, nothing looks like saturation.
SATURATED_COUNT = 20
SATURATED_SHARE = 0.95

EXACT = "exact"
SAME = "the same"
WRONG = "wrong"
STEP = "within one step"
ROUNDING = "rounding"
CHECK = "not rounding"
UNKNOWN = "unknown"
_WORST_FIRST = (WRONG, CHECK, UNKNOWN, STEP, ROUNDING, EXACT, SAME)

SATURATED = "a saturated kernel"
MOST = "most outputs"
PART = "a part of the outputs"


@dataclass(frozen=True)
class Judgement:
    """A set of outputs against the reference.

    `verdict`, the worst over the outputs: `exact`; `wrong` (integers that differ from an exact integer
    reference, or by more than one step from a rounded float reference); `within one step`; `rounding`
    (floats within 1e-2 of the largest |reference|); `not rounding` (floats beyond that, or NaN and infinity
    where the reference has none: check the model); `unknown` (`why` says why). `relative` is the largest
    error in units of the largest |reference| of its output; None where there is no such scale.

    Against a cell that was named there is `the same` instead of `exact` and nothing is `wrong`: integers more than one
    step away are `not rounding`. `looks`, of what is wrong or not rounding: `a saturated kernel` where of at least 20
    elements that are off 95 % lie nearer to zero than the reference; else `most outputs` where the median error is
    beyond 1e-2 of the scale too, as it is with another model or input; else `a part of the outputs`.
    """

    verdict: str
    deviation: Deviation
    relative: float | None = None
    why: str = ""
    looks: str = ""


@dataclass(frozen=True)
class Reference:
    """The reference outputs of each task: a set of levels of the task factors. `problems` lists what is
    unusable. `exact` is false where it is a cell that was named.
    """

    outputs: dict[tuple[tuple[str, str], ...], Outputs]
    problems: tuple[str, ...]
    exact: bool = True

    def of(self, levels: dict[str, str]) -> Outputs | None:
        """The reference whose levels are all among `levels`; the most specific one."""
        spend(4 * len(self.outputs))
        fit = [task for task in self.outputs if all(levels.get(name) == level for name, level in task)]
        return self.outputs[max(fit, key=lambda task: (len(task), task))] if fit else None


def references(workload: str, observations: Sequence[Observation]) -> Reference:
    """The usable references of `workload`: those that ran, with equal bytes in every repeat."""
    found: dict[tuple[tuple[str, str], ...], list[Observation]] = {}
    for one in observations:
        if one.reference and one.workload == workload:
            found.setdefault(tuple(sorted(one.factors.items())), []).append(one)
    outputs, problems = {}, []
    for task, runs in sorted(found.items()):
        where = ", ".join(f"{name} {level}" for name, level in task)
        where = f" at {where}" if where else ""
        good = {key_of(run.outputs) for run in runs if run.status == OK}
        bad = min((run for run in runs if run.status != OK), key=lambda run: run.replicate, default=None)
        if len(good) == 1:
            outputs[task] = good.pop()
        elif good:
            problems.append(f"the reference{where} differs from run to run")
        else:
            problems.append(f"the reference{where} has no result: {bad.status} {bad.reason}".strip())
    if not problems:
        outputs |= _of_any_host(outputs)
    return Reference(outputs, tuple(problems), all(run.exact for runs in found.values() for run in runs))


def _of_any_host(outputs: Mapping[tuple[tuple[str, str], ...], Outputs]) -> dict[tuple[tuple[str, str], ...], Outputs]:
    """References that every host which has one gives alike, for hosts that have none: by the task without its host."""
    found: dict[tuple[tuple[str, str], ...], set[Outputs]] = {}
    for task, given in outputs.items():
        if any(name == HOST for name, _ in task):
            found.setdefault(without_host(task), set()).add(given)
    return {task: some.pop() for task, some in found.items() if len(some) == 1 and task not in outputs}


def judge(value: Outputs, ref: Outputs, sizes: Sizes, exact: bool = True) -> Judgement:
    """The worst verdict over the outputs; outputs that the reference lacks make it `unknown`.

    `exact`: whether the reference is one, and not a cell that was named.
    """
    parts = sizes.outputs(value, ref)
    named = {one.name: one for one in ref}
    own = {one.name: one for one in value}
    verdicts, scaled, whys, looks = [], [], [], []
    for name, part in parts.items():
        if part.incomparable:
            verdicts.append(UNKNOWN)
            whys.append(f"{name}: {part.incomparable}")
            continue
        verdict, relative = _judge_one(own[name].dtype, sizes.load(named[name].tensor), part)
        if not exact:
            near = STEP if (part.max_abs or 0) <= 1 and not part.nonfinite else CHECK
            verdict = {EXACT: SAME, WRONG: near}.get(verdict, verdict)
        if verdict in (WRONG, CHECK):
            looks.append(_looks(part))
        verdicts.append(verdict)
        scaled.append(relative)
        if verdict == WRONG and not _whole(sizes.load(named[name].tensor)):
            whys.append(f"{name}: more than one step from the reference")
    worst = min(verdicts, key=_WORST_FIRST.index, default=UNKNOWN)
    known = [relative for relative in scaled if relative is not None]
    why = "; ".join(whys) if verdicts else "there are no outputs"
    looks = next((one for one in (SATURATED, MOST, PART) if one in looks), "")
    return Judgement(worst, combined(list(parts.values())), max(known, default=None), why, looks)


def _looks(part: Deviation) -> str:
    off = part.nearer_zero + part.further_zero
    if off >= SATURATED_COUNT and part.nearer_zero >= SATURATED_SHARE * off:
        return SATURATED
    return MOST if (part.median_abs or 0) > NOT_ROUNDING * (part.scale or 0) else PART


def _judge_one(dtype: str, ref: np.ndarray, part: Deviation) -> tuple[str, float | None]:
    if part.max_abs is None and not part.nonfinite:
        return (EXACT if part.differ == 0 else UNKNOWN), None
    error = part.max_abs or 0.0
    # A quotient beyond float64 is given as the largest float64, as those of a Deviation are.
    relative = min(error / part.scale, sys.float_info.max) if part.scale else (0.0 if error == 0 else None)
    if np.dtype(dtype).kind in "biu":
        if error == 0 and not part.nonfinite:
            return EXACT, relative
        return (WRONG if _whole(ref) or error > 1 or part.nonfinite else STEP), relative
    if part.nonfinite or relative is None or relative > NOT_ROUNDING:
        return CHECK, relative
    return (EXACT if part.differ == 0 else ROUNDING), relative


def _whole(ref: np.ndarray) -> bool:
    if ref.dtype.kind in "biu":
        return True
    spend(ref.size)
    return all(bool((np.isfinite(piece) & (piece == np.rint(piece))).all()) for piece in stretches(ref))


def closer(one: Judgement, baseline: Judgement) -> str:
    """`closer`, `further` or `equal`: by the largest error in units of the reference's scale."""
    first, second = _error(one), _error(baseline)
    if first is None or second is None:
        return ""
    return "equal" if first == second else "closer" if first < second else "further"


def _error(one: Judgement) -> float | None:
    if one.verdict == UNKNOWN:
        return None
    if one.deviation.nonfinite:
        return float("inf")
    return one.relative if one.relative is not None else one.deviation.max_abs


def worst(judgements: Sequence[Judgement]) -> Judgement | None:
    return min(
        judgements,
        key=lambda one: (_WORST_FIRST.index(one.verdict), -one.deviation.total, -(_error(one) or 0.0)),
        default=None,
    )


def nearest(judged: Mapping[str, Judgement | None]) -> tuple[str, ...]:
    """The names with the smallest error, in their order; empty where no error is known."""
    errors = {name: _error(one) for name, one in judged.items() if one is not None}
    known = {name: error for name, error in errors.items() if error is not None}
    return tuple(name for name, error in known.items() if error == min(known.values()))
