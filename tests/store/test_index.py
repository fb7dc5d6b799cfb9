"""The index: a store's records without reading their files, and never anything else than what these say."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from numdev import digests, files
from numdev.errors import StoreFailed
from numdev.store import Record, Store, index

COUNT = 20


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def record(number: int, **changes) -> Record:
    values = {"record": 1, "digest": sha(number), "workload": "w", "factors": {"stack": "s", "threads": number}}
    return Record(**{**values, "replicate": 1, "status": "ok", "seconds": 0.1, "realised": {"a": [1, None]}, **changes})


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the record files that were read."""
    found, plain = [], files.read_bytes

    def read_bytes(path, *more):
        if path.parent.parent.name == "records":
            found.append(path.name)
        return plain(path, *more)

    monkeypatch.setattr(files, "read_bytes", read_bytes)
    return found


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "SETTLED_NS", 0)
    made = Store.open(tmp_path / "store", create=True)
    for number in range(COUNT):
        made.put(record(number, **({"record": 2, "rounds": [sha(1)] * 2} if number % 2 else {})))
    return made


def again(store: Store) -> list[Record]:
    return list(Store.open(store.folder).records())


def path_of(store: Store, number: int = 0, attempt: int = 1) -> Path:
    return store.folder / "records" / sha(number)[:2] / f"{sha(number)}-{attempt}.json"


def test_opening_reads_nothing_and_reading_twice_reads_once(store, reads):
    Store.open(store.folder)
    assert reads == []
    first = again(store)
    assert len(reads) == len(first) == COUNT
    assert again(store) == first
    assert len(reads) == COUNT
    assert sorted({one.record for one in first}) == [1, 2]


def test_it_can_be_deleted_and_made_again(store, reads):
    first = again(store)
    (store.folder / index.NAME).unlink()
    assert again(store) == first
    assert again(store) == first
    assert len(reads) == 2 * COUNT


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no database at all" * 999),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("/dev/null")),
        lambda path: change(path, "DROP TABLE records"),
        lambda path: change(path, "ALTER TABLE records RENAME COLUMN size TO extent"),
        lambda path: change(path, "PRAGMA user_version=9"),
        lambda path: change(path, "UPDATE records SET data = 'text'"),
        lambda path: change(path, "UPDATE records SET data = x'00'"),
        lambda path: change(path, "UPDATE records SET data = replace(data, 'ok', 'no')"),
        lambda path: change(path, "UPDATE records SET digest = NULL"),
        lambda path: change(path, "UPDATE records SET size = 'many'"),
    ],
    ids=range(14),
)
def test_a_damaged_index_is_as_good_as_none(store, reads, spoil):
    first = again(store)
    spoil(store.folder / index.NAME)
    assert again(store) == first
    assert len(reads) > COUNT
    assert Store.open(store.folder).verify() == []


def change(path: Path, statement: str) -> None:
    file = sqlite3.connect(path)
    file.execute(statement)
    file.commit()
    file.close()


def test_a_record_that_changed_is_read_and_its_damage_found(store):
    again(store)
    path = path_of(store)
    text = path.read_text().replace('"ok"', '"no"')
    path.write_text(text)
    with pytest.raises(StoreFailed, match="is damaged"):
        Store.open(store.folder).record(sha(0))


def test_a_record_of_the_same_size_and_time_is_another_file(store):
    """What replaced it has another inode, whatever its times say."""
    again(store)
    path = path_of(store)
    before = path.stat()
    other = path.with_name("other")
    other.write_text(path.read_text().replace('"ok"', '"no"'))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)
    with pytest.raises(StoreFailed, match="is damaged"):
        Store.open(store.folder).record(sha(0))


def test_a_record_that_is_gone_is_gone(store):
    again(store)
    path_of(store).unlink()
    found = Store.open(store.folder)
    assert not found.has(sha(0))
    assert len(list(found.records())) == COUNT - 1


def test_a_retry_is_what_counts(store, reads):
    again(store)
    store.put(record(0, status="failed", reason="later"))
    found = Store.open(store.folder)
    assert found.record(sha(0)).reason == "later"
    assert reads[COUNT:] == [path_of(store, 0, 2).name]


def test_a_copied_store_is_read_anew(store, tmp_path, reads):
    """A stranger's index proves nothing."""
    first = again(store)
    shutil.copytree(store.folder, tmp_path / "copy", symlinks=True)
    assert list(Store.open(tmp_path / "copy").records()) == first
    assert len(reads) == 2 * COUNT


def test_what_was_just_written_is_not_kept_yet(store, reads, monkeypatch):
    """Written again within the clock's step it would look the same."""
    monkeypatch.setattr(index, "SETTLED_NS", 10**15)
    again(store)
    again(store)
    assert len(reads) == 2 * COUNT


def test_an_entry_with_fields_that_are_not_known_is_passed_over(store, reads):
    first = again(store)
    path = store.folder / index.NAME
    file = sqlite3.connect(path)
    for name, data in file.execute("SELECT name, data FROM records").fetchall():
        more = digests.canonical({**json.loads(data), "later": 1})
        file.execute("UPDATE records SET data = ?, digest = ? WHERE name = ?", (more, digests.of_bytes(more), name))
    file.commit()
    file.close()
    assert again(store) == first
    assert len(reads) == 2 * COUNT


def test_a_locked_index_is_no_obstacle(store):
    first = again(store)
    file = sqlite3.connect(store.folder / index.NAME, isolation_level=None)
    file.execute("BEGIN EXCLUSIVE")
    assert again(store) == first
    file.close()
