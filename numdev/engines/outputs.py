"""Reading what a job wrote. It ran a stranger's model: nothing in its folder is believed."""

from __future__ import annotations

import io
import json
import math
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numdev import digests
from numdev.store.record import STATUS

JSON_LIMIT = 4 << 20
LOG_LIMIT = 16 << 10
TENSOR_LIMIT = 4 << 30
OUTPUTS_LIMIT = 1000
_HEADER_LIMIT = 4096


class Unbelievable(Exception):
    """What the job wrote is not what a worker writes; the message says what."""


@dataclass(frozen=True)
class Tensor:
    """One output: `data` are the bytes of its .npy file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class CellResult:
    status: str
    reason: str = ""
    outputs: tuple[Tensor, ...] = ()
    realised: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    log: str = ""


def read_result(out: Path, cell: str) -> CellResult | None:
    """The result of a cell, or None where the job left none. What cannot be believed becomes a failed cell."""
    folder = out / cell
    log = ""
    try:
        if folder.is_symlink() or not (folder / "result.json").exists():
            return None
        log = _read(folder / "log.txt", LOG_LIMIT, cut=True).decode("utf-8", "replace")
        return _result(folder, log)
    except (Unbelievable, ValueError, RecursionError, KeyError, TypeError, OSError) as error:
        return CellResult("failed", f"the job's own record of it cannot be read: {error}", log=log)


def _result(folder: Path, log: str) -> CellResult:
    data = json.loads(_read(folder / "result.json", JSON_LIMIT))
    status, reason = data["status"], data["reason"]
    if not isinstance(status, str) or not STATUS.fullmatch(status) or not isinstance(reason, str):
        raise Unbelievable("its status is none")
    rows, realised, seconds = data["outputs"], data["realised"], data.get("seconds")
    if not isinstance(rows, list) or len(rows) > OUTPUTS_LIMIT or not isinstance(realised, dict):
        raise Unbelievable("its outputs are no list")
    if seconds is not None and not (isinstance(seconds, float) and math.isfinite(seconds)):
        raise Unbelievable("its duration is no number")
    if status != "ok":
        rows = []
    outputs = tuple(_tensor(folder, row) for row in rows)
    if len({output.name for output in outputs}) != len(outputs):
        raise Unbelievable("two of its outputs have one name")
    return CellResult(status, reason[:4000], outputs, realised, seconds, log)


def _tensor(folder: Path, row: dict[str, Any]) -> Tensor:
    name, file = row["name"], row["file"]
    if not isinstance(name, str) or not isinstance(file, str) or len(name) > 1000 or "/" in file:
        raise Unbelievable("an output's name is none")
    data = _read(folder / file, TENSOR_LIMIT)
    if digests.of_bytes(data) != row["sha256"]:
        raise Unbelievable(f"{file} is not what the worker wrote")
    dtype, shape = parse_npy(data)
    return Tensor(name, dtype, shape, data)


def parse_npy(data: bytes) -> tuple[str, tuple[int, ...]]:
    """The type and shape of a .npy of numbers in C order; raises Unbelievable for anything else."""
    stream = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise Unbelievable("an output is of another .npy version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER_LIMIT)
    except ValueError as error:
        raise Unbelievable(f"an output is no .npy: {error}") from None
    if dtype.kind not in "biufc" or dtype.byteorder == ">" or fortran:
        raise Unbelievable(f"an output is of type {dtype}, not a plain array of numbers")
    if len(data) - stream.tell() != math.prod(shape) * dtype.itemsize:
        raise Unbelievable("an output's size is not that of its shape")
    return dtype.name, tuple(int(extent) for extent in shape)


def _read(path: Path, limit: int, cut: bool = False) -> bytes:
    """The bytes of a regular file that is no link; with `cut`, at most its last `limit` bytes."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        if cut:
            return b""
        raise
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Unbelievable(f"{path.name} is no regular file")
        if status.st_size > limit:
            if not cut:
                raise Unbelievable(f"{path.name} has {status.st_size} bytes, more than {limit}")
            file.seek(-limit, os.SEEK_END)
        return file.read(limit)
