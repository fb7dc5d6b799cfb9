"""`numdev bundle merge`: runs of several machines become one run of a store, with the machines as the factor `host`.

Nothing of a bundle is in the store before all bundles are known to be what they say; the run is written last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.analysis import HOST
from numdev.bundle import layout, machines, printed, verify
from numdev.bundle.joined import CANNOT, Joined, Line
from numdev.bundle.merging import Incoming, materials
from numdev.bundle.reading import Bundle
from numdev.errors import BundleFailed, InvalidInput, Problem, StoreFailed
from numdev.run import celldigests
from numdev.run.runfile import HOSTS, Run, RunCell
from numdev.spec import identity
from numdev.spec.cell import COVERED, DEFAULTS
from numdev.store import Record, Store

Say = Callable[[str], None]
# Records that are written at a time, and that are made before they are.
_WRITERS, _BATCH = 16, 256


@dataclass(frozen=True)
class Conflict:
    """One replicate of a cell that has one digest on several hosts, and not the same bytes: the outcome of each host, by digest or status."""

    digest: str
    name: str
    outcomes: dict[str, str]


@dataclass(frozen=True)
class Merged:
    """What came of it. equal: how many replicates have one digest and one outcome on several hosts. alone: those of one host only.

    noisy: those of one digest on several hosts, on one of which the cell's own runs differ.
    """

    run: Run
    records: int
    tensors: int
    equal: int
    alone: int
    noisy: int
    conflicts: list[Conflict] = field(default_factory=list)

    def printed(self) -> printed.Merge:
        run = self.run
        return printed.Merge(
            version=1,
            run=run.matrix,
            cells=len(run.cells),
            records=self.records,
            tensors=self.tensors,
            hosts={
                level: printed.Host(**host.model_dump(mode="json", exclude={"source", "asked"}))
                for level, host in run.hosts.items()
            },
            equal=self.equal,
            alone=self.alone,
            noisy=self.noisy,
            conflicts=[
                printed.Conflict(digest=one.digest, name=one.name, outcomes=one.outcomes) for one in self.conflicts
            ],
            notes=run.joined,
        )


def merge(paths: Sequence[Path], folder: Path, name: str = "", say: Say = lambda line: None) -> Merged:
    """Joins bundles into one run of the store in `folder`, which is made where there is none.

    Args:
        name: what the run is called; by default as the bundles' runs are.

    Raises:
        InvalidInput: one is no bundle, or they cannot be one run.
        BundleFailed: one is not what it says; nothing is left in the store then.
        StoreFailed: the store has other results under the names of these.
        StorageFailed: the store cannot be written.
    """
    if not 2 <= len(paths) <= HOSTS:
        raise InvalidInput(CANNOT, [Problem("bundles", f"{len(paths)} given, from 2 to {HOSTS} can be merged")])
    with ExitStack() as held:
        bundles = [held.enter_context(bundle) for bundle in _opened(paths)]
        before = [bundle.state for bundle in bundles]
        new = not folder.exists()
        store = Store.open(folder, create=True)
        try:
            return _merged(bundles, before, store, name, say)
        except BaseException:
            _unmake(folder, new)
            raise


def _opened(paths: Sequence[Path]) -> list[Bundle]:
    """All of them, or everything that is wrong with any."""
    found: list[Bundle] = []
    errors: list[InvalidInput] = []
    for path in paths:
        try:
            found.append(Bundle(path))
        except InvalidInput as error:
            errors.append(error)
    by: dict[str, list[str]] = {}
    for bundle in found:
        by.setdefault(bundle.digest, []).append(bundle.where)
    twice = [
        Problem(", ".join(some), "is one bundle, named twice", "name it once") for some in by.values() if len(some) > 1
    ]
    if twice:
        errors.append(InvalidInput(CANNOT, twice))
    if errors:
        for bundle in found:
            bundle.close()
        changed = all(isinstance(error, BundleFailed) for error in errors)
        problems = [problem for error in errors for problem in error.problems]
        raise (BundleFailed if changed else InvalidInput)(CANNOT, problems)
    return found


def _unmake(folder: Path, new: bool) -> None:
    """Leaves no store where there was none and nothing came into it."""
    if new and folder.is_dir() and sorted(path.name for path in folder.iterdir()) == ["numdev-store.json"]:
        (folder / "numdev-store.json").unlink()
        folder.rmdir()


def _merged(bundles: list[Bundle], before: list[Any], store: Store, name: str, say: Say) -> Merged:
    with Incoming(store) as incoming:
        problems: list[Problem] = []
        for bundle in bundles:
            say(f"Reading {ascii(bundle.where)[1:-1]}: every digest, and what its parts say of one another.")
            for check in (incoming.take(bundle), *verify.parts(bundle)):
                told = [Problem(f"{bundle.where}: {one.where}", one.what) for one in check.problems]
                more = [Problem(bundle.where, f"and {check.more} more of {check.name}")] if check.more else []
                problems += told + more
        if problems:
            raise BundleFailed("A bundle is not what it says, so nothing was merged.", problems)
        joined = Joined(bundles)
        kept = materials(joined)
        run = joined.run(_name(bundles, name)).model_copy(
            update={"materials": kept, "alike": machines.alike(joined.bundles)}
        )
        if [bundle.state for bundle in bundles] != before:
            raise BundleFailed(CANNOT, [Problem("bundles", "one was changed while it was read")])
        records = _Records(store)
        cells = [records.check(line) for line in joined.lines()]
        run = run.model_copy(update={"cells": cells})
        data = run.model_dump(mode="json", exclude=run.unmerged())
        if run.matrix in store.runs() and store.run(run.matrix) != data:
            what = f"has another run called {run.matrix!r}"
            raise InvalidInput(
                CANNOT, [Problem(str(store.folder), what, "name this one with --name, or another store")]
            )
        incoming.settle()
    records.put(joined.lines(), cells)
    store.write_run(run.matrix, data)
    return records.merged(run)


def _name(bundles: Sequence[Bundle], given: str) -> str:
    """The run's name: as given, or as the bundles' runs are called."""
    name = given or "-".join(sorted({bundle.run.matrix for bundle in bundles}))
    if not layout.NAME.fullmatch(name):
        what = f"{name[:80]!a} must be letters, digits, '.', '_' and '-', at most 64, not beginning with a sign"
        raise InvalidInput(CANNOT, [Problem("the run's name", what, "give one with --name")])
    return name


class _Records:
    """Cells on their way into the store: each host's under a digest of its own, compared by the one that they had."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._put: set[bytes] = set()
        self._tensors: set[bytes] = set()
        self._outcomes: dict[bytes, dict[str, str]] = {}
        self._named: dict[bytes, str] = {}
        # By cell and host, what its replicates gave; by replicate, which cell it is of.
        self._spread: dict[tuple[bytes, str], set[str]] = {}
        self._cell: dict[bytes, bytes] = {}
        self._timed: dict[bytes, str] = {}

    def check(self, line: Line) -> RunCell:
        """The cell as the merged run asks for it; StoreFailed where the store has another result of that name."""
        original, digest = self._moved(line)
        if line.record is not None:
            if self._store.has(digest) and self._store.record(digest) != self._record(line, digest):
                raise StoreFailed(
                    f"{self._store.folder} has another result of {ascii(_label(line))[1:-1]}.",
                    "bundles of other machines of the same kind were merged into it, and a store keeps one record of a digest",
                    "Name another store, or merge all of them at once.",
                )
            self._tensors.update(bytes.fromhex(output.tensor) for output in line.record.outputs)
            if not line.cell.reference:
                key = bytes.fromhex(original)
                outcome = digests.of_json([line.cell.status, line.cell.outputs])
                shown = f"{line.cell.status} {outcome[:8]}" if line.cell.outputs else line.cell.status
                self._outcomes.setdefault(key, {})[line.part.level] = shown
                self._named[key] = _label(line)
                self._seen(line, key, outcome)
        return RunCell(
            digest=digest,
            workload=line.workload,
            factors=line.factors,
            replicate=line.cell.replicate,
            reference=line.cell.reference,
        )

    def _seen(self, line: Line, key: bytes, outcome: str) -> None:
        """Notes what a replicate gave; InvalidInput where it is another host's, by the times that were measured in it."""
        record, level = line.record, line.part.level
        assert record is not None
        levels = sorted(pair for pair in line.factors.items() if pair[0] != HOST)
        cell = self._cell[key] = bytes.fromhex(digests.of_json([line.workload, levels]))
        rounds = record.rounds if len(set(record.rounds)) > 1 else []
        self._spread.setdefault((cell, level), set()).add(digests.of_json([outcome, rounds]))
        if times := line.cell.measured.get("inference_seconds"):
            run = bytes.fromhex(digests.of_json([key.hex(), outcome, times]))
            if (other := self._timed.setdefault(run, level)) != level:
                what = f"{_label(line)} gave the same bytes in the same measured times: one run, which two bundles have"
                remedy = "name the one that has more, and leave the other out"
                raise InvalidInput(CANNOT, [Problem(f"{other} and {level}", what, remedy)])

    def _moved(self, line: Line) -> tuple[str, str]:
        level = line.part.level
        if line.record is None:
            # It was never run, so that nothing names it but what was asked for.
            levels = {key: level for key, level in line.factors.items() if key != HOST}
            digest = digests.of_json([line.workload, levels, line.cell.replicate, line.cell.reference])
            return digest, celldigests.unvouched(digest, level)
        return celldigests.moved(line.record, line.part.source, level)

    def _record(self, line: Line, digest: str) -> Record:
        assert line.record is not None
        factors = {**line.record.factors, HOST: line.part.level}
        if line.stack:
            factors["stack"] = line.stack
        # What is in the store is shown by every command that reads it.
        reason = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in line.record.reason)
        return line.record.model_copy(
            update={"digest": digest, "workload": line.workload, "factors": factors, "reason": reason}
        )

    def put(self, lines: Iterable[Line], cells: Iterable[RunCell]) -> None:
        """Writes what the store does not have; several at a time, for each waits until the disk has it. cells: of the lines, as `check` gave them."""
        new = self._new(lines, cells)
        with ThreadPoolExecutor(_WRITERS) as pool:
            while batch := list(islice(new, _BATCH)):
                list(pool.map(self._store.put, batch))

    def _new(self, lines: Iterable[Line], cells: Iterable[RunCell]) -> Iterator[Record]:
        for line, cell in zip(lines, cells, strict=True):
            if line.record is None:
                continue
            name = bytes.fromhex(cell.digest)
            if name not in self._put and not self._store.has(cell.digest):
                yield self._record(line, cell.digest)
            self._put.add(name)

    def merged(self, run: Run) -> Merged:
        several = {key: found for key, found in self._outcomes.items() if len(found) > 1}
        noisy = {key for key, found in several.items() if any(self._noisy(key, level) for level in found)}
        conflicts = [
            Conflict(key.hex(), self._named[key], found)
            for key, found in several.items()
            if len(set(found.values())) > 1 and key not in noisy
        ]
        steady = len(several) - len(noisy)
        return Merged(
            run=run,
            records=len(self._put),
            tensors=len(self._tensors),
            equal=steady - len(conflicts),
            alone=len(self._outcomes) - len(several),
            noisy=len(noisy),
            conflicts=sorted(conflicts, key=lambda one: (one.name, one.digest)),
        )

    def _noisy(self, key: bytes, level: str) -> bool:
        return len(self._spread[self._cell[key], level]) > 1


def _label(line: Line) -> str:
    """A short name for people: what is not at its default."""
    parts = [line.workload, line.factors.get("stack", ""), identity.compose(line.factors)]
    for key, level in line.factors.items():
        if key not in (HOST, *COVERED) and str(DEFAULTS.get(key)) != level:
            parts.append(f"{key}={level}")
    return " ".join(filter(None, parts)) + (f", run {line.cell.replicate}" if line.cell.replicate > 1 else "")
