"""A bundle whose words are anything: it is read, laid out, made ready and compared, or refused in words. Nothing else happens."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numdev.bundle import layout
from numdev.bundle.diff import diff
from numdev.bundle.reading import Bundle
from numdev.bundle.rerun import made_ready
from numdev.bundle.workspace import empty, lay_out
from numdev.errors import NumdevError

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["host", "haswell", "../x.json", "/etc/passwd", "ort-1", "own", "all", "a" * 64, "\x1b[2J", "best"]
    ),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def places(value, path=()):
    """The way to everything in a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(value, path, new):
    value = copy.deepcopy(value)
    at = value
    for key in path[:-1]:
        at = at[key]
    if isinstance(new, tuple):
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


@pytest.fixture
def whole(bundled):
    """One bundle for all examples."""
    return bundled("one")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_whatever_a_bundle_says(data, whole, forged, tmp_path):
    path = whole
    name = data.draw(st.sampled_from([layout.RUN, layout.DESCRIPTION, layout.CELLS, layout.FACTS]))
    with Bundle(path) as bundle:
        text = bundle.read(name).decode()
    values = [json.loads(line) for line in text.splitlines()] if name.endswith("l") else [json.loads(text)]
    for _ in range(data.draw(st.integers(1, 3))):
        ways = [way for way in places(values) if len(way) > 1]
        values = changed(values, data.draw(st.sampled_from(ways)), data.draw(st.one_of(VALUES, st.just(()))))
    text = "".join(json.dumps(value) + "\n" for value in values)
    odd = forged(path, {name: text.encode()})
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        before = {file for file in tmp_path.rglob("*") if file.is_file()}
        try:
            with Bundle(odd) as bundle:
                made_ready(bundle, lay_out(bundle, empty(Path(folder))), tmp_path / "cache", lambda line: None)
        except NumdevError:
            pass
        written = {file for file in tmp_path.rglob("*") if file.is_file()} - before
        allowed = (Path(folder), tmp_path / "cache")
        assert all(any(file.is_relative_to(one) for one in allowed) for file in written)
    try:
        with Bundle(path) as one, Bundle(odd) as other:
            diff(one, other).printed((one, other)).text()
    except NumdevError:
        pass
