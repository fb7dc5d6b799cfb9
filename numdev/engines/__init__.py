"""Engines: where jobs run. `docker` isolates, `local` does not, `memory` is for tests."""

from __future__ import annotations

from pathlib import Path

from numdev.engines.local import LocalEngine
from numdev.engines.memory import MemoryEngine, Played
from numdev.engines.protocol import Ending, Engine, Environment, Launch, Limits
from numdev.errors import EngineUnavailable, InvalidInput, Problem

NAMES = ("docker", "local")

__all__ = [
    "NAMES",
    "Ending",
    "Engine",
    "Environment",
    "Launch",
    "Limits",
    "LocalEngine",
    "MemoryEngine",
    "Played",
    "choose_engine",
    "open_engine",
]


def open_engine(name: str, cache: Path) -> Engine:
    """The engine called `name`.

    Raises:
        InvalidInput: there is no such engine.
        EngineUnavailable: it does not answer.
    """
    if name == "local":
        return LocalEngine(cache)
    if name == "docker":
        # docker-py takes a tenth of a second to import; only what needs it pays.
        from numdev.engines.docker import DockerEngine

        return DockerEngine(cache)
    raise InvalidInput(f"There is no engine {name!r}.", [Problem("--engine", name, f"one of {', '.join(NAMES)}, auto")])


def choose_engine(name: str, cache: Path) -> tuple[Engine, str]:
    """The engine to use and, where `auto` had to fall back, a line that says so.

    Raises:
        InvalidInput, EngineUnavailable: as open_engine.
    """
    if name != "auto":
        return open_engine(name, cache), ""
    try:
        return open_engine("docker", cache), ""
    except EngineUnavailable as error:
        return LocalEngine(cache), (
            f"{error.what} Running on the local engine instead: the same wheels under this machine's CPython, without "
            "any isolation."
        )
