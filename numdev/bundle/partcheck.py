"""Whether what a run was made of is what it is called by: tables, processors, profiles, stacks, models and inputs."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from numdev import digests
from numdev.bundle import layout
from numdev.bundle.found import Check, some
from numdev.bundle.reading import Bundle
from numdev.cpu import Host
from numdev.cpu.capture import capture_of, checked
from numdev.spec.matrix import MatrixFile
from numdev.spec.stack import BASES, STACK_FILE, Stack, lock_file, stack_in
from numdev.stacks.lock import LIMIT, Locked, parse_lock
from numdev.worker.cpuid import TableError, parse
from numdev.workloads.archive import check_zip

_LOCK = re.compile(r"requirements(?:\.([a-z0-9_]+))?\.lock")
# What stands where a word named a machine or its owner (private.py): what held that word cannot be computed again.
_REPLACED = re.compile(r"\((?:folder|home|user|host)\)")


def replaced(value: Any) -> bool:
    """Whether something in it was replaced when the bundle was made."""
    return _REPLACED.search(digests.canonical(value).decode("ascii")) is not None


def tables(bundle: Bundle) -> Check:
    """CPUID tables and captures: each is what its name says, and can be read."""
    check = Check("CPUID")
    names = [name for name in bundle.members if name.startswith("tables/")]
    for name in names:
        with check.reading():
            data = bundle.read(name)
            if digests.of_bytes(data) != name[7:71]:
                check.wrong(name, "is not the table that its name is the SHA-256 of")
            try:
                parse(data.decode("ascii"))
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
        if member not in bundle.members and member not in bundle.description.left_out:
            check.wrong(member, f"is missing: it is the profile {level!a}")
    check.what = f"{some(len(names), 'table')} that programs were shown, {some(len(hosts), 'processor')}"
    return check


def processor(bundle: Bundle, name: str) -> Host:
    """The real processor that a capture is of."""
    data = bundle.read(name)
    if not data.startswith(b"{"):
        raise bundle.wrong(name, "is no capture")
    return Host(capture_of(data, f"{bundle.where}: {name}").leaves, "")


def stacks(bundle: Bundle) -> tuple[Check, dict[tuple[str, str], Stack], dict[tuple[str, str], dict[str, Locked]]]:
    """Definitions and locks, which have to agree; gives stacks and locked packages by (stack, architecture)."""
    check = Check("stacks")
    found: dict[tuple[str, str], Stack] = {}
    locked: dict[tuple[str, str], dict[str, Locked]] = {}
    names = sorted({name.split("/")[1] for name in bundle.members if name.startswith("stacks/")} - {BASES})
    for stack in names:
        member = f"stacks/{stack}/{STACK_FILE}"
        if member not in bundle.members:
            check.wrong(member, "is missing")
            continue
        with check.reading():
            _stack(bundle, stack, member, check, found, locked)
    if not names:
        check.note(
            f"no definition of a stack is in it: {bundle.description.left_out.get('stacks/', 'nothing says why')}"
        )
    check.what = f"{some(len(names), 'definition')} with {some(len(locked), 'lock')}"
    return check, found, locked


def _stack(bundle: Bundle, stack: str, member: str, check: Check, found: dict, locked: dict) -> None:
    data = bundle.read(member, 1 << 20)
    declared = stack_in(data, stack, f"{bundle.where}: {member}")
    folder = f"stacks/{stack}/"
    locks = {match[1] or "x86_64": name for name in bundle.members if (match := _in(folder, name))}
    if declared.dockerfile is not None:
        check.note(f"{stack} is a Dockerfile: it is never built unless --allow-dockerfile says so")
        if f"{folder}{declared.dockerfile.name}" not in bundle.members:
            check.wrong(f"{folder}{declared.dockerfile.name}", "is missing: the stack is this Dockerfile")
    elif not locks:
        check.wrong(f"{folder}{lock_file('x86_64')}", "is missing: nothing says which packages the stack has")
    if declared.dockerfile is None and f"stacks/{BASES}/{declared.base}.yaml" not in bundle.members:
        check.wrong(f"stacks/{BASES}/{declared.base}.yaml", f"is missing: {stack} is built on it")
    for architecture in {"x86_64", *locks}:
        found[stack, architecture] = stack_in(data, stack, f"{bundle.where}: {member}", architecture)
    for architecture, name in locks.items():
        packages, problems = parse_lock(bundle.read(name, LIMIT), name)
        for problem in problems:
            check.wrong(problem.where, problem.what)
        locked[stack, architecture] = packages
        for package, version in declared.pins.items():
            if package not in packages:
                check.wrong(name, f"{package} is pinned in {member} and not locked")
            elif packages[package].version != version:
                check.wrong(name, f"{package} is locked at {packages[package].version}, and {member} pins {version}")


def _in(folder: str, name: str) -> re.Match[str] | None:
    return _LOCK.fullmatch(name.removeprefix(folder)) if name.startswith(folder) else None


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
