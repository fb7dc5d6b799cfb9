"""From observations to the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from numdev.analysis.attribution import attribution
from numdev.analysis.blame import blamed, verdict
from numdev.analysis.classes import NOISY, Class, Load, Partition, partition, without_host
from numdev.analysis.deviation import Deviation
from numdev.analysis.effects import effect
from numdev.analysis.hosts import HOST, Host, hosts_of
from numdev.analysis.hostwords import host_sentences, hosts_in_short
from numdev.analysis.inshort import in_short
from numdev.analysis.observation import OK, Observation
from numdev.analysis.peroutput import outputs_of
from numdev.analysis.reference import CHECK, WRONG, Judgement, Reference, judge, nearest, references, worst
from numdev.analysis.reference import closer as is_closer
from numdev.analysis.repeats import outcomes, outcomes_inside, repeats
from numdev.analysis.result import (
    Answer,
    CellAnswer,
    ClassAnswer,
    NoisyCell,
    OddCell,
    Sentence,
    WorkloadAnswer,
)
from numdev.analysis.sentences import (
    effect_sentence,
    gap_sentences,
    inside_sentence,
    place,
    repeats_sentence,
    spread_sentence,
    together_sentence,
)
from numdev.analysis.silicon import SILICON, silicon_sentences
from numdev.analysis.sizes import Sizes
from numdev.analysis.sufficient import sufficient
from numdev.analysis.suspects import in_short as suspects_in_short
from numdev.analysis.suspects import set_apart
from numdev.analysis.table import table
from numdev.analysis.verdicts import reference_sentences

UNSUPPORTED = "unsupported"
# Of more noisy cells the spread is in the JSON.
MOST_NOISY = 5


def answer(
    observations: Iterable[Observation],
    load: Load,
    *,
    baseline: Mapping[str, str],
    order: Mapping[str, Sequence[str]],
    labels: Mapping[str, Sequence[str]],
    profile_facts: Mapping[str, Mapping[str, str]] | None = None,
    refused: Mapping[str, str] | None = None,
    lowered: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    factors: Sequence[str] = (),
    hosts: Mapping[str, Host] | None = None,
) -> Answer:
    """The answer over all workloads, sorted by name.

    `load` returns the array of a tensor's address. `baseline` has one level of each factor, from whose class
    sizes are measured; `order` has each factor's levels in the matrix's order; `labels` each workload's class
    names. `profile_facts` describes profiles ({"haswell": {"simd": "AVX2"}}); `refused` are profiles that
    this host cannot show, with the reason, and `lowered` those that it shows without features that it lacks. `notes`
    are said at the end: how profiles were shown. `factors`: those to attribute to, all others then count as one; empty for all. `hosts`:
    the machines behind the levels of `host`.
    What `load` raises is not caught.
    """
    facts, refused = profile_facts or {}, dict(refused or {})
    # Said once, as what this host could not show, and not again for every cell.
    observations = [one for one in observations if one.factors.get("profile") not in refused]
    names = sorted({one.workload for one in observations})
    workloads = tuple(
        _workload(name, observations, load, baseline, order, labels.get(name, ()), facts, refused, factors, hosts or {})
        for name in names
    )
    missing = Counter(sorted(one.status for one in observations if one.status != OK))
    return Answer(
        baseline=dict(baseline),
        workloads=workloads,
        refused=refused,
        missing=dict(missing),
        deviates=any(one.deviates for one in workloads),
        complete=not refused and not set(missing) - {UNSUPPORTED},
        short=(
            *in_short(workloads, missing, refused, lowered or {}),
            *suspects_in_short({one.workload: one.suspects for one in workloads}),
            *hosts_in_short(hosts or {}, {one.workload: one.hosts for one in workloads}),
            *notes,
        ),
        hosts=dict(hosts or {}),
    )


def _workload(
    name: str,
    observations: list[Observation],
    load: Load,
    baseline: Mapping[str, str],
    order: Mapping[str, Sequence[str]],
    labels: Sequence[str],
    facts: Mapping[str, Mapping[str, str]],
    refused: Mapping[str, str],
    chosen: Sequence[str],
    hosts: Mapping[str, Host],
) -> WorkloadAnswer:
    observations, suspects, told = set_apart([one for one in observations if one.workload == name], load)
    part = partition(name, observations, load, order)
    sizes = Sizes(load, labels)
    against, is_baseline = _against(part, baseline)
    ref = references(name, observations)
    judged = {one.name: _judge(one, ref, sizes) for one in part.classes}
    classes = tuple(_class(one, part, against, judged, sizes, labels) for one in part.classes)
    effects = tuple(effect(part, factor, sizes, facts if factor == "profile" else None) for factor in part.levels)
    compared = hosts_of(part, observations, hosts) if hosts else None
    together, repeated = sufficient(part, effects), repeats(part)
    attributed = attribution(part, effects, against, sizes.load, chosen)
    noise = tuple(
        NoisyCell(levels=dict(cell.levels), runs=outcomes(cell, part), inferences=outcomes_inside(cell, part))
        for cell in part.cells
        if cell.kind == "noisy"
    )
    odd = tuple(
        OddCell(kind=cell.kind, levels=dict(cell.levels), status=cell.status, reason=cell.reason, records=cell.ids)
        for cell in part.cells
        if not cell.comparable
    )
    said = []
    for one in effects:
        said.append(Sentence(about=one.factor, text=effect_sentence(one, refused, part.levels)))
        if one.factor == SILICON:
            said += [Sentence(about=SILICON, text=text) for text in silicon_sentences(part, observations)]
        if one.factor == HOST and compared:
            said += [Sentence(about=HOST, text=text) for text in host_sentences(compared, part)]
    said.append(Sentence(about="run-to-run", text=repeats_sentence(repeated)))
    if repeated.inside:
        said.append(Sentence(about="in-process", text=inside_sentence(repeated)))
    for one in noise[:MOST_NOISY]:
        odd_at = place(part, [cell for cell in part.cells if cell.levels == one.levels], all_cells=True)
        counts = spread_sentence(one.runs if len(one.runs) > 1 else one.inferences)
        said.append(Sentence(about="noise", text=f"{odd_at}: {counts}"))
    if sum(len(levels) > 1 for levels in part.levels.values()) > 1:
        said.append(Sentence(about="together", text=together_sentence(together)))
    if len(part.classes) > 1:
        said += [Sentence(about="verdict", text=text) for text in blamed(attributed)]
    said += [Sentence(about="reference", text=text) for text in reference_sentences(part, judged, ref)]
    said += [Sentence(about="suspects", text=text) for text in told]
    said += [Sentence(about="no result", text=text) for text in gap_sentences(part)]
    wrong, suspect = (
        tuple(one.name for one in part.classes if judged[one.name] and judged[one.name].verdict == verdict)
        for verdict in (WRONG, CHECK)
    )
    differ = any(part.differ(one.cells[0], other.cells[0]) for one, other in combinations(part.classes, 2))
    return WorkloadAnswer(
        workload=name,
        cells=_by_status(part),
        runs=sum(cell.runs for cell in part.cells),
        levels={factor: tuple(levels) for factor, levels in part.levels.items()},
        classes=classes,
        partition=tuple(CellAnswer(levels=dict(cell.levels), outcome=part.name(cell)) for cell in part.cells),
        outputs=outputs_of(part),
        noise=noise,
        without_class=odd,
        suspects=suspects,
        short=sum(cell.lost for cell in part.cells if cell.kind != "gap"),
        table=table(part, effects),
        effects=effects,
        sufficient=together,
        factors=attributed.factors,
        groups=attributed.groups,
        group_sets=attributed.sufficient,
        complete=attributed.complete,
        interactions=attributed.interactions,
        missing_cells=attributed.missing,
        attribution_notes=attributed.notes,
        repeats=repeated,
        against=against.name if against else "",
        against_is_baseline=is_baseline,
        closest=nearest(judged),
        wrong=wrong,
        suspect=suspect,
        deviates=differ or bool(wrong) or bool(suspects) or any(part.name(cell) == NOISY for cell in part.cells),
        verdict=verdict(attributed, repeated, len(part.classes)),
        sentences=tuple(said),
        hosts=compared,
    )


def _by_status(part: Partition) -> dict[str, int]:
    return dict(sorted(Counter("noisy" if cell.kind == "noisy" else cell.status for cell in part.cells).items()))


def _against(part: Partition, baseline: Mapping[str, str]) -> tuple[Class | None, bool]:
    """The class that sizes are measured from, and whether it is the baseline's."""
    for cell in part.cells:
        if cell.kind == "bytes" and all(baseline.get(name, level) == level for name, level in cell.levels.items()):
            return part.by_name(part.name(cell)), True
    return next((one for one in part.classes if not one.failed), None), False


