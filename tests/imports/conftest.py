"""The paper's data where it lies, imported once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from numdev.imports import import_unannticipated
from numdev.run.runfile import answer_of, read_run
from numdev.store import Store

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _quick():
    """Thousands of small files: that each reaches the disk is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture(scope="session")
def native() -> Path:
    folder = SHARED / "paper-data" / "native"
    if not folder.is_dir():
        pytest.skip("the folder with shared test data is not here")
    return folder


@pytest.fixture(scope="session")
def imported(native, tmp_path_factory):
    """The paper's data in a store of its own, and what the import said."""
    opened = Store.open(tmp_path_factory.mktemp("paper") / "store", create=True)
    return opened, import_unannticipated(native, opened)


@pytest.fixture(scope="session")
def answers(imported):
    """The answer of each workload of each run, by the names of both."""
    opened, report = imported
    found = {}
    for run in report.runs:
        for one in answer_of(read_run(opened, run.name), opened).workloads:
            found[run.name, one.workload] = one
    return found
