"""Variants: one cause at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev import cpu
from numdev.cpu import Host, table
from numdev.cpu.features import FEATURES, closed, contradictions
from numdev.cpu.variant import split
from numdev.errors import InvalidInput
from numdev.spec import identity

# A processor with every feature there is.
LEAVES = {(leaf, subleaf): (0xFFFFFFFF,) * 4 for leaf, subleaf, _, _ in FEATURES.values()}
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


def test_features_of_another():
    variant, other = cpu.load("haswell@features=nehalem"), cpu.load("nehalem")
    assert (variant.features, variant.simd) == (other.features, "SSE4.2")
    assert (variant.signature, variant.caches) == (cpu.load("haswell").signature, cpu.load("haswell").caches)
    assert "aes" in cpu.load("haswell@features=zen2-fma").features
    assert "fma" not in cpu.load("haswell@features=zen2-fma").features


def test_what_changes_nothing_keeps_what_is_expected():
    for same in ("haswell@vendor=Intel", "haswell-fma+fma", "haswell@caches=x86-64-v3", "haswell@l1d=32KiB"):
        assert cpu.load(same).expect == cpu.load("haswell").expect
    assert cpu.load("haswell@model=zen2").expect.torch == []


def test_a_capture_has_variants_too(tmp_path):
    cpu.capture().write(tmp_path / "here-1.json")
    base = cpu.find("here-1.json", tmp_path)
    other = "AMD" if base.vendor == "GenuineIntel" else "Intel"
    variant = cpu.find(f"here-1.json@vendor={other}@l1d=64KiB", tmp_path)
    assert variant.vendor != base.vendor
    assert (variant.features, variant.caches[0].size) == (base.features, "64KiB")
    assert cpu.find("haswell@model=here-1.json-fma", tmp_path).signature == base.signature
    assert "fma" not in cpu.find("haswell@model=here-1.json-fma", tmp_path).features
    # A file of that name is meant before a variant.
    cpu.capture().write(tmp_path / "haswell-fma.json")
    assert cpu.find("haswell-fma.json", tmp_path).signature == base.signature
    for absent in ("there.json@vendor=AMD", "a/b-c", "haswell@caches=there.json", "/" + "x" * 500 + "/y.json"):
        with pytest.raises(InvalidInput):
            cpu.find(absent, tmp_path)


PARTS = {
    "features": st.sampled_from(["own", "-fma", "+aes", "-rdrand+aes", "x86-64-v2", "x86-64-v3-fma", "zen2"]),
    "vendor": st.sampled_from(["own", "Intel", "AMD"]),
    "model": st.sampled_from(["own", "zen2", "skylake-sp", "x86-64-v2"]),
    "caches": st.sampled_from(["own", "zen1", "l1d=48KiB", "l2=2MiB,l1d=16KiB", "icelake-sp,l3=21MiB"]),
}


@given(st.fixed_dictionaries(PARTS), st.permutations(list(PARTS)))
def test_factors_in_any_order_are_one_table(levels, order):
    """One after the other, in any order, and all at once."""
    host = Host({**LEAVES, (0, 0): (0x24, 0, 0, 0), (0x80000000, 0): (0x80000021, 0, 0, 0)}, "")
    name = "haswell" + "".join(identity.change(key, levels[key]) for key in order)
    composed = identity.compose({"profile": "haswell", **levels})
    assert table.shown(name, host).digest == table.shown(composed, host).digest
    assert table.shown(composed, host).profile.name == composed


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


@given(st.sets(st.sampled_from(sorted(FEATURES))))
def test_what_is_left_when_features_are_missing_does_not_contradict_itself(features):
    left = closed(features)
    assert left <= features
    assert contradictions(left) == []
    # No more is dropped than has to be: nothing dropped could be put back alone.
    assert all(contradictions({*left, name}) for name in features - left)
