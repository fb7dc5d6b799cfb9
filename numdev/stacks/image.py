"""Images as data: what goes into one, its ID before any engine has seen it, and a docker archive by hand.

An image has two layers: the base system and the site. All in it is sorted and has fixed times and owners, so the
same stack gives the same bytes, the same layer digests and so the same image ID, on every machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from numdev import digests
from numdev.errors import InvalidInput, StackFailed
from numdev.files import read_json, storage_errors, write_json
from numdev.spec.stack import Base, Stack, load_base
from numdev.stacks.bases import BaseSystem, base_for, known_base
from numdev.stacks.platform import ARCHITECTURES, machine_of
from numdev.stacks.site import SITE, Site, known_site, site_for
from numdev.stacks.tools import Say, megabytes

REPOSITORY = "numdev"
PIECE = 1 << 20
RECORD_LIMIT = 4 << 20
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONPATH": SITE,
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class ImagePlan:
    """An image that can be made: everything that its bytes follow from.

    `image_id` is "sha256:..." as an engine will name it; empty where `reproducible` is False: then the engine
    builds `context` (a folder) with `dockerfile` in it, and only the result has an ID. `config` is the
    image's configuration, byte for byte; sizes are in bytes.
    """

    name: str
    tag: str
    image_id: str
    labels: dict[str, str] = field(hash=False)
    site_digest: str = ""
    site: Path | None = None
    base_sha256: str = ""
    base_kind: str = ""
    base_tar: Path | None = None
    base_size: int = 0
    layer_sha256: str = ""
    layer_size: int = 0
    epoch: int = 0
    config: str = ""
    reproducible: bool = True
    context: Path | None = None
    dockerfile: Path | None = None


def image_plan(stack: Stack, cache: Path, say: Say) -> ImagePlan:
    """The plan of a stack's image, recalled from `cache` where nothing has changed.

    Raises:
        InvalidInput, HashMismatch, DownloadFailed, StackFailed: as `site_for`; the base cannot be made.
    """
    if stack.dockerfile:
        return _built_by_engine(stack)
    machine = machine_of(stack)
    base = load_base(stack.folder.parent, stack.base)
    site = site_for(stack, cache, say)
    system = base_for(base, machine, cache, say)
    record = _record(stack, base, site, system, cache)
    if kept := _recalled(record, cache):
        return kept
    say(f"{stack.name}: hashing its layers")
    layer = _Sink()
    _site_layer(site.path, base.epoch, layer)
    labels = _labels(stack, system, site.digest, site.facts)
    config = _config(labels, [system.sha256, layer.digest()], base.epoch, machine)
    image_id = digests.of_bytes(config)
    plan = ImagePlan(
        name=stack.name,
        tag=f"{REPOSITORY}/{stack.name}:{image_id[:12]}",
        image_id=f"sha256:{image_id}",
        labels=labels,
        site_digest=site.digest,
        site=site.path,
        base_sha256=system.sha256,
        base_kind=system.kind,
        base_tar=system.tar,
        base_size=system.size,
        layer_sha256=layer.digest(),
        layer_size=layer.size,
        epoch=base.epoch,
        config=config.decode("ascii"),
    )
    _keep(plan, record, cache)
    say(f"{stack.name}: {plan.image_id}, {megabytes(system.size + layer.size)}")
    return plan


def known_plan(stack: Stack, cache: Path) -> ImagePlan | None:
    """The plan of a stack's image if the cache has it and all that it is made of; nothing is made. Raises InvalidInput as image_plan."""
    if stack.dockerfile:
        return None
    base = load_base(stack.folder.parent, stack.base)
    site, system = known_site(stack, cache), known_base(base, machine_of(stack), cache)
    return _recalled(_record(stack, base, site, system, cache), cache) if site and system else None


def _record(stack: Stack, base: Base, site: Site, system: BaseSystem, cache: Path) -> Path:
    """Where a plan is kept: by everything that it follows from."""
    declared = [stack.name, stack.backend, stack.pins, base.epoch, system.sha256, system.kind, system.source]
    made = [site.digest, site.path.parent.name, site.facts["pins"], digests.of_file(Path(__file__))]
    return cache / "plans" / f"{digests.of_json([declared, made])}.json"


def _keep(plan: ImagePlan, record: Path, cache: Path) -> None:
    places = {"site": plan.site, "base_tar": plan.base_tar}
    relative = {name: os.path.relpath(path, cache) for name, path in places.items() if path}
    write_json(record, asdict(replace(plan, site=None, base_tar=None)) | relative)


def _recalled(record: Path, cache: Path) -> ImagePlan | None:
    if not record.is_file():
        return None
    try:
        value = read_json(record, RECORD_LIMIT)
        places = {name: cache / value[name] for name in ("site", "base_tar")}
        plan = ImagePlan(**(value | places))
    except (InvalidInput, LookupError, TypeError, AttributeError):
        return None
    return plan if all(place.exists() for place in places.values()) else None


def _built_by_engine(stack: Stack) -> ImagePlan:
    """A folder with a Dockerfile: the tag follows from its files, the ID from whatever the build gives."""
    digest = digests.of_tree(stack.folder)
    labels = {
        "org.numdev.stack": stack.name,
        "org.numdev.backend": stack.backend,
        "org.numdev.python": stack.python,
    }
    labels |= {"org.numdev.context": digest, "org.numdev.reproducible": "false"}
    labels |= {f"org.numdev.pin.{name}": version for name, version in stack.pins.items()}
    return ImagePlan(
        name=stack.name,
        tag=f"{REPOSITORY}/{stack.name}:{digest[:12]}",
        image_id="",
        labels=labels,
        reproducible=False,
        context=stack.folder,
        dockerfile=stack.dockerfile,
    )


