"""`numdev platform verify`: profiles beside QEMU's processors and beside the libraries' own knobs, operation by operation."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from numdev.cli import options
from numdev.cli.lines import say, wrapped
from numdev.errors import DEVIATION, InvalidInput, Problem
from numdev.files import cache_dir
from numdev.run import causes, oracle
from numdev.run.causes import Compared
from numdev.run.oracle import Checked
from numdev.spec.stack import load_stack

STACKS = ["numpy-2.4", "onnxruntime-1.32", "torch-2.13"]


def verify(
    profiles: Annotated[
        list[str] | None, typer.Argument(help="Of nehalem, sandybridge, haswell; all by default.")
    ] = None,
    stack: Annotated[
        list[str] | None, typer.Option("--stack", help="A stack whose libraries are tried; may be given again.")
    ] = None,
    leak: Annotated[
        str,
        typer.Option(
            "--leak",
            metavar="all|loader|model",
            help="Open a leak on purpose: show nothing, leave the system's loader out, or keep the real model. "
            "The check has to fail.",
        ),
    ] = "",
    images: options.Images = None,
    as_json: options.Json = False,
) -> None:
    """Compare what a profile shows with QEMU's processors in software, and with the libraries' own knobs.

    Each operation has equal bytes, or is listed with the reason. Ends with 5 where one has other bytes than QEMU and is not
    known to lean on approximate instructions.
    """
    wanted = list(dict.fromkeys(profiles or oracle.MODELS))
    oracle.check_profiles(wanted)
    if leak and leak not in oracle.LEAKS:
        known = f"there are: {', '.join(oracle.LEAKS)}"
        raise InvalidInput("There is no such leak.", [Problem("--leak", f"{leak!r} is unknown", known)])
    folder = options.images_folder(images)
    stacks = [load_stack(folder, name) for name in dict.fromkeys(stack or STACKS)]
    checked = [found for one in stacks for found in oracle.verify(one, wanted, cache_dir(), say, leak=leak)]
    if as_json:
        typer.echo(json.dumps([_data(one) for one in checked], indent=1, sort_keys=True))
    else:
        console = Console(highlight=False)
        for one in checked:
            _tell(console, one)
    if not all(one.agrees for one in checked):
        raise typer.Exit(DEVIATION)


def _tell(console: Console, one: Checked) -> None:
    same = sum(found.outcome == causes.SAME for found in one.qemu)
    wrapped(
        console, f"{one.profile}, {one.stack}: {same} of {len(one.qemu)} operations give the bytes of QEMU's processor."
    )
    _tell_others(console, one.qemu, "not equal")
    if one.no_knobs:
        wrapped(console, f"knobs: not tried: {one.no_knobs}", "  ")
        return
    same = sum(found.outcome == causes.SAME for found in one.knobs)
    wrapped(console, f"knobs: {same} of {len(one.knobs)} give the same bytes.", "  ")
    _tell_others(console, [found for found in one.knobs if found.outcome == causes.IGNORED], "cannot tell")
    _tell_others(console, [found for found in one.knobs if found.outcome != causes.IGNORED], "not equal")


def _tell_others(console: Console, found: list[Compared] | tuple[Compared, ...], title: str) -> None:
    others = [one for one in found if one.outcome != causes.SAME]
    for why in dict.fromkeys(one.why for one in others):
        names = ", ".join(one.operation for one in others if one.why == why)
        wrapped(console, f"{title}: {names}: {why}", "    ")


def _data(one: Checked) -> dict[str, object]:
    return {
        "profile": one.profile,
        "stack": one.stack,
        "agrees": one.agrees,
        "qemu": {found.operation: _outcome(found) for found in one.qemu},
        "knobs": {found.operation: _outcome(found) for found in one.knobs},
        **({"no_knobs": one.no_knobs} if one.no_knobs else {}),
    }


def _outcome(found: Compared) -> dict[str, str]:
    return {"outcome": found.outcome, **({"why": found.why} if found.why else {})}
