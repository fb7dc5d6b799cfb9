"""The answer of a bundle, computed from what the bundle itself holds: so whoever has it can compute it again."""

from __future__ import annotations

import io
from typing import Protocol

import numpy as np
from rich.console import Console

from numdev import digests
from numdev.analysis import Answer
from numdev.bundle import layout
from numdev.bundle.draft import Draft, Part
from numdev.bundle.records import recorded
from numdev.report import print_answer
from numdev.run.runfile import Run, answer_of
from numdev.store import Record
from numdev.store.npy import mapped

WIDTH = 100


class _Drafted:
    """A draft where the analysis expects a store."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._cells = {cell.digest: cell for cell in draft.cells() if cell.status != "missing"}

    def has(self, digest: str) -> bool:
        return digest in self._cells

    def record(self, digest: str) -> Record:
        return recorded(self._cells[digest], self._draft.facts, "the bundle")

    def load(self, tensor: str) -> np.ndarray:
        path = self._draft.parts[f"outputs/{tensor}.npy"].path
        assert path is not None
        return mapped(path)

    def flush(self) -> None:
        """There is nothing to keep."""


class Stored(Protocol):
    """What the analysis needs of a store."""

    def has(self, digest: str) -> bool: ...
    def record(self, digest: str) -> Record: ...
    def load(self, tensor: str) -> np.ndarray: ...
    def flush(self) -> None: ...


def add_analysis(draft: Draft) -> Answer:
    """Adds the answer as JSON and as text, and returns it."""
    found = answered(draft.run, list(draft.cells()), _Drafted(draft))
    draft.add(layout.ANSWER, Part.of_bytes(json_bytes(found)))
    draft.add(layout.ANSWER_TEXT, Part.of_bytes(text(found).encode("utf-8")))
    return found


def answered(run: Run, cells: list[layout.CellLine], stored: Stored) -> Answer:
    """The answer from lines of `cells.jsonl` and what `stored` has of them."""
    keys = ("digest", "workload", "factors", "replicate", "reference")
    data = {**run.model_dump(mode="json"), "cells": [{key: getattr(cell, key) for key in keys} for cell in cells]}
    return answer_of(Run.model_validate(data), stored)


def text(answer: Answer) -> str:
    """The answer as a terminal shows it, without colours."""
    stream = io.StringIO()
    print_answer(answer, Console(file=stream, width=WIDTH, highlight=False, no_color=True, force_terminal=False))
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())


def json_bytes(answer: Answer) -> bytes:
    """The bytes of `analysis/answer.json`: without spaces, for it names every record."""
    return digests.canonical(answer.json()) + b"\n"
