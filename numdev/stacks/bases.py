"""Base systems: a root file system with CPython as one tar, pulled by digest or made from Debian packages."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from numdev import digests
from numdev.errors import InvalidInput, NoBase, StackFailed
from numdev.files import atomic, read_json, storage_errors, write_json
from numdev.spec.architecture import own
from numdev.spec.stack import Base
from numdev.stacks import tools
from numdev.stacks.platform import ARCHITECTURES
from numdev.stacks.tools import Say

PYTHON = "usr/bin/python3"
RECORD_LIMIT = 4 << 20
# Debian's packages set themselves up. The flag F opens the emulator at once, so that it is there inside of another root.
BINFMT = (
    "Making a base for another architecture runs its programs, and needs binfmt_misc with an emulator under the flag F, once: "
    "apt-get install qemu-user-static binfmt-support. Where it is not mounted: mount binfmt_misc -t binfmt_misc "
    "/proc/sys/fs/binfmt_misc, then cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register"
)
STATUS_LIMIT = 64 << 20
# Docker makes these itself in every container; in an exported one they carry the time of the export.
MADE_BY_ENGINE = {".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"}


@dataclass(frozen=True)
class BaseSystem:
    """A root file system: `tar` with its SHA-256 and size in bytes, how it was made, and its Debian packages.

    `kind` is "registry" (then `source` is the image by digest) or "bootstrap" (then `source` is the suite).
    """

    tar: Path
    sha256: str
    size: int
    kind: str
    source: str
    packages: dict[str, str] = field(hash=False)


def base_for(base: Base, machine: str, cache: Path, say: Say) -> BaseSystem:
    """The base system, made if the cache has none; says which way was taken.

    Raises:
        StackFailed: there is nothing to make it with, or that failed.
    """
    if kept := known_base(base, machine, cache):
        return kept
    folder, record = cache / "bases", _record(base, machine, cache)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder, prefix=".build-"))
    try:
        made, kind, source = work / "root.tar", "bootstrap", base.suite
        if base.registry and _pull(base, made, say):
            kind, source = "registry", base.registry
        else:
            _bootstrap(base, machine, made, say)
        packages = _packages(made, base)
        sha256, size = digests.of_file(made), made.stat().st_size
        with storage_errors(folder):
            os.replace(made, folder / f"{sha256}.tar")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    system = BaseSystem(folder / f"{sha256}.tar", sha256, size, kind, source, packages)
    write_json(record, asdict(system) | {"tar": system.tar.name})
    way = f"taken from {source}" if kind == "registry" else f"bootstrapped from {len(packages)} Debian packages"
    say(f"base {base.name}: {way}, {tools.megabytes(size)}, sha256 {sha256}")
    return system


def known_base(base: Base, machine: str, cache: Path) -> BaseSystem | None:
    """The base system if the cache has it; nothing is made."""
    return _recalled(_record(base, machine, cache))


def _record(base: Base, machine: str, cache: Path) -> Path:
    key = digests.of_json([_command(base, machine), base.epoch, base.registry])
    return cache / "bases" / f"{base.name}-{machine}-{key[:16]}.json"


def _recalled(record: Path) -> BaseSystem | None:
    if not record.is_file():
        return None
    try:
        value = read_json(record, RECORD_LIMIT)
        system = BaseSystem(**value | {"tar": record.parent / Path(value["tar"]).name})
        return system if system.tar.stat().st_size == system.size else None
    except (InvalidInput, OSError, LookupError, TypeError, AttributeError):
        return None


def _command(base: Base, machine: str) -> list[str]:
    """What bootstraps a base, without the program and the target: whoever changes it makes another base."""
    command = ["--quiet", "--variant=minbase", "--format=tar"]
    command += [f"--architectures={ARCHITECTURES[machine]}"]
    if "usr-is-merged" in base.include:
        # Suites before bookworm have no such package: they keep /bin and /lib apart, or bring usrmerge and perl.
        command.append("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
    command.append(f"--include={','.join(base.include)}")
    command += [f"--dpkgopt=path-exclude={path}" for path in base.exclude_paths]
    # These come from this host and its mirror: with them, another host's base would differ.
    host_files = ("etc/resolv.conf", "etc/hostname", "etc/apt/sources.list", "etc/machine-id")
    command.append("--customize-hook=rm -f " + " ".join(f'"$1/{name}"' for name in host_files))
    command.append('--customize-hook=rm -rf "$1"/var/log/* "$1"/var/cache/* "$1"/etc/apt/sources.list.d/*')
    return [*command, base.suite]


def _bootstrap(base: Base, machine: str, target: Path, say: Say) -> None:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise NoBase(
            f"The base {base.name!r} cannot be made: there is no mmdebstrap.",
            "Without an image that can be pulled, it is bootstrapped from Debian packages.",
            "Install it: apt-get install mmdebstrap. Or run without images: --engine local",
        )
    long = "about half a minute" if machine == own() else f"for {machine}, by emulation: some minutes, once"
    say(f"base {base.name}: bootstrapping {base.suite} from Debian packages ({long})")
    fixed = {"SOURCE_DATE_EPOCH": str(base.epoch), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    status, lines = tools.run([program, *_command(base, machine), str(target)], environment=fixed)
    if status or not target.is_file():
        raise NoBase(
            f"The base {base.name!r} cannot be made{'' if machine == own() else f' for {machine}'}.",
            " ".join(" ".join(lines[-12:]).split())[:1500] or f"mmdebstrap ended with {status}",
            "Check the network and the free space (ordinary users need unprivileged namespaces too). "
            + ("Or run without images: --engine local" if machine == own() else BINFMT),
        )


def _pull(base: Base, target: Path, say: Say) -> bool:
    """The image from its registry, flattened into `target`; False (and said) where it cannot be pulled."""
    docker = shutil.which("docker")
    if docker is None:
        say(f"base {base.name}: {base.registry} cannot be pulled (there is no docker); bootstrapping instead")
        return False
    status, lines = tools.run([docker, "pull", "--quiet", str(base.registry)])
    if status:
        why = lines[-1] if lines else f"docker ended with {status}"
        say(f"base {base.name}: {base.registry} cannot be pulled ({why[:300]}); bootstrapping instead")
        return False
    flatten(docker, str(base.registry), target, base.epoch)
    return True


def flatten(docker: str, image: str, target: Path, epoch: int) -> None:
    """Writes the root file system of an image as a tar whose bytes follow from the image alone."""
    status, lines = tools.run([docker, "create", "--network", "none", image, "true"])
    if status or not lines:
        raise StackFailed(f"No container can be made from {image}.", " ".join(lines[-3:]), "Check the engine.")
    container = lines[-1]
    exported = target.with_suffix(".export")
    try:
        status, lines = tools.run([docker, "export", "--output", str(exported), container])
        if status:
            raise StackFailed(f"{image} cannot be exported.", " ".join(lines[-3:]), "Check the engine.")
    finally:
        tools.run([docker, "rm", "--force", container])
    with tarfile.open(exported) as source, atomic(target) as file:
        members = {member.name.removeprefix("./").rstrip("/"): member for member in source}
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as out:
            # A hard link must follow the file that it names.
            for name in sorted(members, key=lambda name: (members[name].islnk(), name)):
                member = members[name]
                if not name or name in MADE_BY_ENGINE or name.startswith(("dev/", "proc/", "sys/")):
                    continue
                member.name, member.pax_headers = name, {}
                member.mtime = min(int(member.mtime), epoch)
                out.addfile(member, source.extractfile(member) if member.isreg() else None)
    exported.unlink()


def _packages(tar: Path, base: Base) -> dict[str, str]:
    """The Debian packages of a base with their versions; raises StackFailed where it has no CPython."""
    found: dict[str, str] = {}
    python = False
    with tarfile.open(tar, "r|") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            python = python or name == PYTHON
            if name == "var/lib/dpkg/status" and member.isreg() and member.size <= STATUS_LIMIT:
                file = archive.extractfile(member)
                found = _dpkg_status(file.read().decode("utf-8", "replace") if file else "")
    if not python:
        raise StackFailed(
            f"The base {base.name!r} has no /{PYTHON}.",
            f"It was made from {base.registry or base.suite}.",
            f"Add python3 to `include` in {base.file}, or choose an image that has it.",
        )
    return dict(sorted(found.items()))


def _dpkg_status(text: str) -> dict[str, str]:
    found = {}
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if "Package" in lines and lines.get("Status", "").endswith(" installed"):
            found[lines["Package"]] = lines.get("Version", "")
    return found
