"""`numdev matrix`: check, plan, run, suggest, schema."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from numdev import files
from numdev.cli import options
from numdev.cli.answering import finish
from numdev.cli.progress import Live
from numdev.cli.suggest import suggest
from numdev.engines import Engine, choose_engine, open_engine
from numdev.errors import InvalidInput, NoBase, Problem
from numdev.run import execute, identities, materials, plan, resolve, runfile, told
from numdev.spec.cell import Cell
from numdev.spec.matrix import load_matrix, schema
from numdev.spec.select import selector
from numdev.store import Store

app = typer.Typer(no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="The matrix file.", metavar="MATRIX")]
Select = Annotated[
    str | None,
    typer.Option("-k", metavar="EXPRESSION", help="Only cells that match, e.g. 'haswell and not torch'."),
]


def _everything(cell: Cell) -> bool:
    return True


@app.command("check")
def check(matrix: File, images: options.Images = None) -> None:
    """Say whether a matrix is valid, and all that is wrong with it; run nothing."""
    loaded = load_matrix(matrix)
    folder = options.images_folder(images, matrix)
    resolved = resolve.resolve(loaded, folder, files.cache_dir(), _say, make=False)
    console = Console(highlight=False)
    console.print(
        f"{matrix} is valid: {len(loaded.cells)} cells x {loaded.repeats} repeats, "
        f"{len(loaded.workloads)} workloads, {len({stack.name for stack in resolved.stacks.values()})} stacks.",
        markup=False,
    )
    for line in _refused(resolved):
        console.print(line, markup=False)


@app.command("plan")
def show_plan(
    matrix: File,
    select: Select = None,
    store: options.StoreFolder = options.STORE,
    images: options.Images = None,
) -> None:
    """Show what would run, by image and profile, and what is stored already; run and make nothing."""
    console = Console(highlight=False)
    wanted = selector(select) if select else _everything
    loaded = load_matrix(matrix)
    cache = files.cache_dir()
    resolved = resolve.resolve(loaded, options.images_folder(images, matrix), cache, _say, make=False)
    made = resolve.known_environments(resolved, sorted(resolved.stacks), cache)
    opened = Store.open(store) if (store / "numdev-store.json").exists() else None
    result = plan.make_plan(resolved, made, opened, select=wanted)
    profile = Column("profile", overflow="fold")
    table = Table("stack", profile, "to run", "stored", "refused", box=None, pad_edge=False)
    rows: dict[tuple[str, str], Counter[str]] = {}
    for item in result.items:
        profile = f"{item.cell.profile} emulated" if item.cell.emulated else item.cell.profile
        row = rows.setdefault((item.cell.software, profile), Counter())
        row["stored" if item.digest in result.stored else "refused" if item.refusal else "run"] += 1
    for (stack, profile), row in rows.items():
        table.add_row(stack, profile, *(str(row[key] or "-") for key in ("run", "stored", "refused")))
    console.print(table)
    running = sum(len(group.items) for group in result.groups)
    console.print(
        f"{running} to run in {len(result.groups)} containers, {len(result.stored)} stored, "
        f"{len(result.refused)} cannot run here.",
        markup=False,
    )
    for line in [*told.rungs(resolved), *_refused(resolved)]:
        console.print(line, markup=False)
    others = Counter(item.refusal for item in result.refused if item.cell.profile not in resolved.refused)
    for reason, count in others.items():
        console.print(f"{count} x {reason}", markup=False)
    if absent := [name for name, environment in made.items() if not (environment.digest or environment.refusal)]:
        console.print(f"Stacks that will be made first: {', '.join(absent)}.", markup=False)
    if absent := [name for name, workload in resolved.workloads.items() if not workload.digest]:
        console.print(f"Workloads that will be fetched or made first: {', '.join(absent)}.", markup=False)


@app.command("run")
def run(
    matrix: File,
    jobs: options.Jobs = options.JOBS,
    select: Select = None,
    engine: options.Engine = "auto",
    store: options.StoreFolder = options.STORE,
    images: options.Images = None,
    retry: options.Retry = False,
    as_json: options.Json = False,
    fail_on_deviation: options.FailOnDeviation = False,
) -> None:
    """Run what is not stored yet, then answer. Ctrl-C stops cleanly; running again goes on."""
    resolved, chosen, made, opened = prepared(matrix, images, engine, store, select)
    wanted = selector(select) if select else _everything
    result = plan.make_plan(resolved, made, opened, select=wanted, retry=retry)
    described = runfile.make_run(resolved, result, chosen.facts())
    total = sum(len(group.items) for group in result.groups)
    with Live(total, len(result.stored), len(result.refused)) as live:
        progress = execute.Progress(live.started, live.ended, live.said)
        execute.Execution(resolved, chosen, made, opened, files.cache_dir(), progress).run(result, jobs)
    described = materials.kept(described, resolved, result, opened)
    opened.write_run(described.matrix, described.model_dump(mode="json"))
    finish(described, opened, as_json, fail_on_deviation)


app.command("suggest")(suggest)


@app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of matrix files, for editors."""
    typer.echo(json.dumps(schema(), indent=1, sort_keys=True))


def _say(line: str) -> None:
    Console(stderr=True, highlight=False).print(line, markup=False, soft_wrap=True)


def prepared(
    matrix: Path, images: Path | None, engine: str, store: Path, select: str | None
) -> tuple[resolve.Resolved, Engine, dict[str, resolve.Environment], Store]:
    """Everything before the first cell; says on standard error what it settled on."""
    loaded = load_matrix(matrix)
    wanted = selector(select) if select else _everything
    folder = options.images_folder(images, matrix)
    cache = files.cache_dir()
    resolved = resolve.resolve(loaded, folder, cache, _say)
    chosen, why = choose_engine(engine, cache)
    if why:
        _say(why)
    cells = [cell for cell in loaded.cells if wanted(cell)]
    if not cells:
        raise InvalidInput("Nothing matches.", [Problem(f"-k {select!r}", f"none of {len(loaded.cells)} cells")])
    cells += plan.reference_cells(resolved, cells)
    names = sorted({cell.software for cell in cells})
    try:
        made = resolve.environments(resolved, names, chosen, _say)
    except NoBase as error:
        if engine != "auto":
            raise
        _say(f"{error.what} Running on the local engine instead, without any isolation. {error.remedy}")
        chosen = open_engine("local", cache)
        made = resolve.environments(resolved, names, chosen, _say)
    _say(
        f"{loaded.name}: {len(cells)} cells on the {chosen.name} engine, stacks {', '.join(_runnable(made))}; "
        f"this processor: {resolved.host.brand} ({resolved.host.simd})."
    )
    for line in [*told.rungs(resolved), *_refused(resolved)]:
        _say(line)
    for name, environment in sorted(made.items()):
        if environment.refusal:
            _say(f"Cannot run here: {name} ({environment.refusal}).")
    return resolved, chosen, made, Store.open(store, create=True)


def _runnable(made: dict[str, resolve.Environment]) -> list[str]:
    return sorted(name for name, environment in made.items() if not environment.refusal) or ["none"]


def _refused(resolved: resolve.Resolved) -> list[str]:
    """The profiles that this host cannot show, or not whole, a line for each reason."""
    lines = []
    for what, why in (
        ("Cannot be shown here", identities.fewest(resolved.refused)),
        ("Shown without what this host lacks", identities.lowered({**resolved.emulated, **resolved.profiles})),
    ):
        for reason in dict.fromkeys(why.values()):
            lines.append(f"{what}: {', '.join(name for name in why if why[name] == reason)} ({reason}).")
    return lines
