"""What names a machine or its owner is not for others: it is replaced wherever it stands in what a bundle says."""

from __future__ import annotations

import getpass
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import Any

# Shorter names, or those of nobody in particular, stand in too many words to be told from them.
_SHORTEST = 3
_COMMON = frozenset({"root", "user", "localhost", "runner", "ubuntu", "admin", "debian", "docker", "numdev", "python"})


class Scrubber:
    """Replaces words in JSON values. replaced: how often, by what they were replaced with."""

    def __init__(self, words: dict[str, str]) -> None:
        """words: what to replace, each with what stands for it."""
        ordered = sorted((word for word in words if word), key=lambda word: (-len(word), word))
        self._words = words
        # A name only where it is a whole word; a path wherever it begins.
        parts = [re.escape(word) + (r"(?![\w-])" if not word.startswith("/") else r"(?=/|\b|$)") for word in ordered]
        self._pattern = re.compile("|".join(f"(?<![\\w-]){part}" for part in parts)) if parts else None
        self.replaced: dict[str, int] = {}

    @classmethod
    def of_this_machine(cls, *folders: Path) -> Scrubber:
        """Home, host and user names, and folders: temporary ones, this one and `folders`."""
        words = {str(Path(place).absolute()): "(folder)" for place in (*folders, tempfile.gettempdir(), Path.cwd())}
        words |= {str(Path.home()): "(home)"}
        try:
            names = {getpass.getuser(): "(user)", socket.gethostname(): "(host)", os.uname().nodename: "(host)"}
        except (OSError, KeyError):
            names = {}
        words |= {name: text for name, text in names.items() if len(name) >= _SHORTEST and name not in _COMMON}
        return cls({word: text for word, text in words.items() if word != "/"})

    def text(self, value: str) -> str:
        if self._pattern is None:
            return value

        def put(found: re.Match[str]) -> str:
            text = self._words[found[0]]
            self.replaced[text] = self.replaced.get(text, 0) + 1
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
