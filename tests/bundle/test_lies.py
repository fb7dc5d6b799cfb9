"""Bundles whose forger has thought of everything that a digest is over: manifest, answer and digests fit, and what is said is not so.

There is no crate in most of them, for a forger can write it anew; what a crate may say is in test_cratecheck.py.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numdev import cpu, digests
from numdev.bundle import layout
from numdev.bundle.analysed import json_bytes, text
from numdev.bundle.create import Options, create
from numdev.bundle.reading import Bundle
from numdev.bundle.verify import verify
from numdev.cpu import Host
from numdev.engines import Played
from numdev.run.runfile import answer_of

forging = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("forging.py"))))
archive, changed = forging.archive, forging.changed
MACHINES = Path(__file__).resolve().parents[1] / "machines"
LOCKS = [f"stacks/{stack}/requirements.lock" for stack in ("ort-1", "ort-2")]
STACKS = [f"stacks/{stack}/stack.yaml" for stack in ("ort-1", "ort-2")]
BILLS = [f"sbom/{stack}.cdx.json" for stack in ("ort-1", "ort-2")]
BASE = "stacks/base/bookworm.yaml"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Members of a good bundle, without its crate."""
    folder = tmp_path_factory.mktemp("good")
    made = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    create(made["a_store"](folder / "store"), "m", folder / "one.bundle.tar", folder / "cache", Options())
    found = forging.parts_of(folder / "one.bundle.tar")
    del found[layout.CRATE]
    return found


@pytest.fixture
def looked(tmp_path):
    """What is said of a bundle: its problems, and its notes; with the answer that a forger would have computed."""

    def look(parts: dict[str, bytes], answered: bool = True) -> tuple[list[str], list[str]]:
        path = tmp_path / "one.bundle.tar"
        path.write_bytes(archive(parts))
        if answered:
            with Bundle(path) as bundle:
                found = answer_of(bundle.run, bundle.view())
            told = {layout.ANSWER: json_bytes(found), layout.ANSWER_TEXT: text(found).encode("utf-8")}
            path.write_bytes(archive({**parts, **told}))
        report = verify(path, crate_needed=False)
        problems = [f"{check.name}: {one}" for check in report.checks for one in check.problems]
        assert all(line.isascii() and line.isprintable() for line in problems)
        return problems, [note for check in report.checks for note in check.notes]

    return look


# What a forger does -------------------------------------------------------------------------------------------------


def lines(parts, change):
    """The same with all lines of cells.jsonl changed at once, and without facts and outputs that none has any more."""
    cells = [json.loads(line) for line in parts[layout.CELLS].splitlines()]
    cells = change(cells) or cells
    used = {cell.get(key) for cell in cells for key in forging.FACTS}
    facts = [line for line in parts[layout.FACTS].splitlines(True) if json.loads(line)["fact"] in used]
    outputs = {f"outputs/{tensor}.npy" for cell in cells for tensor in cell.get("outputs", [])}
    kept = {name: data for name, data in parts.items() if not name.startswith("outputs/") or name in outputs}
    written = b"".join(digests.canonical(cell) + b"\n" for cell in cells)
    return {**kept, layout.CELLS: written, layout.FACTS: b"".join(facts)}


def facts(parts, key, change):
    """The same where all facts of one kind are others, under their own names."""
    there = {row["fact"]: row["value"] for row in map(json.loads, parts[layout.FACTS].splitlines())}
    new = {}

    def every(cells):
        for cell in cells:
            if key in cell:
                value = json.loads(json.dumps(there[cell[key]]))
                change(value)
                cell[key] = digests.of_json(value)[:16]
                new[cell[key]] = value

    cells = lines(parts, every)
    rows = sorted({*cells[layout.FACTS].splitlines(), *(canonical(name, value) for name, value in new.items())})
    return {**cells, layout.FACTS: b"".join(row + b"\n" for row in rows)}


def canonical(name, value):
    return digests.canonical({"fact": name, "value": value})


def without(parts, *starts):
    return {name: data for name, data in parts.items() if not name.startswith(starts)}


