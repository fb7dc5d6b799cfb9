"""`numdev workload`: what there is to run."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from numdev import files
from numdev.cli import options
from numdev.spec.workload import DeclaredWorkload
from numdev.workloads import BUILTINS, Prepared, prepare

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_workloads() -> None:
    """List the built-in workloads."""
    table = Table("workload", "what it is", "licence", box=None, pad_edge=False)
    for name, builtin in BUILTINS.items():
        table.add_row(name, builtin.about, builtin.licence)
    Console(highlight=False).print(table)


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="A built-in workload.")], as_json: options.Json = False) -> None:
    """Show a workload's files and digests; it is fetched or made where it is missing."""
    prepared = _prepared(name)
    if as_json:
        typer.echo(json.dumps(prepared.json(), indent=1, sort_keys=True))
        return
    console = Console(highlight=False)
    console.print(f"{name}: {BUILTINS[name].about}", markup=False)
    for format, artefact in sorted(prepared.formats.items()):
        console.print(f"  {format:<6} {artefact.path.stat().st_size:>10} bytes  sha256 {artefact.sha256[:16]}...")
    if prepared.inputs:
        console.print(
            f"  inputs {prepared.inputs.path.stat().st_size:>10} bytes  sha256 {prepared.inputs.sha256[:16]}..."
        )
    for key, value in prepared.facts.items():
        console.print(f"  {key}: {value}", markup=False)
    console.print(f"  digest {prepared.digest}")


@app.command("fetch")
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Built-in workloads; all by default.")] = None,
) -> None:
    """Fetch workloads into the cache, so that later runs need no network."""
    console = Console(highlight=False)
    for name in names or list(BUILTINS):
        console.print(f"{name}: {_prepared(name).digest[:16]}", markup=False)


def _prepared(name: str) -> Prepared:
    declared = DeclaredWorkload(name="workload", builtin=name)
    note = Console(stderr=True, highlight=False)
    return prepare(declared, files.cache_dir(), files.cache_dir(), lambda line: note.print(line, markup=False))
