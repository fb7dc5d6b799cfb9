"""One result file of the repository, read as what it has to be and no further."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from numdev.errors import InvalidInput
from numdev.imports.places import Place
from numdev.imports.platforms import GPU
from numdev.spec import yamlfile

# The most runs that were published of one platform are 20.
MOST_RUNS = 10_000
Word = Annotated[str, Field(pattern=r"^[ -~]{0,200}$")]
Size = Annotated[int, Field(ge=0, lt=1 << 62)]


class Unreadable(Exception):
    """A file is not what a result has to be; the message says what is wrong."""


class _Read(BaseModel):
    """Strict in what is used; what else stands in a file is left where it is."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Array(_Read):
    bytes: str
    dtype: Literal["float16", "float32", "float64"]
    shape: list[Size] = Field(max_length=8)

    def array(self) -> np.ndarray:
        """The array, little-endian in C order; raises Unreadable where bytes and shape disagree."""
        try:
            data = base64.b64decode(self.bytes, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Unreadable(f"its bytes are not base64: {error}") from None
        dtype = np.dtype(self.dtype).newbyteorder("<")
        if len(data) != math.prod(self.shape) * dtype.itemsize:
            raise Unreadable(f"it has {len(data)} bytes for the shape {self.shape} of {self.dtype}")
        return np.frombuffer(data, dtype).reshape(self.shape)


class CpuInfo(_Read):
    """What py-cpuinfo saw: of a GPU's result, the processor beside it."""

    vendor_id_raw: Word
    brand_raw: Word
    family: Size
    model: Size
    stepping: Size | None = None
    count: Annotated[int, Field(ge=1, le=65536)]
    flags: list[Word] = Field(max_length=1000)
    l1_data_cache_size: Size | Word | None = None
    l2_cache_size: Size | Word | None = None
    l3_cache_size: Size | Word | None = None
    hz_advertised_friendly: Word | None = None
    python_version: Word


class Memory(_Read):
    total: Size


class Device(_Read):
    device_type: Literal["CPU", "GPU"]
    memory_limit: Size | None = None
    physical_description: dict[Word, Word] = Field(default={}, max_length=50)


class ResultFile(_Read):
    cpu_info: CpuInfo
    prediction: Array
    hostname: Word | None = None
    memory: Memory | None = None
    device: Device | None = None
    model_type: Word | None = None
    batch_dissemination: bool | None = None
    all_predictions: Array | Annotated[list[Array], Field(max_length=MOST_RUNS)] | None = None


@dataclass(frozen=True)
class Result:
    """A result and the outputs of its runs, each of the shape of one prediction with its batch."""

    file: ResultFile
    runs: tuple[np.ndarray, ...]

    @property
    def environment(self) -> dict[str, Any]:
        """What the file says beside its numbers, and what it does not say."""
        file = self.file
        gpu = file.device is not None and file.device.device_type == "GPU"
        return {
            "cpu": file.cpu_info.model_dump(mode="json"),
            "device": file.device.model_dump(mode="json") if file.device else None,
            "hostname": file.hostname,
            "memory": file.memory.total if file.memory else None,
            "model_type": file.model_type,
            "batch_dissemination": file.batch_dissemination,
            "unknown": [
                "versions of all software but Python's",
                "threads",
                "environment variables",
                "digests of model and input",
                "time",
                *(["versions of CUDA, cuDNN and the driver", "algorithms of convolutions"] if gpu else []),
            ],
        }


def read_result(data: bytes, place: Place) -> Result:
    """A result file's content; raises Unreadable with all that is wrong."""
    try:
        value = json.loads(data, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Unreadable("it is no JSON object")
    try:
        file = yamlfile.validate(ResultFile, value, "")
    except InvalidInput as error:
        wrong = [f"{problem.where.removeprefix(': ')} {problem.what}".strip() for problem in error.problems]
        raise Unreadable("; ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")) from None
    if place.model and file.model_type != place.model:
        raise Unreadable(f"its path says {place.model}, the file itself {file.model_type}")
    if file.device and file.device.device_type.lower() != place.kind:
        raise Unreadable(f"its path says {place.kind}, the file itself {file.device.device_type}")
    return Result(file, _runs(file, place.kind))


def _runs(file: ResultFile, kind: str) -> tuple[np.ndarray, ...]:
    last = file.prediction.array()
    every = file.all_predictions
    if every is None:
        if kind == GPU:
            raise Unreadable("it has no all_predictions, as a GPU's result has")
        return (last,)
    if isinstance(every, list):
        runs = tuple(one.array() for one in every)
    else:
        stacked = every.array()
        if stacked.ndim < 1 or not 1 <= len(stacked) <= MOST_RUNS:
            raise Unreadable(f"its all_predictions have the shape {every.shape}")
        # Runs were stacked along the batch of one, which a CPU's result still has.
        runs = tuple(stacked[place : place + 1] for place in range(len(stacked)))
    if not runs:
        raise Unreadable("its all_predictions are empty")
    if len({(run.shape, run.dtype) for run in runs}) > 1:
        raise Unreadable("its all_predictions are of several shapes")
    if last.tobytes() not in {run.tobytes() for run in runs}:
        raise Unreadable("its prediction is none of its all_predictions")
    return runs


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
