"""Answers that say something else than the outputs: whatever version wrote them, and however many classes there are."""

from __future__ import annotations

import io
import json
import lzma
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


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def of_cells(parts, cells, vouched=True):
    """The bundle with other cells: (factors, arrays of its outputs, what else its line says), of which only the analysis takes notice."""
    line = json.loads(parts[layout.CELLS].splitlines()[0])
    facts = {row["fact"]: row["value"] for row in map(json.loads, parts[layout.FACTS].splitlines())}
    causes = {key: value for key, value in facts[line["causes"]].items() if vouched or key != "workload"}
    lines, files, names, factors = [], {}, {}, {}
    for place, (levels, arrays, more) in enumerate(cells):
        signature = [
            {"name": f"y{at}", "dtype": one.dtype.name, "shape": list(one.shape)} for at, one in enumerate(arrays)
        ]
        for one in arrays:
            if id(one) not in names:
                data = npy(one)
                names[id(one)] = digests.of_bytes(data)
                files[f"outputs/{names[id(one)]}.npy"] = data
        told = {"causes": causes, "signature": signature}
        facts |= {digests.of_json(value)[:16]: value for value in told.values()}
        given = {"digest": f"{place:064x}", "outputs": [names[id(one)] for one in arrays], "factors": levels}
        lines.append(
            digests.canonical(
                {**line, **{key: digests.of_json(value)[:16] for key, value in told.items()}, **given, **more}
            )
        )
        for key, level in levels.items():
            factors.setdefault(key, {})[level] = None
    rows = [digests.canonical({"fact": name, "value": facts[name]}) for name in sorted(facts)]
    run = {"factors": {key: list(some) for key, some in factors.items()}, "order": list(factors)}
    run["baseline"] = {key: next(iter(some)) for key, some in factors.items()}
    parts = forging.changed(parts, layout.RUN, lambda value: value.update(run))
    kept = {name: data for name, data in parts.items() if not name.startswith("outputs/")}
    return {**kept, **files, layout.CELLS: b"\n".join(lines) + b"\n", layout.FACTS: b"\n".join(rows) + b"\n"}


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


def test_what_is_another_format_cannot_be_read(parts, tmp_path):
    check = looked_at(parts, tmp_path, lambda value: value.update(version=3), numdev="9.0")
    assert check.unreadable
    assert "is of version 3, and this numdev knows 2: it was not compared" in check.problems[0].what


NO_WORDS = {
    "an object": lambda value: value.update(short={"all": "well"}),
    "numbers": lambda value: value.update(short=[1]),
    "a sentence with more": lambda value: own(value)["sentences"][0].update(sure=True),
    "a sentence without words": lambda value: own(value)["sentences"][0].pop("text"),
    "a reason where there is none": lambda value: own(value)["effects"][1]["size"].update(
        incomparable="of other shapes"
    ),
    "a place that is none": lambda value: own(value)["classes"][0].update(where=""),
    "a name": lambda value: own(value).update(against="B"),
    "a level": lambda value: own(value)["table"]["rows"].reverse(),
}


@pytest.mark.parametrize("name", NO_WORDS)
def test_words_are_words_and_stand_where_there_are_some(parts, tmp_path, name):
    assert looked_at(parts, tmp_path, NO_WORDS[name], numdev="0.0.1").problems


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


def one(value: float) -> list[np.ndarray]:
    return [np.array([[value]], np.float32)]


def many_classes():
    """One factor, of which every level is a class of its own: each is compared with each."""
    return [({"stack": f"s{number}"}, one(number), {}) for number in range(700)]


def unconnected():
    """Cells without a neighbour, for which cells are looked for that would connect them."""
    return [({"stack": f"s{number}", "profile": f"p{number}"}, one(number % 3), {}) for number in range(600)]


def wide_table():
    outputs = [one(number) for number in range(3)]
    row = [({"stack": f"s{number}", "profile": "p0"}, outputs[number % 3], {}) for number in range(1100)]
    return row + [({"stack": "s0", "profile": f"p{number}"}, outputs[number % 3], {}) for number in range(1, 1100)]


def many_outputs():
    zero, rng = [one(0)[0], one(1)[0]], np.random.default_rng(0)
    return [({"stack": f"s{number}"}, [zero[which] for which in rng.integers(0, 2, 1000)], {}) for number in range(70)]


def many_factors():
    return [({f"env.F{factor}": str(level) for factor in range(65)}, one(level), {}) for level in range(2)]


@pytest.mark.parametrize("cells", [many_classes, unconnected, wide_table, many_outputs, many_factors])
def test_a_small_file_that_would_take_long_is_refused_soon(parts, tmp_path, cells):
    """Soon by its steps, which are counted: it is refused before the last of them."""
    check = looked_at(of_cells(parts, cells()), tmp_path)
    assert check.unreadable
    [problem] = check.problems
    assert "was not compared with what the outputs give: it has" in problem.what


def test_the_papers_run_is_far_from_that(tmp_path, monkeypatch):
    """Its 190 cells take a thirtieth of what every file may take, and its outputs as much more."""
    monkeypatch.setattr(answercheck, "_STEPS", answercheck._STEPS // 32)
    monkeypatch.setattr(answercheck, "_BYTE", 0)
    stored = Path(__file__).resolve().parents[2] / "docs" / "bundles" / "paper-amd-25-17-1.bundle.tar.xz"
    path = tmp_path / stored.stem
    path.write_bytes(lzma.decompress(stored.read_bytes()))
    assert verify(path).whole


def peak(path: Path) -> int:
    """Megabytes that `bundle verify` takes in a process of its own."""
    code, megabytes, said = forging.verified(path)
    assert code == 15, said
    assert "no answer can be computed" not in said
    return megabytes


STACKS = ({"stack": "a"}, {"stack": "b"})


def two_of_no_digest():
    """Nothing vouches for them, and no half agrees: each is compared with each for groups."""
    ones = np.ones((1, 12_000_000), np.float16)
    return [(STACKS[0], [ones], {}), (STACKS[1], [2 * ones], {})]


def in_another_order():
    """Arrays as Fortran has them, which lie in the file otherwise than they are compared."""
    rng = np.random.default_rng(0)
    some = [np.asfortranarray(rng.random((4000, 3500), np.float32)) for _ in STACKS]
    return [(levels, [array], {}) for levels, array in zip(STACKS, some, strict=True)]


def of_whole_numbers():
    """Integers beside a float reference: whether it is rounded is asked of each of its numbers."""
    zeros = np.zeros((1, 30_000_000), np.float32)
    off = (zeros + 1).astype(np.int8)
    return [(STACKS[0], [off], {}), ({}, [zeros], {"reference": True})]


def batches():
    """Leading samples that are equal: they are as large as all of it."""
    long = np.arange(24_000_000, dtype=np.float32).reshape(-1, 1)
    return [({"stack": "a", "batch": "1"}, [long], {}), ({"stack": "a", "batch": "2"}, [long[:-1]], {})]


@pytest.mark.parametrize("cells", [two_of_no_digest, in_another_order, of_whole_numbers, batches])
def test_large_outputs_are_looked_at_in_pieces(parts, tmp_path, cells):
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(forging.archive(of_cells(parts, cells(), vouched=cells is not two_of_no_digest)))
    assert peak(path) < 250


def test_an_answer_of_millions_of_values_is_not_parsed(parts, tmp_path):
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(forging.archive({**parts, layout.ANSWER: b'{"a":[' + b"{}," * 10_000_000 + b"{}]}"}))
    assert peak(path) < 200


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
