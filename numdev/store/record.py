"""A record: what became of one replicate of one cell."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator

from numdev.spec.yamlfile import Strict

# 1: as below, without `rounds` and `tap`; it is still written where there are none, for older numdevs to read. 2: without `tap`.
SCHEMA = 3
ROUNDS_LIMIT = 1000
LAYERS = 2000
STATUS = re.compile(r"ok|failed|timeout|oom|signal:[0-9]{1,3}|unsupported|unrealised|lost")
_DIGEST = r"^[0-9a-f]{64}$"
Digest = Annotated[str, Field(pattern=_DIGEST)]


class Output(Strict):
    """One output tensor; `tensor` is the SHA-256 of its .npy file."""

    name: str = Field(max_length=1000)
    dtype: str = Field(max_length=20)
    shape: list[int] = Field(max_length=32)
    tensor: str = Field(pattern=_DIGEST)


class Layer(Strict):
    """One layer of a tapped model; `inputs` are layers and inputs of the model, by name.

    multiplications, roundings: for one number that it gives, see worker/layers.py; None where unknown. sha256: of its .npy, "" where
    it was not looked at. max_abs, mean: of the finite elements; nonfinite counts the others. sample: the tensor of at
    most 4096 elements, by a fixed odd step over all in C order.
    """

    name: str = Field(max_length=1000)
    op: str = Field(max_length=1000)
    inputs: list[Annotated[str, Field(max_length=1000)]] = Field(max_length=1000)
    multiplications: int | None = Field(default=None, ge=0)
    roundings: int | None = Field(default=None, ge=0)
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    dtype: str = Field(default="", max_length=20)
    shape: list[int] = Field(default=[], max_length=32)
    max_abs: float | None = Field(default=None, allow_inf_nan=False)
    mean: float | None = Field(default=None, allow_inf_nan=False)
    nonfinite: int = Field(default=0, ge=0)
    sample: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


class Tap(Strict):
    """What was seen of a model's layers, see worker/tap.py for the statuses; layers in the order in which they are computed."""

    status: Literal["same", "partly", "changes", "noisy", "too deep", "unsupported", "failed"]
    reason: str = ""
    layers: list[Layer] = Field(default=[], max_length=LAYERS)


class Record(Strict):
    """Everything known of one replicate. `digest` names its causes, see docs/architecture.md."""

    record: int = Field(ge=1)
    digest: str = Field(pattern=_DIGEST)
    workload: str
    factors: dict[str, str | int]
    replicate: int = Field(ge=0)
    reference: bool = False
    status: str
    reason: str = ""
    outputs: list[Output] = Field(default=[], max_length=10_000)
    seconds: float | None = None
    realised: dict[str, JsonValue] = {}
    causes: dict[str, JsonValue] = Field(default={}, description="the digests the cell's digest was made of")
    environment: dict[str, JsonValue] = {}
    log: str = ""
    rounds: list[Digest] = Field(
        default=[], max_length=ROUNDS_LIMIT, description="the outcome of every inference of the process, where several"
    )

    tap: Tap | None = Field(default=None, description="what was seen of the model's layers, where that was asked for")

    @field_validator("status")
    @classmethod
    def _status(cls, value: str) -> str:
        if not STATUS.fullmatch(value):
            raise ValueError(f"{value!r} is not a status")
        return value

    def json_data(self) -> dict[str, Any]:
        data = self.model_dump(mode="json")
        if not self.rounds:
            del data["rounds"]
        if self.tap is None:
            del data["tap"]
        return data
