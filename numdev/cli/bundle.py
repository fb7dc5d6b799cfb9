"""`numdev bundle`: one run in one file, for papers and for people who have nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev import files
from numdev.bundle import create as creating
from numdev.bundle.layout import SUFFIX
from numdev.cli import options
from numdev.cli.answering import chosen_run
from numdev.cli.bundle_diff import diff
from numdev.cli.bundle_merge import merge
from numdev.cli.bundle_rerun import run_again
from numdev.cli.bundle_verify import sign, verify
from numdev.errors import InvalidInput, Problem
from numdev.store import Store

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("create")
def create(
    run: Annotated[str | None, typer.Argument(help="The run's name; needed where the store has several.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write; by default RUN.bundle.tar.", show_default=False),
    ] = None,
    models: Annotated[
        str, typer.Option(help="Which models and inputs are included: own, all or none. Others are named by hash.")
    ] = creating.OWN,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Include the Docker images, hundreds of megabytes each.")
    ] = False,
    title: Annotated[str, typer.Option(help="What the bundle is called in a citation.")] = "",
    author: Annotated[
        list[str] | None, typer.Option(help="An author, as 'Family, Given'; may be given several times.")
    ] = None,
    license: Annotated[str, typer.Option(help="An SPDX licence of the results, e.g. CC-BY-4.0.")] = "",
    doi: Annotated[str, typer.Option(help="The DOI under which it will be found.")] = "",
    date: Annotated[str, typer.Option(help="The bundle's day; by default that of the run.")] = "",
    store: options.StoreFolder = options.STORE,
) -> None:
    """Write one file with everything of a run; the same run gives the same bytes."""
    if models not in (creating.OWN, creating.ALL, creating.NONE):
        raise InvalidInput("The bundle cannot be made.", [Problem("--models", f"{models!r} is not own, all or none")])
    opened = Store.open(store)
    name = chosen_run(opened, run)
    path = out or Path(f"{name}{SUFFIX}")
    wanted = creating.Options(
        models=models,
        images=with_images,
        date=date,
        title=title,
        authors=tuple(author or ()),
        license=license,
        doi=doi,
    )
    note = Console(stderr=True, highlight=False)
    made = creating.create(
        opened, name, path, files.cache_dir(), wanted, lambda line: note.print(line, markup=False, soft_wrap=True)
    )
    console = Console(highlight=False)
    console.print(f"{made.path}: {made.cells} cells, {made.size} bytes.", markup=False, soft_wrap=True)
    console.print(f"Its digest, to be printed beside it: {made.digest}", markup=False, soft_wrap=True)
    for name, why in sorted(made.left_out.items()):
        console.print(f"Not in it: {name} ({why}).", markup=False, soft_wrap=True)


app.command("rerun")(run_again)
app.command("diff")(diff)
app.command("verify")(verify)
app.command("merge")(merge)
app.command("sign")(sign)
