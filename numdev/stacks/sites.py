"""Where files have their CPUID instructions: of a stack's packages and its base beforehand, of any other when asked.

Where the processor cannot make CPUID fault, the launcher puts a trap in the place of each as the file is mapped. What is found is kept in
the cache: for packages and bases by their digest, for other files by what the system says of them (a file that changed has another
time or another number).
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.errors import InvalidInput
from numdev.files import read_json, storage_errors, write_json
from numdev.spec.stack import Stack, load_base
from numdev.stacks import elf
from numdev.stacks.bases import base_for
from numdev.stacks.platform import machine_of
from numdev.stacks.site import site_for
from numdev.worker.patches import Sites

# Raised by whoever makes the same file come out otherwise.
VERSION = 1
_ELF = b"\x7fELF"
# Where a base system has its programs and libraries; other folders are written to by programs.
_SYSTEM = ("/usr/", "/lib/", "/lib64/", "/bin/", "/sbin/")


@dataclass(frozen=True)
class Known:
    """The sites of many files. `rows`: path, size, offsets; `undecided`: how many bytes of a path could be either."""

    rows: tuple[tuple[str, int, tuple[int, ...]], ...]
    undecided: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {
            "files": sum(bool(offsets) for _, _, offsets in self.rows),
            "instructions": sum(len(offsets) for _, _, offsets in self.rows),
            "undecided": dict(sorted(self.undecided.items())),
        }


def of_folder(folder: Path, digest: str, cache: Path, say: Callable[[str], None]) -> Known:
    """The sites of all files in a folder, by relative path.

    Args:
        digest: of all that is in it.
    """

    def files() -> Iterator[tuple[str, bytes]]:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with open(path, "rb") as file:
                    if file.read(4) == _ELF:
                        yield path.relative_to(folder).as_posix(), _ELF + file.read()

    return _known(files, digest, cache, say)


def of_archive(archive: Path, digest: str, cache: Path, say: Callable[[str], None]) -> Known:
    """The same for a tar of a base system."""

    def files() -> Iterator[tuple[str, bytes]]:
        with tarfile.open(archive) as members:
            for member in members:
                content = members.extractfile(member) if member.isreg() else None
                if content and (head := content.read(4)) == _ELF:
                    yield member.name.removeprefix("./"), head + content.read()

    return _known(files, digest, cache, say)


def cpuid_sites(
    stack: Stack, folder: str, cache: Path, say: Callable[[str], None], *, based: bool
) -> tuple[Sites, dict[str, Any]]:
    """Where a stack's files have their CPUID instructions, as a launcher reads it, and what a record says of it.

    Args:
        folder: where the launcher finds the stack's packages.
        based: whether the stack's base system is around them, as in an image; otherwise it is the machine's own.
    """
    site = site_for(stack, cache, say)
    parts = [(f"{folder}/", (f"{folder}/",), of_folder(site.path, site.digest, cache, say))]
    if based:
        base = base_for(load_base(stack.folder.parent, stack.base), machine_of(stack), cache, say)
        parts.append(("/", _SYSTEM, of_archive(base.tar, base.sha256, cache, say)))
    rows = {(start + path, size): offsets for start, _, known in parts for path, size, offsets in known.rows}
    facts = {("packages", "base")[index]: known.facts() for index, (_, _, known) in enumerate(parts)}
    return Sites(rows, [one for _, folders, _ in parts for one in folders]), facts


def finder(cache: Path, say: Callable[[str], None]) -> Callable[[str, str], Sequence[int] | None]:
    """What a launcher asks about any other file: its sites, or None where it cannot be read."""

    def find(openable: str, name: str) -> Sequence[int] | None:
        try:
            status = Path(openable).stat()
            key = [VERSION, name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            kept = cache / "cpuid" / "files" / f"{digests.of_json(key)}.json"
            try:
                return [int(offset) for offset in read_json(kept)["sites"]]
            except (InvalidInput, KeyError, TypeError, ValueError):
                pass
            found = elf.find_cpuid(Path(openable).read_bytes())
        except OSError:
            return None
        except elf.NotElf:
            found = elf.Found((), ())
        if found.undecided:
            say(f"{len(found.undecided)} places in {name} may be CPUID or data: they are left as they are")
        with storage_errors(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, {"name": name, "sites": list(found.instructions), "undecided": len(found.undecided)})
        return found.instructions

    return find


def _known(
    files: Callable[[], Iterator[tuple[str, bytes]]], digest: str, cache: Path, say: Callable[[str], None]
) -> Known:
    kept = cache / "cpuid" / f"{digest}-{VERSION}.json"
    try:
        content = read_json(kept)
        rows = tuple((str(path), int(size), tuple(map(int, offsets))) for path, size, offsets in content["rows"])
        return Known(rows, dict(content["undecided"]))
    except (InvalidInput, KeyError, TypeError, ValueError):
        pass
    say(f"looking for CPUID in {digest[:12]}, once")
    rows, undecided = [], {}
    for path, data in files():
        try:
            found = elf.find_cpuid(data)
        except elf.NotElf:
            continue
        if found.instructions or found.undecided:
            rows.append((path, len(data), found.instructions))
        if found.undecided:
            undecided[path] = len(found.undecided)
    with storage_errors(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, {"rows": rows, "undecided": undecided})
    return Known(tuple(rows), undecided)
