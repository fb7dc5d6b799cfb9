"""One run of a store becomes one file. The same run gives the same bytes, wherever and whenever that is done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numdev import __version__, digests
from numdev.bundle import layout, lines
from numdev.bundle.analysed import add_analysis
from numdev.bundle.citation import checked_doi, people
from numdev.bundle.crate import add_crate
from numdev.bundle.documents import add_papers, add_stacks
from numdev.bundle.draft import Draft, Part, temporary
from numdev.bundle.private import Scrubber
from numdev.errors import InvalidInput, Problem
from numdev.run.runfile import Run, read_run
from numdev.spec import yamlfile
from numdev.store import Store

Say = Callable[[str], None]
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Which models and inputs are included: all, only the user's own (built-in ones are made or fetched by name), or none.
ALL, OWN, NONE = "all", "own", "none"


@dataclass(frozen=True)
class Options:
    """What the author says. models: one of ALL, OWN and NONE. date: "" for the run's own day."""

    models: str = OWN
    images: bool = False
    date: str = ""
    title: str = ""
    authors: tuple[str, ...] = ()
    license: str = ""
    doi: str = ""


@dataclass(frozen=True)
class Created:
    """What was made: the bundle's digest, its size in bytes, and what was left out and why."""

    path: Path
    digest: str
    size: int
    cells: int
    left_out: dict[str, str] = field(default_factory=dict)


def create(store: Store, name: str, out: Path, cache: Path, options: Options, say: Say = lambda line: None) -> Created:
    """Writes the bundle of the run called `name` to `out`.

    Raises:
        InvalidInput: the run has no day and none is given, or a file of it has changed.
        StoreFailed: there is no such run, or a record or tensor of it is damaged.
        StorageFailed: `out` cannot be written.
    """
    run = read_run(store, name)
    day = options.date or run.made
    if not _DAY.fullmatch(day):
        what = f"{day!r} is no day" if day else "is not known: the run is of a numdev that did not keep it"
        raise InvalidInput("The bundle needs a day.", [Problem("date", what, "give it: --date 2026-01-31")])
    options = replace(options, doi=checked_doi(options.doi))
    scrubber = Scrubber.of_this_machine(store.folder, cache, keep=_identifiers(run))
    with temporary(cache) as work:
        draft = _draft(store, run, _called(out), day, scrubber, Path(work), options)
        _workloads(draft, run, store, options)
        _materials(draft, run, store, scrubber)
        _documents(draft, cache, options, scrubber, say)
        digest = draft.write(out)
    return Created(out, digest, out.stat().st_size, len(run.cells), draft.description.left_out)


def _identifiers(run: Run) -> Iterator[str]:
    """What cells, files and answers are named by: replaced, nothing would fit together any more."""
    yield run.matrix
    yield from run.workloads
    for factor, levels in run.factors.items():
        yield factor
        yield from (level for level in levels if "/" not in level)
    yield from (host.bundle for host in run.hosts.values())


def _called(out: Path) -> str:
    """The bundle's name: that of its file."""
    name = out.name.removesuffix(layout.SUFFIX).removesuffix(".tar")
    if not layout.NAME.fullmatch(name):
        what = "must be letters, digits, '.', '_' and '-', at most 64, not beginning with a sign"
        raise InvalidInput(f"{out} cannot be a bundle's name.", [Problem(str(out), what)])
    return name


def _draft(store: Store, run: Run, name: str, day: str, scrubber: Scrubber, work: Path, options: Options) -> Draft:
    """The run, its cells and facts, and every output once."""
    made = lines.Lines(scrubber)
    asked = {**run.model_dump(mode="json"), "origins": {}, "cells": [], "source": scrubber.source(run.source)}
    told = yamlfile.validate(Run, scrubber.value(asked), "run")
    description = layout.Description(
        **{"numdev-bundle": layout.FORMAT},
        name=name,
        numdev=__version__,
        run=told.matrix,
        date=day,
        profiles=told.captures,
    )
    draft = Draft(
        name=name,
        run=told,
        description=description,
        cells=lambda: _again(work / layout.CELLS),
        facts=made.facts,
        work=work,
        scrub=scrubber.text,
        title=options.title,
        authors=options.authors,
        license=options.license,
        doi=options.doi,
    )
    asked = told.model_dump(mode="json", exclude={"cells", "materials", "captures", "origins", *told.unmerged()})
    draft.add_json(layout.RUN, asked)
    tensors: set[str] = set()

    def every() -> Iterator[dict[str, Any]]:
        for cell in run.cells:
            record = store.record(cell.digest) if store.has(cell.digest) else None
            line = made.line(cell, record)
            tensors.update(line.outputs)
            if record and record.tap:
                tensors.update(layer.sample for layer in record.tap.layers if layer.sample)
            yield lines.json_of(line)
        store.flush()

    draft.add_lines(layout.CELLS, every())
    draft.add_lines(layout.FACTS, ({"fact": key, "value": made.facts[key]} for key in sorted(made.facts)))
    for tensor in sorted(tensors):
        draft.add(f"outputs/{tensor}.npy", Part.of_file(store.tensor(tensor), tensor))
    return draft


