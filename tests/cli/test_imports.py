"""`numdev import`: the exit code, the lines, the JSON, and the store that other commands then read."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from numdev.errors import LEFT_OUT

repository = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parents[1] / "imports" / "repository.py")))


@pytest.fixture
def checkout(place):
    return repository.write(place / "checkout", repository.small())


def test_import_and_report(numdev, checkout):
    done = numdev("import", "unannticipated", checkout)
    assert done.code == 0, done.err
    assert "6 records of 6 inferences, 3 platforms (3 CPU), 2 workloads; new" in " ".join(done.out.split())
    assert "1 suspects" in done.out
    assert repository.name("three", sample=1) in done.out
    assert "CANNOT be separated" in " ".join(done.out.split())
    assert "numdev report unannticipated --store numdev-store" in done.out
    shown = numdev("report", "unannticipated")
    assert shown.code == 0
    assert "(suspect)" in shown.out
    assert "1 cell is suspect and is in no class" in " ".join(shown.out.split())
    assert numdev("store", "verify").code == 0
    again = numdev("import", "unannticipated", checkout)
    assert again.code == 0
    assert "nothing was written" in again.out


def test_what_was_left_out_has_an_exit_code(numdev, checkout):
    repository.write(checkout, {repository.name("pointer"): repository.POINTER})
    done = numdev("import", "unannticipated", checkout)
    assert done.code == LEFT_OUT
    assert f"  {repository.name('pointer')}: LFS pointer" in done.out
    assert f"exit code {LEFT_OUT}" in done.err
    assert numdev("report").code == 0


def test_json(numdev, checkout):
    done = numdev("import", "unannticipated", checkout, "--json", "--store", "other")
    found = json.loads(done.out)
    assert found["runs"][0]["records"] == 6
    assert [one["path"] for one in found["suspects"]] == [repository.name("three", sample=1)]
    assert found["left_out"] == []


def test_a_folder_without_results(numdev, place):
    done = numdev("import", "unannticipated", place)
    assert done.code == LEFT_OUT
    assert "Nothing was imported" in done.out


def test_no_such_path(numdev, place):
    done = numdev("import", "unannticipated", "nothing-here")
    assert done.code == 3
    assert not (place / "numdev-store").exists()
