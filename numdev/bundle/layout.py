"""What lies where in a bundle: names, limits, and the models of its own JSON files. docs/bundle.md says it in words."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, JsonValue

from numdev.bundle import printed
from numdev.spec import yamlfile
from numdev.spec.architecture import X86

FORMAT = 1
SUMS = "SHA256SUMS"
DESCRIPTION = "numdev-bundle.json"
CRATE = "ro-crate-metadata.json"
RUN = "run.json"
CELLS = "cells.jsonl"
FACTS = "facts.jsonl"
ANSWER, ANSWER_TEXT = "analysis/answer.json", "analysis/answer.txt"
ARTIFACT, CHECKLIST, CITATION, LICENSES, VERIFY = (
    "ARTIFACT.md",
    "CHECKLIST.md",
    "CITATION.cff",
    "LICENSES.md",
    "verify.sh",
)
# What every bundle has for people, and nothing rests on.
PAPERS = (ARTIFACT, CHECKLIST, CITATION, LICENSES, VERIFY)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SUFFIX = ".bundle.tar"

MEMBERS = 400_000
# Lines of cells.jsonl, and of facts.jsonl; of each the most bytes. Parsed, a line takes some thirty times as much memory.
LINES = 1_000_000
LINE_LIMIT = 4 << 20
_HASH = r"[0-9a-f]{64}"
_WORD = r"[a-z0-9][a-z0-9._-]{0,63}"
_MB, _GB = 1 << 20, 1 << 30
# Every name that a member may have, with the most bytes that it may have. Beside the files for people all are lower-case.
LIMITS = {
    re.compile(pattern): limit
    for pattern, limit in {
        SUMS: 64 * _MB,
        "|".join(map(re.escape, (DESCRIPTION, *PAPERS))): 4 * _MB,
        re.escape(CRATE): 512 * _MB,
        re.escape(RUN): 16 * _MB,
        "|".join(map(re.escape, (CELLS, FACTS))): 2 * _GB,
        r"analysis/answer\.(json|txt)": 256 * _MB,
        rf"outputs/{_HASH}\.npy": 8 * _GB,
        rf"stacks/{_WORD}/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}": 16 * _MB,
        rf"sbom/{_WORD}\.cdx\.json": 64 * _MB,
        rf"tables/{_HASH}\.txt": _MB,
        rf"platforms/{_HASH}\.json": 16 * _MB,
        rf"profiles/{_HASH}\.(json|txt)": 16 * _MB,
        rf"workloads/{_WORD}/(model\.[a-z0-9]{{2,12}}|inputs\.npz|files/{_HASH})": 8 * _GB,
        rf"images/{_WORD}\.tar": 8 * _GB,
    }.items()
}


def limit(name: str) -> int | None:
    """The most bytes that the member `name` may have; None where a bundle has no such member."""
    return next((most for pattern, most in LIMITS.items() if pattern.fullmatch(name)), None)


def software(stack: str, architecture: str) -> str:
    """What the image and the bill of materials of a stack are called in a bundle."""
    return stack if architecture == X86 else f"{stack}-{architecture}"


Fact = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Hash = Annotated[str, Field(pattern=rf"^{_HASH}$")]


class Description(yamlfile.Strict):
    """`numdev-bundle.json`. left_out: what the bundle does not have, and why, by name."""

    bundle: int = Field(alias="numdev-bundle", ge=1)
    name: str = Field(pattern=rf"^{NAME.pattern}$")
    numdev: str = Field(max_length=100)
    run: str = Field(max_length=1000)
    date: str = Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="of the run, or as --date says")
    files: dict[str, dict[str, Hash]] = Field(
        default={}, description="workload: its own files' names in the job, and their digests"
    )
    profiles: dict[str, str] = Field(default={}, description="level of `profile` that is a file: its member")
    left_out: dict[str, str] = {}

    def json_data(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    def printed(self, digest: str) -> printed.Told:
        """digest: of the bundle that this is of."""
        return printed.Told(name=self.name, run=self.run, date=self.date, numdev=self.numdev, digest=digest)


class CellLine(yamlfile.Strict):
    """A line of `cells.jsonl`: one replicate that the matrix asked for, and the record that answers it.

    `status` is a record's, or "missing": it was never run. `outputs`: SHA-256 of the .npy files, in the order of `signature`, the
    fact with their names, types and shapes. What differs in each process (times, traps) is `measured`; the rest of what was read
    back is the fact `realised`. Facts are named by the first 16 digits of the SHA-256 of their canonical JSON.
    """

    digest: Hash
    workload: str
    factors: dict[str, str]
    replicate: int = Field(ge=0)
    reference: bool = False
    status: str
    reason: str = ""
    outputs: list[Hash] = Field(default=[], max_length=1000)
    signature: Fact | None = None
    declared: Fact | None = None
    causes: Fact | None = None
    environment: Fact | None = None
    realised: Fact | None = None
    rounds: Fact | None = None
    tap: Fact | None = None
    seconds: float | None = None
    measured: dict[str, JsonValue] = {}


class FactLine(yamlfile.Strict):
    """A line of `facts.jsonl`, sorted by `fact`."""

    fact: Fact
    value: JsonValue
