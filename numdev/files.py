"""Reading in bounds and writing atomically: nothing half-written is ever seen under its final name."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from numdev.errors import InvalidInput, Problem, StorageFailed

JSON_LIMIT = 64 << 20
# What a path that no file can have gives.
_NO_PLACE = (errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns what a disk can do to us (full, read-only, forbidden) into a clear error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFailed(
                f"The disk is full: {path} could not be written.",
                str(error.strerror),
                "Free some space, or choose another place (--store, NUMDEV_CACHE); then run again, it resumes.",
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StorageFailed(
                f"{path} may not be written.",
                str(error.strerror),
                "Choose a folder of your own (--store, NUMDEV_CACHE), or change its permissions.",
            ) from error
        if error.errno in _NO_PLACE:
            raise StorageFailed(
                f"{path} cannot be made.", str(error.strerror), "Choose another place (--store, NUMDEV_CACHE)."
            ) from error
        raise


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` whole, when the block ends without an error, or not at all."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    with atomic(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    write_bytes(path, text.encode("ascii") + b"\n")


def read_bytes(path: Path, limit: int, remedy: str = "") -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises:
        InvalidInput: it is missing, no regular file, too large or unreadable.
    """
    try:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist"
            raise InvalidInput(f"{path} cannot be read.", [Problem(str(path), what, remedy)])
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read.", [Problem(str(path), str(error.strerror), remedy)]) from None
    if len(data) > limit:
        raise InvalidInput(f"{path} is too large.", [Problem(str(path), f"more than {limit} bytes", remedy)])
    return data


def read_json(path: Path, limit: int = JSON_LIMIT) -> Any:
    """The JSON in a file; raises InvalidInput where it is none."""
    data = read_bytes(path, limit)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON.", [Problem(str(path), str(error))]) from None


def cache_dir() -> Path:
    """Where downloads and built environments are kept: NUMDEV_CACHE, or the user's cache folder."""
    if named := os.environ.get("NUMDEV_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "numdev"