def _again(path: Path) -> Iterator[layout.CellLine]:
    with open(path, "rb") as file:
        for line in file:
            yield layout.CellLine.model_validate_json(line)


def _materials(draft: Draft, run: Run, store: Store, scrubber: Scrubber) -> None:
    """What the run was made of, as it kept it; what names somebody in it is replaced, where its name is not its digest."""
    for name, sha256 in sorted(run.materials.items()):
        if layout.limit(name) is None:
            draft.leave_out(ascii(name[:200]), "it has a name that a bundle cannot hold")
            continue
        part = Part.of_file(store.file(sha256), sha256)
        data = b"".join(part.pieces())
        if not scrubber.names(data):
            draft.add(name, part)
        elif sha256 in name or name.startswith("platforms/"):
            draft.leave_out(name, "it names this machine or its owner, and what is named by a digest cannot be changed")
        else:
            draft.add(name, Part.of_bytes(scrubber.text(data.decode("utf-8", "replace")).encode("utf-8")))
            draft.leave_out(f"{name} as it was", "it named this machine or its owner, and has other words there")
    if not run.materials:
        draft.leave_out("stacks/", "the run is of a numdev that did not keep what it was made of: run its matrix again")


def _workloads(draft: Draft, run: Run, store: Store, options: Options) -> None:
    """Models, inputs and own files of the workloads that have cells, where they are wanted and still there."""
    files: dict[str, dict[str, str]] = {}
    asked = {cell.workload for cell in run.cells}
    for workload, told in run.workloads.items():
        if not isinstance(told, dict) or workload not in asked:
            continue
        own = isinstance(told.get("facts"), dict) and told["facts"].get("source") == "the user's own"
        files[workload] = dict(told.get("files") or {})
        wanted = {f"model.{format}": sha256 for format, sha256 in dict(told.get("formats") or {}).items()}
        wanted |= {"inputs.npz": told["inputs"]} if told.get("inputs") else {}
        wanted |= {f"files/{sha256}": sha256 for sha256 in files[workload].values()}
        if not own and options.models != ALL:
            some = ", ".join(f"{name} {sha256[:12]}" for name, sha256 in sorted(wanted.items()))
            where = f"numdev makes or fetches it: `numdev workload fetch {workload}`"
            draft.leave_out(f"workloads/{workload}/", f"{where} ({some}; {layout.RUN} has the whole SHA-256 of each)")
            continue
        for name, sha256 in sorted(wanted.items()):
            member = f"workloads/{workload}/{name}"
            where = f"SHA-256 {sha256}: " + (
                "its author has it" if own else f"numdev makes or fetches it, `numdev workload fetch {workload}`"
            )
            if options.models == NONE:
                draft.leave_out(member, where)
                continue
            path = Path(run.origins.get(sha256, ""))
            if not path.is_file():
                # Of a run that was merged from bundles, the store has them.
                path = store.file(sha256)
            if not path.is_file() or digests.of_file(path) != sha256:
                draft.leave_out(member, f"it is not where it was any more; {where}")
                continue
            draft.add(member, Part.of_file(path, sha256))
    draft.description = draft.description.model_copy(
        update={"files": {name: some for name, some in files.items() if some}}
    )


def _documents(draft: Draft, cache: Path, options: Options, scrubber: Scrubber, say: Say) -> None:
    """Everything that is told from the rest. The crate comes last, for it lists all others."""
    answer = add_analysis(draft)
    surveyed, insides = add_stacks(draft, cache, options.images, say)
    for replacement, count in sorted(scrubber.replaced.items()):
        draft.leave_out(replacement, f"stands {count} times in the place of what names this machine or its owner")
    for kept in scrubber.kept:
        draft.leave_out(
            f"{kept} in names", "something in the run is called as this machine or its owner is, and keeps its name"
        )
    add_papers(draft, surveyed, insides, answer)
    draft.add_json(layout.DESCRIPTION, draft.description.json_data())
    add_crate(draft, surveyed, people(draft))
