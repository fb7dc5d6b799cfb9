"""`numdev as PROFILE -- COMMAND...`: any program under another CPU's identity."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from numdev import cpu
from numdev.cli import options
from numdev.engines.local import interpreter
from numdev.errors import NumdevError, ProfileRefused
from numdev.files import cache_dir
from numdev.spec.stack import load_stack
from numdev.stacks import finder, linked, site_for
from numdev.worker import launcher, start


class CannotRun(NumdevError):
    """The program itself could not be started; codes as those of env(1)."""


def as_command(
    context: typer.Context,
    profile: Annotated[str, typer.Argument(help="A profile of `numdev platform list`.")],
    stack: Annotated[
        str | None,
        typer.Option(
            "--stack",
            help="Run with a stack's packages; `python` is then its CPython.",
        ),
    ] = None,
    intersect: Annotated[
        bool, typer.Option("--intersect", help="Show a profile without the features that this processor lacks.")
    ] = False,
    images: options.Images = None,
) -> None:
    """Run a program and all it starts under another CPU's identity; its exit code is passed on.

    Example: numdev as haswell -- python -c "import numpy; numpy.show_config()"
    """
    argv = list(context.args)
    if argv[:1] == ["--"]:
        argv = argv[1:]
    if not argv:
        raise typer.BadParameter("name the program to run: numdev as haswell -- python script.py")
    shown = cpu.shown(profile, cpu.host(), cpu.BEST, missing=cpu.INTERSECT if intersect else cpu.REFUSE)
    if shown.essential:
        _say(f"{profile} is shown without what this processor lacks: {', '.join(shown.dropped)}")
    for name, library in cpu.knobs.set_in(os.environ):
        _say(f"{name}={os.environ[name]} is set: {library} obeys it, whatever the processor")
    environment = dict(os.environ)
    if stack:
        declared = load_stack(options.images_folder(images), stack)
        site = site_for(declared, cache_dir(), _say)
        environment["PYTHONPATH"] = str(site.path)
        environment.update(linked(declared, str(site.path)))
        if argv[0] in ("python", "python3"):
            argv[:1] = [interpreter(declared.python), "-S"]
    if shown.rung == cpu.REWRITE:
        _say(f"shown by rewriting CPUID in memory: {cpu.host().refusal}")
    try:
        if shown.table is None:
            # The real processor: nothing to hide, so nothing to trace.
            os.execvpe(argv[0], argv, environment)
        launcher.end_as(launcher.run(shown.table, argv, environment, find=finder(cache_dir(), _say)))
    except FileNotFoundError as error:
        raise _cannot_run(argv[0], error.strerror, start.NOT_FOUND) from None
    except OSError as error:
        raise _cannot_run(argv[0], error.strerror, start.CANNOT_RUN) from None
    except start.Failure as failure:
        if failure.code == start.REFUSED:
            raise ProfileRefused(f"{argv[0]} cannot be run as {profile}.", str(failure)) from None
        raise _cannot_run(argv[0], str(failure), failure.code) from None


def _say(line: str) -> None:
    typer.echo(f"numdev: {line}", err=True)


def _cannot_run(program: str, why: str | None, code: int) -> CannotRun:
    error = CannotRun(f"{program} cannot be run.", why or "", "Check its name and that it is executable.")
    error.code = code
    return error
