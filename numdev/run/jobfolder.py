"""The folder that a job is given: the worker, its cells, their models and inputs, and the CPUID table."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numdev import files
from numdev.run.plan import Item
from numdev.run.resolve import WORKER, Resolved
from numdev.spec.quantities import duration, memory
from numdev.workloads import Prepared

PROTOCOL = 1
# What the supervisor, the import of a framework and the container itself need beside the cell.
OVERHEAD = 64 << 20


def write_job(folder: Path, resolved: Resolved, items: list[Item], *, link: bool, prefix: Sequence[str] = ()) -> None:
    """Fills an empty folder; see docs/architecture.md for its layout.

    Args:
        link: whether files of the cache may be linked instead of copied: only where the job cannot write to them.
        prefix: the words before every program that computes: an emulator, where it lies in the job's environment.
    """
    with files.storage_errors(folder):
        copy_worker(folder / "python" / "numdev_worker")
        workloads: dict[str, Any] = {}
        # Two names may stand for one and the same workload.
        wanted: dict[str, tuple[Prepared, set[str]]] = {}
        for item in items:
            workload = resolved.workloads[item.cell.workload]
            wanted.setdefault(workload.digest, (workload, set()))[1].add(item.format)
        for workload, formats in wanted.values():
            workloads[workload.digest] = _add_workload(folder / "workloads" / workload.digest, workload, formats, link)
        shown = resolved.shown(items[0].cell)
        if shown is not None and shown.table is not None:
            files.write_bytes(folder / "table.txt", shown.table.text().encode("ascii"))
        limits = resolved.matrix.limits
        files.write_json(
            folder / "job.json",
            {
                "protocol": PROTOCOL,
                "backend": resolved.stacks[items[0].cell.software].backend,
                "prefix": list(prefix),
                "memory": max(memory(limits.memory) - OVERHEAD, memory(limits.memory) // 2),
                "cells": [_cell(item, resolved, duration(limits.timeout)) for item in items],
                "workloads": workloads,
            },
        )
        for path in (folder, *folder.rglob("*")):
            # The container's user is another one.
            if path.is_dir():
                path.chmod(0o755)


def _cell(item: Item, resolved: Resolved, timeout: float) -> dict[str, Any]:
    factors = item.cell.factors
    return {
        "id": item.digest,
        "workload": resolved.workloads[item.cell.workload].digest,
        "format": item.format,
        "threads": factors["threads"],
        "optimization": factors["optimization"],
        "precision": factors["precision"],
        "batch": factors["batch"],
        "session": item.cell.prefixed("session"),
        "environment": item.cell.prefixed("env"),
        "replicate": item.replicate,
        "rounds": item.rounds,
        "timeout": timeout,
        **({"tap": item.tap} if item.tap else {}),
    }


def copy_worker(folder: Path) -> None:
    """Copies the code that runs in a cell into a folder of its own; nothing but its sources."""
    for source in sorted(WORKER.rglob("*.py")):
        target = folder / source.relative_to(WORKER)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _add_workload(folder: Path, workload: Prepared, formats: Iterable[str], link: bool) -> dict[str, Any]:
    folder.mkdir(parents=True)
    placed = {}
    for format in sorted(set(formats) & set(workload.formats)):
        # The file's ending matters to some frameworks.
        placed[format] = f"model{workload.formats[format].path.suffix}"
        _place(workload.formats[format].path, folder / placed[format], link)
    for name, path in sorted(workload.files.items()):
        _place(path, folder / name, False)
    if workload.inputs:
        _place(workload.inputs.path, folder / "inputs.npz", link)
    return {
        "formats": placed,
        "entry": workload.entry,
        "command": list(workload.command or []),
        "inputs": "inputs.npz" if workload.inputs else None,
        "outputs": list(workload.outputs or []),
    }


def _place(source: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # The container's user is another one: what is only the user's own to read is copied.
    if link and source.stat().st_mode & stat.S_IROTH:
        try:
            os.link(source, target)
            return
        except OSError:
            # Another file system, or one without links.
            pass
    shutil.copyfile(source, target)
    # Programs may need to be executable; the user's own mode says so.
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
