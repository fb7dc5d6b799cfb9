"""The answer of `numdev mitigate` as data, with a schema, and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from numdev.analysis.mitigation import Measured
from numdev.analysis.numbers import number
from numdev.analysis.sentences import listed, plural

VERSION = 1

# What outputs are rounded by, for one class.
ROUNDING = "y = numpy.round(y.astype(numpy.float64), {}).astype(y.dtype) + 0"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Model):
    """One set of pins that was run over all cells. `why`: its place in the search. `took`: for each pin, whether the
    library says that it did as it was told: `yes`, `no` or `cannot be told`. `unsupported`: why the stack cannot do this.
    """

    pins: tuple[str, ...]
    why: str
    measured: Measured
    took: dict[str, str]
    unsupported: str = ""


class Snippet(_Model):
    """What to paste: lines of a shell and of a program in Python."""

    shell: tuple[str, ...]
    python: tuple[str, ...]


class Solution(_Model):
    """What leaves one class. `kind`: `pins`; `precision`, which computes otherwise; `rounding` of the outputs, to
    `decimals` after what `pins` do. `minimal`: whether it was measured that no pin of it can be left out.
    """

    kind: str
    pins: tuple[str, ...]
    decimals: int | None
    minimal: bool
    measured: Measured
    snippet: Snippet


class Subject(_Model):
    """One workload on one stack. `cells`: the levels over which it shall give the same. `without`: cells that give nothing
    without pins either, and are left out of all counts. `already`: candidates that every cell has as it is. `others`: further
    sets of no more pins than the best that were measured to leave one class, too. `solutions`: the best first.
    """

    workload: str
    stack: str
    batch: str
    cells: tuple[dict[str, str], ...]
    without: tuple[str, ...]
    base: Measured | None
    already: tuple[str, ...]
    rows: tuple[Row, ...]
    others: tuple[tuple[str, ...], ...]
    solutions: tuple[Solution, ...]

    @property
    def title(self) -> str:
        return f"{self.workload} on {self.stack}" + ("" if self.batch == "all" else f", batch {self.batch}")


class Mitigations(_Model):
    """`refused`: profiles that this host cannot show, with the reason. `complete`: whether every cell without pins gave a
    result or is `unsupported` by its stack, and no profile was refused.
    """

    version: int = VERSION
    matrix: str
    rounds: int
    subjects: tuple[Subject, ...]
    refused: dict[str, str]
    complete: bool
    short: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def schema() -> dict[str, Any]:
    """The JSON Schema of `Mitigations.json()`; docs/mitigate.schema.json is this."""
    return Mitigations.model_json_schema(mode="serialization")


def in_short(subject: Subject) -> list[str]:
    """What was found for one subject."""
    base = subject.base
    if base is None or base.cells < 2:
        return [f"{subject.title}: fewer than two cells have a result; there is nothing to make the same."]
    over = plural(base.cells, "cell")
    if base.score.holds:
        return [f"{subject.title}: one class over {over} without any pin; nothing to do."]
    said = []
    classes = _classes(base)
    pins = next((one for one in subject.solutions if one.kind == "pins"), None)
    if pins:
        one = (
            f"{subject.title}: {' + '.join(pins.pins)} leaves one class of {classes} over {over}{_cost(pins.measured)}."
        )
        if len(pins.pins) > 1:
            one += " Without any one of these there are more."
        if subject.others:
            one += f" So {'do' if len(subject.others) > 1 else 'does'} {listed(' + '.join(pins) for pins in subject.others)}."
        said.append(one)
    else:
        said.append(_none(subject, classes, over))
    for one in subject.solutions:
        if one.kind == "precision":
            said.append(f"{subject.title}: {' + '.join(one.pins)} leaves one class{_cost(one.measured)}.")
        elif one.kind == "rounding":
            said.append(_rounded(subject, one))
    return said


def _classes(measured: Measured) -> str:
    return f"{measured.classes}" + (f" and {plural(len(measured.odd), 'odd cell')}" if measured.odd else "")


def _none(subject: Subject, classes: str, over: str) -> str:
    tried = [row for row in subject.rows if not row.unsupported]
    if not tried:
        return f"{subject.title}: {classes} classes over {over}, and no pin is known that it could be given."
    best = min(tried, key=lambda row: row.measured.score.order)
    text = (
        f"{subject.title}: none of the {plural(len(tried), 'set')} of pins that were tried leaves one class over {over}"
    )
    if best.measured.score.order >= subject.base.score.order:
        return f"{text}, and none leaves fewer than the {classes} that there are without."
    left = best.measured.left
    size = f", up to {number(left.max_abs)} apart" if left is not None and left.max_abs else ""
    return f"{text}; fewest has {' + '.join(best.pins)}: {_classes(best.measured)} of {classes}{size}."


def _cost(measured: Measured) -> str:
    parts = []
    if measured.slower is not None:
        parts.append(f"an inference takes {measured.slower:.1f} times as long (at most {measured.slowest:.1f})")
    if measured.change is not None and measured.change.max_abs is not None:
        parts.append(f"outputs move by up to {number(measured.change.max_abs)}")
        if measured.change.samples:
            changed = measured.change.changed_top1
            parts.append("no top-1 changes" if not changed else f"{changed} of {measured.change.samples} top-1 change")
    if measured.closer in ("closer", "further"):
        parts.append(
            f"{measured.closer} to the reference" if measured.closer == "closer" else "further from the reference"
        )
    return f"; {', '.join(parts)}" if parts else ""


def _rounded(subject: Subject, one: Solution) -> str:
    after = f"after {' + '.join(one.pins)}, outputs" if one.pins else "outputs"
    measured = one.measured
    luck = measured.crossings or 0.0
    moved = f", moved by up to {number(measured.rounded)}" if measured.rounded else ""
    return (
        f"{subject.title}: {after} rounded to {plural(one.decimals or 0, 'decimal')} are one class{moved}. That holds for these "
        f"inputs: of outputs like these {luck:.2g} elements are expected to fall on two sides of a border."
    )


def ordered(solutions: Sequence[Solution]) -> tuple[Solution, ...]:
    """Pins first, which compute the same in another way; then what computes otherwise; rounding, which promises least, last."""
    kinds = ("pins", "precision", "rounding")
    return tuple(sorted(solutions, key=lambda one: (kinds.index(one.kind), len(one.pins))))
