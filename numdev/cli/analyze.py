"""`numdev analyze`: which factors the classes of a run follow from, and how much each explains."""

from __future__ import annotations

from typing import Annotated

import typer

from numdev.cli import options
from numdev.cli.answering import chosen_run, finish
from numdev.errors import InvalidInput, Problem
from numdev.report import print_attribution
from numdev.run.runfile import read_run
from numdev.store import Store

Factors = Annotated[
    list[str],
    typer.Option("--factor", "-f", metavar="NAME", help="A factor to attribute to; all others then count as one."),
]


def analyze(
    run: Annotated[str | None, typer.Argument(help="The run's name; needed where the store has several.")] = None,
    factor: Factors = [],  # noqa: B006
    store: options.StoreFolder = options.STORE,
    as_json: options.Json = False,
) -> None:
    """Attribute a run's classes to factors: alone, with others, by groups; what is open, and what would settle it."""
    opened = Store.open(store)
    found = read_run(opened, chosen_run(opened, run))
    known = ", ".join(found.order)
    unknown = [Problem(f"--factor {name}", "is no factor of this run", f"there are: {known}") for name in factor]
    if problems := [one for one, name in zip(unknown, factor, strict=True) if name not in found.factors]:
        raise InvalidInput(f"The run {found.matrix} cannot be analysed so.", sorted(set(problems)))
    finish(found, opened, as_json, False, show=print_attribution, factors=tuple(factor))
