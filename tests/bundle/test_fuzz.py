"""The fuzzer's properties for bundles on a few inputs of hypothesis: `make fuzz` tries many more, where its package can be had."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
properties = SimpleNamespace(**runpy.run_path(str(FUZZ / "bundle_properties.py")))
SEEDS = properties.seeds()
WORDS = [b"NaN", b"null", b"-1", b'"', b"{", b"[", b"}", b",", b"1e999", b"\\ud800", b"\0", b"\xff", b"missing", b"../"]
CHANGE = st.tuples(
    st.integers(1, 1 << 13), st.integers(0, 12), st.one_of(st.sampled_from(WORDS), st.binary(max_size=8))
)


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_the_seeds_hold(number):
    properties.one_input(SEEDS[number])


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(SEEDS), st.lists(CHANGE, min_size=1, max_size=4))
def test_damaged_parts_of_any_kind(seed, changes):
    """A good part with pieces replaced, in a bundle that is whole by its manifest."""
    data = bytearray(seed)
    for at, gone, piece in changes:
        at = 1 + at % max(1, len(data))
        data[at : at + gone] = piece
    properties.one_input(bytes(data))