def said(parts, **how):
    """The same where the bundle says that it leaves out more."""
    return changed(parts, layout.DESCRIPTION, lambda told: told["left_out"].update(how))


def asked(parts, change):
    """The same with another matrix."""
    return changed(parts, layout.RUN, lambda run: change(run["source"]))


def replaced(parts, names, old, new):
    return {**parts, **{name: parts[name].replace(old, new) for name in names}}


def swap(one, other, key=None):
    """Two lines say that they are of each other's level."""

    def change(cells):
        first, second = cells[one]["factors"], cells[other]["factors"]
        for name in [key] if key else first:
            first[name], second[name] = second[name], first[name]

    return lambda parts: lines(parts, change)


def everywhere(key, one, other):
    """All lines of two levels say that they are of the other one."""

    def change(cells):
        for cell in cells:
            level = cell["factors"][key]
            cell["factors"][key] = {one: other, other: one}.get(level, level)

    return lambda parts: lines(parts, change)


def pinned(parts, *names):
    """Another version of the one package, in all of these."""
    found = replaced(parts, [name for name in names if name in parts], b"1.32.0", b"9.9.9")
    if "labels" in names:
        found = facts(found, "environment", lambda told: told["labels"].update({"org.numdev.pin.onnxruntime": "9.9.9"}))
    if "versions" in names:
        found = facts(found, "realised", lambda told: told["versions"].update(onnxruntime="9.9.9"))
    return found


def shown_by(rung, **how):
    return lambda parts: facts(
        without(parts, "tables/"), "environment", lambda told: told["profile"].update(rung=rung, **how)
    )


def labelled(**how):
    return lambda told: told["labels"].update({f"org.numdev.{key}": value for key, value in how.items()})


def fewer(parts):
    """Each cell had two runs, and each one's second is gone."""
    return asked(parts, lambda matrix: matrix.update(repeats=2))


def reported(parts, number):
    """Without one line."""
    return lines(parts, lambda cells: [cell for at, cell in enumerate(cells) if at != number])


def other_matrix(matrix):
    matrix.update(factors={"stack": ["ort-9"], "profile": ["nehalem"]}, workloads=[{"name": "x", "command": ["sh"]}])


def levels(parts, **how):
    return changed(parts, layout.RUN, lambda run: [run["factors"][key].append(level) for key, level in how.items()])


def hollow(parts):
    """A bundle that has lost everything that it was made of, and says so of stacks alone."""
    return said(without(parts, "stacks/", "tables/", "platforms/"), **{"stacks/": "nothing was kept"})


