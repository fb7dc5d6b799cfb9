"""Variants: a profile with one thing changed, so that one cause can be set at a time.

    icelake-sp-avx512_vnni       without a feature
    sandybridge+fma              with one more
    haswell@vendor=AMD           features, model and caches of Haswell in AMD's name
    haswell@model=skylake-sp     another's family, model and stepping
    haswell@features=zen2        another's features
    haswell@caches=icelake-sp    another's caches
    haswell@l1d=48KiB            one cache's size: l1d, l1i, l2 or l3

They compose from left to right. The topology is the base's, whatever is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from numdev.cpu.features import FEATURES, contradictions
from numdev.cpu.profile import Cache, Expected, Profile
from numdev.errors import InvalidInput, Problem
from numdev.spec.identity import CACHES, VENDORS
from numdev.spec.quantities import memory

_FEATURE = re.compile(r"([+-])([a-z0-9_]+)")
_PART = re.compile(r"@([a-z0-9]+)=")
_VALUE = re.compile(r"[A-Za-z0-9.]*")
_FILE = re.compile(r"[A-Za-z0-9_./-]+?\.(?:json|txt)(?=[-+@]|$)")
# Four factors with levels of 120 characters each.
_LIMIT = 600


def split(name: str, bases: Iterable[str]) -> tuple[str, str]:
    """The longest base that `name` begins with, and the changes after it; ("", name) where there is none."""
    for base in sorted(bases, key=len, reverse=True):
        if name == base or (name.startswith(base) and name[len(base)] in "+-@"):
            return base, name[len(base) :]
    return "", name


def apply(base: Profile, changes: str, bases: Iterable[str], load: Callable[[str], Profile]) -> Profile:
    """`base` with changes as this module's docstring has them.

    Args:
        bases: the names of all profiles.
        load: a profile by its name, for `@model=`, `@features=` and `@caches=`.

    Raises:
        InvalidInput: with every change that is not understood, or contradicts the profile.
    """
    name = base.name + changes
    problems: list[Problem] = []
    profile, position = base, 0
    while position < len(changes) and len(name) <= _LIMIT:
        try:
            if feature := _FEATURE.match(changes, position):
                position = feature.end()
                profile = _feature(profile, feature[2], feature[1] == "+")
            elif part := _PART.match(changes, position):
                value = value_of(part[1], changes[part.end() :], bases)
                position = part.end() + len(value)
                profile = _identity(profile, part[1], value, load)
            else:
                what = f"{changes[position:]!r} is no change"
                problems.append(
                    Problem(name, what, "write +feature, -feature or @vendor|model|features|caches|l1d|l1i|l2|l3=...")
                )
                break
        except InvalidInput as error:
            problems += error.problems
        except ValueError as error:
            problems.append(Problem(name, str(error)))
    if len(name) > _LIMIT:
        problems.append(Problem(name[:40] + "...", f"is longer than {_LIMIT} characters"))
    if not problems:
        problems = [Problem(name, what, "no processor is like that") for what in contradictions(profile.features)]
    if problems:
        raise InvalidInput(f"The profile {name[:80]!r} cannot be made.", problems)
    # What the libraries choose on a processor that nobody has built is not known beforehand.
    expect = base.expect if _chosen_by(base) == _chosen_by(profile) else Expected()
    return profile.model_copy(update={"name": name, "expect": expect, "about": f"{base.about}, changed: {changes}"})


def _chosen_by(profile: Profile) -> tuple[object, ...]:
    """All that libraries choose by."""
    return profile.vendor, profile.signature, set(profile.features), profile.caches


def value_of(key: str, rest: str, bases: Iterable[str]) -> str:
    """What stands after `@key=`: names of profiles have hyphens in them, and so have changes."""
    if key in ("model", "features", "caches"):
        if base := split(rest, bases)[0]:
            return base
        if file := _FILE.match(rest):
            return file[0]
    found = _VALUE.match(rest)
    return found[0] if found else ""


def _feature(profile: Profile, feature: str, there: bool) -> Profile:
    if feature not in FEATURES:
        raise ValueError(f"there is no feature {feature!r}")
    if (feature in profile.features) == there:
        raise ValueError(f"{profile.name} has {feature!r} already" if there else f"{profile.name} has no {feature!r}")
    rest = [one for one in profile.features if one != feature]
    return profile.model_copy(update={"features": [*rest, feature] if there else rest})


def _identity(profile: Profile, key: str, value: str, load: Callable[[str], Profile]) -> Profile:
    if key == "vendor":
        if value not in VENDORS:
            raise ValueError(f"there is no vendor {value!r}: {' or '.join(VENDORS)}")
        return profile.model_copy(update={"vendor": VENDORS[value]})
    if key == "model":
        other = load(value)
        return profile.model_copy(
            update={part: getattr(other, part) for part in ("family", "model", "stepping", "brand")}
        )
    if key in ("features", "caches"):
        return profile.model_copy(update={key: getattr(load(value), key)})
    if key not in CACHES:
        raise ValueError(f"there is no part {key!r}: vendor, model, features, caches, {', '.join(CACHES)}")
    memory(value)
    kind = CACHES[key]
    if all((cache.level, cache.type) != kind for cache in profile.caches):
        raise ValueError(f"{profile.name} has no {key}")
    caches = [_resized(cache, value) if (cache.level, cache.type) == kind else cache for cache in profile.caches]
    return profile.model_copy(update={"caches": caches})


def _resized(cache: Cache, size: str) -> Cache:
    """The same sets with other ways, as processors' caches grow; other sets where that does not come out even."""
    row = cache.sets * cache.line
    if memory(size) % row == 0 and 1 <= memory(size) // row <= 1024:
        return cache.model_copy(update={"size": size, "ways": memory(size) // row})
    if memory(size) % (cache.ways * cache.line):
        raise ValueError(f"a cache of {size} cannot be made of lines of {cache.line} bytes in {cache.ways} ways")
    return cache.model_copy(update={"size": size})
