"""`numdev import`: measurements of others, into a store of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev.cli import lines, options
from numdev.errors import LEFT_OUT, InvalidInput, Problem
from numdev.imports import import_unannticipated
from numdev.store import Store

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("unannticipated")
def unannticipated(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A checkout, a tar of it, or a folder of tars.")],
    store: options.StoreFolder = options.STORE,
    as_json: options.Json = False,
) -> None:
    """Import the published measurements of github.com/uibk-iNNference/unaNNticipated (NeurIPS 2023)."""
    if not path.exists():
        raise InvalidInput(
            f"{path} cannot be read.", [Problem(str(path), "does not exist", "name a checkout or a tar")]
        )
    report = import_unannticipated(path, Store.open(store, create=True))
    if as_json:
        typer.echo(json.dumps(report.json(), indent=1, sort_keys=True))
    else:
        console = Console(highlight=False)
        for line in report.lines():
            if "experiments/" in line:
                # A path that is cut in two cannot be copied.
                console.print(line, markup=False, soft_wrap=True)
            else:
                lines.wrapped(console, line.strip(), " " * (len(line) - len(line.lstrip())))
        for run in report.runs:
            console.print(f"numdev report {run.name} --store {store}", markup=False, soft_wrap=True)
    if report.left_out or not report.runs:
        note = Console(stderr=True, highlight=False)
        note.print(f"Not everything was imported: see above (exit code {LEFT_OUT}).")
        raise typer.Exit(LEFT_OUT)
