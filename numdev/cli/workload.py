"""`numdev workload`: what there is to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from numdev import files
from numdev.cli import options
from numdev.errors import InvalidInput, Problem
from numdev.spec.workload import SUFFIXES, DeclaredWorkload
from numdev.workloads import BUILTINS, Prepared, model_file, prepare

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_workloads() -> None:
    """List the built-in workloads."""
    table = Table("workload", "what it is", "licence", box=None, pad_edge=False)
    for name, builtin in BUILTINS.items():
        table.add_row(name, builtin.about, builtin.licence)
    Console(highlight=False).print(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A built-in workload, or the path of a model.", metavar="NAME|PATH")],
    as_json: options.Json = False,
) -> None:
    """Show a workload's files and digests; a built-in is fetched or made where it is missing."""
    prepared = _own(Path(name)) if _is_path(name) else _prepared([name])[0]
    if as_json:
        typer.echo(json.dumps(prepared.json(), indent=1, sort_keys=True))
        return
    console = Console(highlight=False)
    about = BUILTINS[name].about if name in BUILTINS else "a model of your own"
    console.print(f"{name}: {about}", markup=False)
    for format, artefact in sorted(prepared.formats.items()):
        console.print(f"  {format:<11} {artefact.path.stat().st_size:>10} bytes  sha256 {artefact.sha256[:16]}...")
    if prepared.inputs:
        console.print(
            f"  inputs      {prepared.inputs.path.stat().st_size:>10} bytes  sha256 {prepared.inputs.sha256[:16]}..."
        )
    for key, value in prepared.facts.items():
        console.print(f"  {key}: {value}", markup=False)
    if prepared.digest:
        console.print(f"  digest {prepared.digest}")


@app.command("fetch")
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Built-in workloads; all by default.")] = None,
) -> None:
    """Fetch workloads into the cache, so that later runs need no network."""
    console = Console(highlight=False)
    for prepared in _prepared(names or list(BUILTINS)):
        console.print(f"{prepared.name}: {prepared.digest[:16]}", markup=False)


def _is_path(name: str) -> bool:
    return name not in BUILTINS and ("/" in name or name.endswith(tuple(SUFFIXES)) or Path(name).is_file())


def _own(path: Path) -> Prepared:
    """A model by itself: without inputs it is no workload yet, and has no digest as one."""
    found = [format for suffix, format in SUFFIXES.items() if path.name.endswith(suffix)]
    return Prepared(str(path), {found[0] if found else "model": model_file(path)}, facts={"source": "the user's own"})


def _prepared(names: list[str]) -> list[Prepared]:
    unknown = [Problem(repr(name), "unknown workload") for name in names if name not in BUILTINS]
    if unknown:
        remedy = f"There are: {', '.join(BUILTINS)}. `show` also takes the path of a model."
        raise InvalidInput("There is no such built-in workload.", unknown, remedy)
    note = Console(stderr=True, highlight=False)
    cache = files.cache_dir()
    return [
        prepare(DeclaredWorkload(name=name, builtin=name), cache, cache, lambda line: note.print(line, markup=False))
        for name in names
    ]
