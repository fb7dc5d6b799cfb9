"""Classes of every output by itself: which of a workload's classes an output tells apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numdev.analysis.attribution import output_sets
from numdev.analysis.classes import Class, Partition


@dataclass(frozen=True)
class OutputClasses:
    """`partition`: the workload's classes, those of equal bytes in this output together; `sufficient`: the minimal sets of
    factors that fix it. Classes that failed have no outputs and are not here.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    partition: tuple[tuple[str, ...], ...]
    sufficient: tuple[tuple[str, ...], ...]


def outputs_of(part: Partition) -> tuple[OutputClasses, ...]:
    """Every output, intermediate tensors that a model gives out among them, by name."""
    alive = [each for each in part.classes if not each.failed]
    refs = {ref.name: ref for each in reversed(alive) for outputs in each.outputs.values() for ref in outputs}
    found = []
    for name, ref in sorted(refs.items()):
        groups: list[list[Class]] = []
        for each in alive:
            near = next((group for group in groups if _same(name, group[0], each, part)), None)
            if near is None:
                groups.append([each])
            else:
                near.append(each)
        sets: tuple[tuple[str, ...], ...] = ((),)
        if len(groups) > 1:
            number = {each.name: place for place, group in enumerate(groups) for each in group}
            at = np.array([number.get(each.name, -1) for each in part.classes])
            apart = (at[:, None] != at) & (at >= 0) & (at >= 0)[:, None]
            sets = output_sets(part, apart).sets
        named = tuple(tuple(each.name for each in group) for group in groups)
        found.append(OutputClasses(name, ref.dtype, ref.shape, named, sets))
    return tuple(found)


def _same(name: str, one: Class, other: Class, part: Partition) -> bool:
    """Whether two classes have equal bytes in an output; of other batch sizes, whether the classes count as equal."""
    tasks = [task for task in one.outputs if task in other.outputs]
    if not tasks:
        return not part.differ(one.cells[0], other.cells[0])
    return all(_tensor(name, one, task) == _tensor(name, other, task) for task in tasks)


def _tensor(name: str, one: Class, task: tuple) -> tuple[str, str]:
    return next(((ref.dtype, ref.tensor) for ref in one.outputs[task] if ref.name == name), ("", ""))
