"""What a run was made of, kept beside its results: a bundle of it can then be made anywhere the store is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from numdev import cpu, digests
from numdev.errors import InvalidInput, ProfileRefused, StoreFailed
from numdev.files import read_bytes
from numdev.run.plan import Plan
from numdev.run.resolve import Resolved
from numdev.run.runfile import Run, read_run
from numdev.spec.stack import BASES, Stack
from numdev.store import Store

# Of a definition, a lock, or a profile that is a file.
_LIMIT = 16 << 20


def kept(run: Run, resolved: Resolved, plan: Plan, store: Store) -> Run:
    """The run with its day, and with all that it was made of put into the store."""
    captures = dict(_captures(resolved))
    files = {**dict(_materials(resolved, plan)), **dict(captures.values())}
    materials = {name: store.put_file(data) for name, data in sorted(files.items())}
    return run.model_copy(
        update={
            "made": _day(run, store),
            "materials": materials,
            "captures": {level: name for level, (name, _) in sorted(captures.items())},
            "origins": _origins(resolved),
        }
    )


def _day(run: Run, store: Store) -> str:
    """Asked for again, the same cells are those of the day on which they were asked for first."""
    try:
        earlier = read_run(store, run.matrix)
    except StoreFailed:
        earlier = None
    if earlier and earlier.made and earlier.cells == run.cells:
        return earlier.made
    return datetime.now(UTC).date().isoformat()


def _materials(resolved: Resolved, plan: Plan) -> Iterator[tuple[str, bytes]]:
    """(name in a bundle, bytes). A stack that has a folder of files gives all of them, as its image is made of them."""
    for stack in resolved.stacks.values():
        yield from _definition(stack)
    for item in plan.items:
        shown = resolved.shown(item.cell)
        if shown is not None and shown.table is not None:
            text = shown.table.text().encode("ascii")
            yield f"tables/{digests.of_bytes(text)}.txt", text
    try:
        data = digests.canonical(cpu.capture().json()) + b"\n"
        yield f"platforms/{resolved.host.digest}.json", data
    except ProfileRefused:
        # Not an x86-64 machine: what is known of it is in every record.
        pass


def _captures(resolved: Resolved) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """(the file as a level of `profile` names it, its name in a bundle and its bytes)."""
    folder = resolved.matrix.path.parent
    for name in sorted(resolved.profiles.keys() | resolved.refused.keys() | resolved.emulated.keys()):
        if path := cpu.file_of(name, folder):
            data = read_bytes(path, _LIMIT)
            level = next(name[:end] for end in range(len(name), 0, -1) if folder / name[:end] == path)
            yield level, (f"profiles/{digests.of_bytes(data)}{path.suffix}", data)


def _definition(stack: Stack) -> Iterator[tuple[str, bytes]]:
    folder = stack.folder
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        yield f"stacks/{folder.name}/{path.name}", read_bytes(path, _LIMIT)
    base = folder.parent / BASES / f"{stack.base}.yaml"
    try:
        yield f"stacks/{BASES}/{base.name}", read_bytes(base, _LIMIT)
    except InvalidInput:
        # A stack that is a Dockerfile has its base there.
        pass


def _origins(resolved: Resolved) -> dict[str, str]:
    found: dict[str, Path] = {}
    for workload in resolved.workloads.values():
        artefacts = [*workload.formats.values(), *([workload.inputs] if workload.inputs else [])]
        found |= {artefact.sha256: artefact.path for artefact in artefacts if artefact.sha256}
        found |= {digests.of_file(path): path for path in workload.files.values()}
    return {sha256: str(path.absolute()) for sha256, path in sorted(found.items())}
