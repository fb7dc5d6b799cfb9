"""`numdev as PROFILE -- COMMAND...`: any program under another CPU's identity."""

from __future__ import annotations

from typing import Annotated

import typer

from numdev import cpu
from numdev.errors import NumdevError, ProfileRefused
from numdev.worker import launcher


class CannotRun(NumdevError):
    """The program itself could not be started; codes as those of env(1)."""


def as_command(
    context: typer.Context,
    profile: Annotated[str, typer.Argument(help="A profile of `numdev platform list`.")],
) -> None:
    """Run a program and all it starts under another CPU's identity; its exit code is passed on."""
    argv = list(context.args)
    if argv[:1] == ["--"]:
        argv = argv[1:]
    if not argv:
        raise typer.BadParameter("name the program to run: numdev as haswell -- python script.py")
    shown = cpu.shown(profile, cpu.host())
    try:
        if shown.table is None:
            # The real processor: nothing to hide, so nothing to trace.
            status = launcher.Launcher(cpu.replica(cpu.host()), faulting=False).run(argv)
        else:
            status = launcher.run(shown.table, argv)
    except launcher.Failure as failure:
        if failure.code == launcher.REFUSED:
            raise ProfileRefused(f"{argv[0]} cannot be run as {profile}.", str(failure)) from None
        error = CannotRun(f"{argv[0]} cannot be run.", str(failure), "Check its name and that it is executable.")
        error.code = failure.code
        raise error from None
    launcher.end_as(status)
