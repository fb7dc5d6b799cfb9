"""The end of `matrix run` and `report`: the answer, and the exit code that goes with it."""

from __future__ import annotations

import json

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
        complete = answer.complete and not run.apart
        data = {**answer.json(), "complete": complete, "not_run": missing, "engine": run.engine, "matrix": run.matrix}
        typer.echo(json.dumps(data, indent=1, sort_keys=True))
    else:
        print_answer(answer, Console(highlight=False))
    note = Console(stderr=True, highlight=False)
    if fail_on_deviation and answer.deviates:
        raise typer.Exit(DEVIATION)
    if missing or run.apart or not answer.complete:
        gaps = [f"{count} {status}" for status, count in sorted(answer.missing.items())]
        gaps += [f"{missing} not run"] if missing else []
        plural = "" if len(answer.refused) == 1 else "s"
        gaps += [f"{len(answer.refused)} profile{plural} that this host cannot show"] if answer.refused else []
        gaps += [f"{architecture} cannot run here" for architecture in sorted(run.apart)]
        note.print(f"The run is not complete: {', '.join(gaps)} (exit code {INCOMPLETE}).")
        raise typer.Exit(INCOMPLETE)
