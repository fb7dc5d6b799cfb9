"""Whether what a run was made of is what it is called by: tables, processors, profiles, stacks, models and inputs."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from numdev import digests
from numdev.bundle import layout
from numdev.bundle.absent import excused, nothing_kept
from numdev.bundle.found import Check, some
from numdev.bundle.reading import Bundle
from numdev.cpu import Host
from numdev.cpu.capture import capture_of, checked
from numdev.cpu.features import FEATURES, simd_level
from numdev.spec.architecture import ARCHITECTURES, X86
from numdev.spec.matrix import MatrixFile
from numdev.spec.stack import BASES, DECLARED, STACK_FILE, BaseFile, Stack, lock_file, stack_in
from numdev.spec.yamlfile import parse as parse_yaml
from numdev.stacks.lock import LIMIT, Locked, parse_lock
from numdev.worker.cpuid import Table, TableError, parse
from numdev.workloads.archive import check_zip

# What stands where a word named a machine or its owner (private.py): what held that word cannot be computed again.
_REPLACED = re.compile(r"\((?:folder|home|user|host)\)")


def replaced(value: Any) -> bool:
    """Whether something in it was replaced when the bundle was made."""
    text = value if isinstance(value, str) else digests.canonical(value).decode("ascii")
    return "(" in text and _REPLACED.search(text) is not None


@dataclass(frozen=True)
class Told:
    """What a CPUID table tells programs of the processor. vendor: "" where it does not tell it. bits: of FEATURES, in their order.

    There may be many tables, so it is small.
    """

    vendor: str
    kind: tuple[int, int, int]
    bits: int
    rewritten: bool

    @property
    def features(self) -> frozenset[str]:
        return frozenset(name for at, name in enumerate(FEATURES) if self.bits >> at & 1)

    @property
    def simd(self) -> str:
        return simd_level(self.features)


def tables(bundle: Bundle) -> tuple[Check, dict[str, Told]]:
    """CPUID tables and captures: each is what its name says, and can be read. Gives what each table tells, by its digest."""
    check = Check("CPUID")
    told: dict[str, Told] = {}
    names = [name for name in bundle.members if name.startswith("tables/")]
    for name in names:
        with check.reading():
            data = bundle.read(name)
            if digests.of_bytes(data) != name[7:71]:
                check.wrong(name, "is not the table that its name is the SHA-256 of")
            try:
                told[name[7:71]] = _told(parse(data.decode("ascii")))
            except (UnicodeDecodeError, TableError) as error:
                check.wrong(name, f"is no CPUID table: {error}")
    hosts = [name for name in bundle.members if name.startswith("platforms/")]
    for name in hosts:
        with check.reading():
            if processor(bundle, name).digest != name[10:74]:
                check.wrong(name, "its CPUID registers are not those of the processor that it is named by")
    for name in bundle.members:
        if name.startswith("profiles/") and bundle.sums[name] != name[9:73]:
            check.wrong(name, "is not the profile that its name is the SHA-256 of")
    for level, member in bundle.description.profiles.items():
        if member not in bundle.members and not excused(bundle, member):
            check.wrong(member, f"is missing: it is the profile {level!a}")
    check.what = f"{some(len(names), 'table')} that programs were shown, {some(len(hosts), 'processor')}"
    return check, told


def _told(table: Table) -> Told:
    there = Host({(leaf, subleaf or 0): row for (leaf, subleaf), row in table.values.items()}, "")
    bits = sum(1 << at for at, name in enumerate(FEATURES) if name in there.features)
    return Told(there.vendor, there.family_model_stepping, bits, table.rewritten)


def processor(bundle: Bundle, name: str) -> Host:
    """The real processor that a capture is of."""
    data = bundle.read(name)
    if not data.startswith(b"{"):
        raise bundle.wrong(name, "is no capture")
    return Host(capture_of(data, f"{bundle.where}: {name}").leaves, "")


def stacks(bundle: Bundle) -> tuple[Check, Stacks]:
    """Definitions and locks, which have to agree."""
    check, found = Check("stacks"), Stacks()
    folders: dict[str, list[str]] = {}
    for name in bundle.members:
        kind, _, rest = name.partition("/")
        if kind == "stacks":
            folder, _, file = rest.partition("/")
            folders.setdefault(folder, []).append(file)
    bases = _bases(bundle, folders.pop(BASES, []), check)
    for stack, files in sorted(folders.items()):
        member = f"stacks/{stack}/{STACK_FILE}"
        if STACK_FILE not in files:
            check.wrong(member, "is missing")
            continue
        with check.reading():
            _stack(bundle, stack, files, bases, check, found)
    if not folders:
        if why := nothing_kept(bundle):
            check.note(f"nothing of what the run was made of is in it: {why}")
        else:
            check.wrong("stacks/", "no definition of a stack is in it, and nothing says why")
    check.what = f"{some(len(folders), 'definition')} with {some(len(found.locked), 'lock')}"
    return check, found


@dataclass
class Stacks:
    """What a bundle says of stacks. declared: by name, once for each architecture. locked: packages by (stack, architecture)."""

    declared: dict[tuple[str, str], Stack] = field(default_factory=dict)
    locked: dict[tuple[str, str], dict[str, Locked]] = field(default_factory=dict)
    suites: dict[str, str] = field(default_factory=dict)


def _bases(bundle: Bundle, files: list[str], check: Check) -> dict[str, BaseFile]:
    """The base systems that can be read, by name."""
    found = {}
    for file in files:
        member = f"stacks/{BASES}/{file}"
        if not file.endswith(".yaml"):
            check.wrong(member, "is no definition of a base system")
            continue
        if f"{member} as it was" in bundle.description.left_out:
            check.note(
                f"{member} has other words than it had, for it named a machine or its owner: it was not looked into"
            )
            continue
        with check.reading():
            where = f"{bundle.where}: {member}"
            found[file.removesuffix(".yaml")] = checked(
                BaseFile, parse_yaml(bundle.read(member, DECLARED), where), where
            )
    return found


def _stack(
    bundle: Bundle, stack: str, files: list[str], bases: dict[str, BaseFile], check: Check, found: Stacks
) -> None:
    folder = f"stacks/{stack}/"
    member = f"{folder}{STACK_FILE}"
    # YAML takes far longer than anything else here, so it is parsed once, whatever it is for.
    declared = stack_in(bundle.read(member, 1 << 20), stack, f"{bundle.where}: {member}")
    # What a run keeps is the whole folder: a file that is called like a lock of no architecture is a file as any other.
    locks = {
        architecture: lock_file(architecture) for architecture in ARCHITECTURES if lock_file(architecture) in files
    }
    if declared.dockerfile is not None:
        check.note(f"{stack} is a Dockerfile: it is never built unless --allow-dockerfile says so")
        if declared.dockerfile.name not in files:
            check.wrong(f"{folder}{declared.dockerfile.name}", "is missing: the stack is this Dockerfile")
    elif not locks:
        check.wrong(f"{folder}{lock_file(X86)}", "is missing: nothing says which packages the stack has")
    if declared.dockerfile is None and f"stacks/{BASES}/{declared.base}.yaml" not in bundle.members:
        check.wrong(f"stacks/{BASES}/{declared.base}.yaml", f"is missing: {stack} is built on it")
    base = bases.get(declared.base)
    if base and declared.dockerfile is None and base.python != declared.python:
        check.wrong(member, f"is for CPython {declared.python}, and its base system has {base.python}")
    for architecture in ARCHITECTURES:
        lock = declared.folder / lock_file(architecture)
        found.declared[stack, architecture] = replace(declared, architecture=architecture, lock=lock)
        if base:
            found.suites[declared.base] = base.suite
    for architecture, file in locks.items():
        name = f"{folder}{file}"
        packages, problems = parse_lock(bundle.read(name, LIMIT), name)
        for problem in problems:
            check.wrong(problem.where, problem.what)
        found.locked[stack, architecture] = packages
        for package, version in declared.pins.items():
            if package not in packages:
                check.wrong(name, f"{package} is pinned in {member} and not locked")
            elif packages[package].version != version:
                check.wrong(name, f"{package} is locked at {packages[package].version}, and {member} pins {version}")


def workloads(bundle: Bundle) -> Check:
    """Models and inputs: those that the run names, or why they are not there. None is loaded."""
    check = Check("workloads")
    asked: set[str] = set()
    used = {cell.workload for cell in bundle.run.cells}
    left_out = bundle.description.left_out
    count = 0
    for workload, told in sorted(bundle.run.workloads.items()):
        if not isinstance(told, dict):
            check.wrong(layout.RUN, f"its workload {workload!a} is none")
            continue
        causes = {"files": {}} | {key: told.get(key) for key in ("formats", "entry", "command", "inputs")}
        causes |= {"files": told["files"]} if "files" in told else {}
        if replaced(causes):
            check.note(f"{workload}: words were replaced in what it is made of, so that its digest cannot be computed")
        elif told.get("digest") and digests.of_json(causes) != told["digest"]:
            if "files" not in told:
                check.note(f"{workload}: the run is of a numdev that did not keep what its digest is of")
                continue
            check.wrong(layout.RUN, f"the workload {workload!a} does not have the digest of what it is made of")
        count += 1
        for name, sha256 in _files(told):
            member = f"workloads/{workload}/{name}"
            asked.add(member)
            if member in bundle.members:
                if bundle.sums[member] != sha256:
                    check.wrong(member, f"is not the one that the run names ({str(sha256)[:12]})")
            elif workload in used and member not in left_out and f"workloads/{workload}/" not in left_out:
                check.wrong(member, "is missing, and nothing says why")
    for name in bundle.members:
        if name.startswith("workloads/"):
            if name not in asked:
                check.wrong(name, "is of no workload of the run")
            if name.endswith("/inputs.npz"):
                with check.reading():
                    check_zip(Window(bundle, name), name)
    source = bundle.run.source
    if source:
        with check.reading():
            checked(MatrixFile, source, f"{bundle.where}: {layout.RUN}: source")
    here = sum(name.startswith("workloads/") for name in bundle.members)
    check.what = f"{some(count, 'workload')} of the run, with {some(here, 'file')} of models and inputs"
    return check


def _files(told: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    formats, files = told.get("formats"), told.get("files")
    for format, sha256 in (formats if isinstance(formats, dict) else {}).items():
        yield f"model.{format}", sha256
    if told.get("inputs"):
        yield "inputs.npz", told["inputs"]
    for sha256 in (files if isinstance(files, dict) else {}).values():
        yield f"files/{sha256}", sha256


class Window(io.RawIOBase):
    """A member as a file of its own, to be read only."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        self._bundle, self._name = bundle, name
        self._size, self._at = bundle.members[name].size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._size - self._at))
        done = 0
        for piece in self._bundle.pieces(self._name, self._at, size) if size else ():
            buffer[done : done + len(piece)] = piece
            done += len(piece)
        self._at += done
        return done
