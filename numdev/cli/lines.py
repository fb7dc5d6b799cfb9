"""Lines of text for a terminal: wrapped to its width, and never read as markup."""

from __future__ import annotations

import textwrap

from rich.console import Console


def wrapped(console: Console, line: str, indent: str = "") -> None:
    """One line, wrapped at spaces; what follows is indented further."""
    parts = textwrap.wrap(
        line, console.width, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )
    for part in parts:
        console.print(part, markup=False, soft_wrap=True)


def say(line: str) -> None:
    """A line of progress, to standard error."""
    Console(stderr=True, highlight=False).print(line, markup=False)
