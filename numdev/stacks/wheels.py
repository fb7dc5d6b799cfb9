"""The wheelhouse: wheels kept by their hash, fetched by pip where missing, and checked by us whatever pip says."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from numdev import digests
from numdev.errors import DownloadFailed, HashMismatch, NumdevError
from numdev.files import storage_errors
from numdev.spec.stack import Stack
from numdev.stacks import tools
from numdev.stacks.lock import Locked, called, format_lock
from numdev.stacks.platform import Platform
from numdev.stacks.tools import Say

OTHER_BUILD = (
    "Let your pip find the build that is pinned (its settings find-links or extra-index-url; for torch, the index "
    "of CPU wheels that its installation page names), or lock what your pip offers: numdev images lock {stack}"
)


def wheels_for(
    stack: Stack, locked: Mapping[str, Locked], platform: Platform, cache: Path, say: Say
) -> dict[str, Path]:
    """The wheel of every locked package, by name, in `cache/wheels/<sha256>/`; only missing ones are fetched.

    Raises:
        HashMismatch: what can be had is not what is locked.
        DownloadFailed: it cannot be had.
    """
    found = {name: _kept(package, platform, cache) for name, package in locked.items()}
    missing = {name: locked[name] for name, wheel in found.items() if wheel is None}
    if missing:
        for name in stack.from_pip:
            if name in missing:
                _refuse_other_build(stack, missing[name], platform)
        plural = "" if len(missing) == 1 else "s"
        say(f"{stack.name}: fetching {len(missing)} wheel{plural}: {', '.join(missing)}")
        found |= _fetch(stack, missing, platform, cache, say)
    return {name: wheel for name, wheel in sorted(found.items()) if wheel is not None}


def _kept(package: Locked, platform: Platform, cache: Path) -> Path | None:
    """The best fitting wheel of a package in the cache."""
    fitting = []
    for digest in package.hashes:
        folder = cache / "wheels" / digest
        if not folder.is_dir():
            continue
        for wheel in sorted(folder.glob("*.whl")):
            rank = platform.rank(wheel.name, package)
            if rank is not None:
                fitting.append((rank, digest, wheel))
    return min(fitting)[2] if fitting else None


def checked(wheel: Path, package: Locked) -> str:
    """The digest of a wheel in the cache; raises HashMismatch where it is no longer the locked one."""
    digest = digests.of_file(wheel)
    if digest not in package.hashes or digest != wheel.parent.name:
        raise HashMismatch(
            f"{wheel.name} in the cache is not the file that is locked.",
            f"expected sha256 {wheel.parent.name}, got {digest}",
            f"Something changed it. Remove {wheel.parent}, and it is fetched again.",
        )
    return digest


def _fetch(stack: Stack, missing: Mapping[str, Locked], platform: Platform, cache: Path, say: Say) -> dict[str, Path]:
    with storage_errors(cache):
        (cache / "wheels").mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=cache / "wheels", prefix=".fetch-"))
    try:
        lock = folder / "missing.lock"
        lock.write_bytes(format_lock(missing, called(stack)))
        command = [
            *tools.pip(),
            "download",
            "--require-hashes",
            # The lock has decided what fits. pip takes "3.9" for 3.9.0, which some packages exclude by name.
            "--ignore-requires-python",
            "-r",
            str(lock),
            "-d",
            str(folder / "wheels"),
        ]
        _pip([*command, *_options(platform)], stack, missing, say)
        return {name: _adopt(stack, package, folder / "wheels", platform, cache) for name, package in missing.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch_unlocked(stack: Stack, name: str, platform: Platform, folder: Path, say: Say) -> Path:
    """The wheel that the user's pip offers for a pin, whatever its hash; raises DownloadFailed."""
    wanted = Locked(name, stack.pins[name], ())
    command = [*tools.pip(), "download", f"{name}=={wanted.version}", "-d", str(folder), *_options(platform)]
    _pip(command, stack, {name: wanted}, say)
    for wheel in sorted(folder.glob("*.whl")):
        if platform.rank(wheel.name, wanted) is not None:
            return wheel
    raise DownloadFailed(f"pip found no wheel of {name} {wanted.version} for CPython {platform.python}.")


def _options(platform: Platform) -> list[str]:
    words = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    words += ["--progress-bar", "off", "--implementation", "cp", "--python-version", platform.python]
    words += ["--abi", platform.tag, "--abi", "abi3", "--abi", "none"]
    for tag in platform.platform_tags():
        words += ["--platform", tag]
    return words


