"""The end of `matrix run` and `report`: the answer, and the exit code that goes with it."""

from __future__ import annotations

import json
from collections import Counter

import typer
from rich.console import Console

from numdev.errors import DEVIATION, INCOMPLETE
from numdev.report import print_answer
from numdev.run.runfile import Run, answer_of, not_run
from numdev.store import Store


def finish(run: Run, store: Store, as_json: bool, fail_on_deviation: bool) -> None:
    """Prints the answer and exits: 0 complete, 4 some cells have no result, 5 deviation where that was asked for."""
    answer = answer_of(run, store)
    missing = not_run(run, store)
    if as_json:
        data = {**answer.json(), "not_run": missing, "engine": run.engine, "matrix": run.matrix}
        typer.echo(json.dumps(data, indent=1, sort_keys=True))
    else:
        print_answer(answer, Console(highlight=False))
    note = Console(stderr=True, highlight=False)
    if missing:
        note.print(f"{missing} cells of this run have not been run; run the matrix again to go on.")
    if fail_on_deviation and answer.deviates:
        raise typer.Exit(DEVIATION)
    if missing or not answer.complete:
        gaps = Counter(answer.missing)
        counted = ", ".join(f"{count} {status}" for status, count in sorted(gaps.items()))
        note.print(f"The run is not complete ({counted or 'cells are missing'}): exit code {INCOMPLETE}.")
        raise typer.Exit(INCOMPLETE)
