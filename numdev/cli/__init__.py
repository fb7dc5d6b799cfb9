"""The command line: one file a group of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer
from rich.console import Console

from numdev import __version__
from numdev.cli import (
    analyze,
    as_,
    bundle,
    compare,
    doctor,
    images,
    imports,
    matrix,
    mitigate,
    platform,
    report,
    store,
    trace,
    workload,
)
from numdev.errors import INTERRUPTED, NumdevError, ProfileRefused
from numdev.files import storage_errors
from numdev.worker import start

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Find out why the same model gives different numbers: [bold]set[/bold] the CPU, pin the software, compare "
    "the bytes.\n\nStart with [cyan]numdev doctor[/cyan], then [cyan]numdev matrix run matrices/cpu.yaml[/cyan].",
)
app.add_typer(matrix.app, name="matrix", help="Check, plan and run matrices of stacks, CPUs and workloads.")
app.command("report", help="Answer again from what a store holds.")(report.report)
app.command("analyze", help="Which factors the results of a run follow from, and how much each explains.")(
    analyze.analyze
)
app.command(
    "mitigate", help="Find the fewest pins that make a matrix's results the same, by trying and verifying them."
)(mitigate.mitigate)
app.command("compare", help="Compare two files, stored cells or runs.")(compare.compare)
app.command("trace", help="In which layer of a model cells part, and how the deviation then grows.")(trace.trace)
app.add_typer(bundle.app, name="bundle", help="One run in one file: to attach to a paper, check, run again and join.")
app.add_typer(images.app, name="images", help="Build and show the pinned software stacks.")
app.add_typer(platform.app, name="platform", help="List and show CPU profiles.")
app.command(
    "as",
    help="Run any program under another CPU's identity: numdev as haswell -- python x.py, or numdev as --stack "
    "numpy-2.4 haswell -- python x.py with a stack's packages.",
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)(as_.as_command)
app.add_typer(workload.app, name="workload", help="List, show and fetch models with their inputs.")
app.add_typer(imports.app, name="import", help="Import published measurements of others into a store.")
app.add_typer(store.app, name="store", help="Check what has been stored.")
app.command("doctor", help="Say what this machine can do.")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"numdev {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def main() -> None:
    """The command `numdev`."""
    try:
        with storage_errors(Path("The working folder")):
            app()
    except NumdevError as error:
        _fail(str(error))
        sys.exit(error.code)
    except start.Failure as failure:
        # What could be traced when this host was asked what it can show, and not any more.
        error = ProfileRefused("A program cannot be run under a profile.", str(failure))
        _fail(str(error))
        sys.exit(error.code)
    except (KeyboardInterrupt, SystemExit) as ended:
        # Typer makes an exit of Ctrl-C, without a word.
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        _fail("Interrupted. What was finished is stored; run the same command again to go on.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone (numdev ... | head): no fault of ours or theirs.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(text: str) -> None:
    console = Console(stderr=True, highlight=False)
    console.print("[bold red]numdev:[/bold red] ", end="")
    console.print(text, markup=False, soft_wrap=True)
