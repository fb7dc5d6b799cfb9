"""A bundle laid out in a folder of its own, as a matrix with its stacks and workloads: nothing is written outside of it.

What is written gets its name from here or from the format's own patterns, and its bytes are checked on the way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numdev import cpu, files
from numdev.bundle import included, layout, stranger
from numdev.bundle.included import Described, Included
from numdev.bundle.reading import Bundle
from numdev.errors import InvalidInput, Problem
from numdev.spec import identity, yamlfile
from numdev.spec.matrix import Limits, Matrix, MatrixFile, load_matrix
from numdev.spec.quantities import duration, memory
from numdev.spec.workload import parse_workload
from numdev.workloads import Prepared

# Whoever asks for more than this asks for a machine rather than a cell. Of memory, three quarters of what is there.
_TIMEOUT, _PIDS = "1h", 4096


@dataclass(frozen=True)
class Workspace:
    """A bundle as a folder.

    matrix: the run's, as it can be run from there; None where no workload is left. ready: built-in workloads that lie there.
    described: what the run said of each workload; missing: why one cannot be run. captures: by a platform's digest the level of
    `profile` that shows it; strange: why there is none. levels: files that levels of `profile` name, where they lie here.
    notes: what is not as the matrix says.
    """

    folder: Path
    matrix: Matrix | None
    ready: dict[str, Prepared] = field(default_factory=dict)
    described: dict[str, Described] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    captures: dict[str, str] = field(default_factory=dict)
    strange: dict[str, str] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> Path:
        return self.folder / "images"


def empty(folder: Path) -> Path:
    """The folder, made if it is not there; raises InvalidInput where it has anything in it."""
    problem = ""
    with files.storage_errors(folder):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            problem = "is no folder"
        elif folder.is_dir() and any(folder.iterdir()):
            problem = "is not empty"
        else:
            folder.mkdir(parents=True, exist_ok=True)
    if problem:
        raise InvalidInput(
            "The bundle cannot be laid out there.",
            [Problem(str(folder), problem, "name a folder that is not there yet")],
        )
    return folder.resolve()


def lay_out(bundle: Bundle, folder: Path, models: Path | None = None) -> Workspace:
    """Puts into `folder` what the bundle's cells can be run from.

    Args:
        folder: empty.
        models: a folder in which models and inputs are looked for that were left out, by their SHA-256.

    Raises:
        InvalidInput: the bundle's matrix is malformed, or names what it must not; all problems at once.
        HashMismatch: a file is not what the manifest says.
    """
    run = bundle.run
    place = f"{bundle.where}: {layout.RUN}"
    if run.hosts:
        of = ", ".join(sorted({ascii(host.bundle)[1:-1] for host in run.hosts.values()}))
        what = f"its cells are of {len(run.hosts)} hosts, and no machine is all of them"
        raise InvalidInput(
            f"{bundle.where} cannot be run.", [Problem(place, what, f"run those that it was merged from: {of}")]
        )
    asked = yamlfile.validate(MatrixFile, run.source, f"{place}: source")
    described = {
        name: yamlfile.validate(Described, told, f"{place}: workloads.{name}")
        for name, told in run.workloads.items()
        if isinstance(told, dict)
    }
    declared = [parse_workload(value, f"{place}: source.workloads.{at}") for at, value in enumerate(asked.workloads)]
    levels = dict(bundle.description.profiles)
    problems = [*included.strange(described, place), *_strange_levels(bundle, asked, levels, place)]
    if problems:
        raise InvalidInput(f"{bundle.where} cannot be run.", sorted(set(problems)))
    for name in bundle.members:
        if name.startswith("stacks/"):
            _put(bundle, name, folder / "images" / name.removeprefix("stacks/"))
        elif name.startswith(("platforms/", "profiles/")):
            _put(bundle, name, folder / name)
    with files.storage_errors(folder):
        (folder / "images").mkdir(exist_ok=True)
    laid = Included(bundle, folder, described, models)
    workloads = [value for one in declared if (value := laid.put(one)) is not None]
    limits, notes = _limits(asked.limits)
    matrix = None
    if workloads:
        source: dict[str, Any] = _with_levels({**run.source, "workloads": workloads, "limits": limits}, levels)
        # Classes need no reference: it is computed once, exactly, and by the real processor.
        source.pop("reference", None)
        # Nor do they need rules about workloads that are not here.
        there = {one["name"] for one in workloads}
        for key in ("exclude", "include"):
            if key in source:
                source[key] = [rule for rule in source[key] if _about(rule) <= there]
        matrix = load_matrix(_written(source, folder / f"{bundle.description.name}.json"))
    captures, strange = _captures(bundle, folder)
    return Workspace(folder, matrix, laid.ready, described, laid.missing, captures, strange, levels, tuple(notes))


def _about(rule: Mapping[str, Any]) -> set[str]:
    named = rule.get("workload", [])
    return set(named if isinstance(named, list) else [named])


def _put(bundle: Bundle, name: str, target: Path) -> None:
    with files.atomic(target) as file:
        stranger.copy(bundle, name, file)


def _written(source: dict[str, Any], path: Path) -> Path:
    try:
        data = json.dumps(source, indent=1, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{path.name} cannot be made.", [Problem("source", "has text that is none")]) from None
    files.write_bytes(path, data)
    return path


def _limits(limits: Limits) -> tuple[dict[str, Any], list[str]]:
    """The matrix's limits, as far as a stranger may go on this machine; and which of them were lowered."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4 >> 20
    found: dict[str, Any] = limits.model_dump(mode="json", exclude_none=True)
    if memory(limits.memory) > most << 20:
        found["memory"] = f"{most}MiB" if most < 1_000_000 else f"{most >> 10}GiB"
    if duration(limits.timeout) > duration(_TIMEOUT):
        found["timeout"] = _TIMEOUT
    found["pids"] = min(limits.pids, _PIDS)
    if limits.cpus is not None:
        found["cpus"] = min(limits.cpus, os.cpu_count() or 1)
    asked = limits.model_dump(mode="json")
    lowered = [f"{key} {value} instead of {asked[key]}" for key, value in found.items() if value != asked[key]]
    return found, [f"The bundle asks for more than a stranger gets here: {', '.join(lowered)}."] if lowered else []