LIES = {
    # Levels: which result is whose.
    "two lines have each other's profile": (
        swap(0, 1),
        "cells: .*profile is 'haswell' in the line, and 'sandybridge' in",
    ),
    "two lines have each other's profile, of which there are more": (
        swap(0, 1),
        "profile 'haswell' is another one than in lines before",
    ),
    "two lines have each other's stack": (swap(2, 5, "stack"), "cells: .*stack is 'ort-2' in the line, and 'ort-1' in"),
    "two lines have each other's stack, of which there are more": (
        swap(2, 5, "stack"),
        "stack 'ort-2' is another one than in lines before",
    ),
    "all lines of two profiles": (
        everywhere("profile", "haswell", "zen2"),
        "profile is 'zen2' in the line, and 'haswell' in what was recorded",
    ),
    "all lines of two stacks": (
        everywhere("stack", "ort-1", "ort-2"),
        "stack is 'ort-2' in the line, and 'ort-1' in what was recorded",
    ),
    "a silicon that is none": (
        lambda p: facts(p, "declared", lambda told: told.update(silicon="emulate")),
        "silicon is 'emulate' in what was recorded",
    ),
    "a factor with words that were replaced, so that no digest is computed": (
        lambda p: facts(p, "declared", lambda told: told.update(user="(host)")),
        "'user' was recorded, which is no factor",
    ),
    "an option with words that were replaced": (
        lambda p: facts(p, "declared", lambda told: told.update({"env.A": "(host)"})),
        "'env.A' was recorded, and is not in the line",
    ),
    # What is not there.
    "no stacks": (lambda p: without(p, "stacks/"), "stacks: .*nothing says why"),
    "no stack of one level": (
        lambda p: without(p, "stacks/ort-2/"),
        "ran on the stack 'ort-2', whose definition is missing",
    ),
    "no captures": (lambda p: without(p, "platforms/"), "platforms/.* is missing, and nothing says why"),
    "no bills of materials": (
        lambda p: without(p, "sbom/"),
        "stacks: sbom/ort-1.cdx.json: is missing, and nothing says",
    ),
    "one bill of materials too much": (lambda p: {**p, "sbom/x.cdx.json": b"{}"}, "sbom/x.cdx.json: is of no stack"),
    "no tables": (lambda p: without(p, "tables/"), "tables/.*: is missing"),
    "no tables, for there are no stacks, as it says": (
        lambda p: said(without(p, "tables/"), **{"stacks/": "they were not kept"}),
        "tables/.*: is missing",
    ),
    "no captures, for there are no stacks, as it says": (
        lambda p: said(without(p, "platforms/", "stacks/"), **{"stacks/": "they were not kept"}),
        "platforms/.* is missing, and nothing says why",
    ),
    "no tables, for it was knobs": (shown_by("knobs"), "by knobs, and nothing says as what"),
    "no tables, for it was these knobs": (
        lambda p: asked(shown_by("knobs", variables={"A": "b"})(p), lambda matrix: matrix.update(enforce="knobs")),
        "was not shown 'sandybridge' as its record says",
    ),
    "no tables, for it was an emulator": (
        lambda p: asked(shown_by("emulate", cpu="x", sha256="y")(p), lambda matrix: matrix.update(enforce="best")),
        "was not shown 'sandybridge' as its record says",
    ),
    "no tables, and nobody says how": (shown_by(None), "and nothing says how"),
    "another way of showing them": (
        lambda p: facts(p, "environment", lambda told: told["profile"].update(rung="rewrite")),
        "the matrix asks for 'cpuid'",
    ),
    # Pins.
    "a version in definitions, locks, labels and processes": (
        lambda p: pinned(p, *STACKS, *LOCKS, "labels", "versions"),
        "sbom/ort-1.cdx.json: has onnxruntime '1.32.0', and its stack's lock has 9.9.9",
    ),
    "a version in all of these and bills": (
        lambda p: pinned(p, *STACKS, *LOCKS, *BILLS, "versions"),
        "onnxruntime was '1.32.0' in its image, and is 9.9.9",
    ),
    "a version in bills alone": (
        lambda p: pinned(p, *BILLS),
        "has onnxruntime '9.9.9', and its stack's lock has 1.32.0",
    ),
    "a hash": (
        lambda p: replaced(p, LOCKS, b"0" * 64, b"6" * 64),
        "the hash of onnxruntime is none that its stack's lock allows",
    ),
    "another package": (
        lambda p: {**p, LOCKS[0]: p[LOCKS[0]] + b"evil==1.0 --hash=sha256:" + b"6" * 64 + b"\n"},
        "sbom/ort-1.cdx.json: does not have evil, which its stack's lock has",
    ),
    "a package in the bill": (
        lambda p: changed(
            p, BILLS[0], lambda bill: bill["components"].append({"name": "evil", "purl": "pkg:pypi/evil@1"})
        ),
        "sbom/ort-1.cdx.json: has 'evil', and its stack's lock does not",
    ),
    "a package in the image": (
        lambda p: facts(p, "environment", labelled(**{"pin.evil": "1"})),
        "evil was in its image, and is not in its lock",
    ),
    "packages in the bill": (
        lambda p: changed(p, BILLS[0], lambda bill: bill["metadata"]["component"].pop("properties")),
        "numdev:site:sha256 is not what the records and definitions say",
    ),
    "a library that computed": (
        lambda p: facts(p, "realised", lambda told: told.update(gemm={"sha256": "1" * 64})),
        "does not have the library '111111111111', with which cells have computed",
    ),
    "no bill but a word": (lambda p: {**p, BILLS[0]: b"none"}, "sbom/ort-1.cdx.json: "),
    "the bill of another stack": (lambda p: {**p, BILLS[0]: p[BILLS[1]]}, "is no bill of materials of 'ort-1'"),
    "a Python in the bill": (
        lambda p: replaced(p, BILLS, b'"3.11"', b'"3.12"'),
        "has CPython '3.12', and its stack has 3.11",
    ),
    "a Python of the base": (
        lambda p: replaced(p, [BASE], b"3.11", b"3.12"),
        "is for CPython 3.11, and its base system has 3.12",
    ),
    "a suite of the base": (lambda p: replaced(p, [BASE], b"bookworm", b"trixie"), "numdev:base:suite is not what"),
    "a base that is none": (lambda p: {**p, BASE: b"\xff\x00"}, "bookworm.yaml.* not UTF-8"),
    "a base with a key of its own": (lambda p: {**p, BASE: p[BASE] + b"evil: x\n"}, "bookworm.yaml.*unknown key"),
    "a backend of the image": (
        lambda p: facts(p, "environment", labelled(backend="torch")),
        "backend was 'torch' in its image, and is 'onnxruntime' in stacks/ort-1/",
    ),
    "an image that is not reproducible": (
        lambda p: facts(p, "environment", labelled(reproducible="false")),
        "its image is not reproducible, as it says, and stacks/ort-1/ is no Dockerfile",
    ),
    "the image of another stack": (
        lambda p: facts(p, "environment", labelled(stack="ort-9")),
        "its image is one of 'ort-9', and its record declares another stack",
    ),
    "another profile's name in a record": (
        lambda p: facts(p, "environment", lambda told: told["profile"].update(profile="nehalem")),
        "was shown 'nehalem' by its record, which declares 'sandybridge'",
    ),
    # The matrix.
    "another matrix": (lambda p: asked(p, other_matrix), "is of a cell that the matrix does not ask for"),
    "a matrix without a level": (
        lambda p: asked(p, lambda matrix: matrix["factors"]["profile"].remove("zen2")),
        "cells.jsonl:3: is of a cell that the matrix does not ask for",
    ),
    "a matrix that leaves a cell out": (
        lambda p: asked(p, lambda matrix: matrix.update(exclude=[{"stack": "ort-2", "profile": ["zen2", "haswell"]}])),
        "cells.jsonl:5: is of a cell that the matrix does not ask for",
    ),
    "a matrix with another factor": (
        lambda p: asked(p, lambda matrix: matrix["factors"].update(threads=[1, 2])),
        "is of a cell that the matrix does not ask for",
    ),
    "no matrix": (lambda p: changed(p, layout.RUN, lambda run: run.update(source={})), "the matrix is not in it"),
    "a matrix of very many cells": (
        lambda p: asked(p, lambda matrix: matrix["factors"].update({f"env.A{n}": ["1", "2"] for n in range(40)})),
        "and no numdev takes more than 100000",
    ),
    "runs that are gone": (fewer, "6 cells with fewer runs than the matrix asks for, 2 of each"),
    "a level whose cells are gone": (
        lambda p: lines(p, lambda cells: [cell for cell in cells if cell["factors"]["profile"] != "zen2"]),
        "'zen2' of profile is a level of no cell",
    ),
    "a level that nobody has": (lambda p: levels(p, stack="ort-9"), "'ort-9' of stack is a level of no cell"),
    "a reference that is gone": (
        lambda p: asked(p, lambda matrix: matrix.update(reference="ort-1")),
        "has no reference of 'own', and the matrix asks for one",
    ),
    "a cell as reference that is gone": (
        lambda p: asked(p, lambda matrix: matrix.update(reference={"profile": "haswell"})),
        "has no reference of 'own', and the matrix asks for one",
    ),
    "a reference that nobody asked for": (
        lambda p: lines(p, lambda cells: [*cells, {**cells[0], "reference": True, "factors": {}}]),
        "has a reference, and the matrix asks for none",
    ),
    "another baseline": (
        lambda p: asked(p, lambda matrix: matrix.update(baseline={"profile": "zen2"})),
        "its baseline of profile is 'haswell', and the matrix has 'zen2'",
    ),
    # The processor.
    "a processor that none can capture": (
        lambda p: facts(
            without(p, "platforms/"), "environment", lambda told: told["platform"].update(architecture="aarch64")
        ),
        "platforms/.* is missing, and nothing says why",
    ),
}


