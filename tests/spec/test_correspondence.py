"""Correspondence files: what is in them, and everything that can be wrong, at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from numdev.errors import InvalidInput
from numdev.spec.correspondence import load_correspondence

MAPS = Path(__file__).resolve().parents[2] / "matrices" / "maps"


def test_levels_are_found_from_the_other_side(tmp_path):
    path = tmp_path / "by.yaml"
    path.write_text(
        "numdev: 1\nworkloads: {ours: theirs}\nfactors: {profile: cpu, threads: cores}\n"
        "levels: {profile: {haswell: [Haswell, Broadwell], zen2: Rome}, threads: {2: 4}}\n"
    )
    found = load_correspondence(path)
    assert dict(found.workloads) == {"ours": "theirs"}
    assert list(found.factors.items()) == [("profile", "cpu"), ("threads", "cores")]
    assert found.levels == {
        "profile": {"Haswell": "haswell", "Broadwell": "haswell", "Rome": "zen2"},
        "threads": {"4": "2"},
    }


def test_all_problems_at_once(tmp_path):
    path = tmp_path / "by.yaml"
    path.write_text(
        "numdev: 1\nworkloads: {a: b}\nfactors: {profile: cpu, threads: cpu}\n"
        "levels: {profile: {haswell: X, zen2: [X, Y]}, stack: {one: two}}\nwhatever: [threads]\nexclude: [{}]\n"
    )
    with pytest.raises(InvalidInput) as raised:
        load_correspondence(path)
    said = str(raised.value)
    assert "factors.threads: 'cpu' is that of profile already" in said
    assert "levels.profile.zen2: 'X' is that of haswell already" in said
    assert "levels.stack: is none of `factors`" in said
    assert "whatever: 'threads' is one of `factors`" in said
    assert "exclude.0: names no factor" in said


def test_what_is_left_out_of_a(tmp_path):
    path = tmp_path / "by.yaml"
    path.write_text(
        "numdev: 1\nworkloads: {a: b}\nfactors: {profile: cpu}\nwhatever: [host, host]\n"
        "exclude: [{profile: zen2, host: [intel, 7]}, {threads: 2}]\n"
    )
    found = load_correspondence(path)
    assert found.whatever == ("host",)
    assert found.excluded({"profile": "zen2", "host": "7", "threads": "4"})
    assert found.excluded({"profile": "haswell", "host": "amd", "threads": "2"})
    assert not found.excluded({"profile": "zen2", "host": "amd", "threads": "4"})
    assert not found.excluded({"profile": "zen2"})


@pytest.mark.parametrize("text", ["numdev: 1\n", "numdev: 2\nworkloads: {a: b}\nfactors: {c: d}\n", "- 1\n", "numdev: 1\nworkloads: {}\nfactors: {}\n"])  # fmt: skip
def test_what_is_none(tmp_path, text):
    path = tmp_path / "by.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        load_correspondence(path)


@pytest.mark.parametrize("path", sorted(MAPS.glob("*.yaml")), ids=lambda path: path.name)
def test_ours_are_valid(path):
    assert load_correspondence(path).workloads
