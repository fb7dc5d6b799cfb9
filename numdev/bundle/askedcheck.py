"""Whether a run has the cells that its matrix asks for, and no others.

A matrix asks for each of its cells as often as it says, whatever becomes of it: what cannot run has a line that says so. Only somebody who
ran a part of it (`-k`) has fewer cells, and which part that was is kept nowhere; so of a cell without a line nobody can say where it is.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from numdev import digests
from numdev.analysis import HOST
from numdev.bundle import layout
from numdev.bundle.absent import nothing_kept
from numdev.bundle.found import Check, some
from numdev.bundle.partcheck import Stacks
from numdev.bundle.reading import Bundle
from numdev.bundle.survey import mapping
from numdev.cpu.capture import checked
from numdev.errors import InvalidInput
from numdev.run.runfile import Host, Run, RunCell
from numdev.spec.architecture import ARCHITECTURES
from numdev.spec.cell import DEFAULTS
from numdev.spec.matrix import CELL_LIMIT, MatrixFile
from numdev.spec.workload import parse_workload
from numdev.worker.formats import BACKENDS

# What counting the cells of matrices may cost, beside what is allowed for each line: each takes some time, and so does each rule for it. A short
# file can ask for very many.
_COUNTED, _A_LINE, _A_CELL = 200_000, 500, 10
# Comparisons of lines with rules.
_COMPARED = 5_000_000
_ARCHITECTURE = "architecture"


def asked(bundle: Bundle, stacks: Stacks, check: Check) -> None:
    """Compares the lines with the matrix, or with each host's; what is not as it asks is a problem of `check`."""
    run = bundle.run
    parts = {level: _Part(level, run, host) for level, host in run.hosts.items()} or {"": _Part("", run, None)}
    for part in parts.values():
        part.read(bundle, check)
    with_matrix = [part for part in parts.values() if part.file]
    if with_matrix:
        _levels(run, check)
    for number, cell in enumerate(run.cells, 1):
        part = parts.get(cell.factors.get(HOST, "") if run.hosts else "")
        if part and part.file and not cell.reference:
            part.line(cell, f"{layout.CELLS}:{number}", check)
    left = _COUNTED + _A_LINE * len(run.cells)
    for part in with_matrix:
        left -= part.rest(check, left)
    if not run.hosts and with_matrix:
        _references(run, with_matrix[0], stacks, check)
        _baseline(run, with_matrix[0].file, check)


