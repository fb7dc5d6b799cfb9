"""`numdev bundle verify` and `numdev bundle sign`: whether a bundle is what it says, and whose it is."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from numdev import files
from numdev.bundle import layout, signing
from numdev.bundle.found import Check
from numdev.bundle.verify import Report, Signature
from numdev.bundle.verify import verify as verified
from numdev.cli import options
from numdev.errors import InvalidInput, Problem

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_NAMES = 10

File = Annotated[Path, typer.Argument(help="The bundle.", show_default=False)]


def verify(
    file: File,
    digest: Annotated[
        str, typer.Option(help="The digest that it has to have, as it is printed in a paper.", show_default=False)
    ] = "",
    signature: Annotated[
        Path | None, typer.Option(help="A signature of it; with --key, by default FILE.sig.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The public key (Ed25519, PEM) that has to have signed it.", show_default=False)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check every digest, what the parts say of one another, the crate, and the analysis by computing it again.

    Nothing is unpacked, run or fetched. Exit code 15 where the bundle is not what it says, 3 where it is no bundle.
    """
    if digest and not _DIGEST.fullmatch(digest):
        raise InvalidInput("The bundle cannot be compared.", [Problem("--digest", "is not 64 hexadecimal digits")])
    if signature and not key:
        what = "a signature shows nothing without the key of whom you trust: give it with --key"
        raise InvalidInput("The signature cannot be checked.", [Problem("--signature", what)])
    wanted = None
    if key:
        envelope = signature or Path(f"{file}{signing.SUFFIX}")
        wanted = Signature(files.read_bytes(envelope, signing.ENVELOPE), str(envelope), key)
    report = verified(file, expected=digest, signature=wanted)
    if as_json:
        typer.echo(report.printed().text())
    else:
        _print(report, Console(highlight=False))
    raise typer.Exit(report.code)


def _print(report: Report, console: Console) -> None:
    def line(text: str, indent: int = 0, begin: str = "") -> None:
        wrapped = textwrap.wrap(
            text, max(40, console.width), initial_indent=begin or " " * indent, subsequent_indent=" " * indent
        )
        for one in wrapped or [begin]:
            console.print(one, markup=False, soft_wrap=True)

    told = report.description
    line(f"{report.where}: the run {told.run!a} of {told.date}, by numdev {ascii(told.numdev)[1:-1]}")
    for check in report.checks:
        state = "wrong" if check.problems else "ok" if check.what else "-"
        line(check.what or _why(check), 19, f"  {state:<5}  {check.name:<9}  ")
        for problem in check.problems[:_NAMES]:
            line(": ".join(filter(None, (problem.where, problem.what))), 21, " " * 19)
        if more := len(check.problems) + check.more - len(check.problems[:_NAMES]):
            line(f"and {more} more; --json has them", 21, " " * 19)
        for note in check.notes if check.what else check.notes[1:]:
            line(f"({note})", 20, " " * 19)
    if told.left_out:
        names = [ascii(name)[1:-1] for name in sorted(told.left_out)]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        line(f"Not in it, as {layout.DESCRIPTION} says with the reasons: {', '.join(names[:_NAMES])}{more}.")
    console.print(f"Digest {report.digest}", markup=False, soft_wrap=True)
    wrong = sum(len(check.problems) + check.more for check in report.checks)
    if wrong:
        line(f"This bundle is not what it says: {wrong} thing{'s' if wrong > 1 else ''} missing, changed or wrong.")
    elif report.signed:
        line(f"This bundle is whole, and signed with the key {report.signed[:16]}.")
    else:
        line(
            "This bundle is whole. It was not checked who made it: compare the digest with the one that its author "
            "printed (--digest), or check a signature (--key)."
        )


def _why(check: Check) -> str:
    return check.notes[0] if check.notes else "cannot be checked"


def sign(
    file: File,
    key: Annotated[Path, typer.Option(help="Your private key: Ed25519, PEM, without a password.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; by default FILE.sig.", show_default=False)
    ] = None,
) -> None:
    """Sign a bundle's digest with your key, into a file of its own: a DSSE envelope with an in-toto Statement."""
    path = out or Path(f"{file}{signing.SUFFIX}")
    name = signing.sign(file, key, path)
    console = Console(highlight=False)
    console.print(f"{path}: signed with the key {name}.", markup=False, soft_wrap=True)
    console.print("It was not verified first: numdev bundle verify does that.", markup=False, soft_wrap=True)
