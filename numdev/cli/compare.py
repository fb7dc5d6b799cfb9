"""`numdev compare`: two files, two stored cells or two runs against each other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev.analysis.comparison import Limits
from numdev.cli import options
from numdev.errors import DEVIATION, INCOMPLETE, InvalidInput, Problem
from numdev.report.comparison import print_comparison
from numdev.run import compared
from numdev.spec.correspondence import load_correspondence


def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="A .npy or .npz file, a record's digest, or a run.")],
    other: Annotated[str, typer.Argument(metavar="B", help="What is compared with it; of the same kind.")],
    store: options.StoreFolder = options.STORE,
    as_json: options.Json = False,
    fail_on_deviation: Annotated[
        bool, typer.Option("--fail-on-deviation", help="Exit with 5 where any type, shape or byte differs.")
    ] = False,
    max_ulp: Annotated[
        int | None, typer.Option("--max-ulp", min=0, help="Exit with 5 beyond this ULP distance.")
    ] = None,
    max_abs: Annotated[float | None, typer.Option("--max-abs", help="Exit with 5 beyond this |B - A|.")] = None,
    max_rel: Annotated[float | None, typer.Option("--max-rel", help="Exit with 5 beyond this |B - A| / |A|.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, max=1000, help="How many of the largest scores.")] = 5,
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Files' uint16 are the bits of bfloat16.")] = False,
    by: Annotated[
        Path | None, typer.Option("--by", metavar="FILE", help="Match runs' cells as FILE says; compare partitions.")
    ] = None,
) -> None:
    """Say how B deviates from A; a run or a cell of another store is STORE:NAME."""
    problems = [
        Problem(name, f"{value} is no size", "give a number from 0 upwards")
        for name, value in (("--max-abs", max_abs), ("--max-rel", max_rel))
        if value is not None and not (value >= 0 and math.isfinite(value))
    ]
    limits = Limits(max_abs=max_abs, max_rel=max_rel, max_ulp=max_ulp)
    if by is not None and limits.given:
        problems.append(Problem("--by", "compares which cells are alike, not sizes", "leave the limits out"))
    if problems:
        raise InvalidInput("A limit is not what it should be.", problems)
    matching = None if by is None else load_correspondence(by)
    sides = compared.find(one, store, bfloat16), compared.find(other, store, bfloat16)
    if matching is None:
        found = compared.compare(*sides, limits, top_k)
    else:
        found = compared.match(*sides, matching, str(by))
    if as_json:
        typer.echo(json.dumps(found.json(), indent=1, sort_keys=True, allow_nan=False))
    else:
        print_comparison(found, Console(highlight=False))
    if found.exceeded or (fail_on_deviation and found.deviates):
        raise typer.Exit(DEVIATION)
    if not found.complete:
        raise typer.Exit(INCOMPLETE)
