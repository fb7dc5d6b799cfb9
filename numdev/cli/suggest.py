"""`numdev matrix suggest`: the smallest matrix that would settle what a run leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev import files
from numdev.cli import options
from numdev.cli.answering import chosen_run
from numdev.run import suggested
from numdev.run.runfile import answer_of, read_run
from numdev.spec.matrix import load_matrix
from numdev.store import Store


def suggest(
    run: Annotated[str | None, typer.Argument(help="The run's name; needed where the store has several.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else it is printed.")
    ] = None,
    store: options.StoreFolder = options.STORE,
) -> None:
    """Write the smallest matrix that would identify all factors of a run; its own cells are stored and do not run again."""
    note = Console(stderr=True, highlight=False)
    opened = Store.open(store)
    found = read_run(opened, chosen_run(opened, run))
    answer = answer_of(found, opened)
    cells = suggested.missing(answer)
    open_ = sorted({name for one in answer.workloads for name, each in one.factors.items() if each.not_identified})
    if not cells:
        why = f"Nothing that can be run would tell of {', '.join(open_)}" if open_ else "All factors are identified"
        note.print(f"{why}: there is no cell to add.", markup=False)
        return
    text = suggested.matrix_text(found, cells)
    note.print(f"{len(cells)} cells would tell of {', '.join(open_)}.", markup=False)
    if output is None:
        typer.echo(text, nl=False)
        return
    files.write_bytes(output, text.encode("ascii"))
    # What we have written must be what we can read.
    load_matrix(output)
    note.print(f"Run it in the same store: numdev matrix run {output} --store {store}", markup=False, soft_wrap=True)
