"""Bundles of earlier versions of the format, made readable: a function for each version, applied one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numdev.bundle.layout import FORMAT
from numdev.errors import InvalidInput, Problem

VERSION = "numdev-bundle"
# From the version that is the key to the next one: the content of numdev-bundle.json. Members are read by version where they change.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def upgraded(data: dict[str, Any], where: str) -> dict[str, Any]:
    """The description as this numdev knows it.

    Raises:
        InvalidInput: it has no version, or a newer one.
    """
    version = data.get(VERSION)
    if type(version) is not int or version < 1:
        raise InvalidInput(f"{where} is no bundle.", [Problem(where, f"its {VERSION} is no version")])
    if version > FORMAT:
        raise InvalidInput(
            f"{where} is from a newer numdev.",
            [Problem(where, f"its format has the version {version}; this numdev knows {FORMAT}")],
            "Install a newer numdev.",
        )
    while version < FORMAT:
        data = {**UPGRADES[version](data), VERSION: version + 1}
        version += 1
    return data
