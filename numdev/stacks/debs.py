"""Debian packages in a site: libraries that are published as no wheel, pinned by version and hash as wheels are.

They are fetched by apt-get, checked by us, and laid out without dpkg: modules at the top of the site, shared libraries in its `lib`. So
they are the same files on every engine, and nothing is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from numdev import digests
from numdev.errors import DownloadFailed, HashMismatch, InvalidInput, Problem, StackFailed
from numdev.files import read_bytes, storage_errors, write_bytes
from numdev.spec.architecture import X86
from numdev.spec.stack import Stack
from numdev.stacks import tools
from numdev.stacks.tools import Say

LOCK = "debian.lock"
LIBRARIES = "lib"
_LIMIT, _FILES, _BYTES, _PIECE = 1 << 20, 50_000, 4 << 30, 1 << 20
_LINE = re.compile(r"([a-z0-9][a-z0-9+.-]+)=(\S+) sha256:([0-9a-f]{64})")
_MODULES = "usr/lib/python3/dist-packages/"
_SYSTEM = "usr/lib/x86_64-linux-gnu/"
_SHARED = re.compile(r"lib[A-Za-z0-9_+.-]+\.so(?:\.[0-9.]+)?")


def read_debian_lock(stack: Stack) -> dict[str, str]:
    """The SHA-256 of each Debian package of a stack, by name; empty where it has none. Raises InvalidInput."""
    if not stack.debian:
        return {}
    file = stack.folder / LOCK
    remedy = f"make it with: numdev images lock {stack.name}"
    if stack.architecture != X86:
        raise InvalidInput(
            f"The stack {stack.name!r} has Debian packages.", [Problem(str(file), "they are for x86_64")]
        )
    text = read_bytes(file, _LIMIT, remedy).decode("ascii", "replace")
    found, problems = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            problems.append(Problem(f"{file}:{number}", f"{line[:80]!r} is not name=version sha256:..."))
        elif stack.debian.get(match[1]) != match[2]:
            problems.append(Problem(f"{file}:{number}", f"{match[1]} {match[2]} is not what stack.yaml pins"))
        else:
            found[match[1]] = match[3]
    problems += [Problem(str(file), f"{name} is pinned and not locked") for name in stack.debian if name not in found]
    if problems:
        raise InvalidInput(f"The lock of the stack {stack.name!r} is not valid.", problems, remedy)
    return dict(sorted(found.items()))


def lock_debs(stack: Stack, cache: Path, say: Say) -> None:
    """Writes the lock of a stack's Debian packages from what apt-get offers of the pinned versions."""
    lines = [f"# Made by: numdev images lock {stack.name}"]
    for name, version in stack.debian.items():
        digest = digests.of_file(deb := _fetched(stack, name, cache, say))
        _kept(deb, digest, cache)
        lines.append(f"{name}={version} sha256:{digest}")
    write_bytes(stack.folder / LOCK, ("\n".join(lines) + "\n").encode("ascii"))


def debs_for(stack: Stack, locked: Mapping[str, str], cache: Path, say: Say) -> dict[str, Path]:
    """The file of every locked package, fetched where the cache lacks it.

    Raises:
        HashMismatch: what can be had, or lies in the cache, is not what is locked.
        DownloadFailed: it cannot be had.
    """
    found = {}
    for name, digest in locked.items():
        kept = cache / "debs" / digest / f"{name}.deb"
        if not kept.is_file():
            fetched = _fetched(stack, name, cache, say)
            if (got := digests.of_file(fetched)) != digest:
                shutil.rmtree(fetched.parent, ignore_errors=True)
                raise HashMismatch(
                    f"Stack {stack.name}: the Debian package {name} {stack.debian[name]} is not the one that is locked.",
                    f"expected sha256 {digest}, got {got}",
                    f"Lock what your Debian mirror has: numdev images lock {stack.name}",
                )
            kept = _kept(fetched, digest, cache)
        elif (got := digests.of_file(kept)) != digest:
            raise HashMismatch(
                f"{kept.name} in the cache is not the file that is locked.",
                f"expected sha256 {digest}, got {got}",
                f"Something changed it. Remove {kept.parent}, and it is fetched again.",
            )
        found[name] = kept
    return found