def _labels(stack: Stack, system: BaseSystem, site_digest: str, facts: dict[str, Any]) -> dict[str, str]:
    labels = {
        "org.numdev.stack": stack.name,
        "org.numdev.backend": stack.backend,
        "org.numdev.python": stack.python,
        "org.numdev.python.package": system.packages.get(f"python{stack.python}", ""),
        "org.numdev.base": stack.base,
        "org.numdev.base.kind": system.kind,
        "org.numdev.base.source": system.source,
        "org.numdev.base.sha256": system.sha256,
        "org.numdev.site": site_digest,
        "org.numdev.bytecode": facts["bytecode"] or "none",
        "org.numdev.reproducible": "true",
    }
    labels |= {f"org.numdev.pin.{name}": version for name, version in facts["pins"].items()}
    return dict(sorted(labels.items()))


def _config(labels: dict[str, str], layers: list[str], epoch: int, machine: str) -> bytes:
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    steps = ["base system", "site"]
    value = {
        "architecture": ARCHITECTURES[machine],
        "os": "linux",
        "created": created,
        "config": {
            "Env": [f"{name}={text}" for name, text in ENVIRONMENT.items()],
            "Cmd": ["/usr/bin/python3"],
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}" for layer in layers]},
        "history": [{"created": created, "created_by": f"numdev: {step}"} for step in steps],
    }
    return digests.canonical(value)


class _Sink:
    """Where a layer is written: hashed, counted, and passed on if there is somewhere to pass it."""

    def __init__(self, onward: Callable[[bytes], Any] | None = None) -> None:
        self._state = hashlib.sha256()
        self._onward = onward
        self.size = 0

    def write(self, data: bytes) -> int:
        self._state.update(data)
        self.size += len(data)
        if self._onward:
            self._onward(data)
        return len(data)

    def digest(self) -> str:
        return self._state.hexdigest()


def _entry(
    name: str, epoch: int, *, size: int = 0, kind: bytes = tarfile.REGTYPE, mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode, info.type = size, epoch, mode, kind
    return info


def _site_layer(site: Path, epoch: int, sink: _Sink) -> None:
    """Writes the layer with the site: names sorted, times fixed, owner root."""
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT, bufsize=PIECE) as tar:  # type: ignore[call-overload]
        parts = SITE.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            tar.addfile(_entry("/".join(parts[:depth]), epoch, kind=tarfile.DIRTYPE, mode=0o755))
        for path in sorted(site.rglob("*"), key=lambda path: path.relative_to(site).parts):
            name = "/".join((*parts, *path.relative_to(site).parts))
            if path.is_dir():
                tar.addfile(_entry(name, epoch, kind=tarfile.DIRTYPE, mode=0o755))
                continue
            state = path.stat()
            mode = 0o755 if state.st_mode & 0o100 else 0o644
            with open(path, "rb") as file:
                tar.addfile(_entry(name, epoch, size=state.st_size, mode=mode), file)


def write_archive(plan: ImagePlan, file: IO[bytes]) -> None:
    """Writes a docker archive (for `docker load`) to `file`, the same bytes each time; `file` need not seek.

    Raises:
        StackFailed: the engine builds this image itself, or the cache is not what was planned: then what was
            written is of no use.
    """
    if not plan.reproducible or plan.base_tar is None or plan.site is None:
        raise StackFailed(
            f"There is no archive of the stack {plan.name!r}.",
            "Its image is built by the engine from a Dockerfile.",
            f"Build it (numdev images build {plan.name}), then: docker save {plan.tag}",
        )
    config = plan.config.encode("ascii")
    config_name = f"{digests.of_bytes(config)}.json"
    layers = [f"{digest}/layer.tar" for digest in (plan.base_sha256, plan.layer_sha256)]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [plan.tag], "Layers": layers}], separators=(",", ":"))
    with storage_errors(plan.base_tar):
        _member(file, "manifest.json", manifest.encode("ascii"), plan.epoch)
        _member(file, config_name, config, plan.epoch)
        for name, digest, size, copy in (
            (layers[0], plan.base_sha256, plan.base_size, _copy_base),
            (layers[1], plan.layer_sha256, plan.layer_size, _copy_site),
        ):
            file.write(_entry(name, plan.epoch, size=size).tobuf(tarfile.GNU_FORMAT))
            sink = _Sink(file.write)
            copy(plan, sink)
            if sink.digest() != digest:
                raise StackFailed(
                    f"The cache of the stack {plan.name!r} has changed since it was made.",
                    f"expected a layer with sha256 {digest}, got {sink.digest()}",
                    f"Remove {plan.site.parent} and {plan.base_tar}, then build again.",
                )
            file.write(b"\0" * (-size % tarfile.BLOCKSIZE))
        file.write(b"\0" * (2 * tarfile.BLOCKSIZE))


def _copy_base(plan: ImagePlan, sink: _Sink) -> None:
    assert plan.base_tar is not None
    with open(plan.base_tar, "rb") as file:
        while piece := file.read(PIECE):
            sink.write(piece)


def _copy_site(plan: ImagePlan, sink: _Sink) -> None:
    assert plan.site is not None
    _site_layer(plan.site, plan.epoch, sink)


def _member(file: IO[bytes], name: str, data: bytes, epoch: int) -> None:
    file.write(_entry(name, epoch, size=len(data)).tobuf(tarfile.GNU_FORMAT))
    file.write(data + b"\0" * (-len(data) % tarfile.BLOCKSIZE))
