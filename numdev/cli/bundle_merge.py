"""`numdev bundle merge`: runs of several machines as one run, with the machines as a factor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev.bundle import merge as merging
from numdev.bundle.merge import Merged
from numdev.bundle.stranger import plain, tamed
from numdev.cli import options
from numdev.cli.lines import say, wrapped
from numdev.run.runfile import Host

# Conflicts that are named; all are in the JSON.
_NAMED = 12


def merge(
    bundles: Annotated[list[Path], typer.Argument(metavar="A B ...", help="Bundles, each of one machine's run.")],
    store: options.StoreFolder = options.STORE,
    name: Annotated[
        str, typer.Option(help="The merged run's name; by default that of the bundles' runs.", show_default=False)
    ] = "",
    as_json: options.Json = False,
) -> None:
    """Join runs made on different machines into one run of a store; its factor `host` has a level for each machine.

    Cells of equal digest with other bytes are a result: they are listed, and the exit code is 0. A bundle that is not what it says is
    refused with 15, and then nothing is left in the store.
    """
    with tamed():
        made = merging.merge(bundles, store, name, say)
    if as_json:
        typer.echo(made.printed().text())
    else:
        _print(made, store, Console(highlight=False))


def _print(made: Merged, store: Path, console: Console) -> None:
    run = made.run
    count = f"{len(run.cells)} replicates, {made.records} records, {made.tensors} outputs"
    wrapped(console, f"The run {run.matrix} of {len(run.hosts)} hosts in {store}: {count}.")
    for level, host in run.hosts.items():
        wrapped(console, f"{level}: {_about(host)}", "  ")
    wrapped(console, _together(made))
    for one in made.conflicts[:_NAMED]:
        outcomes = ", ".join(f"{outcome} on {level}" for level, outcome in one.outcomes.items())
        wrapped(console, f"conflict: {plain(one.name)}: {outcomes}", "  ")
    if len(made.conflicts) > _NAMED:
        wrapped(console, f"and {len(made.conflicts) - _NAMED} more; --json has them", "  ")
    for note in run.joined:
        wrapped(console, plain(note, 1000))
    wrapped(console, f"What follows from it: numdev report {run.matrix} --store {store}")


def _about(host: Host) -> str:
    """A machine in a line: where its cells are from, and what of it may matter."""
    said = [f"bundle {plain(host.bundle, 64)} of {plain(host.date, 20)}"]
    if host.declared:
        said.append(f"declared: programs are told {host.declared}, and its processor is {host.silicon}")
    said += [f"{plain(name, 60)} {plain(value, 80)}" for name, value in host.facts.items()]
    return ", ".join(said)


def _together(made: Merged) -> str:
    if not made.equal and not made.conflicts and not made.noisy:
        kinds = [host.silicon for host in made.run.hosts.values()]
        why = ", for their processors are not of one kind" if len(set(kinds)) == len(kinds) and all(kinds) else ""
        return f"No replicate has one digest on several hosts{why}: cells are compared by their levels."
    noisy = f", {made.noisy} of cells that differ from run to run" if made.noisy else ""
    return (
        f"One digest on several hosts: {made.equal} replicates with equal outcomes, {len(made.conflicts)} with others{noisy}; "
        f"{made.alone} on one host only."
    )
