"""Whether a bill of materials says what a stack's lock and the records of its cells say; of what only the bill knows nothing is believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numdev.bundle import strict
from numdev.bundle.found import Check
from numdev.bundle.reading import Bundle
from numdev.bundle.survey import mapping
from numdev.bundle.words import plain
from numdev.spec.stack import Stack
from numdev.stacks.lock import Locked

# Of a bill that is read: the largest that there are have a few thousand libraries.
_LONGEST = 16 << 20
_DEPTH = 4


def bill(
    bundle: Bundle,
    member: str,
    name: str,
    declared: Stack | None,
    locked: Mapping[str, Locked],
    told: Mapping[str, set[str] | None],
    computed: set[str],
    check: Check,
) -> None:
    """Compares one.

    Args:
        name: what its stack's files are called.
        told: by the property of the image, the values that it has to have; None where only the bill knows them.
        computed: SHA-256 of libraries that cells have loaded to compute.
    """
    found = strict.parsed(bundle.read(member, _LONGEST), f"{bundle.where}: {member}")
    about = mapping(mapping(found.get("metadata")).get("component"))
    if found.get("bomFormat") != "CycloneDX" or about.get("name") != f"numdev/{name}":
        check.wrong(member, f"is no bill of materials of {name!a}")
    facts = list(_properties(about))
    # Of what nobody could load when the bundle was made, the bill has nothing.
    unread = any(key == "numdev:unknown:definition" for key, _ in facts)
    for key, wanted in told.items():
        if unread and key.startswith("numdev:base"):
            continue
        said = {value for property, value in facts if property == key}
        if wanted is not None and said != {plain(value) for value in wanted}:
            check.wrong(member, f"{key} is not what the records and definitions say")
    components = [mapping(one) for one in _listed(found.get("components"))]
    for one in components:
        if one.get("bom-ref") == "python" and declared and one.get("version") != declared.python:
            check.wrong(member, f"has CPython {str(one.get('version'))[:40]!a}, and its stack has {declared.python}")
    hashes = {sha256 for one in _within(components) for sha256 in _hashes(one)}
    for sha256 in sorted(computed - hashes):
        if len(sha256) == 64:
            check.wrong(member, f"does not have the library {sha256[:12]!a}, with which cells have computed")
    if declared is None or declared.dockerfile is not None or not locked:
        return
    _wheels(member, components, locked, facts, check)


def _wheels(
    member: str,
    components: list[dict[str, Any]],
    locked: Mapping[str, Locked],
    facts: list[tuple[str, str]],
    check: Check,
) -> None:
    """The wheels are those of the lock: names, versions, and hashes that it allows."""
    wheels = [one for one in components if str(one.get("purl", "")).startswith("pkg:pypi/")]
    unknown = [value for key, value in facts if key in ("numdev:unknown:definition", "numdev:unknown:lock")]
    if unknown and not wheels:
        check.note(f"{member} does not say which packages there are: {unknown[0]}")
        return
    there: dict[str, dict[str, Any]] = {}
    for one in wheels:
        name = str(one.get("name", ""))
        if name in there:
            check.wrong(member, f"has {name[:60]!a} twice")
        there[name] = one
    for name in sorted(there.keys() ^ locked.keys()):
        where = "and its stack's lock does not" if name in there else "which its stack's lock has"
        check.wrong(member, f"has {name[:60]!a}, {where}" if name in there else f"does not have {name}, {where}")
    for name in sorted(there.keys() & locked.keys()):
        version, hashes = there[name].get("version"), set(_hashes(there[name]))
        if version != locked[name].version or not str(there[name].get("purl")).startswith(f"pkg:pypi/{name}@"):
            check.wrong(member, f"has {name} {str(version)[:40]!a}, and its stack's lock has {locked[name].version}")
        hashes |= {value for key, value in _properties(there[name]) if key == "numdev:locked:sha256"}
        if not hashes or not hashes <= set(locked[name].hashes):
            check.wrong(member, f"the hash of {name} is none that its stack's lock allows")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _within(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """These and those inside of them."""
    level = components
    for _ in range(_DEPTH):
        yield from level
        level = [mapping(inner) for one in level for inner in _listed(one.get("components"))]


def _hashes(component: Mapping[str, Any]) -> Iterator[str]:
    for one in _listed(component.get("hashes")):
        if isinstance(one, dict) and one.get("alg") == "SHA-256" and isinstance(one.get("content"), str):
            yield one["content"]


def _properties(component: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in _listed(component.get("properties")):
        if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("value"), str):
            yield one["name"], one["value"]
