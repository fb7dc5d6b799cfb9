"""One stored bundle of each version of the format: today's numdev reads and verifies all of them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from numdev.bundle import layout, upgrade
from numdev.bundle.reading import Bundle
from numdev.bundle.upgrade import VERSION, upgraded
from numdev.bundle.verify import verify
from numdev.errors import InvalidInput

EXAMPLES = Path(__file__).with_name("examples")
# As they were when they were made (examples/make.py); only the one of a version that no release has written may change.
DIGESTS = {
    1: "bd1a64a71f8728c90a8e0a106be501b89781aed395a3844ca5ec8bdb6c6af0aa",
}


def test_there_is_one_of_each_version():
    assert sorted(DIGESTS) == list(range(1, layout.FORMAT + 1))
    assert sorted(path.name for path in EXAMPLES.glob("*.tar")) == [f"v{version}.bundle.tar" for version in DIGESTS]
    assert sorted(upgrade.UPGRADES) == list(range(1, layout.FORMAT))


@pytest.mark.parametrize("version", DIGESTS)
def test_it_is_read_and_verified(version):
    path = EXAMPLES / f"v{version}.bundle.tar"
    assert path.stat().st_size < 100_000
    report = verify(path, expected=DIGESTS[version])
    assert report.whole, [check for check in report.checks if check.problems]
    with Bundle(path) as bundle:
        assert bundle.json(layout.DESCRIPTION)[VERSION] == version
        assert [cell.status for cell in bundle.cells()] == ["ok", "ok", "ok", "missing", "ok", "failed"]


def test_a_planted_older_version_is_upgraded(monkeypatch):
    """As if there had been two versions before: each function makes the next one, and only those that are needed are called."""
    path = EXAMPLES / f"v{layout.FORMAT}.bundle.tar"
    with Bundle(path) as bundle:
        today = bundle.json(layout.DESCRIPTION)
    monkeypatch.setattr(upgrade, "FORMAT", 3)
    called = []

    def step(old: str, new: str):
        def change(data):
            called.append(new)
            return {new if key == old else key: value for key, value in data.items()}

        return change

    monkeypatch.setattr(upgrade, "UPGRADES", {1: step("title", "called"), 2: step("called", "name")})
    oldest = {"title" if key == "name" else key: value for key, value in today.items()}
    assert upgraded({**oldest, VERSION: 1}, "x") == {**today, VERSION: 3}
    assert called == ["called", "name"]
    assert upgraded({**today, VERSION: 3}, "x") == {**today, VERSION: 3}
    assert called == ["called", "name"]
    with pytest.raises(InvalidInput, match="this numdev knows 3"):
        upgraded({**today, VERSION: 4}, "x")


def test_the_newest_example_is_as_it_is_made_today(tmp_path):
    """Where it is not, the format has changed, or an example is due: make it with examples/make.py."""
    made = runpy.run_path(str(EXAMPLES / "make.py"))["make"](tmp_path)
    there = EXAMPLES / made.name
    with Bundle(made) as new, Bundle(there) as old:
        names = {layout.CELLS, layout.FACTS, layout.RUN}
        assert {name: new.sums[name] for name in names} == {name: old.sums[name] for name in names}
        assert json.loads(new.read(layout.ANSWER)) == json.loads(old.read(layout.ANSWER))
