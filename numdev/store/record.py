"""A record: what became of one replicate of one cell."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, JsonValue, field_validator

from numdev.spec.yamlfile import Strict

# 1: as below, without `rounds`; it is still written where there are none, for older numdevs to read.
SCHEMA = 2
ROUNDS_LIMIT = 1000
STATUS = re.compile(r"ok|failed|timeout|oom|signal:[0-9]{1,3}|unsupported|unrealised|lost")
_DIGEST = r"^[0-9a-f]{64}$"
Digest = Annotated[str, Field(pattern=_DIGEST)]


class Output(Strict):
    """One output tensor; `tensor` is the SHA-256 of its .npy file."""

    name: str = Field(max_length=1000)
    dtype: str = Field(max_length=20)
    shape: list[int] = Field(max_length=32)
    tensor: str = Field(pattern=_DIGEST)


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
        return data
