"""What vouches for model and inputs of a stored record."""

import pytest

from numdev.run.runfile import RunCell, observe
from numdev.store import Record


@pytest.mark.parametrize(
    ("causes", "vouched"),
    [({"workload": "ab", "stack": "cd"}, True), ({"imported": "unannticipated", "path": "x"}, False), ({}, False)],
)
def test_only_the_workload_s_digest_vouches(causes, vouched):
    digest = "a" * 64
    record = Record(record=1, digest=digest, workload="w", factors={}, replicate=0, status="ok", causes=causes)
    cell = RunCell(digest=digest, workload="w", factors={}, replicate=0, reference=False)
    assert observe(cell, record).vouched is vouched
