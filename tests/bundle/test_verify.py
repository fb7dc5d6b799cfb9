"""A whole bundle is told to be whole; of any other it is told by name what is missing or changed."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numdev import cli, digests
from numdev.bundle import layout
from numdev.bundle.create import NONE, Options, create
from numdev.bundle.reading import Bundle
from numdev.bundle.verify import verify
from numdev.errors import InvalidInput

forging = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("forging.py"))))
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def numdev(monkeypatch, capsys):
    """Runs a command; gives its exit code, and what it said."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["numdev", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return ended.value.code or 0, said.out + said.err

    return run


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    made = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    create(made["a_store"](folder / "store"), "m", folder / "one.bundle.tar", folder / "cache", Options())
    return (folder / "one.bundle.tar").read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "one.bundle.tar"


def refused(path: Path) -> bool:
    try:
        return not verify(path).whole
    except InvalidInput:
        return True


def test_a_whole_one(bundled, numdev):
    path = bundled()
    code, said = numdev("bundle", "verify", path)
    assert code == 0, said
    assert "This bundle is whole." in said
    assert all(len(line) <= 80 for line in said.splitlines())
    report = verify(path)
    assert [check.name for check in report.checks] == [
        *("digests", "run", "stacks", "CPUID", "workloads", "cells", "analysis", "crate")
    ]
    assert f"Digest {report.digest}" in said


def test_without_models_it_is_as_whole(bundled):
    report = verify(bundled("one", Options(models=NONE)))
    assert report.whole
    assert set(report.description.left_out) >= {"workloads/own/inputs.npz"}


def test_several_replicates(bundled):
    assert verify(bundled("one", repeats=3)).whole


def test_the_digest_of_a_paper(bundled, numdev):
    path = bundled()
    digest = verify(path).digest
    assert numdev("bundle", "verify", path, "--digest", digest.upper())[0] == 0
    code, said = numdev("bundle", "verify", path, "--digest", "0" * 64)
    assert code == 15
    assert "is not the bundle with the digest 0000" in " ".join(said.split())
    assert numdev("bundle", "verify", path, "--digest", "12ab")[0] == 3


def test_json(bundled, numdev):
    path = bundled()
    code, said = numdev("bundle", "verify", path, "--json")
    told = json.loads(said)
    assert (code, told["whole"], told["signed"]) == (0, True, None)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x93NUMPY") + 130] ^= 1
    path.write_bytes(data)
    code, said = numdev("bundle", "verify", path, "--json")
    told = json.loads(said)
    assert (code, told["whole"]) == (15, False)
    [digests_] = [check for check in told["checks"] if check["check"] == "digests"]
    assert digests_["problems"][0]["where"].startswith("outputs/")


def test_every_changed_file_is_named(bundled):
    path = bundled()
    data = bytearray(path.read_bytes())
    with Bundle(path) as bundle:
        names = [name for name in bundle.sums if name.startswith(("outputs/", "tables/"))]
        for name in names:
            data[bundle.members[name].offset] ^= 1
    path.write_bytes(data)
    first = next(check for check in verify(path).checks if check.name == "digests")
    assert [problem.where for problem in first.problems] == names


FLIPS = {
    "one bit of an output": ("outputs/", -1, "outputs/"),
    "one pin": ("stacks/ort-1/stack.yaml", -5, "stacks/ort-1/stack.yaml"),
    "one digest": (layout.SUMS, 3, "was changed: its SHA-256"),
    "one CPUID register": ("platforms/", 60, "platforms/"),
    "one cell's status": (layout.CELLS, None, layout.CELLS),
}


@pytest.mark.parametrize("name", FLIPS)
def test_one_flip_is_named(bundled, numdev, name):
    path = bundled()
    start, at, word = FLIPS[name]
    data = bytearray(path.read_bytes())
    with Bundle(path) as bundle:
        member = next(one for key, one in bundle.members.items() if key.startswith(start))
    place = data.index(b'"status":"ok"') + 10 if at is None else member.offset + at % member.size
    data[place] ^= 1
    path.write_bytes(data)
    code, said = numdev("bundle", "verify", path)
    assert code == 15, said
    assert word in " ".join(said.split()), said


@QUICK
@given(st.data())
def test_any_flipped_bit_is_refused(good, scratch, data):
    place = data.draw(st.integers(0, len(good) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(good)
    changed[place] ^= 1 << bit
    scratch.write_bytes(changed)
    assert refused(scratch)


@QUICK
@given(st.data())
def test_any_truncation_is_refused(good, scratch, data):
    scratch.write_bytes(good[: data.draw(st.integers(0, len(good) - 1))])
    assert refused(scratch)


@QUICK
@given(st.data())
def test_any_flipped_byte_under_a_new_manifest_is_never_believed_where_a_name_is_a_digest(good, scratch, data):
    """A forger writes the manifest anew: what is named by its content is found out all the same."""
    scratch.write_bytes(good)
    parts = forging.parts_of(scratch)
    names = [name for name in parts if name.startswith(("outputs/", "tables/")) or name == layout.FACTS]
    name = data.draw(st.sampled_from(names))
    changed = bytearray(parts[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    scratch.write_bytes(forging.archive({**parts, name: bytes(changed)}))
    assert refused(scratch)


def test_a_file_that_takes_its_place_is_not_read(bundled, tmp_path):
    """What was opened is what is read, whatever lies under its name later."""
    path = bundled()
    with Bundle(path) as bundle:
        tensor = next(iter(bundle.cells())).outputs[0]
        os.replace(bundled("other"), path)
        values = bundle.array(tensor)
        assert digests.of_bytes(bundle.read(f"outputs/{tensor}.npy")) == tensor
        assert values[1] == 2.0


def test_a_file_that_is_written_while_it_is_read_is_told(bundled, monkeypatch):
    path = bundled()
    from numdev.bundle import verify as module

    honest = module.crate

    def meanwhile(bundle, needed):
        with open(path, "ab") as file:
            file.write(b"")
        os.utime(path, ns=(1, 1))
        return honest(bundle, needed)

    monkeypatch.setattr(module, "crate", meanwhile)
    first = next(check for check in verify(path).checks if check.name == "digests")
    assert [problem.what for problem in first.problems] == ["was changed while it was read"]


def test_another_version_may_word_its_answer_otherwise(good, scratch):
    scratch.write_bytes(good)
    parts = forging.parts_of(scratch)
    # The crate has digests of what is changed here.
    del parts[layout.CRATE]
    old = forging.changed(parts, layout.DESCRIPTION, lambda value: value.update(numdev="0.0.9"))
    worded = forging.changed(old, layout.ANSWER, lambda value: value.update(short=["In other words."]))
    scratch.write_bytes(forging.archive(worded))
    report = verify(scratch, crate_needed=False)
    assert report.whole
    assert any("0.0.9" in note for check in report.checks for note in check.notes)
    moved = forging.changed(old, layout.ANSWER, lambda value: value["workloads"][0]["classes"][0]["records"].pop())
    scratch.write_bytes(forging.archive(moved))
    assert not verify(scratch, crate_needed=False).whole


def test_no_crate_where_one_is_needed(bundled):
    path = bundled()
    parts = forging.parts_of(path)
    del parts[layout.CRATE]
    path.write_bytes(forging.archive(parts))
    assert not verify(path).whole
    report = verify(path, crate_needed=False)
    assert report.whole
    assert any("nothing was checked against its profile" in note for check in report.checks for note in check.notes)
