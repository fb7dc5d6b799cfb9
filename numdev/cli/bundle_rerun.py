"""`numdev bundle rerun`: a bundle's cells once more, here."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev import __version__, cpu, files
from numdev.bundle import groups, layout, printed, rerun, workspace
from numdev.bundle.compared import Compared, Pair, compare, tables
from numdev.bundle.reading import Bundle
from numdev.bundle.sides import of_bundle, of_run
from numdev.bundle.stranger import plain, tamed, whole
from numdev.cli import options
from numdev.cli.bundle_told import tell
from numdev.cli.lines import wrapped
from numdev.cli.progress import Live
from numdev.engines import Engine, open_engine
from numdev.errors import INCOMPLETE, OTHER_BITS, EngineUnavailable, InvalidInput, Problem
from numdev.run import execute, materials, plan, resolve, runfile, told
from numdev.spec.select import selector
from numdev.store import Record, Store

THERE, HERE = "there", "here"
_ISOLATED = "docker"
_CAPTURE = re.compile(r"platforms/[0-9a-f]{64}\.json")


@dataclass(frozen=True)
class Rerun:
    """A bundle run again: what became of its cells, of how many, and what is to be said of the run."""

    compared: Compared
    left_out: int
    uncovered: list[str]
    runs: int
    engine: str
    store: Path | None
    notes: list[str]


def run_again(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")],
    select: Annotated[
        str | None,
        typer.Option("-k", metavar="EXPRESSION", help="Only cells that match, e.g. 'haswell and not torch'."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", min=1, help="At most so many cells, of every class and level if it can be."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One run of a cell, however many were recorded.")] = False,
    jobs: options.Jobs = options.JOBS,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", "-e", help="docker, which isolates; or local, which does not and is never taken unasked."
        ),
    ] = _ISOLATED,
    store: Annotated[
        Path | None, typer.Option("--store", "-s", help="Keep the results in this store.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--workspace", help="Lay the bundle out in this new folder, and keep it.", show_default=False),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="A folder with the models that were left out; found by SHA-256.", show_default=False),
    ] = None,
    allow_dockerfile: Annotated[
        bool, typer.Option("--allow-dockerfile", help="Build stacks that are Dockerfiles: a stranger's commands.")
    ] = False,
    allow_programs: Annotated[
        bool, typer.Option("--allow-programs", help="On the local engine, run the bundle's own programs, too.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Run a bundle's cells here, this host shown as the recorded CPU, and say: the same class, or another and why.

    Ends with 0 where all give the recorded bytes, with 13 where some give others, with 4 where that cannot be told of some.
    """
    with tamed(), Bundle(file) as bundle:
        whole(bundle, (layout.DESCRIPTION, layout.RUN, layout.CELLS, layout.FACTS))
        cache = files.cache_dir()
        kept = workspace.empty(folder) if folder else _temporary(cache)
        try:
            laid = workspace.lay_out(bundle, kept, models)
            wanted = selector(select) if select else lambda cell: True
            ready = rerun.made_ready(
                bundle, laid, cache, _say, select=wanted, most=sample, once=once, dockerfiles=allow_dockerfile
            )
            place = store or kept / "store"
            done = _run(bundle, ready, engine, place, jobs, allow_programs)
            _finish(bundle, done, as_json, place if store or folder else None)
        except KeyboardInterrupt:
            if not folder and not store:
                _say("What was finished is not kept: name a store with --store to go on from there.")
            raise
        finally:
            if not folder:
                shutil.rmtree(kept, ignore_errors=True)
    if done.compared.deviates:
        raise typer.Exit(OTHER_BITS)
    if not done.compared.complete:
        raise typer.Exit(INCOMPLETE)


def _temporary(cache: Path) -> Path:
    """A folder on the disk of the cache rather than in a small /tmp."""
    with files.storage_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=cache, prefix="rerun-"))


def _say(line: str) -> None:
    Console(stderr=True, highlight=False).print(plain(line, 2000), markup=False, soft_wrap=True)


def opened(name: str, ready: rerun.Ready, programs: bool) -> Engine:
    """The engine; raises InvalidInput where a stranger's programs would run without isolation and nobody said so."""
    if name not in (_ISOLATED, "local"):
        raise InvalidInput(
            "There is no such engine for bundles.", [Problem("--engine", f"{name!r} is not docker or local")]
        )
    if name == _ISOLATED:
        try:
            return open_engine(name, files.cache_dir())
        except EngineUnavailable as error:
            remedy = f"{error.remedy} A stranger's models are not run without isolation unless you ask for it: --engine local."
            raise EngineUnavailable(error.what, error.why, remedy.strip()) from None
    resolved = ready.resolved
    own = sorted(
        {
            cell.workload
            for cell in ready.cells.values()
            if resolved and (resolved.workloads[cell.workload].command or resolved.workloads[cell.workload].entry)
        }
    )
    if own and not programs:
        raise InvalidInput(
            "The bundle has programs of its own.",
            [Problem(workload, "is a program, which the local engine runs as you") for workload in own],
            "Use the Docker engine, which isolates; or read the programs, then allow them with --allow-programs.",
        )
    _say(
        "The local engine isolates nothing: the bundle's models run as processes of yours, which can read your files and use "
        "the network."
    )
    variables = sorted({key for cell in ready.cells.values() for key in cell.factors if key.startswith("env.")})
    if variables:
        _say(f"The bundle sets variables of their environment: {', '.join(key[4:] for key in variables)}.")
    return open_engine(name, files.cache_dir())