class _Part:
    """The lines of one machine, and the matrix that asked for them: by the names that a merged run has for stacks and workloads."""

    def __init__(self, level: str, run: Run, host: Host | None) -> None:
        """level: of `host`, "" where the run was not merged."""
        self.file: MatrixFile | None = None
        self._run, self._host = run, host
        self._of = f" of {level}" if level else ""
        self._keys = [key for key in run.order if key != HOST]
        self._stacks, self._now = (host.asked.stacks, host.asked.workloads) if host else ({}, {})
        # The replicates of each cell that has lines, by its name.
        self._seen: dict[bytes, set[int]] = {}

    def read(self, bundle: Bundle, check: Check) -> None:
        """Takes the matrix; `file` stays None where there is none that can be compared."""
        source = self._run.asked_by(self._host)
        if not source:
            what = "the matrix is not in it, so that nothing shows which cells it asked for"
            if self._host or nothing_kept(bundle) or not _kept(bundle):
                check.note(what)
            else:
                check.wrong(layout.RUN, what)
            return
        where = f"{bundle.where}: {layout.RUN}: source"
        try:
            file = checked(MatrixFile, source, where)
            names = [parse_workload(value, f"{where}.workloads.{at}").name for at, value in enumerate(file.workloads)]
        except InvalidInput as error:
            for problem in error.problems:
                check.wrong(
                    layout.RUN, f"{problem.where.removeprefix(f'{bundle.where}: {layout.RUN}: ')}: {problem.what}"
                )
            return
        size = len(names) * math.prod(max(1, len(levels)) for levels in file.factors.values())
        rules = sum(len(_listed(value)) for rule in file.exclude for value in rule.values())
        if max(size, len(file.include)) > CELL_LIMIT:
            check.wrong(layout.RUN, f"its matrix asks for {size} cells, and no numdev takes more than {CELL_LIMIT}")
        elif rules * len(self._run.cells) > _COMPARED:
            check.note("the matrix leaves out too much for it to be compared with the cells")
        else:
            self._cost = (size + len(file.include)) * (_A_CELL + rules)
            self._take(file, names)

    def _take(self, file: MatrixFile, names: list[str]) -> None:
        """Lays the matrix ready for lines to be looked up in it."""
        self.file = file
        self._workloads = {self._now.get(name, name) for name in names}
        self._levels = {key: dict.fromkeys(self._named(key, levels)) for key, levels in file.factors.items()}
        self._exclude = [
            {key: set(self._named(key, _listed(value))) for key, value in rule.items()} for rule in file.exclude
        ]
        first = {key: next(iter(levels)) for key, levels in self._levels.items() if levels}
        # A cell may have two names here, see `_each`.
        self._include: list[list[bytes]] = []
        for rule in file.include:
            own = {key: self._named(key, [value])[0] for key, value in rule.items()}
            self._include.append([_name(own.get("workload", ""), levels) for levels in self._each({**first, **own})])
        self._included = {name for names in self._include for name in names}

    def _named(self, key: str, levels: list[Any]) -> list[str]:
        called = self._stacks if key == "stack" else self._now if key == "workload" else {}
        return [called.get(str(level), str(level)) for level in levels]

    def _each(self, levels: Mapping[str, str]) -> Iterator[list[str]]:
        """The levels of all of the run's factors. The default of `architecture` was that of the machine which ran it, and may be any."""
        for own in ARCHITECTURES if _ARCHITECTURE in self._keys and _ARCHITECTURE not in levels else ("",):
            yield [levels.get(key, own if key == _ARCHITECTURE else str(DEFAULTS.get(key, ""))) for key in self._keys]

    def line(self, cell: RunCell, where: str, check: Check) -> None:
        """A line that is of this machine, and of no reference."""
        levels = [cell.factors.get(key, "") for key in self._keys]
        self._seen.setdefault(_name(cell.workload, levels), set()).add(cell.replicate)
        if not self._is_asked(cell.workload, levels):
            check.wrong(where, "is of a cell that the matrix does not ask for")

    def asks(self, workload: str, levels: Mapping[str, Any]) -> bool:
        """Whether the matrix has the cell with these levels, and its defaults for all others."""
        named = {key: self._named(key, [level])[0] for key, level in levels.items()}
        return any(self._is_asked(workload, full) for full in self._each(named))

    def _is_asked(self, workload: str, full: list[str]) -> bool:
        if _name(workload, full) in self._included:
            return True
        levels = dict(zip(self._keys, full, strict=True))
        if workload not in self._workloads or not self._levels.keys() <= levels.keys():
            return False
        for key, level in levels.items():
            if key in self._levels:
                if level not in self._levels[key]:
                    return False
            elif level not in ARCHITECTURES if key == _ARCHITECTURE else level != str(DEFAULTS.get(key, "")):
                return False
        return not self._left_out(workload, levels)

    def _left_out(self, workload: str, levels: Mapping[str, str]) -> bool:
        return any(self._matches(workload, levels, rule) for rule in self._exclude)

    def _matches(self, workload: str, levels: Mapping[str, str], rule: Mapping[str, set[str]]) -> bool:
        for key, wanted in rule.items():
            if key == _ARCHITECTURE and key not in levels:
                # It can only name the one that all cells have.
                continue
            if (workload if key == "workload" else levels.get(key, str(DEFAULTS.get(key)))) not in wanted:
                return False
        return True

    def rest(self, check: Check, left: int) -> int:
        """Each cell was asked for as often as the matrix says, and so was each cell of the matrix. Gives what that cost, at most `left`."""
        assert self.file is not None
        runs, of = set(range(1, self.file.repeats + 1)), self._of
        if fewer := sum(not found >= runs for found in self._seen.values()):
            what = f"{some(fewer, 'cell')}{of} with fewer runs than the matrix asks for, {len(runs)} of each"
            check.wrong(layout.CELLS, what)
        if any(found - runs for found in self._seen.values()):
            check.note(f"some cells{of} have more runs than the matrix asks for, {len(runs)} of each")
        missing = "most" if self._cost > left else sum(not self._seen.keys() & set(names) for names in self._every())
        if missing:
            check.note(
                f"{missing} of the cells{of} that the matrix asks for have no line: only a part of it was run (-k), or they were taken "
                "out, and nothing in the file shows which"
            )
        return 0 if self._cost > left else self._cost

    def _every(self) -> Iterator[list[bytes]]:
        """Every cell that the matrix asks for, by the names that it may have."""
        known = set()
        for workload in sorted(self._workloads):
            for levels in itertools.product(*self._levels.values()):
                fulls = list(self._each(dict(zip(self._levels, levels, strict=True))))
                if not self._left_out(workload, dict(zip(self._keys, fulls[0], strict=True))):
                    names = [_name(workload, full) for full in fulls]
                    known.add(names[0])
                    yield names
        yield from (names for names in self._include if names[0] not in known)


