"""Records of machines: a capture, and the digests that the oracle's battery has on that very processor.

Records come from other people's machines: they are read in bounds, and nothing in them is executed or believed beyond its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from numdev.cpu import dump
from numdev.cpu.capture import RECORD, Capture, File, Word, checked, parsed, read_object
from numdev.errors import InvalidInput, Problem
from numdev.files import read_bytes, write_json
from numdev.spec import yamlfile

FORMAT = 1
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Words = Annotated[str, Field(max_length=4000, pattern=r"^[ -~]*$")]


class Measured(yamlfile.Strict):
    """One stack's battery on one processor, in one thread.

    stack, battery: digests of the software and of the battery's source. system: what of it no stack pins. dispatch: what
    the libraries chose, by library. defects: what an emulator was seen to get wrong. operations: the digest of each one's bytes.
    """

    stack: _Digest
    battery: _Digest
    threads: Literal[1] = 1
    system: dict[Word, Word] = Field(default={}, max_length=100)
    dispatch: dict[Word, _Words] = Field(default={}, max_length=100)
    defects: list[Word] = Field(default=[], max_length=100)
    operations: dict[Word, _Digest] = Field(min_length=1, max_length=5000)


class _File(yamlfile.Strict):
    record: int = Field(alias=RECORD, ge=1, le=FORMAT)
    capture: File
    stacks: dict[Word, Measured] = Field(min_length=1, max_length=100)


@dataclass(frozen=True)
class Record:
    """A machine. stacks: what was measured, by the stack's name."""

    capture: Capture
    stacks: dict[str, Measured]

    def json(self) -> dict[str, Any]:
        measured = {name: one.model_dump(mode="json") for name, one in self.stacks.items()}
        for one in measured.values():
            if not one["defects"]:
                # A processor has none, and records are older than the question.
                del one["defects"]
        return {RECORD: FORMAT, "capture": self.capture.json(), "stacks": measured}

    def write(self, path: Path) -> None:
        write_json(path, self.json())


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        InvalidInput: it is none; with all problems.
    """
    return record_of(read_bytes(path, dump.LIMIT), str(path))


def record_of(data: bytes, where: str) -> Record:
    """What `read_record` finds in a file's bytes."""
    value = read_object(data, where)
    if RECORD not in value:
        what = "a capture, without results" if "numdev-capture" in value else f"has no {RECORD}"
        remedy = "make one with `numdev platform record`"
        raise InvalidInput(f"{where} is no record of a machine.", [Problem(where, what, remedy)])
    file = checked(_File, value, where)
    return Record(parsed(file.capture, where), dict(file.stacks))
