"""A wheel laid out in a folder: by us, so that the same wheel gives the same files and nothing gets out of the folder."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from numdev.errors import StackFailed

FILES_LIMIT = 200_000
BYTES_LIMIT = 16 << 30
PIECE = 1 << 20


def unpack(wheel: Path, site: Path, hashes: dict[str, str], shared: bool = False) -> int:
    """Lays a wheel's libraries out in `site`, adds their SHA-256 by path to `hashes`, and gives their bytes.

    Scripts, headers and data files have no place in a site and are left out.

    Args:
        shared: whether shared libraries among the data files, where MKL's wheels have them, are laid out in `lib`.

    Raises:
        StackFailed: it is no valid wheel, or holds a file that does not belong in one; all such are listed.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [item for item in archive.infolist() if not item.is_dir()]
            if problems := _problems(members):
                raise _refused(wheel, problems)
            return sum(_lay(archive, item, site, hashes, wheel, shared) for item in members)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refused(wheel, [f"it is not a readable zip archive: {error}"]) from None


def _refused(wheel: Path, problems: list[str]) -> StackFailed:
    listed = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
    return StackFailed(
        f"{wheel.name} cannot be unpacked.", listed, "Pin another version, and report it to its authors."
    )


def _problems(members: list[zipfile.ZipInfo]) -> list[str]:
    if len(members) > FILES_LIMIT:
        return [f"{len(members)} files, more than {FILES_LIMIT}"]
    if sum(item.file_size for item in members) > BYTES_LIMIT:
        return [f"more than {BYTES_LIMIT} bytes unpacked"]
    found = []
    for item in members:
        name = item.filename
        parts = name.split("/")
        if name.startswith("/") or "\\" in item.orig_filename or "\0" in item.orig_filename or ":" in parts[0]:
            found.append(f"{name!r} is not a relative path")
        elif any(part in ("", ".", "..") for part in parts):
            found.append(f"{name!r} leads out of its folder")
        elif (kind := stat.S_IFMT(item.external_attr >> 16)) and not stat.S_ISREG(kind):
            found.append(f"{name!r} is a link or a device, not a file")
    return found


def _place(name: str, shared: bool) -> str | None:
    """Where a member lies in the site; None for what has no place there."""
    parts = PurePosixPath(name).parts
    if not parts[0].endswith(".data"):
        return None if name.endswith(".pyc") else name
    if len(parts) > 2 and parts[1] in ("purelib", "platlib"):
        return "/".join(parts[2:])
    if shared and parts[1:3] == ("data", "lib") and len(parts) == 4 and ".so" in parts[3]:
        return f"lib/{parts[3]}"
    return None


def _lay(
    archive: zipfile.ZipFile, item: zipfile.ZipInfo, site: Path, hashes: dict[str, str], wheel: Path, shared: bool
) -> int:
    name = _place(item.filename, shared)
    if name is None:
        return 0
    target = site / name
    if name in hashes:
        return _same(archive, item, name, hashes, wheel)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except (FileExistsError, NotADirectoryError):
        raise _refused(wheel, [f"{name!r} is a file in one wheel and a folder in another"]) from None
    state, size = hashlib.sha256(), 0
    with os.fdopen(handle, "wb") as file, archive.open(item) as source:
        while piece := source.read(PIECE):
            size += len(piece)
            if size > item.file_size:
                raise _refused(wheel, [f"{name!r} is larger than it says"])
            state.update(piece)
            file.write(piece)
    os.chmod(target, 0o555 if (item.external_attr >> 16) & 0o111 else 0o444)
    hashes[name] = state.hexdigest()
    return size


def _same(archive: zipfile.ZipFile, item: zipfile.ZipInfo, name: str, hashes: dict[str, str], wheel: Path) -> int:
    """Two wheels may bring the same file only with the same bytes."""
    state = hashlib.sha256()
    with archive.open(item) as source:
        while piece := source.read(PIECE):
            state.update(piece)
    if state.hexdigest() != hashes[name]:
        raise _refused(wheel, [f"{name!r} is in another wheel of the stack too, with other bytes"])
    return 0
