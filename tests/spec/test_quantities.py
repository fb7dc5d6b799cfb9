"""Sizes and times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.spec.quantities import duration, memory, show_memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1KiB", 1024),
        ("512MiB", 512 << 20),
        ("4GiB", 4 << 30),
        ("4 GiB", 4 << 30),
        ("1.5GiB", 3 << 29),
        ("0.5KiB", 512),
    ],
)
def test_memory(text, size):
    assert memory(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("90s", 90), ("2min", 120), ("1.5 h", 5400), ("0.001ms", 1e-6)]
)
def test_duration(text, seconds):
    assert duration(text) == pytest.approx(seconds, rel=1e-12)


WRONG = [
    "",
    "4",
    "GiB",
    "-1GiB",
    "+1GiB",
    "0GiB",
    "0.0s",
    "1e3s",
    "1,5s",
    "٤GiB",
    "4GiB\n",
    " 4GiB",
    "4  GiB",
    "9999999s",
]


@pytest.mark.parametrize("text", [*WRONG, "4GB", "4gib", "4G", "2min"])
def test_not_an_amount_of_memory(text):
    with pytest.raises(ValueError, match="is not an amount of memory: write for example"):
        memory(text)


@pytest.mark.parametrize("text", [*WRONG, "5m", "5sec", "1d", "2Min", "1KiB"])
def test_not_a_length_of_time(text):
    with pytest.raises(ValueError, match="is not a length of time: write for example"):
        duration(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (3 << 29, "1.5 GiB"), (512 << 20, "512 MiB")]
)
def test_shown(size, text):
    assert show_memory(size) == text


@given(st.integers(1, 999), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_what_is_shown_can_be_read(count, unit):
    size = memory(f"{count}{unit}")
    assert memory(show_memory(size)) == size
