"""What a set of pins leaves of the deviation between cells, what it costs, and what it does to the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import median

import numpy as np

from numdev import digests
from numdev.analysis import rounding
from numdev.analysis.classes import Cell, Load, Outputs, Partition, partition
from numdev.analysis.deviation import Deviation, largest
from numdev.analysis.fewest import Score
from numdev.analysis.observation import OK, Observation, OutputRef
from numdev.analysis.reference import Judgement, Reference, closer, judge, worst
from numdev.analysis.sizes import Sizes

# Of more classes than these only the distances from the first are measured.
MOST_PAIRED = 12


@dataclass(frozen=True)
class Measured:
    """One set of pins over all cells.

    `classes`: of equal bytes; `odd`: cells without one, with what became of them ("zen2: unrealised ...").
    `left`: the largest deviation between two classes, None where there are fewer than two. `change`: the largest from the
    baseline's outputs without pins. `reference`: the worst class against the reference, and `closer` whether that is closer
    than the worst without pins. `slower`: seconds of a cell's fastest inference as a multiple of those without pins, the
    median over the cells, and `slowest` the largest; `seconds` the median itself; None where no time was measured. `moved`: cells whose
    bytes are others than without pins. `decimals`: to how many decimals outputs must be rounded for one class (of one
    class: None), `bits`: the same in significant bits; None too where no rounding does. `crossings`: how many elements would be
    split at that rounding by chance, see rounding.crossings. `rounded`: by how much that rounding moves an element at most.
    """

    cells: int
    classes: int
    odd: tuple[str, ...] = ()
    left: Deviation | None = None
    change: Deviation | None = None
    reference: Judgement | None = None
    closer: str = ""
    seconds: float | None = None
    slower: float | None = None
    slowest: float | None = None
    moved: int = 0
    decimals: int | None = None
    bits: int | None = None
    crossings: float | None = None
    rounded: float | None = None

    @property
    def score(self) -> Score:
        return Score(len(self.odd), self.classes, self.moved > 0)


@dataclass
class Seen:
    """The cells of one workload on one stack without pins, that all sets of pins are measured against.

    `runs` are their observations, and `seconds` each cell's inference times, by its levels. `load` returns a tensor's
    array; `labels` are the workload's class names; `baseline` levels of the cell that changes are measured from.
    """

    workload: str
    runs: Sequence[Observation]
    seconds: Mapping[tuple[tuple[str, str], ...], Sequence[float]]
    load: Load
    reference: Reference
    order: Mapping[str, Sequence[str]]
    baseline: Mapping[str, str]
    labels: Sequence[str] = ()
    base: Measured = field(init=False)
    _cast: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.sizes = Sizes(self._loaded, self.labels)
        self.part = partition(self.workload, self.runs, self.load, self.order)
        self.outputs = {key_of(cell.levels): cell.outputs for cell in self.part.cells if cell.kind == "bytes"}
        ok = [cell for cell in self.part.cells if cell.kind == "bytes"]
        fits = (
            cell for cell in ok if all(self.baseline.get(name, level) == level for name, level in cell.levels.items())
        )
        first = next(fits, ok[0] if ok else None)
        self.against: Outputs = first.outputs if first else ()
        self.base = self.measure(self.runs, self.seconds, cast=False)

    def measure(
        self,
        runs: Sequence[Observation],
        seconds: Mapping[tuple[tuple[str, str], ...], Sequence[float]],
        cast: bool,
    ) -> Measured:
        """Measures the same cells under a set of pins.

        Args:
            runs: their observations, at the levels of the cells without pins.
            seconds: the times of each cell's inferences.
            cast: whether float64 outputs are rounded to float32 first.
        """
        runs = [replace(one, outputs=tuple(map(self._narrow, one.outputs))) for one in runs] if cast else runs
        part = partition(self.workload, runs, self._loaded, self.order)
        some = [one for one in part.classes if not one.failed]
        kinds = [next(iter(one.outputs.values())) for one in some]
        first_run = not hasattr(self, "base")
        judged = worst([judge(one, ref, self.sizes, self.reference.exact) for one in kinds if (ref := self._ref())])
        ratios = [] if first_run else self._ratios(seconds)
        change = None if first_run else largest([self.sizes.between(one, self.against) for one in kinds])
        # The fastest is what the program takes; whatever else the machine does makes the others longer.
        every = [min(times) for times in seconds.values() if times]
        base = judged if first_run else self.base.reference
        return Measured(
            cells=len(part.cells),
            classes=len(some),
            odd=tuple(_odd(part, cell) for cell in part.cells if cell.kind != "bytes"),
            left=self._left(kinds),
            change=change,
            reference=judged,
            closer=closer(judged, base) if judged and base and not first_run else "",
            seconds=median(every) if every else None,
            slower=median(ratios) if ratios else None,
            slowest=max(ratios, default=None),
            moved=sum(
                self.outputs.get(key_of(cell.levels)) != cell.outputs for cell in part.cells if cell.kind == "bytes"
            ),
            **self._rounding(kinds),
        )

    def _ref(self) -> Outputs | None:
        return self.reference.of({})

    def _ratios(self, seconds: Mapping[tuple[tuple[str, str], ...], Sequence[float]]) -> list[float]:
        found = []
        for key, times in seconds.items():
            before = self.seconds.get(key)
            if times and before:
                found.append(min(times) / min(before))
        return found

    def _left(self, kinds: list[Outputs]) -> Deviation | None:
        pairs = combinations(kinds, 2) if len(kinds) <= MOST_PAIRED else ((one, kinds[0]) for one in kinds[1:])
        return largest([self.sizes.between(one, other) for one, other in pairs])

    def _rounding(self, kinds: list[Outputs]) -> dict:
        names = {tuple(one.name for one in outputs) for outputs in kinds}
        if len(kinds) < 2 or len(names) > 1:
            return {}
        sets = [[self._loaded(one.tensor) for one in outputs] for outputs in kinds]
        decimals = rounding.decimals_for(sets)
        found: dict = {"decimals": decimals, "bits": rounding.bits_for(sets)}
        if decimals is not None:
            found["crossings"] = max(rounding.crossings(sets[0], other, decimals) for other in sets[1:])
            moved = [np.abs(rounding.to_decimals(each, decimals) - each) for each in sets[0] if each.dtype.kind == "f"]
            finite = [float(each[np.isfinite(each)].max(initial=0.0)) for each in moved]
            found["rounded"] = max(finite, default=None)
        return found

    def _narrow(self, output: OutputRef) -> OutputRef:
        if output.dtype != "float64":
            return output
        with np.errstate(over="ignore"):
            array = self.load(output.tensor).astype(np.float32)
        name = digests.of_bytes(b"float32 " + array.tobytes())
        self._cast[name] = array
        return OutputRef(output.name, "float32", output.shape, name)

    def _loaded(self, tensor: str) -> np.ndarray:
        return self._cast[tensor] if tensor in self._cast else self.load(tensor)


def key_of(levels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """A cell by its levels, whatever their order."""
    return tuple(sorted(levels.items()))


def _odd(part: Partition, cell: Cell) -> str:
    varied = [level for name, level in cell.levels.items() if len(part.levels[name]) > 1]
    where = " ".join(varied) or "the only cell"
    what = "noisy" if cell.kind == "noisy" else cell.status if cell.status != OK else cell.kind
    return f"{where}: {what}" + (f" ({cell.reason})" if cell.reason else "")
