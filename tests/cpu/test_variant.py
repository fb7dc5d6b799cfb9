"""Variants: one cause at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev import cpu
from numdev.cpu.features import FEATURES, contradictions
from numdev.cpu.variant import split
from numdev.errors import InvalidInput

NAMES = cpu.names()[1:]


@pytest.mark.parametrize("name", NAMES)
def test_no_profile_contradicts_itself(name):
    assert contradictions(cpu.load(name).features) == []


def test_only_the_named_thing_changes():
    base = cpu.load("haswell")
    for change, part, value in (
        ("@vendor=AMD", "vendor", "AuthenticAMD"),
        ("@caches=icelake-sp", "caches", cpu.load("icelake-sp").caches),
        ("-fma", "features", [one for one in base.features if one != "fma"]),
    ):
        variant = cpu.load(f"haswell{change}")
        different = {key for key in base.model_dump() if getattr(base, key) != getattr(variant, key)}
        assert different == {part, "name", "about", "expect"}
        assert getattr(variant, part) == value
        assert variant.name == f"haswell{change}"


def test_the_model_is_family_model_stepping_and_brand():
    variant, other = cpu.load("haswell@model=zen2"), cpu.load("zen2")
    assert variant.signature == other.signature
    assert (variant.vendor, variant.features) == (cpu.load("haswell").vendor, cpu.load("haswell").features)


@pytest.mark.parametrize(
    ("name", "size", "ways", "sets"),
    [("haswell@l1d=48KiB", 48 << 10, 12, 64), ("haswell@l1d=64KiB", 64 << 10, 16, 64), ("haswell@l2=1MiB", 1 << 20, 32, 512)],
)  # fmt: skip
def test_a_larger_cache_has_more_ways(name, size, ways, sets):
    kind = (1, "data") if "l1d" in name else (2, "unified")
    cache = next(one for one in cpu.load(name).caches if (one.level, one.type) == kind)
    assert (cache.bytes, cache.ways, cache.sets) == (size, ways, sets)


def test_changes_compose():
    variant = cpu.load("icelake-sp-avx512_vnni@vendor=AMD@l1d=32KiB@model=x86-64-v2+avx_vnni")
    assert variant.vendor == "AuthenticAMD"
    assert "avx512_vnni" not in variant.features
    assert "avx_vnni" in variant.features
    assert variant.caches[0].size == "32KiB"
    assert variant.model == cpu.load("nehalem").model


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("haswell-avx512f", "has no 'avx512f'"),
        ("haswell+avx2", "has 'avx2' already"),
        ("haswell+avx9", "there is no feature 'avx9'"),
        ("haswell-avx", "avx2 needs avx"),
        ("nehalem+avx2", "avx2 needs avx"),
        ("haswell@vendor=VIA", "there is no vendor 'VIA'"),
        ("haswell@model=haswel", "unknown profile"),
        ("haswell@l1d=", "not an amount of memory"),
        ("haswell@l4=1MiB", "there is no part 'l4'"),
        ("haswell@", "is no change"),
        ("haswell-", "is no change"),
        ("haswellx", "unknown profile"),
        ("host-avx2", "unknown profile"),
        ("haswell" + "+sse4a-sse4a" * 50, "longer than"),
    ],
)
def test_what_cannot_be_is_refused(name, what):
    with pytest.raises(InvalidInput) as caught:
        cpu.load(name)
    assert what in str(caught.value)


def test_all_problems_at_once():
    with pytest.raises(InvalidInput) as caught:
        cpu.load("haswell+avx9@vendor=VIA@l1d=no")
    assert len(caught.value.problems) == 3


def test_the_longest_name_is_the_base():
    assert split("x86-64-v3-fma", NAMES) == ("x86-64-v3", "-fma")
    assert split("skylake-sp", NAMES) == ("skylake-sp", "")
    assert split("nothing", NAMES) == ("", "nothing")


@given(st.sampled_from(NAMES), st.text("+-@=abcdefg_.0123456789lKiBsz", max_size=40))
def test_any_name_gives_a_profile_or_a_clear_error(base, rest):
    try:
        profile = cpu.load(base + rest)
    except InvalidInput:
        return
    assert set(profile.features) <= FEATURES.keys()
    assert contradictions(profile.features) == []
