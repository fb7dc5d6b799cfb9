"""A site whose libraries have a trap in the place of every CPUID instruction.

Where the processor cannot make CPUID fault, the launcher can still answer it: the trap faults on every processor, and
is answered from the same table in the same way. All else in the libraries stays as it is, byte for byte.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.errors import InvalidInput
from numdev.files import read_json, storage_errors, write_json
from numdev.stacks import elf
from numdev.stacks.site import Site
from numdev.worker.cpuid import TRAP

# Raised by whoever makes the same libraries come out otherwise.
VERSION = 1


@dataclass(frozen=True)
class Rewritten:
    """A rewritten site. `facts`: how many instructions in which files, and what could not be decided."""

    path: Path
    facts: dict[str, Any]


def rewritten_site(site: Site, cache: Path, say: Callable[[str], None]) -> Rewritten:
    """The rewritten copy of a site, made if the cache has none. Files without CPUID are links to the originals."""
    folder = cache / "rewritten" / f"{site.path.parent.name}-{VERSION}"
    try:
        return Rewritten(folder / "site", dict(read_json(folder / "facts.json")))
    except InvalidInput:
        pass
    say(f"rewriting the libraries of {site.path.parent.name[:12]}, so that their CPUID can be answered")
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".build-"))
        try:
            facts = _rewrite(site.path, building / "site")
            write_json(building / "facts.json", facts)
            building.chmod(0o755)
            os.replace(building, folder)
        except OSError:
            # Another process may have been faster; what it made is the same.
            if not (folder / "facts.json").is_file():
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return Rewritten(folder / "site", facts)


def _rewrite(source: Path, target: Path) -> dict[str, Any]:
    files: dict[str, int] = {}
    undecided: dict[str, int] = {}
    changed = {}
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_dir():
            (target / name).mkdir(parents=True, exist_ok=True)
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if ".so" in path.name:
            data = path.read_bytes()
            try:
                rewritten, found = elf.replace_cpuid(data, TRAP)
            except elf.NotElf:
                found = elf.Found((), ())
            if found.undecided:
                undecided[name] = len(found.undecided)
            if found.instructions:
                files[name] = len(found.instructions)
                (target / name).write_bytes(rewritten)
                (target / name).chmod(0o644)
                changed[name] = digests.of_bytes(rewritten)
                continue
        _same(path, target / name)
    return {
        "rewritten": files,
        "undecided": undecided,
        "instructions": sum(files.values()),
        "digest": digests.of_json(changed),
    }


def _same(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
