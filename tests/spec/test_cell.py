"""The name of a cell's result."""

import pytest

from numdev.spec.cell import DEFAULTS, OPTION, Cell

CAUSES = {"stack": "s", "platform": "p", "table": "host", "workload": "w", "worker": "k", "replicate": 1}


def cell(**factors) -> Cell:
    # Whatever machine this is.
    plain = {**DEFAULTS, "architecture": "x86_64", "stack": "one"}
    return Cell("name", {**plain, **{key.replace("__", "."): v for key, v in factors.items()}})


def test_the_digest_never_changes():
    """Another digest for the same causes makes every store worthless: then the `cell` in it must change too."""
    expected = "6ee1781963f031b1fc7ab745686f5d8762e4def0e0b5b5cf3c94b27fbeb0d692"
    assert cell(session__a="1").digest(**CAUSES) == expected


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_changes_it(cause):
    other = {**CAUSES, cause: 2 if cause == "replicate" else "other"}
    assert cell().digest(**other) != cell().digest(**CAUSES)


@pytest.mark.parametrize(
    "factors",
    [
        {"threads": 2},
        {"optimization": "off"},
        {"precision": "float64"},
        {"batch": 1},
        {"session__x": "1"},
        {"env__x": "1"},
        {"silicon": "emulated"},
        {"architecture": "aarch64"},
        {"session__x": ""},
    ],
    ids=str,
)
def test_every_option_changes_it(factors):
    assert cell(**factors).digest(**CAUSES) != cell().digest(**CAUSES)


def test_options_do_not_run_into_each_other():
    digests = {
        cell(**factors).digest(**CAUSES)
        for factors in ({"session__x": "1"}, {"env__x": "1"}, {"session__x": 1}, {"session__y": "1"}, {"batch": "1"})
    }
    assert len(digests) == 5


def test_names_do_not_matter_but_what_they_stand_for():
    """A stack or profile of another name with the same digest is the same; so is the order of factors."""
    one = Cell("a", {**DEFAULTS, "stack": "x", "profile": "y", "env.A": "1", "env.B": "2"})
    other = Cell("b", {"env.B": "2", "env.A": "1", "profile": "z", "stack": "q", **DEFAULTS})
    assert one.digest(**CAUSES) == other.digest(**CAUSES)


def test_the_label_says_what_is_not_at_its_default():
    assert cell(profile="haswell").label() == "name one haswell"
    assert cell(threads=2, env__A="b").label() == "name one host threads=2 env.A=b"


def test_prefixed_options():
    one = cell(session__b="2", session__a="1", env__a="3")
    assert list(one.prefixed("session").items()) == [("a", "1"), ("b", "2")]
    assert one.prefixed("env") == {"a": "3"}


@pytest.mark.parametrize("name", ["session.x64quantprecision", "session.a.b", "env.OMP_NUM_THREADS", "env._"])
def test_options(name):
    assert OPTION.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["session.", "env.1", "env.A=B", "env.A-B", "session", "other.x", "env.A\n", "env." + "a" * 65]
)
def test_no_options(name):
    assert not OPTION.fullmatch(name)


def test_a_cell_of_another_architecture_has_software_of_its_own(monkeypatch):
    here, there = cell(), cell(architecture="aarch64")
    for machine, mine, other in (("x86_64", here, there), ("arm64", there, here)):
        monkeypatch.setattr("platform.machine", lambda name=machine: name)
        assert (mine.foreign, mine.software) == (False, "one")
        assert (other.foreign, other.software) == (True, f"one {other.architecture}")
