"""`numdev bundle diff`: two bundles beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev.bundle import diff as differing
from numdev.bundle.reading import Bundle
from numdev.bundle.stranger import plain, tamed
from numdev.cli import options
from numdev.cli.bundle_told import tell
from numdev.cli.lines import wrapped
from numdev.errors import INCOMPLETE, OTHER_BITS


def diff(
    one: Annotated[Path, typer.Argument(metavar="A", help="A bundle.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="The bundle that is compared with it.")],
    as_json: options.Json = False,
) -> None:
    """Say what differs between two bundles: what was asked, on what it ran, and the classes of each cell; run nothing.

    Ends with 0 where all cells have the same bytes, with 13 where some have others, with 4 where cells cannot be compared.
    """
    with tamed(), Bundle(one) as first, Bundle(other) as second:
        found = differing.diff(first, second)
        descriptions = first.description, second.description
        names = [f"{letter}: {plain(bundle.where, 80)}" for letter, bundle in zip("AB", (first, second), strict=True)]
    if as_json:
        typer.echo(found.printed((first, second)).text())
    else:
        console = Console(highlight=False)
        for name, told in zip(names, descriptions, strict=True):
            wrapped(console, f"{name}, run {plain(told.run)} of {told.date}, numdev {plain(told.numdev, 40)}")
        for title, lines in (
            ("asked (A | B)", found.asked),
            ("platforms (the first is A's, the second B's)", found.platforms),
            ("cells", found.matched),
        ):
            if lines:
                console.print()
                console.print(title, markup=False)
                for line in lines:
                    wrapped(console, line, "  ")
        console.print()
        tell(console, found.compared, {"there": differing.A, "here": differing.B})
        for where, some in zip((differing.A, differing.B), found.only, strict=True):
            if some:
                console.print()
                more = f" and {len(some) - 8} more" if len(some) > 8 else ""
                wrapped(console, f"only {where}: {', '.join(plain(name) for name in some[:8])}{more}")
    if found.compared.deviates:
        raise typer.Exit(OTHER_BITS)
    if not found.same:
        raise typer.Exit(INCOMPLETE)
