"""What records say, put into documents: one line of ASCII, cut, and nothing in it that a document would take for its own."""

from __future__ import annotations

from typing import Any


def plain(value: Any, most: int = 300) -> str:
    """One line of printable ASCII of at most `most` characters."""
    text = " ".join(str(value).split())
    text = text.encode("ascii", "backslashreplace").decode("ascii")
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def marked(value: Any, most: int = 300) -> str:
    """The same for Markdown, where some signs mean something."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in plain(value, most))


def pasted(value: Any, most: int = 300) -> str:
    """The same for what people paste into other documents: without the signs that mean something in LaTeX or HTML."""
    return "".join("?" if letter in "\\`<>{}$#&~^|" else letter for letter in plain(value, most))


def listed(values: Any, most: int = 12) -> str:
    """Some of many, with how many there are besides."""
    some = list(values)
    more = f" and {len(some) - most} more" if len(some) > most else ""
    return ", ".join(map(str, some[:most])) + more


def count(number: int, word: str, several: str = "") -> str:
    return f"{number:,} {word if number == 1 else several or word + 's'}"
