"""`numdev trace`: the layer in which cells part, and what becomes of the deviation after it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from numdev.cli import options
from numdev.cli.answering import chosen_run
from numdev.errors import DEVIATION, INCOMPLETE
from numdev.report.trace import print_trace
from numdev.run.runfile import read_run
from numdev.run.traced import trace_of
from numdev.store import Store


def trace(
    run: Annotated[str | None, typer.Argument(help="The run's name; needed where the store has several.")] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--between",
            metavar="A B",
            help="Only these two cells, each by an expression as -k takes it.",
            show_default=False,
        ),
    ] = None,
    workload: Annotated[str, typer.Option("--workload", "-w", help="Only this workload.", show_default=False)] = "",
    store: options.StoreFolder = options.STORE,
    as_json: options.Json = False,
    fail_on_deviation: options.FailOnDeviation = False,
) -> None:
    """Say which layer of a model differs first between cells, and how the deviation then grows; the matrix needs `tap: layers`."""
    opened = Store.open(store)
    found = trace_of(read_run(opened, chosen_run(opened, run)), opened, between or (), workload)
    if as_json:
        typer.echo(json.dumps(found.json(), indent=1, sort_keys=True, allow_nan=False))
    else:
        print_trace(found, Console(highlight=False))
    if fail_on_deviation and found.deviates:
        raise typer.Exit(DEVIATION)
    if not found.complete:
        note = Console(stderr=True, highlight=False)
        note.print(f"Not every cell's layers are known (exit code {INCOMPLETE}).")
        raise typer.Exit(INCOMPLETE)
