"""YAML as people mean it, and what hostile YAML becomes."""

import pytest
from pydantic import Field

from numdev.errors import InvalidInput
from numdev.spec import yamlfile


def refused(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(InvalidInput) as caught:
        yamlfile.parse(data, "f.yaml")
    assert caught.value.problems
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        "2.10",
        "1.0",
        "010",
        "1_0",
        "0x1F",
        "1e3",
        "no",
        "yes",
        "on",
        "Off",
        "True",
        "NULL",
        ".inf",
        "2020-01-01",
        "1:30",
    ],
)
def test_everything_that_only_looks_like_a_value_stays_text(text):
    assert yamlfile.parse(f"key: {text}".encode(), "f.yaml") == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-12", -12),
        ("0", 0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ('"5"', "5"),
        ("'true'", "true"),
        ('"null"', "null"),
        ("[1, two, 3.0]", [1, "two", "3.0"]),
        ("{a: {b: c}}", {"a": {"b": "c"}}),
        ("99999999999999999999", "99999999999999999999"),
    ],
)
def test_the_few_values_that_are_not_text(text, value):
    found = yamlfile.parse(f"key: {text}".encode(), "f.yaml")["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_text():
    assert yamlfile.parse(b"{1: a, true: b, null: c, 2.10: d}", "f") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "2.10": "d",
    }


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
        ("a:\n  b: 1\n  b: 1\n", 3, "'b' stands twice"),
        ("a: &x 1\n\nb: *x\n", 3, "aliases"),
        ("a: 1\nb: !!int ''\n", 2, "tags"),
        ("a: !!map [b, c]\n", 1, "tags"),
        ("a: !!timestamp x\n", 1, "tags"),
        ("a: !!python/object/apply:os.getcwd []\n", 1, "tags"),
        ("a: !own x\n", 1, "tags"),
        ("a: 1\n? [b]\n: 2\n", 2, "a key must be a word"),
        ("a: 1\nb: [1, 2\n", 3, "expected"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 'x\n", 2, "unexpected end"),
        ("a: b: c\n", 1, "mapping values"),
    ],
)
def test_problems_name_their_line(text, line, what):
    (problem,) = refused(text)
    assert problem.startswith(f"f.yaml:{line}: ")
    assert what in problem


@pytest.mark.parametrize("data", [b"a: \xff\xfe\n", "a: é\n".encode("latin-1"), b"\xff\xfea\x00"])
def test_bytes_that_are_no_text(data):
    (problem,) = refused(data)
    assert f"not UTF-8 at byte {min(i for i, b in enumerate(data) if b > 127)}" in problem


@pytest.mark.parametrize("text", ["", "# nothing", "5", "- a\n- b", "null", "just words"])
def test_only_a_mapping_is_a_file(text):
    assert refused(text) == ["f.yaml: must be a mapping of keys to values"]


@pytest.mark.parametrize("text", ["[" * 100, "{a: " * 50000, "- " * 1000, "a: " + "[" * 60 + "]" * 60])
def test_deep_nesting_is_refused(text):
    (problem,) = refused(text)
    assert "nested too deeply" in problem


def test_nesting_that_people_write_is_fine():
    value = yamlfile.parse(b"a: " + b"[" * 30 + b"]" * 30, "f")["a"]
    for _ in range(29):
        (value,) = value
    assert value == []


def test_control_characters_are_refused():
    (problem,) = refused("a: \x00")
    assert "special characters are not allowed" in problem


def test_a_merge_key_is_a_key_like_any_other():
    assert yamlfile.parse(b"<<: {a: 1}\nb: 2\n", "f") == {"<<": {"a": 1}, "b": 2}


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_bytes(b"a: " + b"x" * yamlfile.LIMIT)
    with pytest.raises(InvalidInput, match="more than 1048576 bytes"):
        yamlfile.read(path)


@pytest.mark.parametrize(("make", "what"), [(False, "does not exist"), (True, "is not a regular file")])
def test_what_is_no_file(tmp_path, make, what):
    path = tmp_path / "x.yaml"
    if make:
        path.mkdir()
    with pytest.raises(InvalidInput, match=what):
        yamlfile.read(path)


class Inner(yamlfile.Strict):
    Size: int = Field(default=1, ge=1)


class Model(yamlfile.Strict):
    name: str
    inner: Inner = Inner()
    many: dict[str, list[str | int]] = {}


def test_all_problems_at_once_each_with_its_key():
    value = {
        "Name": "x",
        "inner": {"Size": "5", "extra": 1},
        "many": {"env.BIG": ["a", [1], None, True], "k": 5},
        "other": None,
    }
    with pytest.raises(InvalidInput) as caught:
        yamlfile.validate(Model, value, "f.yaml")
    assert [str(problem) for problem in caught.value.problems] == [
        "f.yaml: Name: unknown key (check the spelling, or remove it)",
        "f.yaml: inner.Size: must be a whole number, not '5'",
        "f.yaml: inner.extra: unknown key (check the spelling, or remove it)",
        "f.yaml: many.env.BIG.1: must be text or a whole number, not [1]",
        "f.yaml: many.env.BIG.2: must be text or a whole number, not None",
        "f.yaml: many.env.BIG.3: must be text or a whole number, not True",
        "f.yaml: many.k: Input should be a valid list",
        "f.yaml: name: missing (add it)",
        "f.yaml: other: unknown key (check the spelling, or remove it)",
    ]


def test_a_version_without_quotes_is_said_to_need_them():
    with pytest.raises(InvalidInput, match=r'name: must be text, not 3 \(put it in quotes: "..."\)'):
        yamlfile.validate(Model, {"name": 3}, "f.yaml")


def test_a_huge_wrong_value_is_not_repeated():
    deep = []
    for _ in range(200):
        deep = [deep]
    for value in (["x" * 100_000] * 1000, deep):
        with pytest.raises(InvalidInput) as caught:
            yamlfile.validate(Model, {"name": value}, "f.yaml")
        assert len(str(caught.value)) < 1000
