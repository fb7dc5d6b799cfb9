"""Answers that say something else than the outputs: whatever version wrote them, and however many classes there are."""

from __future__ import annotations

import json
import math
import runpy
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numdev import digests
from numdev.analysis.deviation import compare
from numdev.analysis.numbers import number
from numdev.analysis.observation import OutputRef
from numdev.analysis.sizes import Sizes
from numdev.bundle import answercheck, layout
from numdev.bundle.verify import verify

forging = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("forging.py"))))


@pytest.fixture
def parts(bundled):
    return forging.parts_of(bundled())


def looked_at(parts, tmp_path, answer=None, words=None, numdev=None):
    """The check of the analysis of a bundle whose manifest fits."""
    parts = dict(parts)
    if answer is not None:
        value = json.loads(parts[layout.ANSWER])
        kept = answer(value)
        parts[layout.ANSWER] = digests.canonical(value if kept is None else kept) + b"\n"
    if words is not None:
        parts[layout.ANSWER_TEXT] = words(parts[layout.ANSWER_TEXT].decode()).encode()
    if numdev is not None:
        parts = forging.changed(parts, layout.DESCRIPTION, lambda told: told.update(numdev=numdev))
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(forging.archive(parts))
    report = verify(path, crate_needed=False)
    return next(check for check in report.checks if check.name == "analysis")


def own(value):
    return value["workloads"][0]


LIES = {
    "nothing at all": lambda value: {"version": 2, "missing": {"failed": 1}},
    "no classes": lambda value: own(value).pop("classes"),
    "no effects": lambda value: own(value).pop("effects"),
    "another format": lambda value: value.update(version=3),
    "a cause that is none": lambda value: own(value)["factors"]["profile"].update(status="no effect"),
    "a cell in another class": lambda value: own(value)["partition"][0].update(outcome="A"),
    "a class of another name": lambda value: own(value)["classes"][1].update(name="Z"),
    "a key more": lambda value: own(value).update(certified=True),
}


@pytest.mark.parametrize("numdev", [None, "0.0.1"])
@pytest.mark.parametrize("name", LIES)
def test_no_version_may_say_another_thing(parts, tmp_path, name, numdev):
    def lie(value):
        before = json.dumps(value)
        kept = LIES[name](value)
        assert json.dumps(kept if isinstance(kept, dict) and "version" in kept else value) != before
        return kept if isinstance(kept, dict) and "version" in kept else None

    assert looked_at(parts, tmp_path, lie, numdev=numdev).problems


def test_another_version_may_word_it_otherwise(parts, tmp_path):
    def reworded(value):
        value["short"] = ["In other words."]
        own(value)["sentences"] = own(value)["sentences"][:1]
        own(value)["verdict"][0] += ", or so"

    assert looked_at(parts, tmp_path, reworded).problems
    check = looked_at(parts, tmp_path, reworded, lambda text: "Other words.\n", numdev="0.0.1")
    assert not check.problems
    assert any("whether it says the same was not checked" in note for note in check.notes)


def rounded(value):
    size = next(one["size"] for one in own(value)["classes"] if one["size"])
    size["mean_abs"] *= 1 + 1e-12


def test_last_digits_do_not_let_other_words_in(parts, tmp_path):
    check = looked_at(parts, tmp_path, rounded)
    assert not check.problems
    assert any("last digits" in note for note in check.notes)
    lies = (
        lambda text: "Nothing differs: all stacks and CPUs agree bit for bit.\n",
        lambda text: text.replace("2 classes", "3 classes", 1),
        lambda text: text.replace("haswell", "sandybridge", 1),
    )
    for lie in lies:
        assert looked_at(parts, tmp_path, rounded, lie).problems


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [("_STEPS", 10, "it has too many classes"), ("_FACTORS", 1, "it has 2 factors, and 1 at most")],
)
def test_what_would_take_for_ever_is_not_computed_and_does_not_pass(parts, tmp_path, monkeypatch, limit, value, why):
    monkeypatch.setattr(answercheck, "_BYTE", 0)
    monkeypatch.setattr(answercheck, limit, value)
    check = looked_at(parts, tmp_path)
    [problem] = check.problems
    assert "was not compared with what the outputs give: " + why in problem.what


def test_numbers_that_are_none():
    assert [number(float(word)) for word in ("inf", "-inf", "nan")] == ["inf", "-inf", "NaN"]


def test_a_type_that_no_framework_gives():
    value = np.array([["nan", "inf", "1"]], np.longdouble)
    ref = np.array([[1.7e308, -1.7e308, 1.7e308]])
    for pair in ((value, ref), (ref, value), (ref * np.longdouble(1e10), ref), (value.astype(np.clongdouble), ref)):
        found = compare(*pair)
        told = [one for one in (found.median_abs, found.mean_abs, found.max_rel, found.scale) if one is not None]
        assert all(math.isfinite(one) for one in told)


def test_the_same_two_tensors_are_compared_once():
    arrays = {"a": np.zeros(8, np.float32), "b": np.ones(8, np.float32)}
    read = []

    def load(name):
        read.append(name)
        return arrays[name]

    def outputs(*tensors):
        return tuple(OutputRef(f"y{at}", "float32", (8,), name) for at, name in enumerate(tensors))

    sizes = Sizes(load)
    for one in product("ab", repeat=4):
        for other in product("ab", repeat=4):
            assert sizes.between(outputs(*one), outputs(*other)).max_abs == float(one != other)
    assert sizes._compared.cache_info().misses == 4
