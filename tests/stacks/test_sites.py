"""Where files have their CPUID instructions: found once, told as the launcher reads it, followed when files change."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from numdev.stacks import sites
from numdev.worker.patches import Sites, SitesError, holds_cpuid, parse

SOURCE = 'void f(void) { int a = 1, b, c, d; __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d)); }'
compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "a.c").write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", folder / "a.so", folder / "a.c"], check=True)
    return folder / "a.so"


@compiler
def test_a_folder_is_looked_through_once(library, tmp_path):
    folder = tmp_path / "site"
    (folder / "package").mkdir(parents=True)
    shutil.copy(library, folder / "package" / "fast.so")
    (folder / "package" / "odd.so").write_text("no library \x0f\xa2")
    said: list[str] = []
    first = sites.of_folder(folder, "abc", tmp_path / "cache", said.append)
    again = sites.of_folder(folder, "abc", tmp_path / "cache", said.append)
    assert first == again
    assert len(said) == 1
    [(path, size, offsets)] = first.rows
    assert (path, size) == ("package/fast.so", library.stat().st_size)
    assert [library.read_bytes()[at : at + 2] for at in offsets] == [b"\x0f\xa2"]
    assert first.facts() == {"files": 1, "instructions": 1, "undecided": {}}


@compiler
def test_an_archive_gives_what_its_folder_would(library, tmp_path):
    data = library.read_bytes()
    with tarfile.open(tmp_path / "base.tar", "w") as archive:
        for name, content in (("./usr/lib/fast.so", data), ("./usr/bin/script", b"#!/bin/sh\n\x0f\xa2")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    known = sites.of_archive(tmp_path / "base.tar", "def", tmp_path / "cache", print)
    assert [(path, size) for path, size, _ in known.rows] == [("usr/lib/fast.so", len(data))]


@compiler
def test_a_file_is_asked_about_again_when_it_has_changed(library, tmp_path):
    find = sites.finder(tmp_path / "cache", print)
    file = tmp_path / "lib.so"
    shutil.copy(library, file)
    assert len(find(str(file), str(file))) == 1
    assert len(find(str(file), str(file))) == 1
    file.write_text("something else")
    assert list(find(str(file), str(file))) == []
    assert find(str(tmp_path / "nowhere"), "nowhere") is None


def test_a_damaged_cache_is_made_again(tmp_path):
    (tmp_path / "site").mkdir()
    first = sites.of_folder(tmp_path / "site", "abc", tmp_path, lambda line: None)
    for file in (tmp_path / "cpuid").rglob("*.json"):
        file.write_text('{"rows": 3}')
    assert sites.of_folder(tmp_path / "site", "abc", tmp_path, lambda line: None) == first


def test_what_the_launcher_reads_is_what_was_written():
    told = Sites({("/site/a b.so", 10): (1, 5), ("/usr/lib/c.so", 7): ()}, ["/site/", "/usr/"])
    read = parse(told.text())
    assert (read.rows, read.folders) == (told.rows, ("/site/", "/usr/"))
    assert read.get("/site/a b.so", 10) == (1, 5)
    assert read.get("/site/other.so", 3) == (), "all that a known folder does not list has none"
    assert read.get("/site/a b.so", 11) is None, "another size is another file"
    assert read.get("/tmp/mine.so", 3) is None


@pytest.mark.parametrize("text", ["", "numdev-sites 2\n", "numdev-sites 1\nx - /a\n", "numdev-sites 1\n3 1,x /a\n"])
def test_sites_that_are_none_are_refused(text):
    with pytest.raises(SitesError):
        parse(text)


def test_files_that_hold_the_bytes(tmp_path):
    (tmp_path / "with").write_bytes(b"\x90\x0f\xa2")
    (tmp_path / "without").write_bytes(b"\x90\x0f")
    (tmp_path / "empty").write_bytes(b"")
    assert [holds_cpuid(str(tmp_path / name)) for name in ("with", "without", "empty", "missing")] == [
        True,
        False,
        False,
        True,
    ]
