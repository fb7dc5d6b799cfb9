"""The digest of a cell from its record: as it is, and as it would be on another host of a merged run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numdev import digests
from numdev.analysis import HOST
from numdev.spec.architecture import X86
from numdev.spec.cell import DEFAULTS, Cell
from numdev.store import Record

CAUSES = ("stack", "platform", "table", "workload", "worker")


def vouched(record: Record) -> bool:
    """Whether its digest can be computed again: of what no numdev measured it cannot."""
    return set(CAUSES) <= set(record.causes)


def possible(record: Record, source: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """(rounds, tap) that a cell may have been asked for with: one that has failed does not say how many inferences were.

    source: the matrix that asked for it.
    """
    asked = source.get("rounds") if isinstance(source.get("rounds"), int) else 1
    tapped = source.get("tap") if isinstance(source.get("tap"), str) else ""
    tapped = "" if tapped == "none" else tapped
    rounds = {len(record.rounds) or 1} if record.status == "ok" else {1, asked}
    taps = {tapped or "layers"} if record.tap else {""} if record.status == "ok" else {"", tapped}
    return ((count, tap) for count in sorted(rounds) for tap in sorted(taps))


def digest(record: Record, rounds: int, tap: str, host: str | None = None) -> str:
    """What the cell of a record is called. host: its level of `host` in the place of the record's own, "" for none."""
    factors = {**DEFAULTS, "architecture": X86, **record.factors}
    if host is not None:
        factors.pop(HOST, None)
        factors |= {HOST: host} if host else {}
    causes = {key: str(record.causes[key]) for key in CAUSES}
    return Cell(record.workload, factors).digest(**causes, replicate=record.replicate, rounds=rounds, tap=tap)


def moved(record: Record, source: Mapping[str, Any], host: str) -> tuple[str, str]:
    """(its digest without any host, its digest as that of `host`) of a record that a run has.

    A merged run has cells of one digest from several machines, and a store has one record of a digest: so the host is part of the digest,
    as any other factor is, and the cell's digest on its own machine follows from the record.
    """
    if (asked := _asked(record, source)) is not None:
        return digest(record, *asked, ""), digest(record, *asked, host)
    return record.digest, unvouched(record.digest, host)


def origin(record: Record, source: Mapping[str, Any]) -> str:
    """The digest of the first replicate of its cell without any host, "" where that cannot be told."""
    asked = _asked(record, source)
    return "" if asked is None else digest(record.model_copy(update={"replicate": 1}), *asked, "")


def _asked(record: Record, source: Mapping[str, Any]) -> tuple[int, str] | None:
    """The rounds and the tap that its digest is over; None where none fit, or nothing vouches for it."""
    every = possible(record, source) if vouched(record) else ()
    return next((asked for asked in every if digest(record, *asked) == record.digest), None)


def unvouched(digest: str, host: str) -> str:
    """The same of a cell of which there is no record, or none that tells its causes."""
    return digests.of_json({"merged": digest, "host": host})
