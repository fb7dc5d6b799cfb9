"""What people read: true to the run, honest about what nobody said, and a script that finds what was changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from numdev.bundle.create import Options, create
from numdev.bundle.reading import Bundle
from numdev.bundle.words import marked, plain
from numdev.store import Store

NAMES = ("ARTIFACT.md", "CHECKLIST.md", "CITATION.cff", "LICENSES.md", "verify.sh")


def unpacked(path: Path, folder: Path) -> Path:
    subprocess.run(["tar", "-xf", path, "-C", folder], check=True)
    return folder / path.name.removesuffix(".bundle.tar")


def text_of(path: Path, name: str) -> str:
    with Bundle(path) as bundle:
        return bundle.read(name).decode("utf-8")


def verified(folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """`verify.sh` of a folder, called from another one, where there is no Python and no Docker."""
    tools = folder.parent / "bin"
    if not tools.exists():
        tools.mkdir()
        for name in ("sh", "sha256sum", "sed", "grep", "sort", "uniq", "find", "tar", "cat", "head"):
            (tools / name).symlink_to(shutil.which(name))
    return subprocess.run(
        [tools / "sh", str(folder / "verify.sh")],
        cwd=folder.parent,
        env={"PATH": path or str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_artifact_has_a_row_for_every_cell(bundled):
    text = text_of(bundled("one"), "ARTIFACT.md")
    rows = [line for line in text.splitlines() if line.startswith("| ort-") and "profile" not in line]
    table = [tuple(part.strip() for part in row.strip("|").split("|")) for row in rows if row.count("|") == 5]
    assert [row[:3] for row in table] == [
        ("ort-1", "sandybridge", "B"),
        ("ort-1", "haswell", "A"),
        ("ort-1", "zen2", "A"),
        ("ort-2", "haswell", "A"),
        ("ort-2", "zen2", "failed"),
    ]
    assert table[-1][3] == "failed: no such operator; shown by cpuid"
    assert "1 replicate was never run." in text


def test_it_says_which_dispatch_was_realised(store, tmp_path):
    for cell in store.run("m")["cells"]:
        if store.has(cell["digest"]):
            record = store.record(cell["digest"])
            blas = [{"internal_api": "openblas", "architecture": f"For|{cell['factors']['profile']}"}]
            store.put(record.model_copy(update={"realised": {**record.realised, "blas": blas}}))
    create(store, "m", tmp_path / "m.bundle.tar", tmp_path / "cache", Options())
    text = text_of(tmp_path / "m.bundle.tar", "ARTIFACT.md")
    assert r"| ort-1 | haswell | A | OpenBLAS: For\|haswell; shown by cpuid |" in text


def test_what_nobody_said_is_not_made_up(bundled):
    path = bundled("one")
    citation = yaml.safe_load(text_of(path, "CITATION.cff"))
    assert citation["authors"] == [{"name": "the author's name was not stated"}]
    assert not {"license", "doi"} & set(citation)
    assert "Who made it was not stated" in text_of(path, "ARTIFACT.md")
    assert "No licence was stated" in text_of(path, "LICENSES.md")
    assert "| own | yes | unknown |" in text_of(path, "LICENSES.md")
    assert "[State the licences of own" in text_of(path, "CHECKLIST.md")


def test_what_the_author_said_is_there_as_it_was_said(bundled):
    said = Options(
        title='Bits: "some" & Größe\n#1',
        authors=("Lovelace, Ada", "The Engine Group"),
        license="CC-BY-4.0",
        doi="https://doi.org/10.5281/zenodo.1",
    )
    path = bundled("one", said)
    citation = yaml.safe_load(text_of(path, "CITATION.cff"))
    assert citation["title"] == 'Bits: "some" & Größe #1'
    assert citation["authors"] == [{"family-names": "Lovelace", "given-names": "Ada"}, {"name": "The Engine Group"}]
    assert (citation["license"], citation["doi"]) == ("CC-BY-4.0", "10.5281/zenodo.1")
    assert citation["date-released"] == "2026-01-31"
    assert "https://doi.org/10.5281/zenodo.1" in text_of(path, "CHECKLIST.md")


@pytest.mark.parametrize(
    ("license", "key"), [("MIT", "license"), ("https://x.org/l", "license-url"), ("Beerware\nauthors: []", "")]
)
def test_a_citation_file_names_licences_that_it_may_name(bundled, license, key):
    citation = yaml.safe_load(text_of(bundled("one", Options(license=license)), "CITATION.cff"))
    assert {one for one in citation if one.startswith("license")} == ({key} if key else set())
    assert len(citation["authors"]) == 1


def test_the_checklist_answers_from_the_run(bundled):
    text = text_of(bundled("one", repeats=3), "CHECKLIST.md")
    assert "Each cell was run 3 times" in text
    assert "Made by hand" in text
    assert text.count("Answer: \\answer") == text.count("Justification: ") == 8
    once = text_of(bundled("two"), "CHECKLIST.md")
    assert "Each cell was run once" in once


def test_verify_passes_where_there_is_nothing_but_sha256sum(bundled, tmp_path):
    done = verified(unpacked(bundled("one"), tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert "ok: every file" in done.stdout
    assert "no Docker answers here" in done.stdout
    assert "not checked: ort-1: its image ID is not known" in done.stdout


def test_verify_prints_the_digest_of_the_bundle(store, tmp_path):
    made = create(store, "m", tmp_path / "m.bundle.tar", tmp_path / "cache", Options())
    assert made.digest in verified(unpacked(made.path, tmp_path)).stdout


@pytest.mark.parametrize("damage", ["changed", "gone", "more", "shorter list"])
def test_verify_finds_damage(bundled, tmp_path, damage):
    folder = unpacked(bundled("one"), tmp_path)
    cells = folder / "cells.jsonl"
    if damage == "changed":
        cells.write_bytes(cells.read_bytes().replace(b'"ok"', b'"oK"', 1))
    elif damage == "gone":
        cells.unlink()
    elif damage == "more":
        (folder / "outputs" / "another one.npy").write_bytes(b"")
    else:
        sums = folder / "SHA256SUMS"
        lines = sums.read_text().splitlines(keepends=True)
        sums.write_text("".join(line for line in lines if "cells.jsonl" not in line))
    done = verified(folder)
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert ("another one.npy" if damage == "more" else "cells.jsonl") in done.stdout
    assert "NOT the bundle" in done.stdout


def test_verify_without_sha256sum_claims_nothing(bundled, tmp_path):
    folder = unpacked(bundled("one"), tmp_path)
    done = verified(folder, path=str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert "NOT CHECKED" in done.stdout
    assert "ok" not in done.stdout


def test_what_records_say_cannot_write_markdown_or_shell(store, tmp_path):
    evil = "| x |\n\n# Title <script>alert(1)</script> `code` $(touch /tmp/x) \x1b[31m"
    for cell in store.run("m")["cells"]:
        if store.has(cell["digest"]):
            record = store.record(cell["digest"])
            platform = {"brand": evil}
            environment = {**record.environment, "platform": platform, "image": evil, "engine": evil}
            store.put(
                record.model_copy(
                    update={"environment": environment, "reason": evil, "realised": {"versions": {evil: evil}}}
                )
            )
    create(Store.open(store.folder), "m", tmp_path / "m.bundle.tar", tmp_path / "cache", Options())
    for name in NAMES:
        text = text_of(tmp_path / "m.bundle.tar", name)
        assert "\x1b" not in text
        assert "<script>" not in text.replace("\\<script", "")
        assert not any(line.startswith("# Title") for line in text.splitlines())
        assert "$(touch" not in text or name != "verify.sh"


def test_words_are_one_line_of_ascii():
    assert plain("a\n\tb\u202e\x00é") == "a b\\u202e?\\xe9"
    assert len(plain("x" * 1000, 50)) == 50
    assert marked("a|b`c") == r"a\|b\`c"


def test_the_documents_are_the_same_each_time(store, tmp_path):
    read = []
    for name in ("a", "b"):
        path = tmp_path / name / "m.bundle.tar"
        create(store, "m", path, tmp_path / "cache", Options())
        read.append([text_of(path, one) for one in NAMES])
    assert read[0] == read[1]
    assert os.path.getsize(tmp_path / "a" / "m.bundle.tar") == os.path.getsize(tmp_path / "b" / "m.bundle.tar")
