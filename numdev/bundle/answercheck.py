"""The analysis once more from the raw outputs, beside the one that a bundle has; and in what they differ."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from numdev import __version__
from numdev.analysis import Answer
from numdev.bundle import layout, strict
from numdev.bundle.analysed import json_bytes, text
from numdev.bundle.found import Check, some
from numdev.bundle.reading import Bundle
from numdev.errors import NumdevError
from numdev.run.runfile import answer_of

# An answer is compared piece by piece only where both fit into memory several times.
_DETAIL = 32 << 20
# Where numpy or the processor is another one, sums may round in another way.
_ROUNDING = 1e-9
_WORDS = {
    "classes": "its classes",
    "cells": "how many cells there are, and what became of them",
    "effects": "what a factor does",
    "noise": "what repeats differ in",
    "references": "its distance from the reference",
}


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
        check.what = _told(found)
        if layout.ANSWER not in missing:
            _compare(bundle, found, check)
        if layout.ANSWER_TEXT not in missing and not check.problems:
            _compare_text(bundle, found, check)
    return check


def _told(answer: Answer) -> str:
    classes = sum(len(one.classes) for one in answer.workloads)
    return f"computed again from the outputs: {some(len(answer.workloads), 'workload')}, {some(classes, 'class')}"


def _computed(bundle: Bundle, check: Check) -> Answer | None:
    try:
        return answer_of(bundle.run, bundle.view())
    except NumdevError:
        raise
    except Exception as error:
        # What a stranger's cells and arrays make numpy and the analysis raise has no common base.
        why = " ".join(str(error).split())
        check.wrong(layout.CELLS, f"no answer can be computed of these cells: {type(error).__name__} {why}")
        return None


def _compare(bundle: Bundle, found: Answer, check: Check) -> None:
    data = json_bytes(found)
    size = bundle.members[layout.ANSWER].size
    if size == len(data) and bundle.read(layout.ANSWER) == data:
        return
    if max(size, len(data)) > _DETAIL:
        check.wrong(layout.ANSWER, "is not what the outputs give, and is too large to say where")
        return
    here = json.loads(data)
    there = strict.parsed(bundle.read(layout.ANSWER), f"{bundle.where}: {layout.ANSWER}", _DETAIL)
    other = bundle.description.numdev != __version__
    rounding = wording = False
    for path, one, two in _differences(there, here, ()):
        if isinstance(one, float) and isinstance(two, float) and math.isclose(one, two, rel_tol=_ROUNDING):
            rounding = True
        elif other and _of_words(path, one, two):
            wording = True
        else:
            check.wrong(
                layout.ANSWER, f"{_place(path, there, here)}: {_short(one)} there, {_short(two)} from the outputs"
            )
    if wording:
        check.note(
            f"the answer is of numdev {bundle.description.numdev}, and this {__version__} words or orders it otherwise"
        )
    if rounding:
        check.note("some sizes differ in their last digits, as sums of another numpy or processor may")
    if not (check.problems or wording or rounding):
        check.wrong(layout.ANSWER, "says what the outputs give, and is not written as numdev writes it")


def _compare_text(bundle: Bundle, found: Answer, check: Check) -> None:
    if bundle.read(layout.ANSWER_TEXT) == text(found).encode("utf-8"):
        return
    if check.notes:
        check.note(f"{layout.ANSWER_TEXT} was not compared, for {layout.ANSWER} is not the same to the byte")
    elif bundle.description.numdev != __version__:
        check.note(f"{layout.ANSWER_TEXT} is of numdev {bundle.description.numdev}, and is worded otherwise")
    else:
        check.wrong(layout.ANSWER_TEXT, f"is not what {layout.ANSWER} says, in words")


_NOTHING = object()


def _differences(one: Any, two: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """(where, the one, the other) for each leaf, or branch of another form, that differs."""
    if type(one) is type(two) is dict:
        for key in sorted(one.keys() | two.keys()):
            yield from _differences(one.get(key, _NOTHING), two.get(key, _NOTHING), (*path, key))
    elif type(one) is type(two) is list and len(one) == len(two):
        for index, (first, second) in enumerate(zip(one, two, strict=True)):
            yield from _differences(first, second, (*path, index))
    elif type(one) is not type(two) or one != two:
        yield path, one, two


def _of_words(path: tuple[Any, ...], one: Any, two: Any) -> bool:
    """Whether two versions may say the same here: sentences, and what only one of them says at all. Never which cell is in which class."""
    if {"records", "levels", "cells", "missing"} & set(path):
        return False
    if one is _NOTHING or two is _NOTHING or path[:1] == ("version",):
        return True
    return all(isinstance(value, str) or (isinstance(value, list) and _sentences(value)) for value in (one, two))


def _sentences(value: list[Any]) -> bool:
    return all(isinstance(one, str) for one in value)


def _place(path: tuple[Any, ...], there: dict[str, Any], here: dict[str, Any]) -> str:
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