def test_the_good_one_is_whole(parts, looked):
    assert looked(parts)[0] == []
    assert looked(parts, answered=False)[0] == []


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_named(parts, looked, name):
    forge, word = LIES[name]
    problems, _ = looked(forge(dict(parts)))
    assert any(re.search(word, problem) for problem in problems), problems


# What is no lie, or cannot be told from what is none ----------------------------------------------------------------


def test_a_cell_without_a_line_is_said(parts, looked):
    """Who ran a part of a matrix has no lines of the rest: which part that was is kept nowhere."""
    problems, notes = looked(reported(parts, 5))
    assert problems == []
    assert any(note.startswith("1 of the cells that the matrix asks for have no line") for note in notes)


def test_what_kept_nothing_says_so_once(parts, looked):
    problems, notes = looked(hollow(parts))
    assert problems == []
    assert "nothing of what the run was made of is in it: nothing was kept" in notes


def test_an_engine_that_is_not_the_runs_is_said(parts, looked):
    """Results of an earlier run in the same store are of the engine that it had."""
    problems, notes = looked(facts(parts, "environment", lambda told: told.update(engine="local")))
    assert problems == []
    assert any("some cells ran on the engine 'local', and the run says 'memory'" in note for note in notes)


def test_records_that_do_not_say_their_packages_are_said(parts, looked):
    told = facts(parts, "environment", lambda told: told.pop("labels"))
    for name in BILLS:
        about = json.loads(told[name])["metadata"]["component"]
        left = [one for one in about["properties"] if one["name"] != "numdev:site:sha256"]
        told = changed(told, name, lambda bill, left=left: bill["metadata"]["component"].update(properties=left))
    problems, notes = looked(told)
    assert problems == []
    assert any("do not say which packages they ran with" in note for note in notes)


