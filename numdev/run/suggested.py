"""The matrix that asks for what a run leaves open: the run's own cells and the fewest others that would identify all factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from numdev.analysis import Answer
from numdev.errors import InvalidInput, Problem, StoreFailed
from numdev.run.runfile import Run
from numdev.spec.cell import DEFAULTS
from numdev.spec.matrix import WHOLE, MatrixFile, expand


def missing(answer: Answer) -> list[dict[str, str]]:
    """The cells to add, each with its workload as a key."""
    return [{"workload": one.workload, **cell} for one in answer.workloads for cell in one.missing_cells]


def matrix_text(run: Run, cells: list[dict[str, str]]) -> str:
    """A matrix file with the cells of the run's and these besides: stored ones do not run again.

    Raises:
        StoreFailed: the run was written by a numdev that did not keep its matrix.
        InvalidInput: a workload of the run is not in its matrix.
    """
    if run.hosts:
        what = "its hosts are machines, and no matrix sets them"
        raise InvalidInput(
            f"The run {run.matrix} cannot be added to.",
            [Problem("host", what, "run the matrix on each host, and merge bundles of that")],
        )
    if not run.source:
        raise StoreFailed(
            f"The run {run.matrix} does not hold its matrix.", "an older numdev wrote it", "Run the matrix again."
        )
    source = dict(run.source)
    asked = {_key(cell.workload, cell.factors) for cell in run.cells if not cell.reference}
    if _all_cells(source, run) == asked:
        source["include"] = [*source.get("include", []), *map(_rule, cells)]
    else:
        source = _listed(source, run, cells)
    count = len(cells)
    head = (
        f"# {count} cell{'' if count == 1 else 's'} that would identify what the run {run.matrix} leaves open, beside its "
        "own, which are stored.\n# Paths are those of its matrix: keep this file in the same folder.\n"
    )
    return head + yaml.dump(_quoted(source), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=False)


def _key(workload: str, factors: Mapping[str, str]) -> tuple[str, ...]:
    kept = sorted((name, level) for name, level in factors.items() if level != str(DEFAULTS.get(name)))
    return (workload, *(f"{name}={level}" for name, level in kept))


def _all_cells(source: Mapping[str, Any], run: Run) -> set[tuple[str, ...]]:
    """What the whole matrix asks for; more than the run's where that was a selection of its cells."""
    file = MatrixFile.model_validate(source)
    names = list(dict.fromkeys(cell.workload for cell in run.cells))
    declared = [one if isinstance(one, str) else str(one.get("name")) for one in file.workloads]
    if unknown := [name for name in names if name not in declared]:
        raise InvalidInput(f"The run {run.matrix} cannot be added to.", [Problem(unknown[0], "is not in its matrix")])
    return {
        _key(cell.workload, {name: str(level) for name, level in cell.factors.items()})
        for cell in expand(file, declared)
    }


def _listed(source: dict[str, Any], run: Run, cells: list[dict[str, str]]) -> dict[str, Any]:
    """One cell as the factors, all others one by one: a selection of cells has no other form."""
    every = [{"workload": cell.workload, **cell.factors} for cell in run.cells if not cell.reference]
    every = [*{tuple(sorted(one.items())): one for one in every}.values(), *cells]
    base = next((one for one in every if all(one.get(key) == level for key, level in run.baseline.items())), every[0])
    levels = {name: level for name, level in _rule(base).items() if name != "workload"}
    names = {one["workload"] for one in every if {**one, "workload": ""} == {**base, "workload": ""}}
    declared = [one if isinstance(one, str) else str(one["name"]) for one in source["workloads"]]
    result = {**source, "factors": {name: [level] for name, level in levels.items()}}
    result["exclude"] = [{"workload": name} for name in declared if name not in names]
    result["include"] = [_rule(one) for one in every]
    result.pop("baseline", None)
    return {key: value for key, value in result.items() if value != []}


def _rule(cell: Mapping[str, str]) -> dict[str, str | int]:
    return {name: int(level) if name in WHOLE and level.isdigit() else level for name, level in cell.items()}


class _Text(str):
    """A level in quotes: `2.10` and `off` mean themselves to every reader of YAML."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def _quoted(value: Any) -> Any:
    """YAML of our own reader: what is not a plain word is in quotes."""
    if isinstance(value, dict):
        return {key: _quoted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_quoted(each) for each in value]
    if isinstance(value, str) and not value.replace("-", "").replace("_", "").isalpha():
        return _Text(value)
    return value
