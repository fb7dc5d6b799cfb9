"""Files that say which factors, levels and workloads of two runs are the same thing under other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from numdev.errors import InvalidInput, Problem
from numdev.spec import yamlfile


class CorrespondenceFile(yamlfile.Strict):
    """The file as written, of runs A and B: every mapping is from A's name to B's."""

    numdev: int = Field(description="version of this format: 1", ge=1, le=1)
    workloads: dict[str, str] = Field(min_length=1, max_length=1000)
    factors: dict[str, str] = Field(min_length=1, max_length=50)
    levels: dict[str, dict[str, str | int | list[str | int]]] = Field(
        default={},
        description="by A's factor: A's level to B's, or to several; where it is left out they have equal names",
    )
    exclude: list[dict[str, str | int | list[str | int]]] = Field(
        default=[],
        max_length=1000,
        description="cells of A that are left out: all of a rule's factors have one of its levels",
    )
    whatever: list[str] = Field(
        default=[],
        max_length=50,
        description="factors of A whose level is not looked at: each place has one cell, once `exclude` is done",
    )


@dataclass(frozen=True)
class Correspondence:
    """`workloads` and `factors` by A's names. `levels`: by A's factor, A's level of each of B's; none where names are equal.

    `exclude`: by factor the levels of cells of A that are left out. `whatever`: factors of A that tell no two places apart.
    """

    workloads: Mapping[str, str]
    factors: Mapping[str, str]
    levels: Mapping[str, Mapping[str, str]]
    exclude: Sequence[Mapping[str, frozenset[str]]] = ()
    whatever: Sequence[str] = ()

    def excluded(self, factors: Mapping[str, str]) -> bool:
        """Whether a cell of A with these levels is left out."""
        return any(all(factors.get(name) in levels for name, levels in rule.items()) for rule in self.exclude)


def load_correspondence(path: Path) -> Correspondence:
    """Reads a file; raises InvalidInput with every problem found."""
    file = yamlfile.validate(CorrespondenceFile, yamlfile.read(path), str(path))
    problems = []
    seen: dict[str, str] = {}
    for name, other in file.factors.items():
        if other in seen:
            problems.append(
                Problem(f"{path}: factors.{name}", f"{other!r} is that of {seen[other]} already", "name each once")
            )
        seen.setdefault(other, name)
    levels: dict[str, dict[str, str]] = {}
    for name, pairs in file.levels.items():
        if name not in file.factors:
            problems.append(
                Problem(f"{path}: levels.{name}", "is none of `factors`", f"there are {', '.join(file.factors)}")
            )
        back = levels.setdefault(name, {})
        for level, others in pairs.items():
            for other in map(str, others if isinstance(others, list) else [others]):
                if other in back:
                    problems.append(
                        Problem(
                            f"{path}: levels.{name}.{level}",
                            f"{other!r} is that of {back[other]} already",
                            "a level of B has one of A",
                        )
                    )
                back.setdefault(other, level)
    for name in file.whatever:
        if name in file.factors:
            problems.append(Problem(f"{path}: whatever", f"{name!r} is one of `factors`", "name it in one of them"))
    for at, rule in enumerate(file.exclude):
        if not rule:
            problems.append(Problem(f"{path}: exclude.{at}", "names no factor, and would leave nothing"))
    if problems:
        raise InvalidInput(f"{path} is not a valid correspondence.", sorted(set(problems)))
    exclude = [
        {name: frozenset(map(str, some if isinstance(some, list) else [some])) for name, some in rule.items()}
        for rule in file.exclude
    ]
    return Correspondence(file.workloads, file.factors, levels, exclude, tuple(dict.fromkeys(file.whatever)))
