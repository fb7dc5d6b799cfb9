"""`uibk-iNNference/unaNNticipated`: its published results become runs of an ordinary store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from numdev import digests
from numdev.imports import design, findings
from numdev.imports.layout import RESULTS, Entry, Source
from numdev.imports.multiplications import Multiplications, evaluate
from numdev.imports.places import MAIN, MULTIPLICATIONS, Place, path_of, place
from numdev.imports.platforms import CPU, GPU
from numdev.imports.records import Row, keep
from numdev.imports.reports import (
    CONFLICT,
    LFS,
    MISSING,
    UNKNOWN,
    UNREADABLE,
    Design,
    ImportedRun,
    LeftOut,
    Report,
)
from numdev.imports.results import Unreadable, read_result
from numdev.imports.runs import factors_of, levels_of, run_of
from numdev.imports.tables import NoTable, read_table
from numdev.store import Store


def import_unannticipated(path: Path, store: Store) -> Report:
    """Reads a checkout, a tar of one, or a folder of tars, and writes what it holds into `store`.

    What cannot be read is left out and stands in the report, each by its path. Doing it again changes nothing.

    Raises:
        InvalidInput: PATH is not there, or far larger than that repository.
    """
    source = Source(path)
    rows: dict[str, Row] = {}
    seen: dict[str, str] = {}
    left: list[LeftOut] = []
    tables: list[Multiplications] = []
    twice = 0
    for entry in source.entries():
        digest = digests.of_bytes(entry.data)
        if not entry.problem and seen.get(entry.path) == digest:
            twice += 1
            continue
        if entry.path in seen:
            left.append(LeftOut(entry.path, CONFLICT, f"{entry.where} has other bytes than the first one"))
            continue
        seen[entry.path] = "" if entry.problem else digest
        where = place(entry.path)
        if entry.path.startswith(f"{RESULTS}{MULTIPLICATIONS}/") and not entry.is_pointer and not entry.problem:
            try:
                tables.append(evaluate(entry.path, read_table(entry.data)))
            except (NoTable, ValueError) as error:
                left.append(LeftOut(entry.path, UNREADABLE, str(error)))
            continue
        if problem := _problem(entry, where):
            left.append(problem)
            continue
        assert where is not None
        try:
            rows[entry.path] = keep(entry, where, read_result(entry.data, where), store)
        except Unreadable as error:
            left.append(LeftOut(entry.path, UNREADABLE, str(error)))
    left += [LeftOut(problem.where, UNREADABLE, problem.what) for problem in source.problems]
    every = [rows[name] for name in sorted(rows)]
    left += [
        LeftOut(name, MISSING, "its platform has other results and other platforms have it")
        for name in missing(every)
        if name not in seen
    ]
    odd, undecided = findings.odd_ones(every, store)
    main = [row for row in every if row.place.experiment == MAIN]
    unsteady, repeated = findings.unsteady(main, GPU)
    return Report(
        path=str(path),
        runs=tuple(_write(every, store)),
        new=sum(row.new for row in every),
        twice=twice,
        others=source.others,
        left_out=tuple(sorted(left)),
        suspects=tuple(odd),
        mixed=(*undecided, *findings.other_weights(every, store, odd)),
        tables=tuple(sorted(tables, key=lambda one: one.path)),
        classes=findings.class_counts(main, odd),
        unsteady=tuple(unsteady),
        repeated=repeated,
        compared=findings.shared_outputs(every),
        designs=tuple(_designs(main)),
    )


def _problem(entry: Entry, where: Place | None) -> LeftOut | None:
    if entry.is_pointer:
        return LeftOut(entry.path, LFS, "its content is not here")
    if entry.problem:
        return LeftOut(entry.path, UNREADABLE, entry.problem)
    if where is None:
        table = entry.path.endswith(".feather")
        why = "is a table of classes without outputs" if table else "is not of a layout known here"
        return LeftOut(entry.path, UNKNOWN, why)
    return None


def missing(rows: Iterable[Row]) -> list[str]:
    """Paths that a complete experiment would have: each of its platforms with each of its workloads."""
    experiments: dict[tuple[str, str], list[Place]] = {}
    for row in rows:
        experiments.setdefault((row.place.experiment, row.place.kind), []).append(row.place)
    found = []
    for places in experiments.values():
        there = {(one.platform, one.workload) for one in places}
        workloads = {one.workload: one for one in places}
        for platform in sorted({one.platform for one in places}):
            for name, one in sorted(workloads.items()):
                if (platform, name) not in there:
                    found.append(path_of(Place(one.experiment, name, platform, one.kind, one.model, one.sample)))
    return found


def _write(rows: list[Row], store: Store) -> Iterable[ImportedRun]:
    by_run: dict[str, list[Row]] = {}
    for row in rows:
        by_run.setdefault(row.place.run, []).append(row)
    known = store.runs()
    for name, mine in sorted(by_run.items()):
        data = run_of(mine).model_dump(mode="json")
        before = store.run(name) if name in known else None
        if before != data:
            store.write_run(name, data)
        cells = before.get("cells") if before else None
        yield ImportedRun(
            name=name,
            experiment=mine[0].place.experiment,
            records=len(mine),
            runs=sum(len(row.records) for row in mine),
            workloads=len({row.place.workload for row in mine}),
            cpus=len({row.platform for row in mine if row.place.kind == CPU}),
            gpus=len({row.platform for row in mine if row.place.kind == GPU}),
            state="new" if before is None else "unchanged" if before == data else "replaced",
            replaced=len(cells) if before != data and isinstance(cells, list) else 0,
        )


def _designs(rows: list[Row]) -> Iterable[Design]:
    """What the platforms of the main experiment can tell, CPUs and GPUs apart."""
    factors = factors_of(rows) if rows else {}
    order = levels_of(factors.values())
    for kind in (CPU, GPU):
        platforms = {row.platform: factors[row.path] for row in rows if row.place.kind == kind}
        if len(platforms) > 1:
            # The number of an instance is a name and no cause.
            facts = [
                {name: level for name, level in one.items() if name != "instance"}
                for _, one in sorted(platforms.items())
            ]
            yield Design(kind=kind, platforms=len(platforms), factors=tuple(design.separations(facts, order)))
