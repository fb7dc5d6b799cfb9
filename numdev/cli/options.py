"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from numdev.errors import InvalidInput, Problem

Engine = Annotated[
    str, typer.Option("--engine", "-e", help="docker, local, or auto: docker where it answers, else local.")
]
StoreFolder = Annotated[Path, typer.Option("--store", "-s", help="Where results are kept.")]
Images = Annotated[
    Path | None,
    typer.Option("--images", help="The folder of stacks; by default ./images.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")]
FailOnDeviation = Annotated[
    bool, typer.Option("--fail-on-deviation", help="Exit with 5 where any workload has more than one class.")
]

Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=256, help="Containers at a time.")]
Retry = Annotated[bool, typer.Option("--retry", help="Run cells again that have failed before.")]

STORE = Path("numdev-store")
JOBS = max(1, (os.cpu_count() or 1) // 2)


def images_folder(given: Path | None, near: Path | None = None) -> Path:
    """The folder of stacks: as given, ./images, or the one beside the folder that the matrix lies in.

    Raises:
        InvalidInput: there is none.
    """
    candidates = [given] if given else [Path("images"), *([near.resolve().parent.parent / "images"] if near else [])]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise InvalidInput(
        "There is no folder of stacks.",
        [Problem(str(candidate), "is no folder") for candidate in candidates],
        "Run numdev where `images/` lies, or name the folder with --images.",
    )
