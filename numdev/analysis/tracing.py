"""The trace as data: what `numdev trace --json` prints, with a schema."""

from __future__ import annotations

from typing import Any

from numdev.analysis.deviation import Deviation
from numdev.analysis.result import _Model

VERSION = 1
# Cells with other layers than the first that are compared with it, layer by layer.
PAIRS = 8
LAYERS = 4000
# A deviation that changes by less than this factor is kept as it is.
CHANGE = 1.5
SAME, BEGINS, AMPLIFIES, KEEPS, ABSORBS, VANISHES = "same", "begins", "amplifies", "keeps", "absorbs", "vanishes"
UNSEEN = "not looked at"
NOISY = "~"


class LayerClasses(_Model):
    """One layer: its class in each path (`~` noisy, empty where it was not looked at), and how many classes it has over all cells."""

    name: str
    op: str
    multiplications: int | None
    bound: float | None
    classes: tuple[str, ...]
    count: int


class LayerStep(_Model):
    """One layer of two cells. `differs` and `effect` are of all its bytes, the sizes of its sample.

    `relative`: root mean square of the deviation by that of the layer in the first cell. `factor`: by the largest of these among
    the layers that it gets its inputs from. `bound`: gamma_n, see analysis/layers.py. `effect`: `same`, `begins` (nothing before
    it differs), `amplifies`, `keeps`, `absorbs`, `vanishes` (it does not differ, though something before it does), `not looked
    at`, or `~` where that is not known for noise.
    """

    name: str
    op: str
    multiplications: int | None
    bound: float | None
    differs: bool
    effect: str
    size: Deviation | None
    relative: float | None
    factor: float | None


class Kind(_Model):
    """All layers of one kind of two cells: how many have each effect; `factor`: the geometric mean of theirs, where there are any."""

    kind: str
    layers: int
    begins: int
    amplifies: int
    keeps: int
    absorbs: int
    vanishes: int
    factor: float | None


class Pair(_Model):
    """The second of two cells against the first. `first`: the first layer that differs, "" where none does.

    `unseen`: layers right before it that were not looked at, in which it may have begun. `only`: layers that the other cell lacks.
    """

    between: tuple[str, str]
    first: str
    unseen: tuple[str, ...]
    layers: tuple[LayerStep, ...]
    kinds: tuple[Kind, ...]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    said: tuple[str, ...]


class Tap(_Model):
    """A cell and what became of its tap; `same` and `partly` have proved that it changes nothing."""

    cell: str
    levels: dict[str, str]
    record: str
    status: str
    reason: str


class Path(_Model):
    """Cells whose layers all have the same bytes."""

    name: str
    cells: tuple[str, ...]
    levels: tuple[dict[str, str], ...]


class WorkloadTrace(_Model):
    """`first`: the first layer with more than one class. `noisy`: layers in which replicates of a cell differ. `left_out`: paths that
    are not compared with the first one.
    """

    workload: str
    taps: tuple[Tap, ...]
    paths: tuple[Path, ...]
    layers: tuple[LayerClasses, ...]
    first: str
    noisy: tuple[str, ...]
    pairs: tuple[Pair, ...]
    left_out: int


class Trace(_Model):
    """A run, layer by layer. `complete`: every cell is stored, and was tapped without a change."""

    version: int = VERSION
    run: str
    workloads: tuple[WorkloadTrace, ...]
    missing: int
    complete: bool

    @property
    def deviates(self) -> bool:
        return any(one.first for one in self.workloads)

    def json(self) -> dict[str, Any]:
        """Plain JSON data: no NaN, no infinity."""
        return self.model_dump(mode="json")


def schema() -> dict[str, Any]:
    """The JSON Schema of `Trace.json()`; docs/trace.schema.json is this."""
    return Trace.model_json_schema(mode="serialization")
