"""The fuzzer's properties on a few inputs of hypothesis: `make fuzz` tries millions, where its package can be had."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
one_input = runpy.run_path(str(FUZZ / "properties.py"))["one_input"]
run = SimpleNamespace(**runpy.run_path(str(FUZZ / "run.py")))
SEEDS = run.seeds()
WORDS = [word.encode().decode("unicode_escape").encode("latin-1") for word in run.WORDS["dumps"]]


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_the_seeds_hold(number):
    one_input(SEEDS[number])


def test_a_processor_whose_every_cache_is_absurd():
    """Found by the fuzzer: more problems than anyone reads."""
    words = "ffffffff ffffffff ffffffff ffffffff"
    lines = [
        "00000000 00000000 0000000d 756e6547 6c65746e 49656e69",
        *(f"00000004 0000000{i} {words}" for i in range(8)),
    ]
    one_input(json.dumps({"numdev-capture": 1, "leaves": lines}).encode())


CHANGE = st.tuples(
    st.integers(0, 1 << 15), st.integers(0, 12), st.one_of(st.sampled_from(WORDS), st.binary(max_size=8))
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(SEEDS), st.lists(CHANGE, min_size=1, max_size=6), st.integers(0, 1 << 15))
def test_damaged_files_of_any_kind(seed, changes, length):
    """A good file with pieces replaced, and perhaps cut off."""
    data = bytearray(seed[: length + 200])
    for at, gone, piece in changes:
        at %= len(data) + 1
        data[at : at + gone] = piece
    one_input(bytes(data))


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.sampled_from(WORDS), max_size=8))
def test_bytes_of_no_kind(data, words):
    one_input(b"\n".join([*words, data]))