def test_a_stack_that_was_called_otherwise_in_an_earlier_run(parts, looked):
    """Its results are there under its old name, and its definition under the new one."""
    text = {name.replace("ort-1", "new"): data for name, data in parts.items()}
    text = replaced(text, [layout.RUN, layout.DESCRIPTION, layout.CELLS, "sbom/new.cdx.json"], b'"ort-1"', b'"new"')
    text = replaced(text, ["sbom/new.cdx.json"], b"numdev/ort-1", b"numdev/new")
    problems, notes = looked(text)
    assert problems == []
    assert "stack 'new' came to the same as 'ort-1', and has its results" in notes


# With tables and profiles of numdev's own ---------------------------------------------------------------------------

MATRIX = """
numdev: 1
factors: {stack: [one, two], profile: [host, haswell, sandybridge, "haswell-fma", cap.json], threads: [1, 2]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
exclude: [{stack: two, threads: 2}]
include: [{workload: own, stack: two, profile: nehalem, threads: 3}]
baseline: {profile: haswell}
repeats: 2
"""


@pytest.fixture
def shown(playing, monkeypatch):
    """Members of a bundle of a run that was played on one of tests/machines, without its crate: shown(options of matrix run)."""
    record = cpu.read_capture(MACHINES / "intel-6-207-2.json")
    monkeypatch.setattr(cpu, "host", lambda: Host(record.leaves, ""))
    monkeypatch.setattr(cpu, "capture", lambda: record)
    (playing.folder / "cap.json").write_bytes((MACHINES / "qemu-haswell.json").read_bytes())

    def play(stack, cell, table):
        cpuid = {"cpuid": {"traps": 9, "mismatches": []}} if table else {}
        return Played({"y": np.full(3, len(table or ""), np.float32)}, realised=cpuid)

    def make(*options: str, matrix: str = MATRIX) -> dict[str, bytes]:
        (playing.folder / "m.yaml").write_text(matrix)
        playing.play(play)
        playing.numdev("matrix", "run", "m.yaml", "-s", "store", *options)
        path = playing.folder / "one.bundle.tar"
        done = playing.numdev("bundle", "create", "m", "-s", "store", "-o", path)
        assert done.code == 0, done.err
        report = verify(path)
        assert report.whole, [check for check in report.checks if check.problems]
        parts = forging.parts_of(path)
        del parts[layout.CRATE]
        return parts

    return make


