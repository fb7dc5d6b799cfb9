"""`numdev store`: whether what was stored is still what it was."""

from __future__ import annotations

import typer
from rich.console import Console

from numdev.cli import options
from numdev.errors import StoreFailed
from numdev.store import Store

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("verify")
def verify(store: options.StoreFolder = options.STORE) -> None:
    """Read everything in a store and compare it with the digests that name it."""
    opened = Store.open(store)
    problems = opened.verify()
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise StoreFailed(
            f"{store} is damaged: {len(problems)} problems.\n{listed}",
            remedy="Remove what is named and run the matrix again.",
        )
    count = sum(1 for _ in opened.records())
    Console(highlight=False).print(f"{store} is whole: {count} records, every tensor as it was written.", markup=False)
