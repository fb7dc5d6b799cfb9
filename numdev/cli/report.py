"""`numdev report`: the answer again, from the store alone."""

from __future__ import annotations

from typing import Annotated

import typer

from numdev.cli import options
from numdev.cli.answering import chosen_run, finish
from numdev.run.runfile import read_run
from numdev.store import Store


def report(
    run: Annotated[str | None, typer.Argument(help="The run's name; needed where the store has several.")] = None,
    store: options.StoreFolder = options.STORE,
    as_json: options.Json = False,
    fail_on_deviation: options.FailOnDeviation = False,
) -> None:
    """Answer from stored results; nothing is run."""
    opened = Store.open(store)
    finish(read_run(opened, chosen_run(opened, run)), opened, as_json, fail_on_deviation)
