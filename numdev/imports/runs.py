"""The run of an experiment: its cells, their factors, and the levels in an order of sense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from numdev.cpu.features import SIMD
from numdev.imports.places import Place
from numdev.imports.platforms import MICROARCHITECTURES
from numdev.imports.records import Row
from numdev.run.runfile import Run, RunCell

# As the answer lists them; `instance` numbers the platforms that have all other facts in common.
ORDER = (
    "microarchitecture",
    "cores",
    "SIMD",
    "vendor",
    "L1d",
    "L2",
    "GPU",
    "generation",
    "host_CPU",
    "Python",
    "instance",
)
INSTANCE = "instance"
_KNOWN = {
    "microarchitecture": [one.name for one in MICROARCHITECTURES],
    "host_CPU": [one.name for one in MICROARCHITECTURES],
    "SIMD": [name for name, _ in SIMD],
    "vendor": ["Intel", "AMD"],
    "generation": ["Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Ampere", "Ada Lovelace", "Hopper"],
}


def factors_of(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """By path, the levels of a result's factors. All rows are of one experiment."""
    alike: dict[tuple, set[str]] = {}
    for row in rows:
        alike.setdefault(_facts(row), set()).add(row.place.platform)
    shared = {facts[0] for facts, platforms in alike.items() if len(platforms) > 1}
    found = {}
    for row in rows:
        number = {INSTANCE: str(1 + sorted(alike[_facts(row)]).index(row.place.platform))}
        found[row.path] = {**row.facts, **(number if row.place.kind in shared else {})}
    return found


def levels_of(cells: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """The levels of each factor that any cell has, in an order of sense."""
    cells = list(cells)
    levels = {name: sorted({one[name] for one in cells if name in one}, key=_rank(name)) for name in ORDER}
    return {name: found for name, found in levels.items() if found}


def run_of(rows: Sequence[Row]) -> Run:
    """The description of the run that holds these rows; they are of one experiment, and at least one."""
    factors = factors_of(rows)
    levels = levels_of(factors.values())
    ordered = sorted(rows, key=lambda row: (row.place.workload, *_place(factors[row.path], levels), row.path))
    baseline: dict[str, str] = {}
    for row in ordered:
        # The first cell of each kind: a CPU and a GPU have few factors in common.
        baseline = {**factors[row.path], **baseline}
    cells = [
        RunCell(
            digest=digest, workload=row.place.workload, factors=factors[row.path], replicate=replicate, reference=False
        )
        for row in ordered
        for replicate, digest in enumerate(row.records)
    ]
    return Run(
        run=1,
        matrix=rows[0].place.run,
        engine={"name": "import", "imported": "unannticipated"},
        factors=levels,
        order=list(levels),
        baseline=baseline,
        labels={},
        profiles={},
        refused={},
        workloads={row.place.workload: _workload(row.place) for row in ordered},
        cells=cells,
    )


def _workload(place: Place) -> dict[str, str | None]:
    return {
        "experiment": place.experiment,
        "kind": place.kind,
        "model": place.model or None,
        "sample": place.sample or None,
        "digest": None,
    }


def _facts(row: Row) -> tuple:
    return row.place.kind, *sorted(row.facts.items())


def _rank(name: str):
    known = _KNOWN.get(name, [])

    def rank(level: str) -> tuple:
        if level in known:
            return (0, known.index(level), level)
        number = level.partition(" ")[0]
        # `16`, `32 KiB`; everything else, and `unknown` last, by its letters.
        return (1, int(number), level) if number.isdecimal() and len(number) < 19 else (2, 0, level)

    return rank


def _place(factors: dict[str, str], levels: dict[str, list[str]]) -> Iterable[int]:
    return [found.index(factors[name]) if name in factors else -1 for name, found in levels.items()]
