"""Reading what a job wrote. It ran a stranger's model: nothing in its folder is believed."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numdev import digests
from numdev.store.record import ROUNDS_LIMIT, STATUS, Layer, Tap

JSON_LIMIT = 4 << 20
LOG_LIMIT = 16 << 10
TENSOR_LIMIT = 4 << 30
OUTPUTS_LIMIT = 1000
# 4096 numbers of the widest type, and a header.
SAMPLE_LIMIT = 4096 * 16 + 4096
# As deep as what a worker reads back ever is, and less deep than what a record can hold.
_DEPTH_LIMIT = 20
_REASON_LIMIT = 4000
_DIGEST = re.compile("[0-9a-f]{64}")
_MAGIC = b"\x93NUMPY\x01\x00"
# What numpy writes, to the letter: parsing it otherwise would evaluate a stranger's Python literal.
_HEADER = re.compile(
    rb"\{'descr': '([<|][biufc][0-9]{1,2})', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,18},)?|[0-9]{1,18}(?:, [0-9]{1,18}){1,31})\), \} *\n"
)


class Unbelievable(Exception):
    """What the job wrote is not what a worker writes; the message says what."""


@dataclass(frozen=True)
class Tensor:
    """One output: `data` are the bytes of its .npy file. All outputs of a cell have at most TENSOR_LIMIT of them."""

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
    rounds: tuple[str, ...] = ()
    tap: Tapped | None = None


@dataclass(frozen=True)
class Tapped:
    """What was seen of a model's layers, as it becomes part of a record; `samples` are the bytes of .npy files."""

    tap: Tap
    samples: tuple[bytes, ...] = ()


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
    rounds = data.get("rounds", [])
    if not isinstance(rounds, list) or len(rounds) > ROUNDS_LIMIT or not all(map(_is_digest, rounds)):
        raise Unbelievable("its rounds are no digests")
    _check_plain(realised)
    outputs: list[Tensor] = []
    for row in rows if status == "ok" else []:
        outputs.append(_tensor(folder, row, TENSOR_LIMIT - sum(len(output.data) for output in outputs)))
    if len({output.name for output in outputs}) != len(outputs):
        raise Unbelievable("two of its outputs have one name")
    shown = _printable(reason[:_REASON_LIMIT])
    tap = _tap(folder, data["tap"]) if status == "ok" and "tap" in data else None
    return CellResult(
        status, shown, tuple(outputs), realised, seconds, log, tuple(rounds) if status == "ok" else (), tap
    )


def _tap(folder: Path, data: Any) -> Tapped:
    """What the tap saw. Where it cannot be believed, that is its status: the cell has its result all the same."""
    try:
        samples = []
        layers = []
        for given in data["layers"]:
            row = dict(given)
            if file := row.pop("file", ""):
                sample = _tensor(folder, {"name": row["name"], "file": file, "sha256": row["sample"]}, SAMPLE_LIMIT)
                samples.append(sample.data)
            texts = (row["name"], row["op"], *row["inputs"])
            if not all(isinstance(text, str) and text.isprintable() for text in texts):
                raise Unbelievable("a layer's name is not printable")
            if bool(row.get("sample")) != bool(file):
                raise Unbelievable("a layer's sample is not there")
            layers.append(Layer.model_validate(row))
        if len({layer.name for layer in layers}) != len(layers):
            raise Unbelievable("two layers have one name")
        return Tapped(
            Tap(status=data["status"], reason=_printable(data["reason"][:_REASON_LIMIT]), layers=layers), tuple(samples)
        )
    except (Unbelievable, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        what = " ".join(str(error).split())[:_REASON_LIMIT]
        return Tapped(Tap(status="failed", reason=_printable(f"what it says of the layers cannot be read: {what}")))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _printable(text: str) -> str:
    """`text` without what would move a terminal's cursor or cannot be encoded."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


def _check_plain(value: Any) -> None:
    """Raises Unbelievable for JSON that a record cannot hold or a terminal not show."""
    waiting = [(value, 1)]
    while waiting:
        current, depth = waiting.pop()
        if depth > _DEPTH_LIMIT:
            raise Unbelievable("what it read back is nested too deeply")
        if isinstance(current, dict):
            waiting += [(each, depth + 1) for pair in current.items() for each in pair]
        elif isinstance(current, list):
            waiting += [(each, depth + 1) for each in current]
        elif isinstance(current, str) and not current.isprintable():
            raise Unbelievable("what it read back is not printable")


def _tensor(folder: Path, row: dict[str, Any], limit: int) -> Tensor:
    name, file = row["name"], row["file"]
    if not isinstance(name, str) or not isinstance(file, str) or len(name) > 1000 or "/" in file:
        raise Unbelievable("an output's name is none")
    if not name.isprintable():
        raise Unbelievable(f"the name {name!a} of an output is not printable")
    data = _read(folder / file, limit)
    if digests.of_bytes(data) != row["sha256"]:
        raise Unbelievable(f"{file} is not what the worker wrote")
    dtype, shape = parse_npy(data)
    return Tensor(name, dtype, shape, data)


def parse_npy(data: bytes) -> tuple[str, tuple[int, ...]]:
    """The type and shape of a .npy of numbers in C order; raises Unbelievable for anything else."""
    size = len(_MAGIC) + 2
    header = data[size : size + int.from_bytes(data[len(_MAGIC) : size], "little")]
    found = _HEADER.fullmatch(header) if data.startswith(_MAGIC) else None
    try:
        dtype = np.dtype(found[1].decode()) if found else None
    except TypeError:
        dtype = None
    if found is None or dtype is None:
        raise Unbelievable("an output is no .npy of plain numbers in C order")
    shape = tuple(int(extent) for extent in found[2].split(b",") if extent)
    if len(data) - size - len(header) != math.prod(shape) * dtype.itemsize:
        raise Unbelievable("an output's size is not that of its shape")
    if math.prod(max(1, extent) for extent in shape) * dtype.itemsize >= 1 << 62:
        raise Unbelievable("an output's shape is larger than an array's can be")
    return dtype.name, shape


def _read(path: Path, limit: int, cut: bool = False) -> bytes:
    """The bytes of a regular file that is no link; with `cut`, at most its last `limit` bytes."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        if cut:
            return b""
        raise
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise Unbelievable(f"{path.name} is no regular file")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > limit:
            if not cut:
                raise Unbelievable(f"{path.name} has {status.st_size} bytes, more than {limit}")
            file.seek(-limit, os.SEEK_END)
        return file.read(limit)
