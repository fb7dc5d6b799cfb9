"""A bundle, or what was run from it here, as one side of a comparison."""

from __future__ import annotations

from functools import cache

from numdev import cpu
from numdev.bundle.differing import Side
from numdev.bundle.reading import Bundle
from numdev.bundle.stranger import text_of
from numdev.cpu.capture import capture_of
from numdev.errors import InvalidInput
from numdev.run.resolve import Resolved
from numdev.spec import yamlfile
from numdev.spec.stack import LOCK_FILE, STACK_FILE
from numdev.stacks.lock import parse_lock
from numdev.store import Store


def of_bundle(bundle: Bundle, name: str) -> Side:
    """A bundle: captures, tables and stacks are read where they are asked for."""

    @cache
    def capture(platform: str, host: str) -> cpu.Capture | None:
        # Hosts of one kind of processor have one digest, and each a kernel, and perhaps a fingerprint, of its own.
        named = bundle.run.hosts.get(host)
        member = named.capture if named else f"platforms/{platform}.json"
        if member not in bundle.members or not member.startswith(("platforms/", "profiles/")):
            return None
        try:
            return capture_of(text_of(bundle, member), f"{bundle.where}: {member}")
        except InvalidInput:
            # As good as none: whoever wants to show it is told what is wrong with it.
            return None

    @cache
    def table(digest: str) -> str | None:
        member = f"tables/{digest}.txt"
        return text_of(bundle, member).decode("ascii", "replace") if member in bundle.members else None

    return Side(name, capture, table, pins_of(bundle), bundle.array)


def of_run(bundle: Bundle, resolved: Resolved, store: Store, name: str) -> Side:
    """What was run here, with the bundle's stacks."""
    tables = {
        shown.digest: shown.table.text()
        for shown in (*resolved.profiles.values(), *resolved.emulated.values())
        if shown.table is not None
    }

    @cache
    def capture(platform: str, host: str) -> cpu.Capture | None:
        return cpu.capture() if platform == resolved.host.digest and not cpu.only_here() else None

    return Side(name, capture, tables.get, pins_of(bundle), store.load)


def pins_of(bundle: Bundle) -> dict[str, dict[str, str]]:
    """Package and version of every stack that a bundle has, by what its lock says; without one, by its pins."""
    found: dict[str, dict[str, str]] = {}
    for member in bundle.members:
        kind, _, rest = member.partition("/")
        stack, _, file = rest.partition("/")
        if kind != "stacks" or file not in (STACK_FILE, LOCK_FILE):
            continue
        data = text_of(bundle, member)
        if file == LOCK_FILE:
            locked, _ = parse_lock(data, member)
            pins = {name: one.version for name, one in locked.items()}
        else:
            declared = definition(data, member)
            parts = (declared.get("pins"), declared.get("debian"))
            pins = {str(key): str(value) for part in parts if isinstance(part, dict) for key, value in part.items()}
        found[stack] = {**found.get(stack, {}), **pins}
    return found


def backends(bundle: Bundle) -> dict[str, str]:
    """The backend of every stack that a bundle has."""
    return {
        member.split("/")[1]: str(definition(text_of(bundle, member), member).get("backend", ""))
        for member in bundle.members
        if member.startswith("stacks/") and member.endswith(f"/{STACK_FILE}")
    }


def definition(data: bytes, where: str) -> dict[str, object]:
    """A stack's file as it is written; empty where it is none."""
    try:
        return yamlfile.parse(data, where)
    except InvalidInput:
        # It cannot be run, which `rerun` says; here it has nothing to compare.
        return {}
