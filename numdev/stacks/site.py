"""The site of a stack: its wheels unpacked into one folder, the same for every engine, kept by its digest."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.errors import InvalidInput, StackFailed
from numdev.files import read_json, storage_errors, write_json
from numdev.spec.stack import Base, Stack, load_base
from numdev.stacks import compiler, tools
from numdev.stacks.debs import LIBRARIES, debs_for, read_debian_lock, unpack_deb
from numdev.stacks.lock import Locked, read_lock
from numdev.stacks.platform import Platform, machine_of
from numdev.stacks.tools import Say
from numdev.stacks.unpack import unpack
from numdev.stacks.wheels import checked, wheels_for

# Where a site lies in an image. Its bytecode says so too: the bytes must not depend on where the cache is.
SITE = "/opt/numdev/site"
# Raised by whoever makes the same wheels give other files, so that a site from before is not taken for it.
LAYOUT = 1
RECORD_LIMIT = 4 << 20


@dataclass(frozen=True)
class Site:
    """Unpacked wheels: the folder for sys.path, and the digest of the names and bytes of its files.

    The digest leaves bytecode out, which follows from the sources. `python` is the stack's CPython ("3.11");
    `facts` has the pins, the wheels with their hashes, the number of files and bytes, and the CPython that
    made the bytecode (None: there is none).
    """

    path: Path
    digest: str
    python: str
    facts: dict[str, Any] = field(hash=False)


def site_for(stack: Stack, cache: Path, say: Say) -> Site:
    """The site of a stack, made if the cache has none: milliseconds where it has.

    Raises:
        InvalidInput: the lock is missing or malformed.
        HashMismatch, DownloadFailed: a wheel is not what is locked, or cannot be had.
        StackFailed: a wheel cannot be unpacked, or the stack is a Dockerfile.
    """
    if stack.dockerfile:
        raise StackFailed(
            f"The stack {stack.name!r} has no site.",
            f"Its image is built from {stack.dockerfile}.",
            "Run it with the Docker engine, or declare its packages as pins instead.",
        )
    locked, base, platform, compiling = _ingredients(stack)
    index = _index(stack, locked, platform, compiling, cache)
    return _recalled(index, stack) or _build(stack, locked, base, platform, compiling, cache, index, say)


def known_site(stack: Stack, cache: Path) -> Site | None:
    """The site of a stack if the cache has it; nothing is made. Raises InvalidInput as site_for."""
    if stack.dockerfile:
        return None
    locked, _, platform, compiling = _ingredients(stack)
    return _recalled(_index(stack, locked, platform, compiling, cache), stack)


def linked(stack: Stack, site: str) -> dict[str, str]:
    """The variables by which the dynamic linker finds a stack's own libraries, where its site lies at `site`."""
    found = {}
    if stack.debian or stack.preload:
        found["LD_LIBRARY_PATH"] = f"{site}/{LIBRARIES}"
    if stack.preload:
        found["LD_PRELOAD"] = ":".join(f"{site}/{path}" for path in stack.preload)
    return found


def _ingredients(stack: Stack) -> tuple[Mapping[str, Locked], Base, Platform, tuple[str, str] | None]:
    base = load_base(stack.folder.parent, stack.base)
    platform = Platform(machine_of(stack), stack.python, base.glibc)
    return read_lock(stack), base, platform, tools.interpreter(stack.python)


def _index(
    stack: Stack, locked: Mapping[str, Locked], platform: Platform, compiling: tuple[str, str] | None, cache: Path
) -> Path:
    # Sites from before there were Debian packages are still good.
    more = [[read_debian_lock(stack), bool(stack.preload)]] if stack.debian or stack.preload else []
    return cache / "sites" / "index" / f"{_key(locked, platform, compiling, more)}.json"


def _key(
    locked: Mapping[str, Locked], platform: Platform, compiling: tuple[str, str] | None, more: Sequence[Any] = ()
) -> str:
    packages = [[package.name, package.version, *package.hashes] for package in locked.values()]
    tags = [platform.machine, platform.python, platform.glibc]
    return digests.of_json([packages, tags, compiling[1] if compiling else None, LAYOUT, *more])


