"""`numdev as PROFILE -- COMMAND...`: any program under another CPU's identity."""

from __future__ import annotations

import os
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
            os.execvp(argv[0], argv)
        launcher.end_as(launcher.run(shown.table, argv))
    except FileNotFoundError as error:
        raise _cannot_run(argv[0], error.strerror, launcher.NOT_FOUND) from None
    except OSError as error:
        raise _cannot_run(argv[0], error.strerror, launcher.CANNOT_RUN) from None
    except launcher.Failure as failure:
        if failure.code == launcher.REFUSED:
            raise ProfileRefused(f"{argv[0]} cannot be run as {profile}.", str(failure)) from None
        raise _cannot_run(argv[0], str(failure), failure.code) from None


def _cannot_run(program: str, why: str | None, code: int) -> CannotRun:
    error = CannotRun(f"{program} cannot be run.", why or "", "Check its name and that it is executable.")
    error.code = code
    return error
