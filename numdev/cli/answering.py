"""The end of `matrix run`, `report` and `analyze`: the answer, and the exit code that goes with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import typer
from rich.console import Console

from numdev.analysis import Answer
from numdev.errors import DEVIATION, INCOMPLETE, InvalidInput, Problem
from numdev.report import print_answer
from numdev.run.runfile import Run, answer_of, not_run
from numdev.store import Store


def chosen_run(store: Store, name: str | None) -> str:
    """The name of the run that is meant: the only one, where none is given."""
    if name is not None:
        return name
    runs = store.runs()
    if len(runs) != 1:
        known = ", ".join(runs) or "none"
        raise InvalidInput(
            f"{store.folder} has {len(runs)} runs.", [Problem("RUN", "not given", f"there are: {known}")]
        )
    return runs[0]


def finish(
    run: Run,
    store: Store,
    as_json: bool,
    fail_on_deviation: bool,
    show: Callable[[Answer, Console], None] = print_answer,
    factors: Sequence[str] = (),
) -> None:
    """Prints the answer and exits: 0 complete, 4 some cells have no result, 5 deviation where that was asked for.

    `show` prints it for people; `factors` are those to attribute to, all others then count as one.
    """
    answer = answer_of(run, store, factors)
    missing = not_run(run, store)
    if as_json:
        complete = answer.complete and not run.apart
        data = {**answer.json(), "complete": complete, "not_run": missing, "engine": run.engine, "matrix": run.matrix}
        typer.echo(json.dumps(data, indent=1, sort_keys=True))
    else:
        show(answer, Console(highlight=False))
    note = Console(stderr=True, highlight=False)
    if fail_on_deviation and answer.deviates:
        raise typer.Exit(DEVIATION)
    if missing or run.apart or not answer.complete:
        gaps = [f"{count} {status}" for status, count in sorted(answer.missing.items())]
        gaps += [f"{missing} not run"] if missing else []
        plural = "" if len(answer.refused) == 1 else "s"
        gaps += [f"{len(answer.refused)} profile{plural} that this host cannot show"] if answer.refused else []
        gaps += [f"{name} cannot run here" for name in sorted(run.apart)]
        note.print(f"The run is not complete: {', '.join(gaps)} (exit code {INCOMPLETE}).")
        raise typer.Exit(INCOMPLETE)
