"""The two sides of `numdev compare`: files, stored cells, or runs, found by the words that name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numdev.analysis import Observation
from numdev.analysis.comparison import Comparison, Limits, Side, compare_arrays, compare_runs
from numdev.analysis.matched import compare_matched, several
from numdev.analysis.pairs import BFLOAT16
from numdev.errors import InvalidInput, Problem
from numdev.run.runfile import Run, observe, read_run
from numdev.spec.cell import DEFAULTS
from numdev.spec.correspondence import Correspondence
from numdev.store import Record, Store
from numdev.store.npy import mapped
from numdev.workloads.archive import unpack

_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_KINDS = "biufcV"
# A factor that a run's matrix does not name, and that has no default.
_ABSENT = "-"
_HOW = "name two .npy or .npz files, two records of a store by the first letters of their digests, or two runs"


@dataclass(frozen=True)
class Arrays:
    """A file or a cell."""

    side: Side
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Stored:
    """A run of a store."""

    side: Side
    run: Run
    store: Store


def find(word: str, folder: Path, bfloat16: bool = False) -> Arrays | Stored:
    """What a word names: a file that is there, else `STORE:NAME` or a name in the store `folder`.

    A name is that of a run, or the first letters of a record's digest. With `bfloat16` files' uint16 are taken so.

    Raises:
        InvalidInput: it names nothing, or several records.
        StoreFailed: the store is missing or damaged.
    """
    path = Path(word)
    if path.suffix in (".npy", ".npz") or path.is_file():
        return Arrays(Side(kind="file", name=word), _file(path, bfloat16))
    place, colon, name = word.rpartition(":")
    store = Store.open(Path(place) if colon else folder)
    if name in store.runs():
        run = read_run(store, name)
        facts = {"matrix": run.matrix, "cells": str(len({_key(cell) for cell in run.cells if not cell.reference}))}
        return Stored(Side(kind="run", name=word, facts=facts), run, store)
    found = store.named(name) if _PREFIX.fullmatch(name) else []
    if len(found) != 1:
        what = "is no file, run or record" if not found else f"begins the digests of {len(found)} records"
        runs = ", ".join(store.runs()) or "none"
        raise InvalidInput(
            f"{word!r} cannot be compared.", [Problem(word, what, f"{_HOW}; runs in {store.folder}: {runs}")]
        )
    record = store.record(found[0])
    if record.status != "ok":
        raise InvalidInput(
            f"The record {found[0][:12]} has no outputs to compare.",
            [Problem(word, f"{record.status}: {record.reason}" if record.reason else record.status)],
            "Compare the runs that it belongs to, where ends without a result are told apart too.",
        )
    return Arrays(_cell(word, record), {output.name: store.load(output.tensor) for output in record.outputs})


def compare(one: Arrays | Stored, other: Arrays | Stored, limits: Limits, top_k: int) -> Comparison:
    """The second against the first; InvalidInput where only one of them is a run."""
    sides = one.side, other.side
    if isinstance(one, Arrays) and isinstance(other, Arrays):
        return compare_arrays(sides, one.arrays, other.arrays, limits, top_k)
    if isinstance(one, Arrays) or isinstance(other, Arrays):
        raise InvalidInput(
            f"A {one.side.kind} cannot be compared with a {other.side.kind}.",
            [Problem(f"{one.side.name}, {other.side.name}", "are of two kinds")],
            _HOW[0].upper() + _HOW[1:] + ".",
        )
    factors = list(dict.fromkeys((*one.run.order, *other.run.order)))
    order = {
        name: list(dict.fromkeys(level for side in (one, other) for level in side.run.factors.get(name, [])))
        for name in factors
    }
    found = [_observed(side, factors) for side in (one, other)]
    where = {
        ref.tensor: side.store
        for side, some in zip((one, other), found, strict=True)
        for each in some
        for ref in each.outputs
    }
    labels = {**other.run.labels, **one.run.labels}
    return compare_runs(
        sides, found[0], found[1], lambda tensor: where[tensor].load(tensor), order, labels, limits, top_k
    )


def match(one: Arrays | Stored, other: Arrays | Stored, by: Correspondence, where: str) -> Comparison:
    """The partitions of two runs, whose cells `by` (of the file `where`) matches; InvalidInput where it does not fit them."""
    if isinstance(one, Arrays) or isinstance(other, Arrays):
        raise InvalidInput(
            "Only runs have cells to be matched.",
            [Problem(side.side.name, f"is a {side.side.kind}") for side in (one, other) if isinstance(side, Arrays)],
            "Name two runs, or leave --by out.",
        )
    problems, unused = [], []
    for letter, side, factors, workloads in (
        ("A", one, list(by.factors), list(by.workloads)),
        ("B", other, list(by.factors.values()), list(by.workloads.values())),
    ):
        there = {cell.workload for cell in side.run.cells}
        for name in dict.fromkeys(factors):
            if name not in side.run.factors and name not in DEFAULTS:
                said = f"there are {', '.join(side.run.factors)}"
                problems.append(Problem(f"{where}: factors", f"{name!r} is no factor of {side.side.name}", said))
        unused += [f"workload {name} of {letter}" for name in dict.fromkeys(workloads) if name not in there]
        if not there & set(workloads):
            said = f"there are {', '.join(sorted(there))}"
            problems.append(Problem(f"{where}: workloads", f"{side.side.name} has none of these", said))
    for name in dict.fromkeys((*by.whatever, *(name for rule in by.exclude for name in rule))):
        if name not in one.run.factors and name not in DEFAULTS:
            said = f"there are {', '.join(one.run.factors)}"
            problems.append(Problem(f"{where}: exclude, whatever", f"{name!r} is no factor of {one.side.name}", said))
    if problems:
        raise InvalidInput(f"{where} does not fit these two runs.", problems)
    for rule in by.exclude:
        for name, levels in rule.items():
            unused += [f"{name} {level} of A" for level in sorted(levels - set(one.run.factors.get(name, ())))]
    for name, back in by.levels.items():
        for letter, side, factor, named in (("A", one, name, back.values()), ("B", other, by.factors[name], back)):
            known = side.run.factors.get(factor, ())
            unused += [f"{factor} {level} of {letter}" for level in dict.fromkeys(named) if level not in known]
    found = [_observed(side, list(side.run.order)) for side in (one, other)]
    for mine in found[0]:
        needed = (*by.factors, *by.whatever, *(name for rule in by.exclude for name in rule))
        mine.factors.update({name: str(DEFAULTS[name]) for name in needed if name not in mine.factors})
    found[0] = [mine for mine in found[0] if not by.excluded(mine.factors)]
    if twice := several(found[0], by.workloads, by.whatever):
        problems = [Problem(f"{where}: whatever", f"several cells in one place: {place}") for place in twice[:20]]
        raise InvalidInput(
            f"{where} does not say which cells of {one.side.name} are meant.", problems, "Exclude the others."
        )
    tensors = {
        ref.tensor: side.store
        for side, some in zip((one, other), found, strict=True)
        for each in some
        for ref in each.outputs
    }
    matched = compare_matched(
        found[0],
        found[1],
        lambda tensor: tensors[tensor].load(tensor),
        (one.run.factors, other.run.factors),
        by.workloads,
        by.factors,
        by.levels,
        by.whatever,
    )
    return Comparison(
        sides=(one.side, other.side),
        matched=tuple(matched),
        unused=tuple(unused),
        deviates=any(not each.partitions.agree for each in matched),
        complete=bool(matched) and all(each.complete for each in matched),
        limited=False,
        exceeded=(),
    )


def _observed(side: Stored, factors: list[str]) -> list[Observation]:
    """The run's observations, without the reference; a factor that its matrix does not name has its default."""
    found = []
    for cell in side.run.cells:
        if cell.reference:
            continue
        levels = {name: cell.factors.get(name, str(DEFAULTS.get(name, _ABSENT))) for name in factors}
        cell = cell.model_copy(update={"factors": levels})
        if side.store.has(cell.digest):
            found.append(observe(cell, side.store.record(cell.digest)))
        else:
            found.append(Observation(cell.workload, levels, cell.replicate, "lost", "not run", (), False, cell.digest))
    return found


