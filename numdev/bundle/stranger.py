"""What is in a bundle is a stranger's: its bytes are checked before they are used, and its words before they are shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from numdev.bundle.reading import Bundle
from numdev.errors import HashMismatch, InvalidInput, NumdevError, Problem

_MOST, _PROBLEMS = 400, 50


def plain(text: object, most: int = 200) -> str:
    """A stranger's text for a terminal: in printable characters, and short."""
    whole = str(text)
    shown = "".join(letter if letter.isprintable() else "?" for letter in whole[:most])
    return shown if len(whole) <= most else shown[: most - 3] + "..."


@contextmanager
def tamed() -> Iterator[None]:
    """Whatever error leaves the block says what it says in words that a terminal can be shown."""
    try:
        yield
    except NumdevError as error:
        error.what, error.why, error.remedy = (plain(text, 2000) for text in (error.what, error.why, error.remedy))
        if isinstance(error, InvalidInput):
            error.problems = [
                Problem(*(plain(part, _MOST) for part in (one.where, one.what, one.remedy)))
                for one in error.problems[:_PROBLEMS]
            ]
        raise


def whole(bundle: Bundle, names: Iterable[str]) -> None:
    """Reads members to their ends; HashMismatch where one does not have the bytes that the manifest says."""
    for name in names:
        for _ in checked(bundle, name):
            pass


def text_of(bundle: Bundle, name: str) -> bytes:
    """All bytes of a member, as the manifest has them."""
    return b"".join(checked(bundle, name))


def checked(bundle: Bundle, name: str) -> Iterator[bytes]:
    """The pieces of a member; at their end HashMismatch where they are not those of the manifest."""
    state = hashlib.sha256()
    if name not in bundle.members:
        raise bundle.wrong(name, "is missing")
    for piece in bundle.pieces(name):
        state.update(piece)
        yield piece
    found = state.hexdigest()
    # Some members are named by what they hold.
    named = Path(name).name.split(".")[0]
    claims = [bundle.sums[name]] + ([named] if len(named) == 64 and not name.startswith("platforms/") else [])
    if wrong := [claim for claim in claims if claim != found]:
        raise HashMismatch(
            f"{name} of {bundle.where} is not what it should be.",
            f"its SHA-256 is {found[:16]}..., not {wrong[0][:16]}...",
            "The file was damaged or changed: get it again. `numdev bundle verify` lists all damage.",
        )


def copy(bundle: Bundle, name: str, file: IO[bytes]) -> None:
    """Writes a member to `file`."""
    for piece in checked(bundle, name):
        file.write(piece)
