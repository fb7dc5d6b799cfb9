"""The machine that a bundle's cells ran on, as its records and its capture tell it: what the level of `host` that it becomes stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numdev import digests
from numdev.analysis import HOST
from numdev.bundle import layout
from numdev.bundle.found import Check, plain, some
from numdev.bundle.naming import CANNOT
from numdev.bundle.reading import Bundle
from numdev.bundle.survey import mapping
from numdev.cpu import essence
from numdev.cpu.capture import PROCESSOR, Capture, capture_of
from numdev.cpu.host import kind
from numdev.errors import InvalidInput, Problem
from numdev.run.runfile import Host

# Of one fact that has several values on one machine, as many are told.
_FEW = 4
CODE, SHOWING = "numdev's code in the cell", "the way of showing profiles"
_SYSTEM = ("kernel", "microcode", "hypervisor")


def host_of(bundle: Bundle) -> Host:
    """The machine of a bundle that was not merged.

    Raises:
        InvalidInput: its cells ran on several processors, so that they are no machine's.
    """
    found = _seen(bundle)
    return _host(bundle, found[""] if "" in found else _Seen(), "")


@dataclass
class _Seen:
    """What the records of one machine say. facts: values by name. platforms: processors by their digest."""

    facts: dict[str, dict[str, None]] = field(default_factory=dict)
    platforms: dict[str, dict[str, Any]] = field(default_factory=dict)


def _seen(bundle: Bundle) -> dict[str, _Seen]:
    """By the level of `host`, "" where a record has none; of many records that have their facts in common, one is looked at."""
    found: dict[str, _Seen] = {}
    known = set()
    merged = bool(bundle.run.hosts)
    for cell in bundle.cells():
        key = (cell.causes, cell.environment, cell.realised, cell.declared if merged else None)
        if cell.status == "missing" or key in known:
            continue
        known.add(key)
        causes, environment, realised, declared = (
            mapping(bundle.facts[name]) if name and name in bundle.facts else {} for name in key
        )
        one = found.setdefault(str(declared.get(HOST, "")), _Seen())
        if digest := str(causes.get("platform", "")):
            one.platforms.setdefault(digest, mapping(environment.get("platform")))
        for name, value in _facts(causes, environment, realised):
            one.facts.setdefault(name, {})[value] = None
    return found


def _host(bundle: Bundle, seen: _Seen, capture: str) -> Host:
    """capture: the member that is its capture; by default the one that its processor names."""
    if len(seen.platforms) > 1:
        brands = ", ".join(sorted(str(one.get("brand", "unnamed"))[:60] for one in seen.platforms.values()))
        what = f"its cells ran on {len(seen.platforms)} processors ({ascii(brands)[1:-1][:200]}), so they are not one host's"
        raise InvalidInput(CANNOT, [Problem(bundle.where, what)])
    platform, told = next(iter(seen.platforms.items()), ("", {}))
    member = capture or f"platforms/{platform}.json"
    captured = _capture(bundle, member)
    # What cells ran with is told by their records; a capture says the rest, and may be shorter.
    facts = {name: captured.facts[name] for name in (*_SYSTEM, "libc") if name in captured.facts}
    facts |= {name: _few(values) for name, values in seen.facts.items()}
    shown, real = _kind(told), re.sub(r"[^a-z0-9]+", "-", captured.facts.get(PROCESSOR, "").lower())[:100]
    declared = bool(real) and real != shown
    return Host(
        silicon=real if declared else shown,
        declared=shown if declared else "",
        fingerprint=captured.fingerprint,
        facts={plain(name)[:300]: plain(value)[:300] for name, value in sorted(facts.items())},
        bundle=bundle.description.name,
        digest=bundle.digest,
        date=bundle.description.date,
        numdev=plain(bundle.description.numdev),
        run=bundle.description.run,
        platform=plain(platform)[:300],
        capture=member if member in bundle.members else "",
        refused={name: plain(why) for name, why in bundle.run.refused.items()},
    )


def _facts(
    causes: Mapping[str, Any], environment: Mapping[str, Any], realised: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """(name, value) of all that may differ between two machines and change a result."""
    rung = mapping(environment.get("profile")).get("rung")
    for name, value in (
        ("engine", environment.get("engine")),
        ("kernel", environment.get("kernel")),
        ("libc", realised.get("libc")),
        ("Python", realised.get("python")),
        ("emulator", mapping(environment.get("profile")).get("emulator")),
        (SHOWING, rung),
        (CODE, str(causes.get("worker", ""))[:12]),
    ):
        if isinstance(value, str) and value:
            yield name, value


def _few(values: Iterable[str]) -> str:
    some = sorted(values)
    more = f" and {len(some) - _FEW} more" if len(some) > _FEW else ""
    return ", ".join(value[:60] for value in some[:_FEW]) + more


def _capture(bundle: Bundle, member: str) -> Capture:
    if member not in bundle.members:
        return Capture({})
    return capture_of(bundle.read(member), f"{bundle.where}: {member}")


def _kind(told: Mapping[str, Any]) -> str:
    """A processor by its record; "" where that does not say it."""
    if {"vendor", "family", "model", "stepping"} <= told.keys():
        return kind(told["vendor"], told["family"], told["model"], told["stepping"])
    if {"architecture", "vendor", "part"} <= told.keys():
        return kind(told["architecture"], told["vendor"], told["part"], told.get("revision", ""))
    return ""


def named(hosts: Iterable[Host]) -> list[str]:
    """The level of each host, in their order: by its silicon, and where several have the same, by their bundles.

    What a host is called does not depend on the order, but on who else is there.
    """
    hosts = list(hosts)
    levels = [_silicon(host) for host in hosts]
    for more in (lambda host: host.bundle, lambda host: host.digest[:8]):
        twice = {level for level in levels if levels.count(level) > 1}
        levels = [
            f"{level}-{more(host)}" if level in twice else level for level, host in zip(levels, hosts, strict=True)
        ]
    return levels


def _silicon(host: Host) -> str:
    silicon = host.silicon or "unknown"
    return f"{silicon}-as-{host.declared}" if host.declared else silicon


def alike(bundles: Iterable[Bundle]) -> dict[str, str]:
    """CPUID tables that told programs the same and are not the same, as on hosts of two kinds; each with what stands for it."""
    by: dict[str, dict[str, None]] = {}
    seen: set[str] = set()
    for bundle in bundles:
        for name in bundle.members:
            if name.startswith("tables/") and name not in seen:
                seen.add(name)
                told = essence(bundle.read(name).decode("ascii", "replace"))
                # What is no table is told where a bundle is verified.
                if told is not None:
                    by.setdefault(digests.of_bytes(told.encode("ascii")), {})[name[7:71]] = None
    return {table: stands for stands, tables in sorted(by.items()) if len(tables) > 1 for table in sorted(tables)}


def checked(bundle: Bundle) -> Check:
    """Whether the hosts that a merged run tells of are those of its cells and captures; from which bundles they are, nothing shows."""
    check, run = Check("hosts"), bundle.run
    if set(run.hosts) != set(run.factors.get(HOST, ())):
        check.wrong(layout.RUN, "its hosts are not the levels of its factor host")
        return check
    seen = _seen(bundle)
    for level in seen.keys() - run.hosts.keys():
        check.wrong(layout.CELLS, f"has records of the host {level!a}, of which nothing is told")
    for level, told in run.hosts.items():
        with check.reading():
            if told.capture and told.capture not in bundle.members and told.capture not in bundle.description.left_out:
                check.wrong(layout.RUN, f"the capture of {level!a} is missing: {told.capture[:100]!a}")
            there = told.capture in bundle.members
            found = _host(bundle, seen.get(level, _Seen()), told.capture)
            for key in ("silicon", "declared", "fingerprint", "facts", "platform"):
                # What only a capture says cannot be seen without it.
                if getattr(found, key) != getattr(told, key) and (there or key == "platform" or not told.capture):
                    check.wrong(layout.RUN, f"{key} of the host {level!a} is not that of its cells and its capture")
    found = alike([bundle])
    left_out = any(name.startswith("tables/") for name in bundle.description.left_out)
    if found != run.alike and not left_out:
        check.wrong(layout.RUN, "the CPUID tables that it says to be alike are not those that are")
    check.what = some(len(run.hosts), "host")
    return check
