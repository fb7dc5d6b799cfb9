"""`numdev platform record` and `replay`: a machine kept as a file, and this host shown as that machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev import cpu
from numdev.cli import options
from numdev.cli.lines import say, wrapped
from numdev.cpu.machine import read_record
from numdev.errors import OTHER_BITS, InvalidInput, Problem
from numdev.files import cache_dir
from numdev.run import causes, machine
from numdev.spec.stack import load_stack

STACKS = ["numpy-2.4", "onnxruntime-1.32"]
_TITLES = {
    causes.DISPATCH: "other bits by dispatch: the libraries chose otherwise",
    causes.SILICON: "other bits by silicon: the same dispatch, processors that compute differently",
    causes.SYSTEM: "other bits, perhaps by the system: the same dispatch, another libc or Python",
    causes.UNEXPLAINED: "other bits, unexplained",
    causes.EMULATOR: "other bits by the recorded emulator's own mistake",
    causes.GONE: "not compared",
}


def record(
    file: Annotated[Path, typer.Argument(help="The file to write, for example machine.json.")],
    stack: Annotated[list[str] | None, typer.Option("--stack", help="A stack to run; may be given again.")] = None,
    emulated: Annotated[
        str, typer.Option("--emulated", metavar="MODEL", help="A processor of QEMU's instead of this machine's.")
    ] = "",
    images: options.Images = None,
) -> None:
    """Write this machine to a file: its capture, and the digests of a battery of operations on its real processor.

    It names no host. `numdev platform replay` compares another machine with it; it is a profile, too.
    """
    folder = options.images_folder(images)
    stacks = [load_stack(folder, name) for name in dict.fromkeys(stack or STACKS)]
    made = machine.record(stacks, cache_dir(), say, emulated)
    made.write(file)
    console = Console(highlight=False)
    brand = cpu.Host(made.capture.leaves, "").brand
    for line in [
        f"{file}: {brand}; fingerprint of {', '.join(made.capture.fingerprint)}.",
        *(f"{name}: {len(one.operations)} operations; {_chosen(one.dispatch)}" for name, one in made.stacks.items()),
    ]:
        wrapped(console, line)


def replay(
    file: Annotated[Path, typer.Argument(help="A record that `numdev platform record` wrote.")],
    stack: Annotated[
        list[str] | None, typer.Option("--stack", help="Only this stack of the record's; may be given again.")
    ] = None,
    images: options.Images = None,
    as_json: options.Json = False,
) -> None:
    """Show this host as a recorded machine, run the same battery, and compare the bytes of each operation.

    Ends with 0 where all are the same, else with 13.
    """
    kept = read_record(file)
    wanted = list(dict.fromkeys(stack or sorted(kept.stacks)))
    if unknown := [name for name in wanted if name not in kept.stacks]:
        there = f"it has {', '.join(sorted(kept.stacks))}"
        raise InvalidInput(
            "The record has no such stack.", [Problem(name, "was not recorded", there) for name in unknown]
        )
    folder = options.images_folder(images)
    stacks = [load_stack(folder, name) for name in wanted]
    # A name without a slash or suffix would be looked up in the catalogue.
    name = str(file) if "/" in str(file) else f"./{file}"
    done = machine.replay(kept, name, stacks, cache_dir(), say)
    if as_json:
        typer.echo(json.dumps(_data(done), indent=1, sort_keys=True))
    else:
        _tell(done, cpu.Host(kept.capture.leaves, "").brand, bool(kept.capture.fingerprint))
    if not done.same:
        raise typer.Exit(OTHER_BITS)


def _tell(done: machine.Replay, brand: str, fingerprint: bool) -> None:
    console = Console(highlight=False)
    how = {cpu.CPUID: "by CPUID faulting", cpu.REWRITE: "by rewriting CPUID in memory"}[done.shown.rung]
    dropped = f", without {', '.join(done.shown.dropped)}" if done.shown.dropped else ""
    wrapped(console, f"recorded: {brand}; shown here, on {cpu.host().brand}, {how}{dropped}")
    if not fingerprint:
        wrapped(console, "silicon: not compared, for the record has no fingerprint")
    elif done.silicon:
        wrapped(console, f"silicon differs: {', '.join(done.silicon)}; what leans on them cannot be shown")
    else:
        wrapped(console, "silicon: the same fingerprint")
    for stack in dict.fromkeys(one.stack for one in done.compared):
        mine = [one for one in done.compared if one.stack == stack]
        same = sum(one.outcome == causes.SAME for one in mine)
        wrapped(console, f"{stack}: {same} of {len(mine)} operations give the recorded bits.")
        for outcome, title in _TITLES.items():
            if found := [one for one in mine if one.outcome == outcome]:
                wrapped(console, title, "  ")
                for why in dict.fromkeys(one.why for one in found):
                    names = ", ".join(one.operation for one in found if one.why == why)
                    wrapped(console, f"{names}: {why}", "    ")
        if done.new[stack]:
            wrapped(console, f"not in the record: {', '.join(done.new[stack])}", "  ")


def _data(done: machine.Replay) -> dict[str, object]:
    operations: dict[str, dict[str, dict[str, str]]] = {}
    for one in done.compared:
        told = {"outcome": one.outcome, **({"why": one.why} if one.why else {})}
        operations.setdefault(one.stack, {})[one.operation] = told
    return {
        "shown": done.shown.facts(),
        "silicon": list(done.silicon),
        "same": done.same,
        "operations": operations,
        "new": {name: list(found) for name, found in done.new.items()},
    }


def _chosen(dispatch: dict[str, str]) -> str:
    told = [f"{name} {words if len(words) < 30 else words.split()[-1]}" for name, words in sorted(dispatch.items())]
    return f"the libraries chose {', '.join(told)}" if told else "no library tells what it chose"
