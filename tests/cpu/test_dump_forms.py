"""Dumps that are in no test: each public form, written from each profile of the catalogue, is read back to the same table."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numdev import cpu
from numdev.cpu.dump import decode, parse_dump
from numdev.cpu.features import FEATURES
from numdev.cpu.host import Host
from numdev.errors import InvalidInput

forms = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("forms.py"))))


def everything() -> Host:
    """A processor with every feature, on which a profile's table is the profile's own."""
    leaves: dict[tuple[int, int], list[int]] = {(0, 0): [0x24, 0, 0, 0], (0x80000000, 0): [0x80000021, 0, 0, 0]}
    for leaf, subleaf, register, bit in FEATURES.values():
        leaves.setdefault((leaf, subleaf), [0, 0, 0, 0])[register] |= 1 << bit
    leaves[7, 0][0] = 1
    return Host({key: tuple(row) for key, row in leaves.items()}, "")


TABLES = {name: forms.table_of(name, everything()) for name in cpu.names()[1:]}
MARKS = {"utf-8": b"", "utf-8-sig": b"", "utf-16": b"", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


@pytest.mark.parametrize("form", forms.FORMS)
@pytest.mark.parametrize("name", TABLES)
def test_every_profile_in_every_form(name, form, tmp_path):
    (tmp_path / "dump.txt").write_text(forms.written(form, TABLES[name], 2), encoding="utf-8")
    captured = cpu.read_capture(tmp_path / "dump.txt")
    assert captured.leaves == TABLES[name]
    profile, kept = cpu.profile_of(captured, name), cpu.load(name)
    assert (profile.vendor, profile.signature, profile.brand) == (kept.vendor, kept.signature, kept.brand)
    assert set(profile.features) == set(kept.features)
    assert [(c.level, c.bytes, c.ways) for c in profile.caches] == [(c.level, c.bytes, c.ways) for c in kept.caches]


@settings(deadline=None)
@given(
    st.sampled_from(sorted(TABLES)),
    st.sampled_from(sorted(forms.FORMS)),
    st.integers(1, 3),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(sorted(MARKS)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_whatever_wrote_it(name, form, processors, newline, encoding, hypervisor, garbage, lower):
    """Several processors, a hypervisor, Windows' line ends and byte order marks, letters of either case, a tail."""
    leaves = {**TABLES[name], **(forms.HYPERVISOR if hypervisor else {})}
    text = forms.written(form, leaves, processors) + (forms.GARBAGE if garbage else "")
    if lower:
        text = "".join(
            line.replace("A", "a").replace("B", "b").replace("F", "f") if "-" in line and "[" not in line else line
            for line in text.splitlines(keepends=True)
        )
    data = MARKS[encoding] + text.replace("\n", newline).encode(encoding)
    assert parse_dump(decode(data), "x") == leaves


@settings(deadline=None)
@given(st.sampled_from(sorted(TABLES)), st.sampled_from(["aida64", "instlat", "cpuid -r"]), st.randoms(), st.booleans())
def test_the_order_of_leaves_does_not_matter(name, form, random, two):
    leaves = list(TABLES[name].items())
    random.shuffle(leaves)
    assert parse_dump(forms.written(form, dict(leaves), 1 + two), "x") == TABLES[name]


@pytest.mark.parametrize("form", forms.FORMS)
def test_a_truncated_dump_is_refused_or_is_a_part(form):
    """Wherever it ends: what is lost is missing, nothing is made up."""
    table = TABLES["skylake-sp"]
    text = forms.written(form, table)
    for end in range(0, len(text), 37):
        try:
            found = parse_dump(text[:end], "x")
        except InvalidInput as error:
            assert [problem.where for problem in error.problems] == ["x"]  # noqa: PT017
            continue
        assert found.items() <= table.items()


def test_a_number_too_long_is_no_register():
    line = "CPUID 00000004: 7C004121-01C0003F-0000003F-000000001"
    with pytest.raises(InvalidInput, match="no line of a known form"):
        parse_dump(line, "x")


def test_leaves_that_contradict_themselves_are_damage():
    text = forms.written("instlat", TABLES["haswell"])
    line = next(line for line in text.splitlines() if line.startswith("CPUID 00000004") and "[SL 01]" in line)
    with pytest.raises(InvalidInput, match="damaged"):
        parse_dump(text + line.replace("01C0003F", "01C0003E"), "x")
    assert parse_dump(text + line, "x") == TABLES["haswell"], "the same again is no contradiction"