def _key(cell) -> tuple:
    return cell.workload, tuple(sorted(cell.factors.items()))


def _cell(word: str, record: Record) -> Side:
    shown = {key: str(level) for key, level in record.factors.items() if DEFAULTS.get(key) != level}
    facts = {"record": record.digest, "workload": record.workload, **shown, "replicate": str(record.replicate)}
    return Side(kind="cell", name=word, facts=facts)


def _file(path: Path, bfloat16: bool) -> dict[str, np.ndarray]:
    """The arrays of a .npy or .npz; a .npy has one, called `array`."""
    problem = "does not exist" if not path.exists() else "is not a regular file" if not path.is_file() else ""
    if problem:
        raise InvalidInput(f"{path} cannot be compared.", [Problem(str(path), problem)])
    if path.suffix == ".npz":
        arrays = unpack(path, _KINDS)
    else:
        try:
            arrays = {"array": mapped(path, _KINDS, versions=((1, 0), (2, 0)))}
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read.", [Problem(str(path), str(error.strerror))]) from None
        except Exception as error:
            # What a malformed file makes tokenize, ast and numpy raise has no common base.
            what = " ".join(str(error).split()) or type(error).__name__
            raise InvalidInput(
                f"{path} cannot be compared.",
                [Problem(str(path), f"is no .npy of numbers: {what}", "write it with numpy.save")],
            ) from None
    if bfloat16:
        arrays = {name: array.view(BFLOAT16) if array.dtype == np.uint16 else array for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind == "V" and array.dtype != BFLOAT16:
            raise InvalidInput(f"{path} cannot be compared.", [Problem(f"{path}: {name}", f"is of type {array.dtype}")])
    return arrays
