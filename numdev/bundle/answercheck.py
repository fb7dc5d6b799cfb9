"""The analysis once more from the raw outputs, beside the one that a bundle has; and in what they differ."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numdev import __version__
from numdev.analysis import Answer
from numdev.analysis.budget import OverBudget, bounded
from numdev.analysis.result import VERSION
from numdev.bundle import layout, strict
from numdev.bundle.analysed import json_bytes, text
from numdev.bundle.found import TOLD, Check, some
from numdev.bundle.reading import Bundle
from numdev.errors import InvalidInput, NumdevError, Problem
from numdev.run.runfile import answer_of

# An answer is compared piece by piece only where both fit into memory several times.
_DETAIL = 32 << 20
# Where numpy or the processor is another one, sums may round in another way.
_ROUNDING = 1e-9
# What a stranger's answer may take to compute, see analysis/budget.py: some minutes, and for each byte of cells and outputs a microsecond more.
_STEPS, _BYTE = 1 << 29, 4
# Of more factors, all sets of factors that the class may follow from cannot be looked through.
_FACTORS = 64
# Differences that are counted at most.
_COUNTED = 10 * TOLD
# What is said in words of a version's own, by its place; "*" is any key or number. Everything else has to be the same, whichever version
# of numdev wrote it: also names, statuses and verdicts, and that something is there at all.
_SENTENCES = tuple(
    tuple(place.split("."))
    for place in (
        "workloads.*.classes.*.where",
        "workloads.*.classes.*.changed_labels.*",
        "workloads.*.classes.*.size.incomparable",
        "workloads.*.classes.*.outputs.*.incomparable",
        "workloads.*.classes.*.reference.why",
        "workloads.*.classes.*.reference.deviation.incomparable",
        "workloads.*.effects.*.size.incomparable",
        "workloads.*.without_class.*.reason",
        "workloads.*.suspects.*.reason",
        "workloads.*.sentences.*.about",
        "workloads.*.sentences.*.text",
    )
)
# Lists of sentences, of which a version may have more than another.
_LISTS = tuple(
    tuple(place.split("."))
    for place in ("short", "workloads.*.sentences", "workloads.*.verdict", "workloads.*.attribution_notes")
)
_WORDS = {
    "classes": "its classes",
    "cells": "how many cells there are, and what became of them",
    "effects": "what a factor does",
    "noise": "what repeats differ in",
    "references": "its distance from the reference",
}


@dataclass(frozen=True)
class _Found:
    """What was computed, and the bytes of the files that it makes."""

    answer: Answer
    data: bytes
    words: bytes


Path = tuple[Any, ...]


def analysis(bundle: Bundle) -> Check:
    """Computes the answer from cells and outputs, and compares it with `analysis/`."""
    check = Check("analysis")
    missing = [name for name in (layout.ANSWER, layout.ANSWER_TEXT) if name not in bundle.members]
    for name in missing:
        check.wrong(name, "is missing")
    with check.reading():
        found = _computed(bundle, check)
        if found is None:
            return check
        check.what = _told(found.answer)
        rounded = [] if layout.ANSWER in missing else _compare(bundle, found, check)
        if layout.ANSWER_TEXT not in missing and not check.problems:
            _compare_text(bundle, found, rounded, check)
    return check


def _told(answer: Answer) -> str:
    classes = sum(len(one.classes) for one in answer.workloads)
    return f"computed again from the outputs: {some(len(answer.workloads), 'workload')}, {some(classes, 'class')}"


def _computed(bundle: Bundle, check: Check) -> _Found | None:
    """The answer; None where there is none, and then the check says why."""
    factors = set(bundle.run.factors).union(*(cell.factors for cell in bundle.run.cells))
    if len(factors) > _FACTORS:
        _unchecked(check, f"it has {len(factors)} factors, and {_FACTORS} at most are looked at")
        return None
    large = sum(one.size for name, one in bundle.members.items() if name.startswith("outputs/") or name == layout.CELLS)
    try:
        with bounded(_STEPS + _BYTE * large):
            found = answer_of(bundle.run, bundle.view())
        return _Found(found, json_bytes(found), text(found).encode("utf-8"))
    except NumdevError:
        raise
    except OverBudget:
        _unchecked(
            check, "it has too many classes, outputs, levels or factors for what is computed of a stranger's cells"
        )
    except Exception as error:
        # What a stranger's cells and arrays make numpy and the analysis raise has no common base.
        why = " ".join(str(error).split())
        check.wrong(layout.CELLS, f"no answer can be computed of these cells: {type(error).__name__} {why}")
    return None


def _unchecked(check: Check, why: str) -> None:
    """Who could make an answer pass by making it large could write anything into it: so that is a problem, if not one of what it says."""
    check.unreadable = True
    check.what = "not computed again"
    check.wrong(layout.ANSWER, f"was not compared with what the outputs give: {why}")


def _compare(bundle: Bundle, found: _Found, check: Check) -> list[tuple[Path, float]]:
    """Compares the JSON with what was computed; the numbers that are rounded otherwise there."""
    data = found.data
    size = bundle.members[layout.ANSWER].size
    if size == len(data) and bundle.read(layout.ANSWER) == data:
        return []
    # What has twice as much in it says something else, whatever it is.
    if max(size, len(data)) > _DETAIL or size > 2 * len(data) + (1 << 20):
        check.wrong(layout.ANSWER, "is not what the outputs give, and is too large to say where")
        return []
    here = json.loads(data)
    where = f"{bundle.where}: {layout.ANSWER}"
    there = strict.parsed(bundle.read(layout.ANSWER), where, 2 * strict.values(data) + 1000)
    if type(there.get("version")) is not int or there["version"] != VERSION:
        what = f"is of version {_short(there.get('version', _NOTHING))}, and this numdev knows {VERSION}: it was not compared"
        raise InvalidInput(f"{where} cannot be compared.", [Problem(layout.ANSWER, what)])
    other = bundle.description.numdev != __version__
    rounded: list[tuple[Path, float]] = []
    wording = False
    for path, one, two in _differences(there, here, ()):
        if isinstance(one, float) and isinstance(two, float) and math.isclose(one, two, rel_tol=_ROUNDING):
            rounded.append((path, one))
        elif other and _of_words(path, one, two):
            wording = True
        else:
            check.wrong(
                layout.ANSWER, f"{_place(path, there, here)}: {_short(one)} there, {_short(two)} from the outputs"
            )
            if check.more > _COUNTED:
                break
    if wording:
        told = f"of numdev {bundle.description.numdev}, and this {__version__} words them otherwise"
        check.note(f"the sentences of {layout.ANSWER} are {told}: whether they say the same was not checked")
    if rounded:
        check.note("some sizes differ in their last digits, as sums of another numpy or processor may")
    if not (check.problems or wording or rounded):
        check.wrong(layout.ANSWER, "says what the outputs give, and is not written as numdev writes it")
    return rounded


def _compare_text(bundle: Bundle, found: _Found, rounded: Sequence[tuple[Path, float]], check: Check) -> None:
    """rounded: numbers as the JSON has them, from which the text was made."""
    words = text(_rounded(found.answer, rounded)).encode("utf-8") if rounded else found.words
    if bundle.members[layout.ANSWER_TEXT].size == len(words) and bundle.read(layout.ANSWER_TEXT) == words:
        return
    if bundle.description.numdev != __version__:
        told = f"of numdev {bundle.description.numdev}, and is worded otherwise"
        check.note(f"{layout.ANSWER_TEXT} is {told}: whether it says the same was not checked")
    else:
        check.wrong(layout.ANSWER_TEXT, f"is not what {layout.ANSWER} says, in words")


def _rounded(answer: Answer, rounded: Sequence[tuple[Path, float]]) -> Answer:
    """The answer with other numbers at some places."""
    data = _lists(answer.model_dump())
    for path, value in rounded:
        inside = data
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value
    return Answer.model_validate(data)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(one) for key, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, (list, tuple)) else value


_NOTHING = object()


def _differences(one: Any, two: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """(where, the one, the other) for each leaf, or branch of another form, that differs."""
    if type(one) is type(two) is dict:
        for key in sorted(one.keys() | two.keys()):
            yield from _differences(one.get(key, _NOTHING), two.get(key, _NOTHING), (*path, key))
    elif type(one) is type(two) is list and len(one) == len(two):
        for index, (first, second) in enumerate(zip(one, two, strict=True)):
            yield from _differences(first, second, (*path, index))
    elif type(one) is not type(two) or one != two:
        yield path, one, two


def _of_words(path: Path, one: Any, two: Any) -> bool:
    """Whether two versions may say the same here: in sentences, and nowhere else. Where one has none, the other has none."""
    if any(_at(path, place) for place in _SENTENCES):
        return type(one) is type(two) is str and bool(one) == bool(two)
    if any(_at(path, place) for place in _LISTS):
        return all(isinstance(value, list) and all(map(_sentence, value)) for value in (one, two))
    lists = any(_at(path[:-1], place) for place in _LISTS)
    return lists and type(one) is type(two) is str


def _at(path: Path, place: tuple[str, ...]) -> bool:
    return len(path) == len(place) and all(want in ("*", key) for key, want in zip(path, place, strict=True))


def _sentence(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() == {"about", "text"} and all(isinstance(one, str) for one in value.values())
    return isinstance(value, str)


def _place(path: Path, there: dict[str, Any], here: dict[str, Any]) -> str:
    """Where that is, for people: the workload by its name."""
    if len(path) < 2 or path[0] != "workloads" or not isinstance(path[1], int):
        return ".".join(map(str, path))
    names = [_name(value, path[1]) for value in (there, here)]
    rest = ".".join(map(str, path[2:]))
    what = _WORDS.get(str(path[2]), "") if len(path) > 2 else ""
    return f"workload {names[1] or names[0]!a}, {rest}" + (f" ({what})" if what else "")


def _name(value: dict[str, Any], index: int) -> str:
    try:
        return str(value["workloads"][index]["workload"])
    except (LookupError, TypeError):
        return ""


def _short(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    if isinstance(value, (dict, list)):
        return f"{len(value)} of them"
    return ascii(value)[:60]