def _strange_levels(bundle: Bundle, asked: MatrixFile, levels: Mapping[str, str], place: str) -> Iterator[Problem]:
    """Levels that are files, but none of the bundle's: such a file would be looked for on this machine."""
    for level, member in levels.items():
        if not member.startswith("profiles/") or member not in bundle.members:
            yield Problem(f"{bundle.where}: profiles", f"{member[:80]!a} is not in the bundle")
        if not level:
            yield Problem(f"{bundle.where}: profiles", "a level has no name")
    rules = [*asked.include, *asked.exclude, asked.baseline]
    for key in ("profile", *identity.FACTORS):
        named = [*asked.factors.get(key, []), *(value for rule in rules for value in _values(rule.get(key)))]
        for level in dict.fromkeys(map(str, named)):
            given = replaced(level, levels) if key == "profile" else level
            rest = given
            if given != level:
                rest = given[len(next(name for name in levels.values() if given.startswith(name))) :]
            if "/" in rest or ".json" in rest or ".txt" in rest:
                what = f"{level[:80]!a} names a file that the bundle does not have"
                yield Problem(f"{place}: source.factors.{key}", what)


def _values(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def replaced(level: str, levels: Mapping[str, str]) -> str:
    """A level of `profile` with the file that it begins with as it lies here."""
    for name in sorted(levels, key=len, reverse=True):
        if level == name or (level.startswith(name) and level[len(name)] in "+-@"):
            return levels[name] + level[len(name) :]
    return level


def _with_levels(source: dict[str, Any], levels: Mapping[str, str]) -> dict[str, Any]:
    """The matrix with its own profiles as they lie here, wherever they are named."""

    def put(rule: Mapping[str, Any]) -> dict[str, Any]:
        if "profile" not in rule:
            return dict(rule)
        value = rule["profile"]
        changed = (
            [replaced(str(one), levels) for one in value] if isinstance(value, list) else replaced(str(value), levels)
        )
        return {**rule, "profile": changed}

    found = {**source, "factors": put(source["factors"])}
    for key in ("include", "exclude"):
        if key in source:
            found[key] = [put(rule) for rule in source[key]]
    if "baseline" in source:
        found["baseline"] = put(source["baseline"])
    return found


def _captures(bundle: Bundle, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """By a platform's digest, the level of `profile` that shows it, and why one cannot be shown."""
    found, strange = {}, {}
    for name in bundle.members:
        if not name.startswith("platforms/"):
            continue
        digest = name.removeprefix("platforms/").removesuffix(".json")
        try:
            captured = cpu.read_capture(folder / name)
            cpu.profile_of(captured, name)
        except InvalidInput as error:
            strange[digest] = "; ".join(f"{one.where}: {one.what}" for one in error.problems[:3]) or error.what
            continue
        if cpu.Host(captured.leaves, "").digest != digest:
            strange[digest] = "the capture is of another processor than the records name"
        else:
            found[digest] = name
    return found, strange
