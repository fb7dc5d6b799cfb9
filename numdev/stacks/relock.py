"""Making a lock: uv resolves the pins and lists the hashes; what only the user's pip can find is added by its wheel."""

from __future__ import annotations

import tempfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

from numdev import digests
from numdev.errors import DownloadFailed, InvalidInput, Problem, StackFailed
from numdev.files import read_bytes, write_bytes
from numdev.spec.stack import LOCK_FILE, Stack, load_base
from numdev.stacks import tools
from numdev.stacks.debs import lock_debs
from numdev.stacks.lock import LIMIT, Locked, called, format_lock, parse_lock
from numdev.stacks.platform import Platform, machine_of
from numdev.stacks.tools import Say
from numdev.stacks.wheels import fetch_unlocked, keep

METADATA_LIMIT = 4 << 20


def relock(stack: Stack, cache: Path, say: Say) -> dict[str, Locked]:
    """Writes the stack's lock for its architecture anew from its pins, and gives what it now holds.

    Raises:
        StackFailed: uv is missing, or the pins contradict each other.
        DownloadFailed: a wheel that only pip can find cannot be fetched.
    """
    if stack.dockerfile:
        what = "its image is made by its Dockerfile, which pins what it installs"
        raise InvalidInput(f"The stack {stack.name!r} has no lock.", [Problem(str(stack.dockerfile), what)])
    base = load_base(stack.folder.parent, stack.base)
    platform = Platform(machine_of(stack), stack.python, base.glibc)
    wanted = [f"{name}=={version}" for name, version in stack.pins.items() if name not in stack.from_pip]
    by_pip: dict[str, Locked] = {}
    for name in stack.from_pip:
        package, requires = _offered(stack, name, platform, cache, say)
        by_pip[name] = package
        wanted += requires
    locked = _resolve(stack, wanted, platform)
    locked = {name: package for name, package in locked.items() if name not in by_pip} | by_pip
    if stack.debian:
        lock_debs(stack, cache, say)
    write_bytes(stack.lock, format_lock(locked, called(stack)))
    say(f"{stack.name}: {len(locked)} packages locked")
    return locked


def _offered(stack: Stack, name: str, platform: Platform, cache: Path, say: Say) -> tuple[Locked, list[str]]:
    """What pip offers for a pin, and what that wheel requires."""
    (cache / "wheels").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache / "wheels", prefix=".lock-") as folder:
        wheel = fetch_unlocked(stack, name, platform, Path(folder), say)
        digest = digests.of_file(wheel)
        requires = _requires(wheel)
        say(f"{stack.name}: {wheel.name} has sha256 {digest}")
        keep(wheel, digest, cache)
    return Locked(name, stack.pins[name], (digest,)), requires


def _requires(wheel: Path) -> list[str]:
    """The requirements in a wheel's metadata, without those of its extras."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            with archive.open(name) as file:
                data = file.read(METADATA_LIMIT)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise DownloadFailed(f"{wheel.name} is no valid wheel.", str(error)) from None
    found = BytesParser().parsebytes(data, headersonly=True).get_all("Requires-Dist") or []
    return [" ".join(text.split()) for text in found if "extra ==" not in text and "extra==" not in text]


def _versions_elsewhere(stack: Stack) -> list[str]:
    """What the x86-64 lock has, which uv keeps to where it can: or versions would vary together with the architecture."""
    first = stack.folder / LOCK_FILE
    if stack.lock == first or not first.is_file():
        return []
    locked, _ = parse_lock(read_bytes(first, LIMIT), str(first))
    return [f"{package.name}=={package.version}\n" for package in locked.values()]


def _resolve(stack: Stack, wanted: list[str], platform: Platform) -> dict[str, Locked]:
    with tempfile.TemporaryDirectory(prefix="numdev-") as folder:
        source, target = Path(folder) / "requirements.in", Path(folder) / "requirements.txt"
        source.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        target.write_text("".join(_versions_elsewhere(stack)), encoding="utf-8")
        tags = [tag for tag in platform.platform_tags() if tag.startswith("manylinux_2_28")]
        name = f"{platform.machine}-manylinux_2_28" if tags else f"{platform.machine}-manylinux2014"
        command = [
            *tools.uv(),
            "pip",
            "compile",
            "--quiet",
            "--generate-hashes",
            "--no-annotate",
            "--no-header",
        ]
        command += ["--only-binary", ":all:", "--python-version", platform.python, "--python-platform", name]
        if stack.overrides:
            overrides = Path(folder) / "overrides.txt"
            lines = [f"{name}=={stack.pins[name]}" for name in stack.overrides]
            overrides.write_text("\n".join(lines) + "\n", encoding="utf-8")
            command += ["--overrides", str(overrides)]
        command += ["--output-file", str(target), str(source)]
        # A requirements.txt or settings beside the user must not steer what a lock holds.
        status, lines = tools.run(command, environment={"UV_NO_CONFIG": "1"})
        if status:
            why = " ".join(" ".join(lines[-12:]).split())
            remedy = "Change the pins in its stack.yaml (or, if packages cannot be reached, check the network)."
            raise StackFailed(f"Stack {stack.name}: the pins cannot be resolved.", why[:1500], remedy)
        data = target.read_bytes()
    locked, problems = parse_lock(data, "uv pip compile")
    if problems:
        raise InvalidInput(f"Stack {stack.name}: uv's answer was not understood.", problems)
    return locked
