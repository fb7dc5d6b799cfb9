"""-k against Python's own `eval`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.errors import InvalidInput
from numdev.spec.cell import DEFAULTS, Cell
from numdev.spec.select import selector

CELLS = [
    Cell(workload, {**DEFAULTS, "stack": stack, "profile": profile, "threads": threads})
    for workload in ("cnn-small", "matmul")
    for stack in ("onnxruntime-1.17", "torch-2.13")
    for profile in ("host", "haswell")
    for threads in (1, 2)
]
WORDS = ["cnn", "torch", "haswell", "1.17", "threads=2", "stack=torch", "workload=matmul", "nothing"]


def slow(word: str, cell: Cell) -> bool:
    levels = {"workload": cell.workload, **cell.factors}
    if "=" in word:
        key, value = word.split("=")
        return key in levels and str(levels[key]) == value
    return bool([level for level in levels.values() if word in str(level)])


EXPRESSIONS = st.recursive(
    st.sampled_from(WORDS),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda text: f"not {text}"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_expressions_mean_what_python_means(text):
    parts = text.replace("(", " ( ").replace(")", " ) ").split()
    names = {word: f"word_{index}" for index, word in enumerate(WORDS)}
    code = " ".join(names.get(part, part) for part in parts)
    chosen = selector(text)
    for cell in CELLS:
        values = {names[word]: slow(word, cell) for word in WORDS}
        assert chosen(cell) == eval(code, {}, values)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("haswell", 8),
        ("haswell and not torch", 4),
        ("threads=2", 8),
        ("(cnn or matmul) and threads=1", 8),
        ("cnn or matmul and threads=1", 12),
        ("not(torch)", 8),
        ("workload=cnn", 0),
        ("workload=cnn-small", 8),
        ("batch=all", 16),
        ("session.x=None", 0),
        ("colour=", 0),
        ("  haswell  ", 8),
    ],
)
def test_how_many_are_chosen(text, count):
    assert sum(map(selector(text), CELLS)) == count


def test_a_word_looks_into_factors_of_options():
    cell = Cell("w", {**DEFAULTS, "stack": "s", "session.fast": "yes"})
    assert selector("session.fast=yes")(cell)
    assert not selector("session.fast=no")(cell)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a and", "ends too early"),
        ("not", "ends too early"),
        ("(", "ends too early"),
        ("and a", "has 'and' where a word should be"),
        ("a or or b", "has 'or' where a word should be"),
        ("()", "has ')' where a word should be"),
        ("(a", "lacks a closing parenthesis"),
        ("(a b)", "lacks a closing parenthesis"),
        ("a b", "has 'b' too much"),
        ("a)", "has ')' too much"),
        ("a not b", "has 'not' too much"),
        ("a " * 201, "is too long"),
        ("(" * 5000, "is too long"),
    ],
)
def test_what_is_no_expression(text, what):
    with pytest.raises(InvalidInput) as caught:
        selector(text)
    (problem,) = caught.value.problems
    assert problem.what == what
    assert problem.where.startswith("-k ")


@pytest.mark.parametrize("text", ["(" * 99 + "cnn" + ")" * 99, "not " * 198 + "cnn", "cnn" + " or cnn" * 99])
def test_as_deep_as_allowed(text):
    assert sum(map(selector(text), CELLS)) == 8