def _pip(command: list[str], stack: Stack, wanted: Mapping[str, Locked], say: Say) -> None:
    def tell(line: str) -> None:
        # pip says "Downloading NAME (SIZE)" before the first byte: a large download is never a surprise.
        if match := re.match(r"\s*Downloading (?:\S*/)?([^/\s]+\.whl)(?:#\S*)?( \([^)]*\))?", line):
            say(f"{stack.name}: downloading {match[1]}{match[2] or ''}")

    status, lines = tools.run(command, line=tell)
    if status:
        raise _failure(stack, wanted, lines)


def _failure(stack: Stack, wanted: Mapping[str, Locked], lines: list[str]) -> NumdevError:
    text = "\n".join(lines)
    got = re.search(r"Got\s+([0-9a-f]{64})", text)
    if got:
        named = re.search(r"\n\s*([A-Za-z0-9._-]+)(?:==[^\s]*)? from ", text)
        what = named[1] if named else "a package"
        expected = re.findall(r"Expected (?:or )?sha256 ([0-9a-f]{64})|\bor ([0-9a-f]{64})", text)
        listed = ", ".join(first or second for first, second in expected[:3]) + (" or others" * (len(expected) > 3))
        return HashMismatch(
            f"Stack {stack.name}: the wheel that pip finds for {what} is not the one that is locked.",
            f"expected sha256 {listed or 'as locked'}, got {got[1]}",
            OTHER_BUILD.format(stack=called(stack)),
        )
    errors = [line for line in lines if "ERROR" in line or "error:" in line.lower()] or lines[-3:]
    names = ", ".join(f"{name} {package.version}" for name, package in wanted.items())
    return DownloadFailed(
        f"Stack {stack.name}: pip could not fetch {names}.",
        " ".join(" ".join(errors[-3:]).split())[:1500],
        "Check the network and pip's settings (pip config list); what was fetched before is kept.",
    )


def _adopt(stack: Stack, package: Locked, folder: Path, platform: Platform, cache: Path) -> Path:
    """Moves what pip fetched for a package into the cache, after our own check."""
    wheels = [wheel for wheel in sorted(folder.glob("*.whl")) if platform.rank(wheel.name, package) is not None]
    if not wheels:
        raise DownloadFailed(
            f"Stack {stack.name}: pip fetched no wheel of {package.name} {package.version} that fits.",
            f"wanted: CPython {platform.python}, {platform.machine}, glibc {platform.glibc} or older",
            "Pin a version that is published as a wheel for these.",
        )
    digest = digests.of_file(wheels[0])
    if digest not in package.hashes:
        raise HashMismatch(
            f"Stack {stack.name}: {wheels[0].name} is not the file that is locked.",
            f"expected sha256 {' or '.join(package.hashes[:3])}, got {digest}",
            OTHER_BUILD.format(stack=called(stack)),
        )
    return keep(wheels[0], digest, cache)


def keep(wheel: Path, digest: str, cache: Path) -> Path:
    """Moves a wheel whose digest is known to its place in the cache."""
    final = cache / "wheels" / digest / wheel.name
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(wheel, 0o444)
        os.replace(wheel, final)
    return final


def _refuse_other_build(stack: Stack, package: Locked, platform: Platform) -> None:
    """Raises HashMismatch before a large download, where pip can tell the hash of what it would fetch.

    Silent where it cannot: the download itself is checked in any case.
    """
    with tempfile.TemporaryDirectory(prefix="numdev-") as folder:
        report = Path(folder) / "report.json"
        command = [
            *tools.pip(),
            "install",
            "--dry-run",
            "--ignore-installed",
            "--quiet",
            "--report",
            str(report),
        ]
        command += ["--target", f"{folder}/none", f"{package.name}=={package.version}", *_options(platform)]
        status, _ = tools.run([word for word in command if word not in ("--progress-bar", "off")])
        if status or not report.is_file() or report.stat().st_size > 16 << 20:
            return
        try:
            offered = json.loads(report.read_bytes())["install"][0]["download_info"]
            got = offered["archive_info"]["hashes"]["sha256"]
            name = offered["url"].rsplit("/", 1)[-1]
        except (ValueError, LookupError, TypeError, AttributeError):
            return
    if got not in package.hashes:
        raise HashMismatch(
            f"Stack {stack.name}: pip offers {name}, which is not the build of {package.name} that is locked.",
            f"expected sha256 {' or '.join(package.hashes[:3])}, got {got}; nothing was downloaded",
            OTHER_BUILD.format(stack=called(stack)),
        )