def _kept(bundle: Bundle) -> bool:
    """Whether numdev measured the run and kept what it was made of: then it kept the matrix as well."""
    return any(name.startswith("stacks/") for name in bundle.members)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _name(workload: str, levels: list[str]) -> bytes:
    return hashlib.sha256(digests.canonical([workload, levels])).digest()[:16]


def _levels(run: Run, check: Check) -> None:
    """A run's levels are those of its cells: one that no cell has was taken out with them."""
    used: dict[str, set[str]] = {key: set() for key in run.factors}
    for cell in run.cells:
        if not cell.reference:
            for key, level in cell.factors.items():
                used.setdefault(key, set()).add(level)
    for key, levels in run.factors.items():
        for level in levels:
            if level not in used[key]:
                check.wrong(layout.RUN, f"{level!a} of {key} is a level of no cell")
        if len(set(levels)) != len(levels):
            check.wrong(layout.RUN, f"a level of {key} stands twice")


def _baseline(run: Run, file: MatrixFile | None, check: Check) -> None:
    for key, level in file.baseline.items() if file else ():
        if key in run.baseline and run.baseline[key] != str(level):
            check.wrong(
                layout.RUN, f"its baseline of {key} is {run.baseline[key]!a}, and the matrix has {str(level)!a}"
            )


def _references(run: Run, part: _Part, stacks: Stacks, check: Check) -> None:
    """What cells are compared with is there where the matrix asks for it, and only there."""
    assert part.file is not None
    asked = part.file.reference
    there = {(cell.workload, cell.factors.get("batch", "")) for cell in run.cells if cell.reference}
    if asked is None:
        if there:
            check.wrong(layout.CELLS, "has a reference, and the matrix asks for none")
        return
    wanted = {(cell.workload, cell.factors.get("batch", "")) for cell in run.cells if not cell.reference}
    for workload, batch in sorted(wanted - there):
        if isinstance(asked, str):
            needed = _computes(asked, mapping(run.workloads.get(workload)), stacks)
        else:
            levels = {key: found[0] for key, found in part.file.factors.items() if found} | asked
            needed = part.asks(workload, {**levels, **({"batch": batch} if batch else {})})
        if needed:
            check.wrong(layout.CELLS, f"has no reference of {workload!a}, and the matrix asks for one")


def _computes(stack: str, told: Mapping[str, Any], stacks: Stacks) -> bool:
    """Whether the stack of the reference runs a workload in any of its formats."""
    found = next((one for (name, _), one in stacks.declared.items() if name == stack), None)
    return found is not None and bool(set(BACKENDS[found.backend].formats) & set(mapping(told.get("formats"))))
