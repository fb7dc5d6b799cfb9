"""Mapped arrays: the same numbers as in the file, in memory for a part of it only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from numdev.store.npy import mapped

MANY = 32 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("npy") / "large.npy"
    np.save(path, np.arange(MANY, dtype=np.float32))
    return path


def resident(path: Path) -> int:
    """Bytes of a mapped file that count as this process's memory."""
    found, within = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            within = line.endswith(str(path))
        elif within and line.startswith("Rss:"):
            found += int(line.split()[1]) << 10
    return found


def test_what_was_read_in_slices_is_let_go_of(large):
    array = mapped(large)
    most = total = 0
    for start in range(0, MANY, 1 << 16):
        total += int(array[start : start + (1 << 16)].sum(dtype=np.float64))
        most = max(most, resident(large)) if start % (1 << 22) == 0 else most
    assert total == MANY * (MANY - 1) // 2
    assert 0 < most <= 80 << 20 < array.nbytes


def test_a_slice_stays_what_it_is_after_its_pages_have_gone(large):
    array = mapped(large)
    first = array[:1000]
    for start in range(0, MANY, 1 << 20):
        array[start : start + (1 << 20)].sum()
    assert np.array_equal(first, np.arange(1000, dtype=np.float32))
    assert type(first) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
