"""What `numdev bundle verify`, `rerun`, `diff` and `merge` print with `--json`, field by field.

docs/verify.schema.json and the others are their JSON Schemas: `python -m numdev.bundle.printed verify > docs/verify.schema.json`.
"""

from __future__ import annotations

import json
import sys
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Printed(BaseModel):
    """Nothing is optional: what there is none of is empty or null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def text(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True)


class Told(Printed):
    """A bundle: what it says of itself, and its digest."""

    name: str
    run: str
    date: str
    numdev: str
    digest: str = Field(description="the SHA-256 of its SHA256SUMS")


class Found(Printed):
    where: str
    what: str


class Check(Printed):
    check: str
    what: str = Field(description="what was looked at; empty where nothing could be")
    ok: bool
    problems: list[Found]
    more: int = Field(description="problems beyond those that are listed")
    notes: list[str] = Field(description="what could not be checked, or is no fault and worth a word")


class Verification(Printed):
    """`numdev bundle verify`."""

    version: Literal[1]
    bundle: Told
    whole: bool
    signed: str | None = Field(description="whose key signed it; null where no signature was asked for")
    left_out: dict[str, str] = Field(description="what it says that it does not have, and why")
    checks: list[Check]


class Difference(Printed):
    factor: str
    what: str


class Cause(Printed):
    factor: str
    why: str


class Cell(Printed):
    cell: str
    workload: str
    factors: dict[str, str]
    outcome: str = Field(
        description="same, other, noisy there, noisy here, ended the same, failed there, failed here, not run here, or "
        "never run there; `diff` calls its first bundle `there`"
    )
    runs: list[int] = Field(description="records of it there and here")
    reason: str = Field(description="what else is to say of the outcome")
    differs: list[Difference] = Field(description="where the outcome is other: what differs, in causal order")
    first: str | None = Field(description="the first factor that differs; empty where none does")
    layer: str | None = Field(description="where in the model the deviation begins, or why that is not known")
    cause: Cause | None = Field(description="the likely cause; it is not proven")


class Classes(Printed):
    workload: str
    cells: int = Field(description="that have a class on both sides")
    classes: list[int]
    index: float | None = Field(description="adjusted Rand index; null for fewer than two cells")
    same_partition: bool


class Cells(Printed):
    """What `rerun` and `diff` say of cells."""

    same: bool
    counts: dict[str, int] = Field(description="cells by outcome")
    cells: list[Cell]
    classes: list[Classes]


class Rerun(Cells):
    """`numdev bundle rerun`."""

    version: Literal[1]
    bundle: Told
    numdev: str
    engine: str
    platform: dict[str, JsonValue] = Field(description="the processor here")
    runs: int
    left_out: int = Field(description="cells of the bundle that were not chosen")
    uncovered: list[str] = Field(description="classes and levels that no chosen cell has")
    notes: list[str]


class Diff(Cells):
    """`numdev bundle diff`."""

    version: Literal[1]
    bundles: list[Told]
    asked: list[str] = Field(description="what differs in what was asked")
    platforms: list[str] = Field(description="what differs in what it ran on")
    matched: list[str] = Field(description="levels that stand for each other")
    only: list[list[str]] = Field(description="for each bundle its cells that the other one does not ask for")
    letters: dict[str, list[str]] = Field(description="the classes of each cell on both sides, by its name")


class Host(Printed):
    """A machine of a merged run."""

    silicon: str
    declared: str = Field(description="what programs are told where that is another processor; else empty")
    fingerprint: dict[str, str]
    facts: dict[str, str]
    bundle: str
    digest: str
    date: str
    numdev: str
    run: str
    platform: str
    capture: str
    refused: dict[str, str] = Field(description="profiles that it could not show")


class Conflict(Printed):
    digest: str
    name: str
    outcomes: dict[str, str] = Field(description="by host: the digest of the outputs, or the status")


class Merge(Printed):
    """`numdev bundle merge`."""

    version: Literal[1]
    run: str
    cells: int
    records: int
    tensors: int
    hosts: dict[str, Host] = Field(description="by level of the factor `host`")
    equal: int = Field(description="replicates of one digest that have equal outcomes on several hosts")
    alone: int = Field(description="replicates of one host only")
    noisy: int = Field(
        description="replicates of one digest on several hosts, on one of which the cell's own runs differ"
    )
    conflicts: list[Conflict] = Field(description="replicates of one digest that have other outcomes")
    notes: list[str] = Field(description="what did not match, and what became of it")


COMMANDS: dict[str, type[Printed]] = {"verify": Verification, "rerun": Rerun, "diff": Diff, "merge": Merge}


def schema(command: str) -> str:
    """The JSON Schema of what a command prints, as its file has it."""
    described = COMMANDS[command].model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **described}, indent=2) + "\n"


if __name__ == "__main__":
    print(schema(sys.argv[1]), end="")