def _run(bundle: Bundle, ready: rerun.Ready, engine: str, place: Path, jobs: int, programs: bool) -> Rerun:
    """Runs what can be run and compares all that was chosen."""
    here: dict[int, list[Record]] = {}
    second, runs, notes = None, 0, list(ready.notes)
    name = "none, for nothing can be run"
    if ready.resolved is not None:
        chosen = opened(engine, ready, programs)
        resolved, cells, name = ready.resolved, ready.cells, chosen.name
        made = resolve.environments(resolved, sorted({cell.software for cell in cells.values()}), chosen, _say)
        kept = Store.open(place, create=True)
        found = plan.make_plan(resolved, made, kept, select=lambda cell: id(cell) in cells)
        for line in [*notes, *told.rungs(resolved)]:
            _say(line)
        if found.stored:
            notes.append(f"{len(found.stored)} results were in {place} already: they are not of this run.")
        described = runfile.make_run(resolved, found, chosen.facts())
        total = sum(len(group.items) for group in found.groups)
        stacks = ", ".join(sorted({item.cell.software for item in found.items}))
        _say(
            f"{len(cells)} cells, {total} runs on the {name} engine, stacks {stacks}; each ends after "
            f"{resolved.matrix.limits.timeout}."
        )
        with Live(total, len(found.stored), len(found.refused)) as live:
            progress = execute.Progress(
                live.started,
                lambda item, record: live.ended(item, _tame(record)),
                lambda line: live.said(plain(line, 2000)),
            )
            execute.Execution(resolved, chosen, made, kept, files.cache_dir(), progress).run(found, jobs)
        described = materials.kept(described, resolved, found, kept)
        kept.write_run(described.matrix, described.model_dump(mode="json"))
        for item in found.items:
            here.setdefault(id(item.cell), []).append(_named(kept.record(item.digest)))
        runs = len(found.items)
        second = of_run(bundle, resolved, kept, HERE)
    first = of_bundle(bundle, THERE)
    pairs = [
        Pair(
            one.group.label(),
            one.group.workload,
            one.group.factors,
            one.group.records(bundle),
            here.get(id(one.cell), []) if one.cell else [],
            one.why,
        )
        for one in ready.wanted
    ]
    compared = compare(pairs, (first, second or first))
    notes += tables(pairs, (first, second or first))
    left = groups.uncovered(
        [*(one.group for one in ready.wanted), *ready.left_out], [one.group for one in ready.wanted]
    )
    return Rerun(compared, len(ready.left_out), left, runs, name, place, notes)


def _named(record: Record) -> Record:
    """The record with the recorded processor called that, and not by the name of its capture."""
    return record.model_copy(update={"reason": _CAPTURE.sub("of the recorded processor", record.reason)})


def _tame(record: Record) -> Record:
    return record.model_copy(update={"reason": plain(record.reason, 300)})


def _finish(bundle: Bundle, done: Rerun, as_json: bool, store: Path | None) -> None:
    description = bundle.description
    if as_json:
        data = printed.Rerun(
            version=1,
            bundle=description.printed(bundle.digest),
            numdev=__version__,
            engine=done.engine,
            platform=cpu.host().facts(),
            runs=done.runs,
            left_out=done.left_out,
            uncovered=done.uncovered,
            notes=done.notes,
            **dict(done.compared.printed()),
        )
        typer.echo(data.text())
        return
    console = Console(highlight=False)
    recorded = f"run {plain(description.run)} of {description.date}, numdev {plain(description.numdev, 40)}"
    wrapped(console, f"{plain(bundle.where, 80)}: {recorded}, engine {_engine(bundle)}; there: {_brands(bundle)}")
    wrapped(console, f"here: {cpu.host().brand}, numdev {__version__}, engine {done.engine}; {done.runs} runs")
    for note in done.notes:
        wrapped(console, plain(note, 600))
    tell(console, done.compared, {THERE: THERE, HERE: HERE})
    if done.left_out:
        without = f"; none of {', '.join(plain(one, 100) for one in done.uncovered[:8])}" if done.uncovered else ""
        wrapped(console, f"{done.left_out} cells of the bundle were not chosen{without}.")
    if store:
        wrapped(console, f"The results are in {store}.")


def _engine(bundle: Bundle) -> str:
    return plain(bundle.run.engine.get("engine", "unknown"), 40)


def _brands(bundle: Bundle) -> str:
    facts = [value for value in bundle.facts.values() if isinstance(value, dict) and "platform" in value]
    brands = {str(one["platform"].get("brand", "")) for one in facts if isinstance(one["platform"], dict)}
    return ", ".join(plain(brand, 60) for brand in sorted(brands) if brand) or "a processor that is not named"
