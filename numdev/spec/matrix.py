"""Matrix files: what to vary, on what, how often. Strict, and every problem is reported at once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator

from numdev import digests
from numdev.errors import InvalidInput, Problem
from numdev.spec import identity, yamlfile
from numdev.spec.architecture import ARCHITECTURES
from numdev.spec.cell import DEFAULTS, OPTION, SILICON, Cell
from numdev.spec.quantities import duration, memory
from numdev.spec.workload import DeclaredWorkload, parse_workload
from numdev.worker.formats import BACKENDS

CELL_LIMIT = 100_000
WHOLE = ("threads", "batch")
_WORDS = {
    "optimization": sorted({word for backend in BACKENDS.values() for word in backend.optimizations}),
    "precision": sorted({word for backend in BACKENDS.values() for word in backend.precisions}),
    "silicon": list(SILICON),
    "architecture": list(ARCHITECTURES),
}
_LEVEL = re.compile(r"[A-Za-z0-9_.+@=,:/-]{1,120}")


class Limits(yamlfile.Strict):
    """What a cell may use: `memory` (of its container), `timeout` (of one replicate), processes and CPUs."""

    memory: str = "4GiB"
    timeout: str = "2min"
    pids: int = Field(default=512, ge=16, le=100_000)
    cpus: int | None = Field(default=None, ge=1, le=4096)

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: str) -> str:
        memory(value)
        return value

    @field_validator("timeout")
    @classmethod
    def _timeout(cls, value: str) -> str:
        duration(value)
        return value


class MatrixFile(yamlfile.Strict):
    """The file as written; `Matrix` is what it means."""

    numdev: int = Field(description="version of this format: 1", ge=1, le=1)
    factors: dict[str, list[str | int]] = Field(description="factor: its levels; `stack` must be there")
    workloads: list[str | dict[str, JsonValue]] = Field(min_length=1, max_length=1000)
    exclude: list[dict[str, str | int | list[str | int]]] = []
    include: list[dict[str, str | int]] = []
    repeats: int = Field(default=1, ge=1, le=1000, description="runs of each cell, each in a fresh process")
    rounds: int = Field(default=1, ge=1, le=1000, description="inferences inside each process, one after the other")
    tap: Literal["none", "layers"] = Field(
        default="none", description="what of the model is looked at besides its outputs"
    )
    reference: str | dict[str, str | int] | None = Field(
        default=None, description="the stack that computes the reference, or the cell that is it"
    )
    baseline: dict[str, str | int] = {}
    limits: Limits = Limits()
    enforce: Literal["cpuid", "rewrite", "emulate", "knobs", "best"] = Field(
        default="cpuid", description="how profiles are shown"
    )
    missing: Literal["refuse", "intersect"] = Field(
        default="refuse", description="what becomes of a profile with features that the host lacks"
    )


@dataclass(frozen=True)
class Matrix:
    """A matrix with everything resolved but stacks and profiles, which this layer does not know.

    `reference` is a stack; `reference_cell` the level of every factor but batch of cells that are the reference
    instead. `source` is the file as data, for matrices that are made from it.
    """

    path: Path
    factors: dict[str, list[Any]]
    workloads: dict[str, DeclaredWorkload]
    cells: list[Cell]
    repeats: int
    reference: str | None
    baseline: dict[str, Any]
    limits: Limits
    enforce: str = "cpuid"
    missing: str = "refuse"
    reference_cell: dict[str, Any] | None = None
    rounds: int = 1
    tap: str = "none"
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.stem


def schema() -> dict[str, Any]:
    """The JSON Schema of matrix files, for editors."""
    result = MatrixFile.model_json_schema()
    result["title"] = "numdev matrix"
    return result


def load_matrix(path: Path) -> Matrix:
    """Reads, validates and expands a matrix file.

    Raises:
        InvalidInput: with every problem found, its file and key, and a remedy.
    """
    file = yamlfile.validate(MatrixFile, yamlfile.read(path), str(path))
    problems = list(_factor_problems(file, str(path)))
    workloads: dict[str, DeclaredWorkload] = {}
    for index, value in enumerate(file.workloads):
        where = f"{path}: workloads.{index}"
        try:
            declared = parse_workload(value, where)
        except InvalidInput as error:
            problems += error.problems
            continue
        if declared.name in workloads:
            problems.append(Problem(where, f"a second workload called {declared.name!r}", "give it another `name`"))
        workloads[declared.name] = declared
    if not problems:
        problems += _rule_problems(file, workloads, str(path))
    if problems:
        raise InvalidInput(f"{path} is not a valid matrix.", sorted(set(problems)))
    cells = list(expand(file, list(workloads)))
    if not cells:
        raise InvalidInput(
            f"{path} has no cells.", [Problem(f"{path}: exclude", "leaves nothing to run", "exclude less")]
        )
    named = None
    if isinstance(file.reference, dict):
        named = {**DEFAULTS, **{key: levels[0] for key, levels in file.factors.items()}, **file.reference}
        del named["batch"]
        if not any(is_reference(cell, named) for cell in cells):
            raise InvalidInput(
                f"{path} is not a valid matrix.",
                [Problem(f"{path}: reference", "no cell has these levels", "name levels that are not excluded")],
            )
    return Matrix(
        path=path,
        factors={key: list(levels) for key, levels in file.factors.items()},
        workloads=workloads,
        cells=cells,
        repeats=file.repeats,
        reference=file.reference if isinstance(file.reference, str) else None,
        baseline=dict(file.baseline),
        limits=file.limits,
        enforce=file.enforce,
        missing=file.missing,
        reference_cell=named,
        rounds=file.rounds,
        tap=file.tap,
        source=file.model_dump(mode="json", exclude_unset=True),
    )


def is_reference(cell: Cell, named: Mapping[str, Any]) -> bool:
    """Whether a cell is, for its workload and batch, the one with these levels."""
    return {key: level for key, level in cell.factors.items() if key != "batch"} == named


def _level_problem(key: str, level: Any) -> str:
    if key in WHOLE:
        if key == "batch" and level == "all":
            return ""
        if not isinstance(level, int) or not 1 <= level <= 4096:
            return f"{level!r} is not a whole number from 1 to 4096"
    elif not isinstance(level, str):
        return f"must be text, not {level!r}: put it in quotes"
    elif key in _WORDS and level not in _WORDS[key]:
        return f"{level!r} is not one of {', '.join(_WORDS[key])}"
    elif not _LEVEL.fullmatch(level):
        return f"{level!r} has characters that a level cannot have"
    elif key in identity.FACTORS:
        return identity.problem(key, level)
    return ""


def _known(key: str) -> bool:
    return key == "stack" or key in DEFAULTS or OPTION.fullmatch(key) is not None


_FACTORS = f"factors are stack, {', '.join(DEFAULTS)}, session.KEY and env.NAME"


def _factor_problems(file: MatrixFile, where: str) -> Iterator[Problem]:
    if "stack" not in file.factors:
        yield Problem(f"{where}: factors.stack", "missing", "name at least one stack of images/")
    for key, levels in file.factors.items():
        place = f"{where}: factors.{key}"
        if not _known(key):
            yield Problem(place, "unknown factor", _FACTORS)
            continue
        if not levels:
            yield Problem(place, "has no levels", "give at least one, or leave the factor out")
        for level in levels:
            if what := _level_problem(key, level):
                yield Problem(place, what)
        if len(set(map(str, levels))) != len(levels):
            yield Problem(place, "a level stands twice", "remove one")
    size = len(file.workloads)
    for levels in file.factors.values():
        size *= max(1, len(levels))
    if size > CELL_LIMIT:
        yield Problem(f"{where}: factors", f"{size} cells, more than {CELL_LIMIT}", "split the matrix")


def _rule_problems(file: MatrixFile, workloads: dict[str, Any], where: str) -> Iterator[Problem]:
    """What is wrong with exclude, include and baseline: names of nothing are mistakes, not empty rules."""
    single = {"baseline": [file.baseline], "reference": [file.reference] if isinstance(file.reference, dict) else []}
    for name, rules in {"exclude": file.exclude, "include": file.include, **single}.items():
        for index, rule in enumerate(rules):
            place = f"{where}: {name}" + ("" if name in single else f".{index}")
            if name == "reference" and "batch" in rule:
                yield Problem(f"{place}.batch", "each batch has a reference of its own", "leave it out")
                continue
            if not rule and name != "baseline":
                yield Problem(place, "is empty", "name at least one factor, or remove it")
            if name == "include" and ("workload" not in rule or "stack" not in rule):
                yield Problem(place, "must name a workload and a stack")
            for key, value in rule.items():
                values = value if isinstance(value, list) else [value]
                if key == "workload" and name not in single:
                    levels: list[Any] = list(workloads)
                elif not _known(key):
                    yield Problem(f"{place}.{key}", "unknown factor", _FACTORS)
                    continue
                else:
                    levels = file.factors.get(key, [DEFAULTS[key]] if key in DEFAULTS else [])
                for one in values:
                    if name == "include" and key != "workload":
                        if what := _level_problem(key, one):
                            yield Problem(f"{place}.{key}", what)
                    elif one not in levels:
                        known = ", ".join(map(str, levels)) or "none"
                        yield Problem(f"{place}.{key}", f"{one!r} is not a level here", f"there are: {known}")


def expand(file: MatrixFile, workloads: list[str]) -> Iterator[Cell]:
    """The cells of a valid file whose workloads have these names."""
    seen: set[str] = set()
    keys = list(file.factors)
    for workload in workloads:
        for levels in itertools.product(*file.factors.values()):
            cell = Cell(workload, {**DEFAULTS, **dict(zip(keys, levels, strict=True))})
            if not any(_matches(cell, rule) for rule in file.exclude):
                seen.add(digests.of_json(cell.json()))
                yield cell
    for rule in file.include:
        added = dict(rule)
        cell = Cell(str(added.pop("workload")), {**DEFAULTS, **{key: file.factors[key][0] for key in keys}, **added})
        if (name := digests.of_json(cell.json())) not in seen:
            seen.add(name)
            yield cell


def _matches(cell: Cell, rule: dict[str, Any]) -> bool:
    for key, wanted in rule.items():
        actual = cell.workload if key == "workload" else cell.factors.get(key)
        if actual not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True
