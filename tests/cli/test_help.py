"""Every command's help: it is there, it fits a terminal of 80 columns, and it comes from the words of the command."""

from __future__ import annotations

import pytest
import typer

from numdev import __version__
from numdev.cli import app


def commands() -> list[tuple[str, ...]]:
    """The names of all commands, with those of their groups."""

    def below(command, path):
        yield path
        for name, inner in sorted(getattr(command, "commands", {}).items()):
            yield from below(inner, (*path, name))

    return list(below(typer.main.get_command(app), ()))


def test_all_commands_are_known():
    assert {
        ("matrix", "check"), ("matrix", "plan"), ("matrix", "run"), ("matrix", "schema"), ("report",), ("compare",), ("as",), ("doctor",),
        ("images", "build"), ("images", "show"), ("images", "list"), ("images", "lock"), ("platform", "list"),
        ("platform", "show"), ("workload", "list"), ("workload", "show"), ("workload", "fetch"), ("store", "verify"),
    } <= set(commands())  # fmt: skip


@pytest.mark.parametrize("path", commands(), ids=lambda path: " ".join(path) or "numdev")
def test_help(numdev, path):
    done = numdev(*path, "--help")
    assert done.code == 0
    assert "Usage: " in done.out
    assert "numdev" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    words = done.out.split("Usage: ")[1].splitlines()[1:]
    assert any(line.strip() and not line.startswith(("╭", "│", "╰")) for line in words), "it says what it does"


def test_no_arguments_is_help(numdev):
    assert "Usage: " in numdev().out + numdev().err


def test_the_version(numdev):
    assert numdev("--version").out == f"numdev {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("matrix", "run"), ("matrix", "run", "--nonsense", "x"), ("matrix", "run", "m.yaml", "-j", "0"), ("as",), ("as", "host"), ("as", "host", "--")],
)  # fmt: skip
def test_wrong_usage_is_2(numdev, arguments):
    assert numdev(*arguments).code == 2