def _kept(deb: Path, digest: str, cache: Path) -> Path:
    final = cache / "debs" / digest / f"{deb.name.partition('_')[0]}.deb"
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(deb, 0o444)
        os.replace(deb, final)
    shutil.rmtree(deb.parent, ignore_errors=True)
    return final


def _fetched(stack: Stack, name: str, cache: Path, say: Say) -> Path:
    """A package in a folder of its own, whatever its hash; raises DownloadFailed."""
    wanted = f"{name}={stack.debian[name]}"
    program = shutil.which("apt-get")
    why = "there is no apt-get here"
    if program:
        with storage_errors(cache):
            lists = cache / "debs" / "lists"
            (lists / "partial").mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=cache / "debs", prefix=".fetch-"))
        say(f"{stack.name}: fetching the Debian package {wanted}")
        # This machine's lists may be missing or old, and are not ours to change: then with lists of our own.
        own = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache::pkgcache={lists}/pkgcache.bin"]
        own += ["-o", f"Dir::Cache::srcpkgcache={lists}/srcpkgcache.bin", "-o", "APT::Sandbox::User="]
        for options, update in (([], False), (own, True)):
            if update:
                tools.run([program, *own, "-qq", "update"])
            command = [program, *options, "-qq", "download", wanted]
            status, lines = _run_in(folder, command)
            debs = sorted(folder.glob("*.deb"))
            if not status and len(debs) == 1:
                return debs[0]
            why = " ".join(" ".join(lines[-3:]).split())[:500]
        shutil.rmtree(folder, ignore_errors=True)
    raise DownloadFailed(
        f"Stack {stack.name}: the Debian package {wanted} cannot be fetched.",
        why,
        "It needs a Debian 12 whose mirror still has that version. Where it has a newer one: pin that in stack.yaml, then "
        f"numdev images lock {stack.name}",
    )


def _run_in(folder: Path, command: list[str]) -> tuple[int, list[str]]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("E:")]


def unpack_deb(deb: Path, site: Path, hashes: dict[str, str]) -> int:
    """Lays a package's modules and shared libraries out in `site`, adds their SHA-256 to `hashes`, and gives their bytes.

    Raises:
        StackFailed: it is no Debian package, is too large, or brings a file that another one brings with other bytes.
    """
    program = shutil.which("dpkg-deb")
    if program is None:
        raise StackFailed(f"{deb.name} cannot be unpacked.", "there is no dpkg-deb", "Install it: apt-get install dpkg")
    size, files, links = 0, 0, []
    with tempfile.TemporaryFile() as data:
        done = subprocess.run([program, "--fsys-tarfile", str(deb)], stdout=data, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise StackFailed(f"{deb.name} cannot be unpacked.", done.stderr.decode("utf-8", "replace").strip()[:300])
        data.seek(0)
        with tarfile.open(fileobj=data, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                place = _place(name)
                if place is None:
                    continue
                if member.issym() or member.islnk():
                    links.append((name, place, member))
                    continue
                if not member.isreg():
                    continue
                files, size = files + 1, size + member.size
                if files > _FILES or size > _BYTES:
                    raise StackFailed(f"{deb.name} is too large to be unpacked.")
                source = archive.extractfile(member)
                assert source is not None
                _write(deb, site, place, source.read(), hashes)
    for name, place, member in sorted(links, key=lambda link: link[0]):
        if member.islnk():
            target = member.linkname.removeprefix("./")
        else:
            target = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))
        there = _place(target)
        if there in hashes:
            _write(deb, site, place, (site / there).read_bytes(), hashes)
    return size


def _place(name: str) -> str | None:
    """Where a file of a package lies in the site; None for what has no place there."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name:
        return None
    if name.startswith(_MODULES):
        return None if name.endswith(".pyc") or name == _MODULES else name.removeprefix(_MODULES)
    if name.startswith(_SYSTEM) and _SHARED.fullmatch(parts[-1]):
        # Debian's alternatives choose among folders; here a stack has one of each library.
        return f"{LIBRARIES}/{parts[-1]}"
    return None


def _write(deb: Path, site: Path, place: str, data: bytes, hashes: dict[str, str]) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if hashes.get(place, digest) != digest:
        raise StackFailed(
            f"{deb.name} cannot be unpacked.", f"{place} is in another package of the stack too, with other bytes"
        )
    if place in hashes:
        return
    target = site / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(0o444)
    hashes[place] = digest
