"""The closing paragraph, over all workloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from numdev.analysis.deviation import largest
from numdev.analysis.dispatch import DISPATCH, PARTS, PROFILE
from numdev.analysis.effects import DEPENDS, NO_EFFECT, NOT_IDENTIFIED, NOT_VARIED
from numdev.analysis.numbers import number
from numdev.analysis.sentences import listed, plural, title

if TYPE_CHECKING:
    from numdev.analysis.result import WorkloadAnswer


def in_short(
    workloads: Sequence[WorkloadAnswer],
    missing: Mapping[str, int],
    refused: Mapping[str, str],
    lowered: Mapping[str, str],
) -> tuple[str, ...]:
    """A few sentences: what each factor does to how many workloads, what is wrong, and what is missing."""
    if not workloads:
        return ("There are no results.",)
    said = [_bytes(workloads)]
    factors = list(dict.fromkeys(factor for one in workloads for factor in one.levels))
    said += [text for factor in factors if (text := _factor(factor, workloads))]
    said += _dispatch(workloads)
    still = [title(name) for name in factors if _statuses(name, workloads) == {NOT_VARIED}]
    if _varied(PARTS, workloads) and title(PROFILE) in still:
        # The CPU is varied, in its parts.
        still.remove(title(PROFILE))
    if still:
        said.append(f"Not varied: {listed(still)}.")
    wrong = [one.workload for one in workloads if one.wrong]
    if wrong:
        said.append(f"WRONG against the exact integer reference: {listed(wrong)}.")
    suspect = [one.workload for one in workloads if one.suspect]
    if suspect:
        said.append(f"Too far from the reference to be rounding, check the model: {listed(suspect)}.")
    noisy = [one.workload for one in workloads if one.repeats.noisy]
    if noisy:
        said.append(f"Differs from run to run and is attributed to nothing: {listed(noisy)}.")
    elif any(one.repeats.comparisons for one in workloads):
        pooled = sum(one.repeats.comparisons for one in workloads)
        said.append(f"Run-to-run: no difference in {plural(pooled, 'comparison')}.")
    if missing:
        said.append(f"Without a result: {listed(f'{count} {status}' for status, count in missing.items())}.")
    if refused:
        for reason in dict.fromkeys(refused.values()):
            names = listed(name for name, why in refused.items() if why == reason)
            said.append(f"This host cannot show {names} ({reason}): what they would change is not known.")
    for without in dict.fromkeys(lowered.values()):
        names = listed(name for name, features in lowered.items() if features == without)
        said.append(f"Shown without what this host lacks: {names} (no {without}).")
    return tuple(said)


def _varied(factors: Sequence[str], workloads: Sequence[WorkloadAnswer]) -> list[str]:
    return [name for name in factors if _statuses(name, workloads) - {NOT_VARIED}]


def _dispatch(workloads: Sequence[WorkloadAnswer]) -> list[str]:
    """Which parts of what CPUID tells move results, where several are set one at a time."""
    varied = _varied(DISPATCH, workloads)
    if len(varied) < 2 or not set(varied) & set(PARTS):
        return []
    found = {name: _statuses(name, workloads) for name in varied}
    moving = [name for name in varied if DEPENDS in found[name]]
    still = [name for name in varied if found[name] <= {NO_EFFECT, NOT_VARIED}]
    open_ = [name for name in varied if name not in moving and name not in still]
    said = [
        f"{words} {', '.join(names)}"
        for words, names in (
            ("some result changes with", moving),
            ("none with", still),
            ("this design does not tell of", open_),
        )
        if names
    ]
    return [f"Dispatch (what software chooses by CPUID): {'; '.join(said)}."]


def _statuses(factor: str, workloads: Sequence[WorkloadAnswer]) -> set[str]:
    return {effect.status for one in workloads for effect in one.effects if effect.factor == factor}


def _bytes(workloads: Sequence[WorkloadAnswer]) -> str:
    failing = [one for one in workloads if any(each.failed for each in one.classes)]
    same = [one for one in workloads if one.classes and not one.deviates and one not in failing]
    cells = sum(one.cell_count for one in workloads)
    count = f"{plural(len(workloads), 'workload')} in {plural(cells, 'cell')}"
    if len(same) == len(workloads):
        return f"{count}: the same bytes everywhere."
    several = [one for one in workloads if len(one.classes) > 1]
    text = f"{count}: {len(same)} with the same bytes everywhere, {len(several)} with several classes"
    return f"{text}, {len(failing)} with cells that fail." if failing else f"{text}."


def _factor(factor: str, workloads: Sequence[WorkloadAnswer]) -> str:
    effects = [effect for one in workloads for effect in one.effects if effect.factor == factor]
    changed = [effect for effect in effects if effect.status == DEPENDS]
    # A wrong result's size says nothing about rounding, and would hide it.
    sized = [
        effect.size
        for one in workloads
        if not one.wrong
        for effect in one.effects
        if effect.factor == factor and effect.size is not None
    ]
    wrong = any(one.wrong and effect in changed for one in workloads for effect in one.effects)
    unknown = sum(effect.status == NOT_IDENTIFIED for effect in effects)
    tested = sum(effect.status in (DEPENDS, NO_EFFECT) for effect in effects)
    rest = f"; not identified in {unknown}" if unknown else ""
    name = title(factor)
    name = name[0].upper() + name[1:]
    if not tested:
        return f"{name}: not identified in any workload." if unknown else ""
    if not changed:
        pairs = sum(effect.pairs for effect in effects)
        return f"{name}: no effect ({plural(pairs, 'pair')} in {plural(tested, 'workload')}{rest})."
    size = largest(sized)
    sizes = []
    if size is not None:
        if size.max_abs is not None:
            sizes.append(f"by at most {number(size.max_abs)}" + (" (wrong ones aside)" if wrong else ""))
        if size.nonfinite:
            sizes.append("with NaN or infinity on one side")
        top = any(one.changed_top1 for one in sized)
        if size.changed_top1 is not None:
            sizes.append("top-1 changes" if top else "no top-1 changes")
    how = "".join(f", {one}" for one in sizes)
    return f"{name}: changes {len(changed)} of {plural(tested, 'workload')}{how}{rest}."
