"""Five factors become one profile's name."""

from __future__ import annotations

import itertools

import pytest

from numdev.errors import InvalidInput
from numdev.spec import identity
from numdev.spec.cell import DEFAULTS, Cell
from numdev.spec.matrix import load_matrix

CAUSES = {"stack": "s", "platform": "p", "table": "t", "workload": "w", "worker": "k", "replicate": 1}


@pytest.mark.parametrize(
    ("factors", "name"),
    [
        ({}, "host"),
        ({"profile": "haswell"}, "haswell"),
        ({"profile": "haswell", **dict.fromkeys(identity.FACTORS, "own")}, "haswell"),
        ({"profile": "haswell", "vendor": "AMD"}, "haswell@vendor=AMD"),
        ({"profile": "haswell", "model": "zen2"}, "haswell@model=zen2"),
        ({"profile": "haswell", "features": "zen2"}, "haswell@features=zen2"),
        ({"profile": "haswell", "features": "zen2-fma"}, "haswell@features=zen2-fma"),
        ({"profile": "haswell", "features": "+aes-fma"}, "haswell+aes-fma"),
        ({"profile": "haswell", "caches": "zen2"}, "haswell@caches=zen2"),
        ({"profile": "haswell", "caches": "l1d=48KiB,l2=2MiB"}, "haswell@l1d=48KiB@l2=2MiB"),
        ({"profile": "haswell", "caches": "zen2,l3=8MiB"}, "haswell@caches=zen2@l3=8MiB"),
        ({"profile": "a/b.json", "model": "c.txt"}, "a/b.json@model=c.txt"),
        (
            {"caches": "zen5", "model": "zen4", "vendor": "AMD", "features": "-fma", "profile": "haswell-aes"},
            "haswell-aes-fma@vendor=AMD@model=zen4@caches=zen5",
        ),
    ],
)
def test_names(factors, name):
    assert identity.compose(factors) == name
    assert Cell("w", {**DEFAULTS, "stack": "s", **factors}).profile == name


def test_the_order_of_factors_does_not_matter():
    factors = {"profile": "haswell", "features": "-fma", "vendor": "AMD", "model": "zen2", "caches": "l1d=48KiB"}
    names = {identity.compose(dict(order)) for order in itertools.permutations(factors.items())}
    assert names == {"haswell-fma@vendor=AMD@model=zen2@l1d=48KiB"}


def test_the_parts_of_an_identity_are_in_the_table_and_not_in_the_options():
    """Equal tables are equal causes, however they were asked for."""
    one = Cell("w", {**DEFAULTS, "stack": "s", "profile": "haswell@vendor=AMD"})
    other = Cell("w", {**DEFAULTS, "stack": "s", "profile": "haswell", "vendor": "AMD"})
    assert one.profile == other.profile
    assert one.digest(**CAUSES) == other.digest(**CAUSES)
    assert one.label() == other.label() == "w s haswell@vendor=AMD"


def test_the_real_processor_keeps_what_it_has():
    assert identity.refusal({"profile": "host", "vendor": "own"}) == ""
    assert identity.refusal({"profile": "haswell", "vendor": "AMD"}) == ""
    assert identity.refusal({"profile": "host", "vendor": "AMD", "caches": "zen2"}).endswith("its own vendor, caches")


@pytest.mark.parametrize(
    ("key", "levels"),
    {
        "vendor": ["own", "Intel", "AMD"],
        "model": ["own", "zen2", "x86-64-v3", "caps/here.json"],
        "features": ["own", "zen2", "-fma", "+aes", "+avx512_vnni-avx512_fp16", "icelake-sp-avx512_vnni"],
        "caches": ["own", "zen2", "l1d=48KiB", "l1d=48KiB,l2=2MiB", "icelake-sp,l3=1.5MiB"],
    }.items(),
)
def test_levels(key, levels):
    assert [identity.problem(key, level) for level in levels] == [""] * len(levels)


@pytest.mark.parametrize(
    ("key", "level", "what"),
    [
        ("vendor", "VIA", "is not one of own, Intel, AMD"),
        ("vendor", "GenuineIntel", "is not one of"),
        ("model", "zen2@vendor=AMD", "is no profile's name"),
        ("model", "zen2+fma", "is no profile's name"),
        ("features", "zen2@vendor=AMD", "is neither a profile's name nor changes"),
        ("features", "-fma,+aes", "is neither"),
        ("caches", "zen2,zen3", "nor sizes like"),
        ("caches", "l1d=48KiB,zen2", "nor sizes like"),
        ("caches", "l1d=48KiB,", "nor sizes like"),
        ("caches", "l4=1MiB", "is no cache: there are l1d, l1i, l2, l3"),
        ("caches", "l1d=1KiB,l1d=2KiB", "l1d stands twice"),
        ("caches", "l1d=48kB", "not an amount of memory"),
        ("caches", "l1d=", "not an amount of memory"),
        ("caches", "zen2@l1d=48KiB", "is no cache"),
    ],
)
def test_levels_that_are_none(key, level, what):
    assert what in identity.problem(key, level)


def test_a_matrix_says_all_of_them_at_once(tmp_path):
    (tmp_path / "m.yaml").write_text(
        "numdev: 1\nfactors: {stack: [a], vendor: [VIA], model: [a@b], features: ['-a,b'], caches: [l9=1KiB, 5]}\n"
        "workloads: [x]\nmissing: add\n"
    )
    with pytest.raises(InvalidInput) as caught:
        load_matrix(tmp_path / "m.yaml")
    assert [problem.where.split(": ")[1] for problem in caught.value.problems] == ["missing"]
    text = (tmp_path / "m.yaml").read_text().replace("missing: add\n", "")
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_matrix(tmp_path / "m.yaml")
    assert [problem.where.split(": factors.")[1] for problem in caught.value.problems] == [
        "caches", "caches", "features", "model", "vendor",
    ]  # fmt: skip


def test_levels_with_a_comma_in_a_list_are_put_in_quotes(tmp_path):
    """YAML ends a word at a comma, and both halves are levels: the docs say so."""
    for text, levels in (
        ("[l1d=48KiB,l2=2MiB]", ["l1d=48KiB", "l2=2MiB"]),
        ('["l1d=48KiB,l2=2MiB"]', ["l1d=48KiB,l2=2MiB"]),
    ):
        (tmp_path / "m.yaml").write_text(f"numdev: 1\nfactors: {{stack: [a], caches: {text}}}\nworkloads: [x]\n")
        assert load_matrix(tmp_path / "m.yaml").factors["caches"] == levels