def _recalled(index: Path, stack: Stack) -> Site | None:
    if not index.is_file():
        return None
    try:
        record = read_json(index, RECORD_LIMIT)
        path = index.parent.parent / str(record["folder"]) / "site"
        site = Site(path, str(record["digest"]), stack.python, dict(record["facts"]))
    except (InvalidInput, LookupError, TypeError, ValueError):
        return None
    return site if path.is_dir() else None


def _build(
    stack: Stack,
    locked: Mapping[str, Locked],
    base: Base,
    platform: Platform,
    compiling: tuple[str, str] | None,
    cache: Path,
    index: Path,
    say: Say,
) -> Site:
    wheels = wheels_for(stack, locked, platform, cache, say)
    debian = read_debian_lock(stack)
    debs = debs_for(stack, debian, cache, say)
    sites = cache / "sites"
    with storage_errors(sites):
        sites.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=sites, prefix=".build-"))
    try:
        with storage_errors(sites):
            os.chmod(building, 0o755)
            site = building / "site"
            site.mkdir()
            more = f" and {len(debs)} Debian packages" if debs else ""
            say(f"{stack.name}: unpacking {len(wheels)} wheels{more}")
            hashes: dict[str, str] = {}
            used = {name: checked(wheel, locked[name]) for name, wheel in wheels.items()}
            size = sum(unpack(wheel, site, hashes, bool(stack.preload)) for wheel in wheels.values())
            size += sum(unpack_deb(deb, site, hashes) for deb in debs.values())
            _check_preload(stack, hashes)
            _add_bytecode(stack, site, compiling, say)
            _fix_times(site, base.epoch)
            digest = digests.of_json(hashes)
            folder = f"{digest}-{'cp' + compiling[1] if compiling else 'nopyc'}"
            if not (sites / folder).is_dir():
                os.replace(building, sites / folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    facts = {
        "pins": {name: package.version for name, package in locked.items()},
        "wheels": {name: {"file": wheels[name].name, "sha256": used[name]} for name in wheels},
        **(
            {"debian": {name: {"version": stack.debian[name], "sha256": debian[name]} for name in debs}} if debs else {}
        ),
        "files": len(hashes),
        "bytes": size,
        "bytecode": compiling[1] if compiling else None,
        "machine": platform.machine,
    }
    write_json(index, {"folder": folder, "digest": digest, "facts": facts})
    return Site(sites / folder / "site", digest, stack.python, facts)


def _check_preload(stack: Stack, hashes: Mapping[str, str]) -> None:
    """The dynamic linker only warns of a library that it cannot preload, and goes on with another."""
    if missing := [path for path in stack.preload if path not in hashes]:
        there = sorted(path for path in hashes if ".so" in path.rpartition("/")[2])
        raise StackFailed(
            f"Stack {stack.name}: its packages have no {', '.join(missing)}, which it names in `preload`.",
            f"there are: {', '.join(there[:20])}",
            "Name one of those.",
        )


def _add_bytecode(stack: Stack, site: Path, compiling: tuple[str, str] | None, say: Say) -> None:
    if compiling is None:
        say(f"{stack.name}: no CPython {stack.python} here, so no bytecode: its processes will start more slowly")
        return
    # The same bytes need the same seed: sets of constants are ordered by their hashes.
    seed = {"PYTHONHASHSEED": "0"}
    command = [compiling[0], "-S", "-s", "-W", "ignore", str(Path(compiler.__file__)), str(site), SITE]
    status, lines = tools.run(command, environment=seed)
    if status:
        why = " ".join(" ".join(lines[-5:]).split())
        raise StackFailed(f"Stack {stack.name}: its bytecode cannot be made.", why, f"Look at {compiling[0]}.")
    for path in site.rglob("*.pyc"):
        path.chmod(0o444)


def _fix_times(site: Path, epoch: int) -> None:
    for folder, _, files in os.walk(site, topdown=False):
        for name in files:
            os.utime(os.path.join(folder, name), (epoch, epoch))
        os.chmod(folder, 0o755)
        os.utime(folder, (epoch, epoch))
