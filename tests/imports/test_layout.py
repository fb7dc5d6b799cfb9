"""Reading other people's folders and archives: every bad one is named, and none is believed."""

from __future__ import annotations

import gzip
import io
import os
import runpy
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numdev.errors import InvalidInput
from numdev.imports import layout
from numdev.imports.layout import LFS, Source

repository = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("repository.py"))))
NAME = repository.name("one")
OTHER = repository.name("two")


def read(path):
    source = Source(path)
    return list(source.entries()), source


def test_a_checkout_and_tars_of_it_give_the_same(tmp_path):
    files = {NAME: b"{}", OTHER: b"[]", "README.md": b"no result", f"{repository.RESULTS}/eval/x.png": b"no result"}
    folder = repository.write(tmp_path / "checkout", files)
    found, source = read(folder)
    assert [(one.path, one.data) for one in found] == [(NAME, b"{}"), (OTHER, b"[]")]
    assert source.others == 2
    for mode, suffix in (("w:gz", ".tar.gz"), ("w", ".tar")):
        packed, source = read(repository.pack(tmp_path / f"all{suffix}", files, mode))
        assert [(one.path, one.data) for one in packed] == [(NAME, b"{}"), (OTHER, b"[]")]
        assert source.others == 2
    several = tmp_path / "several"
    several.mkdir()
    repository.pack(several / "a.tar.gz", {NAME: b"{}"})
    repository.pack(several / "b.tgz", {f"unaNNticipated-main/{OTHER}": b"[]"})
    assert [one.path for one in read(several)[0]] == [NAME, OTHER]


def test_a_part_of_a_checkout_is_enough(tmp_path):
    folder = repository.write(tmp_path, {NAME: b"{}"})
    assert [one.path for one in read((folder / NAME).parent)[0]] == [NAME]


def test_git_s_own_folder_is_not_read(tmp_path):
    assert read(repository.write(tmp_path, {f".git/{NAME}": b"{}"}))[0] == []


def test_models_are_looked_at_only_for_being_pointers(tmp_path):
    files = {"experiments/data/models/a.h5": LFS + b"oid", "experiments/data/models/b.h5": b"HDF5"}
    found, source = read(repository.write(tmp_path, files))
    assert [(one.path, one.is_pointer) for one in found] == [("experiments/data/models/a.h5", True)]
    assert source.others == 1


@pytest.mark.parametrize("path", ["nothing", "pipe"])
def test_what_is_no_folder_and_no_file_is_refused(path, tmp_path):
    if path == "pipe":
        os.mkfifo(tmp_path / path)
    with pytest.raises(InvalidInput):
        read(tmp_path / path)


def test_links_and_pipes_in_a_checkout_are_named_and_not_followed(tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_bytes(b"secret")
    folder = repository.write(tmp_path / "checkout", {NAME: b"{}"})
    (folder / OTHER).symlink_to(secret)
    os.mkfifo(folder / repository.name("pipe"))
    found = {one.path: one for one in read(folder)[0]}
    assert found[NAME].problem == ""
    for path in (OTHER, repository.name("pipe")):
        assert found[path].problem == "is not a regular file"
        assert found[path].data == b""


def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    folder = repository.write(tmp_path, {NAME: b"{}"})
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: real(path) if "gcloud" not in str(path) else _forbidden(path))
    found, source = read(folder)
    assert found == []
    assert "Permission denied" in str(source.problems[0])


def _forbidden(path):
    raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_members_that_are_no_files_are_named(kind, tmp_path):
    member = tarfile.TarInfo(NAME)
    member.type, member.linkname = kind, "/etc/passwd"
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(member)
    entries, source = read(path)
    told = [one.problem for one in entries] + [problem.what for problem in source.problems]
    assert told
    assert not any(one.data for one in entries)


@pytest.mark.parametrize(
    "member",
    [f"../../{NAME}", f"/{NAME}", f"x/../{NAME}", f"{repository.RESULTS}/../../x.json", f"{NAME[:-5]}/../e.json"],
)
def test_names_that_climb_lead_nowhere(member, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    path = repository.pack(tmp_path / "a.tar", {member: b"{}"}, "w")
    for one in read(path)[0]:
        assert ".." not in one.path
        assert one.path == NAME
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


def test_names_that_move_a_terminal_are_no_results(tmp_path):
    found, source = read(repository.pack(tmp_path / "a.tar", {NAME.replace("one", "\x1b[2J"): b"{}"}, "w"))
    assert (found, source.others) == ([], 1)


def test_a_broken_archive_with_such_a_name_is_told_in_one_plain_line(tmp_path):
    (tmp_path / "\x1b[2J\n\udcff.tar").write_bytes(b"no tar" * 1000)
    (problem,) = read(tmp_path)[1].problems
    assert str(problem).isprintable()


def test_too_large_a_file_is_named_and_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "FILE_LIMIT", 4000)
    files = {NAME: b" " * 4001, OTHER: b"{}"}
    for path in (repository.write(tmp_path / "folder", files), repository.pack(tmp_path / "a.tar.gz", files)):
        first, second = read(path)[0]
        assert "as no result has" in first.problem
        assert (first.data, second.data) == (b"", b"{}")


def test_too_much_of_all_is_another_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "TOTAL_LIMIT", 3000)
    files = {repository.name(f"h{n}"): b" " * 1000 for n in range(5)}
    with pytest.raises(InvalidInput, match="not that repository"):
        read(repository.write(tmp_path / "folder", files))
    monkeypatch.setattr(layout, "TOTAL_LIMIT", 1 << 30)
    monkeypatch.setattr(layout, "MOST_FILES", 3)
    with pytest.raises(InvalidInput, match="not that repository"):
        read(repository.write(tmp_path / "folder", files))


def test_a_bomb_is_not_unfolded(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "TOTAL_LIMIT", 1 << 20)
    path = repository.pack(tmp_path / "a.tar.gz", {"other": bytes(8 << 20), NAME: b"{}"})
    found, source = read(path)
    assert found == []
    assert "unfolds to more than" in source.problems[0].what


def test_a_header_that_wants_gigabytes_is_refused(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    found, source = read(path)
    assert found == []
    assert "more memory than any result needs" in source.problems[0].what


@pytest.mark.parametrize("cut", [0, 1, 100, 700])
def test_a_cut_archive_is_named_and_what_came_before_is_kept(cut, tmp_path):
    path = repository.pack(tmp_path / "a.tar.gz", {NAME: b"{}", OTHER: os.urandom(5000)})
    path.write_bytes(path.read_bytes()[:cut])
    found, source = read(path)
    assert [one.path for one in found] in ([], [NAME])
    assert len(source.problems) == 1


def test_a_tar_that_is_none_among_others(tmp_path):
    repository.pack(tmp_path / "a.tar", {NAME: b"{}"}, "w")
    (tmp_path / "b.tar.gz").write_bytes(b"not gzip at all" * 100)
    (tmp_path / "c.tgz").write_bytes(gzip.compress(b"not tar at all" * 100))
    found, source = read(tmp_path)
    assert [one.path for one in found] == [NAME]
    assert [Path(problem.where).name for problem in source.problems] == ["b.tar.gz", "c.tgz"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_is_a_surprise(data, tmp_path_factory):
    files = {NAME: b"{}" * 300, OTHER: b"[]"}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    raw = bytearray(file.getvalue()[:3072])
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.tar"
    path.write_bytes(bytes(raw))
    for one in read(path)[0]:
        assert one.path.startswith(repository.RESULTS)
        assert len(one.data) <= len(raw)