def _judge(one: Class, ref: Reference, sizes: Sizes) -> Judgement | None:
    """The worst judgement over the tasks that have a reference; None where none has."""
    found = []
    for task, outputs in one.outputs.items():
        exact = ref.of(dict(task))
        if exact is not None:
            found.append(judge(outputs, exact, sizes, ref.exact))
    return worst(found)


def _class(
    one: Class,
    part: Partition,
    against: Class | None,
    judged: Mapping[str, Judgement | None],
    sizes: Sizes,
    labels: Sequence[str],
) -> ClassAnswer:
    size, outputs = None, {}
    if against is not None and not one.failed and one.name != against.name:
        size, outputs = _size(one, against, sizes)
    mine = judged[one.name]
    base = judged[against.name] if against is not None and one.name != against.name else None
    return ClassAnswer(
        name=one.name,
        failed=one.failed,
        cells=len(one.cells),
        where=place(part, one.cells),
        levels=tuple(dict(cell.levels) for cell in one.cells),
        records=tuple(record for cell in one.cells for record in cell.ids),
        spans=len(set(one.outputs.values())) > 1,
        alike=tuple(each.name for each in part.classes if each.name in one.alike),
        reasons=tuple(sorted({cell.reason for cell in one.cells if cell.reason})) if one.failed else (),
        size=size,
        outputs=outputs,
        changed_labels=_labels(size, labels),
        reference=mine,
        closer=is_closer(mine, base) if mine and base else "",
    )


def _size(one: Class, against: Class, sizes: Sizes) -> tuple[Deviation, dict[str, Deviation]]:
    """Over the task with the most samples; of another batch size, over the samples in common."""
    found = []
    shaping = {without_host(task): outputs for task, outputs in reversed(against.outputs.items())}
    for task, outputs in one.outputs.items():
        other = against.outputs.get(task) or shaping.get(without_host(task)) or next(iter(against.outputs.values()))
        found.append((sizes.between(outputs, other), sizes.outputs(outputs, other)))
    return max(found, key=lambda pair: (pair[0].total, pair[0].max_abs or 0))


def _labels(size: Deviation | None, labels: Sequence[str]) -> tuple[str, ...]:
    if size is None:
        return ()
    return tuple(
        f"row {row}: {labels[before]} -> {labels[after]}"
        for row, before, after in size.examples
        if max(before, after) < len(labels)
    )
