"""Digests: one canonical form for everything that is hashed. All are lower-case SHA-256 in hex."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, ASCII only; NaN and infinity are refused with ValueError."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_json(value: Any) -> str:
    return of_bytes(canonical(value))


def of_file(path: Path) -> str:
    """The digest of a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return of_pieces(iter(lambda: file.read(1 << 20), b""))


def of_pieces(pieces: Iterable[bytes]) -> str:
    """The digest of bytes that come one piece after the other."""
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


def of_tree(folder: Path, suffix: str = "") -> str:
    """The digest of the names and bytes of all regular files under `folder` that end in `suffix`."""
    files = sorted(path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return of_json({path.relative_to(folder).as_posix(): of_file(path) for path in files})
