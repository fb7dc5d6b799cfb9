"""How an answer stands on a terminal: a heading for each part, what is set in under it, and what it comes to in short."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

INDENT = 2


def print_title(console: Console, title: str) -> None:
    console.print(Rule(Text(title, style="bold"), align="left"))


def print_in(console: Console, shown: RenderableType, *, above: int = 0, below: int = 0) -> None:
    """Set in, with empty lines above and below."""
    console.print(Padding(shown, (above, 0, below, INDENT)))


def print_notes(console: Console, notes: Iterable[str]) -> None:
    for note in notes:
        print_in(console, Text(note, style="dim"))


def print_short(console: Console, lines: Iterable[str]) -> None:
    """What all of it comes to."""
    console.print(Rule("In short", align="left", style="bold"))
    print_in(console, Text("\n".join(lines)))
