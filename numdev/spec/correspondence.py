"""Files that say which factors, levels and workloads of two runs are the same thing under other names."""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True)
class Correspondence:
    """`workloads` and `factors` by A's names. `levels`: by A's factor, A's level of each of B's; none where names are equal."""

    workloads: Mapping[str, str]
    factors: Mapping[str, str]
    levels: Mapping[str, Mapping[str, str]]


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
    if problems:
        raise InvalidInput(f"{path} is not a valid correspondence.", sorted(set(problems)))
    return Correspondence(file.workloads, file.factors, levels)
