"""`numdev mitigate`: the fewest pins that make a matrix's results the same, tried and verified."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from numdev import files
from numdev.cli import matrix as matrices
from numdev.cli import options
from numdev.cli.lines import say
from numdev.cli.matrix import File, Select
from numdev.cli.progress import Live
from numdev.errors import INCOMPLETE
from numdev.report.mitigation import print_mitigations
from numdev.run import execute
from numdev.run.mitigate import Mitigation
from numdev.run.plan import Plan
from numdev.run.resolve import Resolved
from numdev.spec.select import selector


def mitigate(
    matrix: File,
    stack: Annotated[
        list[str] | None,
        typer.Option("--stack", metavar="NAME", help="Only this stack of the matrix; may be repeated."),
    ] = None,
    jobs: options.Jobs = options.JOBS,
    select: Select = None,
    engine: options.Engine = "auto",
    store: options.StoreFolder = options.STORE,
    images: options.Images = None,
    retry: options.Retry = False,
    as_json: options.Json = False,
) -> None:
    """Try what could make results the same on all profiles and threads of a matrix, and verify it by running it.

    For each workload and stack: every pin alone, all together, and the fewest that leave one class, with what they cost.
    Ctrl-C stops cleanly, running again goes on.
    """
    chosen = " or ".join(f"stack={name}" for name in stack or [])
    expression = " and ".join(f"({one})" for one in (select, chosen) if one)
    resolved, used, made, opened = matrices.prepared(matrix, images, engine, store, expression or None)
    cache = files.cache_dir()

    def run(part: Resolved, plan: Plan, what: str) -> None:
        total = sum(len(group.items) for group in plan.groups)
        if total:
            say(what)
        # An engine has stopped for good when what it was opened for is done.
        current, _ = matrices.choose_engine(used.name, cache)
        with Live(total, 0, len(plan.refused)) as live:
            progress = execute.Progress(live.started, live.ended, live.said)
            execute.Execution(part, current, made, opened, cache, progress).run(plan, jobs)

    wanted = selector(expression) if expression else lambda cell: True
    answer = Mitigation(resolved, made, opened, run, wanted, retry).answer()
    if as_json:
        data = {**answer.json(), "engine": used.facts()}
        typer.echo(json.dumps(data, indent=1, sort_keys=True))
    else:
        print_mitigations(answer, Console(highlight=False))
    if not answer.complete:
        gaps = [f"{len(answer.refused)} profiles that this host cannot show"] if answer.refused else []
        gaps += ["cells without a result"] if any(one.without for one in answer.subjects) else []
        say(f"The run is not complete: {', '.join(gaps) or 'cells without a result'} (exit code {INCOMPLETE}).")
        raise typer.Exit(INCOMPLETE)