def renamed(parts, one, other):
    """Two profiles have each other's name, wherever there is one."""

    def put(value):
        if isinstance(value, str):
            return {one: other, other: one}.get(value, value)
        if isinstance(value, list):
            return [put(each) for each in value]
        return {put(key): put(each) for key, each in value.items()} if isinstance(value, dict) else value

    def change(value):
        new = put(value)
        value.clear()
        value.update(new)

    parts = facts(facts(parts, "declared", change), "environment", change)
    parts = lines(parts, lambda cells: [{**cell, "factors": put(cell["factors"])} for cell in cells])
    return changed(parts, layout.RUN, change)


def test_profiles_that_have_each_others_names_everywhere(shown, looked):
    """No digest is over a profile's name, but its table tells which processor it is."""
    problems, notes = looked(renamed(shown(), "haswell", "sandybridge"))
    assert any("was not shown the profile 'haswell': tables/" in one for one in problems), problems
    assert not any("is not known here" in note for note in notes)


def test_a_profile_that_is_a_file_is_the_one_of_its_table(shown, looked):
    parts = shown()
    problems, _ = looked(renamed(parts, "cap.json", "sandybridge"))
    assert any("was not shown the profile 'cap.json': tables/" in one for one in problems), problems
    gone = changed(without(parts, "profiles/"), layout.DESCRIPTION, lambda told: told.update(profiles={}))
    problems, _ = looked(gone)
    assert any("the profile 'cap.json' is a file, which is not in the bundle" in one for one in problems), problems


@pytest.mark.parametrize(("key", "value"), [("simd", "AVX-512"), ("vendor", "AuthenticAMD")])
def test_what_the_run_says_of_a_profile_is_what_its_table_tells(shown, looked, key, value):
    parts = changed(shown(), layout.RUN, lambda run: run["profiles"]["haswell"].update({key: value}))
    problems, _ = looked(parts)
    assert any(f"{key} of 'haswell' is {value!r}, as the run says" in one for one in problems), problems


def test_what_the_run_says_of_the_real_processor_is_what_its_capture_tells(shown, looked):
    parts = changed(shown(), layout.RUN, lambda run: run["profiles"]["host"].update(simd="AVX"))
    problems, _ = looked(parts)
    assert any("simd of the real processor is 'AVX-512 AMX', and the run says 'AVX'" in one for one in problems), (
        problems
    )


def test_the_real_processor_under_a_profiles_name(shown, looked):
    """Results of the real processor are said to be those of a profile."""

    def change(cells):
        real = {cell["factors"]["stack"]: cell for cell in cells if cell["factors"]["profile"] == "host"}
        for cell in cells:
            if cell["factors"]["profile"] == "haswell" and cell["factors"]["threads"] == "1":
                stack = cell["factors"]["stack"]
                cell.update({key: value for key, value in real[stack].items() if key not in ("factors", "replicate")})

    problems, _ = looked(lines(shown(matrix=MATRIX.replace("repeats: 2", "repeats: 1")), change))
    assert any("'haswell' in the line, and its programs were shown the real processor" in one for one in problems)


def test_a_part_of_a_matrix_is_whole(shown, looked):
    """With `-k`, cells of the rest have no lines, and the baseline may be a level that is not there."""
    problems, notes = looked(shown("-k", "sandybridge and one"))
    assert problems == []
    assert any("of the cells that the matrix asks for have no line" in note for note in notes)


def test_nothing_is_said_of_the_whole_of_a_matrix(shown, looked):
    problems, notes = looked(shown())
    assert problems == []
    assert not any("no line" in note or "is not known here" in note for note in notes), notes
