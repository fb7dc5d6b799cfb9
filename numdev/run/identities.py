"""The CPUs that a matrix asks for: what is wrong with them, said of the level that it is wrong with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numdev import cpu
from numdev.cpu.variant import split, value_of
from numdev.errors import InvalidInput, Problem
from numdev.spec import identity
from numdev.spec.matrix import Matrix


def problems(matrix: Matrix) -> Iterator[Problem]:
    """Levels of `model` and `caches` that are variants: of those, only a part would count."""
    for key, level in sorted({(key, str(cell.factors[key])) for cell in matrix.cells for key in identity.FACTORS}):
        if base := _base(key, level):
            what = f"{level!r} is a variant"
            yield Problem(f"{matrix.path}: factors.{key}", what, f"write {base}: only its {key} would count")


def _base(key: str, level: str) -> str:
    """The profile of which a level of `model` or `caches` names a variant; "" where it names none."""
    if key == "features":
        return ""
    known = cpu.names()[1:]
    for name in identity.names(key, level):
        base = value_of(key, name, known)
        if base != name and (base in known or base.endswith((".json", ".txt"))):
            return base
    return ""


def blamed(matrix: Matrix, factors: Mapping[str, Any], error: InvalidInput) -> list[Problem]:
    """The problems of a profile that cannot be made, where they belong: to one level, or to all of them together."""
    profile = factors["profile"]
    if own := _wrong(matrix, {"profile": profile}):
        return [Problem(f"{matrix.path}: factors.profile: {item.where}", item.what, item.remedy) for item in own]
    levels = {key: str(factors[key]) for key in identity.FACTORS}
    variants = {key for key, level in levels.items() if _base(key, level)}
    single = [
        Problem(f"{matrix.path}: factors.{key}: {level} on {profile}", item.what, item.remedy)
        for key, level in levels.items()
        if key not in variants
        for item in _wrong(matrix, {"profile": profile, key: level})
    ]
    if single or variants:
        return single
    return [Problem(f"{matrix.path}: factors: {item.where}", item.what, item.remedy) for item in error.problems]


def _wrong(matrix: Matrix, factors: Mapping[str, Any]) -> list[Problem]:
    try:
        cpu.find(identity.compose(factors), matrix.path.parent)
    except InvalidInput as error:
        return error.problems
    return []


def fewest(refused: Mapping[str, str]) -> dict[str, str]:
    """Refused profiles without the variants of those that are refused for the same reason."""
    return {
        name: reason
        for name, reason in refused.items()
        if not split(name, [other for other in refused if other != name and refused[other] == reason])[0]
    }


def lowered(shown: Mapping[str, cpu.Shown]) -> dict[str, str]:
    """Profiles that are shown without features that libraries choose by, and which."""
    without = {name: ", ".join(each.essential) for name, each in shown.items() if each.essential}
    return fewest(without)
