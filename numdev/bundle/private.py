"""What names a machine or its owner is not for others: it is replaced wherever it stands in what a bundle says.

Known are this machine's names and this user's, and home folders whoever owns them. What another machine was called, whose records lie in the
same store, nobody here can know.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

HOME, FOLDER, USER, HOST = "(home)", "(folder)", "(user)", "(host)"
# Shorter names, or those of nobody in particular, stand in too many words to be told from them: only as a part of a path.
_SHORTEST = 3
_COMMON = frozenset(
    [
        "root",
        "user",
        "users",
        "localhost",
        "localdomain",
        "runner",
        "ubuntu",
        "admin",
        "administrator",
        "debian",
        "docker",
        "numdev",
        "python",
        "test",
        "guest",
        "host",
        "home",
        "local",
        "work",
        "data",
        "build",
        "ci",
        "nobody",
        "default",
        "vagrant",
        "jovyan",
        "torch",
        "numpy",
        "onnxruntime",
        "tensorflow",
        "jax",
        "cpu",
        "gpu",
    ]
)
# Folders that are on every machine.
_EVERYWHERE = frozenset(
    (
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib64",
        "/media",
        "/mnt",
        "/opt",
        "/proc",
        "/run",
        "/sbin",
        "/srv",
        "/sys",
        "/usr",
    )
) | frozenset(("/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/var", "/var/lib", "/Users"))
# Home folders of anybody: Linux's, macOS's, Windows'.
_HOMES = r"/(?:home|Users)/[^/\s:;,'\"<>|()]+|(?<![\w/.-])/root(?![\w-])|[A-Za-z]:\\+Users\\+[^\\\s:;,'\"<>|()]+"
_PATH_FIELDS = ("model", "inputs", "labels")
_PATH_LISTS = ("files", "images", "command")


class Scrubber:
    """Replaces words in JSON values. replaced: how often, by what they were replaced with. kept: names that stay, for the run calls
    something of its own so."""

    def __init__(self, words: dict[str, str], keep: Iterable[str] = ()) -> None:
        """words: what to replace, each with what stands for it. keep: names of the run's own things, in which nothing is replaced."""
        own = {part for name in keep for part in (name.lower(), *re.split(r"[^a-z0-9]+", name.lower()))}
        names = {word.lower(): text for word, text in words.items() if word and not word.startswith("/")}
        self.kept = sorted({text for word, text in names.items() if word in own})
        names = {word: text for word, text in names.items() if word not in own}
        paths = {word: text for word, text in words.items() if word.startswith("/")}
        self._words = {**names, **paths}
        # A path wherever it begins, and to the end of its last folder's name; other homes; then names, as whole words.
        parts = [rf"{re.escape(word)}(?![\w-])" for word in _longest(paths)]
        parts += [f"(?P<home>{_HOMES})"]
        parts += [_name(word) for word in _longest(names)]
        self._pattern = re.compile("|".join(parts))
        self.replaced: Counter[str] = Counter()

    @classmethod
    def of_this_machine(cls, *folders: Path, keep: Iterable[str] = ()) -> Scrubber:
        """Home, host and user names, and folders: temporary ones, this one and `folders`."""
        words: dict[str, str] = {}
        for place in (*folders, Path(tempfile.gettempdir()), Path.cwd()):
            words |= _both(place, FOLDER)
        words |= _both(Path.home(), HOME)
        for name in _users():
            words[name] = USER
        for name in _hosts():
            words[name] = HOST
        for name, home in _owner():
            words |= {name: USER} | _both(Path(home), HOME)
        sound = {word: text for word, text in words.items() if word not in _EVERYWHERE and word.lower() not in _COMMON}
        return cls(sound, keep)

    def text(self, value: str) -> str:
        """The same text with what names somebody replaced."""

        def put(found: re.Match[str]) -> str:
            text = HOME if found["home"] else self._words.get(found[0]) or self._words[found[0].lower()]
            self.replaced[text] += 1
            return text

        return self._pattern.sub(put, value)

    def value(self, value: Any) -> Any:
        """The same in every string of a JSON value, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(one) for key, one in value.items()}
        return value

    def names(self, data: bytes) -> bool:
        """Whether text that is copied as it is names somebody."""
        return bool(self._pattern.search(data.decode("utf-8", "replace")))

    def source(self, source: dict[str, Any]) -> dict[str, Any]:
        """A matrix's file: of files that lie elsewhere than beside it, only their own names are told."""
        workloads = source.get("workloads")
        if not isinstance(workloads, list):
            return source
        return {**source, "workloads": [self._workload(one) if isinstance(one, dict) else one for one in workloads]}

    def _workload(self, told: dict[str, Any]) -> dict[str, Any]:
        found = dict(told)
        for key in _PATH_FIELDS:
            if isinstance(found.get(key), str):
                found[key] = self._beside(found[key])
        for key in _PATH_LISTS:
            if isinstance(found.get(key), list):
                found[key] = [self._beside(one) if isinstance(one, str) else one for one in found[key]]
        if isinstance(module := found.get("module"), str) and ":" in module:
            path, _, function = module.rpartition(":")
            found["module"] = f"{self._beside(path)}:{function}"
        return found

    def _beside(self, path: str) -> str:
        """A path that leads into the folder of the matrix as it is; of others the file's name."""
        parts = PurePosixPath(path).parts
        if PureWindowsPath(path).is_absolute():
            name = PureWindowsPath(path).name
        elif path.startswith(("/", "~")) or ".." in parts:
            name = PurePosixPath(path).name
        else:
            return path
        self.replaced[FOLDER] += 1
        return f"{FOLDER}/{name}"


def _longest(words: Iterable[str]) -> list[str]:
    return sorted(words, key=lambda word: (-len(word), word))


def _name(word: str) -> str:
    """A pattern for a name: a whole word, in any case; a short one only where it is a folder."""
    escaped = f"(?i:{re.escape(word)})"
    if len(word) < _SHORTEST:
        return rf"(?<=/){escaped}(?=/)"
    # Of a long name also what is put together with others by underscores: it is no other word by accident.
    return rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])" if len(word) > 4 else rf"(?<![\w-]){escaped}(?![\w-])"


def _both(place: Path, text: str) -> dict[str, str]:
    """A folder as it is named, and as it is called behind its links."""
    return {str(place.absolute()): text, os.path.realpath(place): text}


def _users() -> set[str]:
    names = {os.environ.get(key, "") for key in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER")}
    try:
        names.add(getpass.getuser())
    except (OSError, KeyError):
        # A user that no file knows has no name.
        pass
    return names - {""}


def _owner() -> list[tuple[str, str]]:
    """(name, home) of this process's user as the system knows it, once for each of its names."""
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return []
    real = entry.pw_gecos.split(",")[0].strip()
    return [(name, entry.pw_dir or "/") for name in (entry.pw_name, real) if name]


def _hosts() -> set[str]:
    names = {socket.gethostname(), os.uname().nodename, os.environ.get("HOSTNAME", "")}
    return {part for name in names for part in (name, name.partition(".")[0]) if part}
