"""The index of a store's records: one file in the place of a hundred thousand, to be deleted and made again at any time.

An entry holds while its record's file is the one that was read: the same inode, size and times. A store that was copied has
therefore no valid entry, whoever made its index. Entries carry a digest of themselves; a file that is damaged or of another
kind is made anew.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from pathlib import Path

from numdev import digests

NAME = "index.sqlite"
VERSION = 1
# A file changed again within the clock's resolution would look unchanged: only files older than this are entered.
SETTLED_NS = 2_000_000_000
_BATCH = 512
_TABLE = (
    "CREATE TABLE IF NOT EXISTS records (name TEXT PRIMARY KEY, inode INTEGER, size INTEGER, changed INTEGER, "
    "modified INTEGER, digest TEXT, data BLOB) WITHOUT ROWID"
)


class Index:
    """The index at `path`. Where it cannot be used (read-only, locked by another numdev), it has nothing and keeps nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._waiting: list[tuple[object, ...]] = []
        self._file = self._open() or self._open(anew=True)

    def _open(self, anew: bool = False) -> sqlite3.Connection | None:
        file = None
        try:
            if anew:
                self.path.unlink(missing_ok=True)
            if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
                return None
            file = sqlite3.connect(self.path, timeout=1, isolation_level=None, check_same_thread=False)
            file.execute("PRAGMA trusted_schema=OFF")
            # Nothing is lost with it that the records do not hold.
            file.execute("PRAGMA synchronous=OFF")
            (version,) = file.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError("of another version")
            file.execute(_TABLE)
            file.execute(f"PRAGMA user_version={VERSION}")
            file.execute("SELECT name, inode, size, changed, modified, digest, data FROM records LIMIT 1").fetchone()
            return file
        except (sqlite3.Error, OSError, UnicodeError):
            if file is not None:
                file.close()
            return None

    def get(self, name: str, found: os.stat_result) -> bytes | None:
        """What was kept of the file that is called `name` and is as `found` says; None where it is another by now."""
        if self._file is None:
            return None
        try:
            with self._lock:
                row = self._file.execute(
                    "SELECT inode, size, changed, modified, digest, data FROM records WHERE name = ?", (name,)
                ).fetchone()
        except (sqlite3.Error, UnicodeError):
            self._give_up()
            return None
        if row is None or row[:4] != _mark(found) or not isinstance(row[5], bytes):
            return None
        return row[5] if digests.of_bytes(row[5]) == row[4] else None

    def put(self, name: str, found: os.stat_result, data: bytes) -> None:
        """Keeps `data` of a file; written with others, now and then and by `flush`."""
        newest = max(found.st_mtime_ns, found.st_ctime_ns)
        if self._file is None or time.time_ns() - newest < SETTLED_NS or not stat.S_ISREG(found.st_mode):
            return
        with self._lock:
            self._waiting.append((name, *_mark(found), digests.of_bytes(data), data))
        if len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if self._file is None or not waiting:
                return
            try:
                self._file.execute("BEGIN IMMEDIATE")
                self._file.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", waiting)
                self._file.execute("COMMIT")
                return
            except (sqlite3.Error, OSError):
                pass
        self._give_up()

    def _give_up(self) -> None:
        """Without an index everything is slower and nothing else."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None

    def close(self) -> None:
        self.flush()
        self._give_up()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


def _mark(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_ino, found.st_size, found.st_ctime_ns, found.st_mtime_ns
