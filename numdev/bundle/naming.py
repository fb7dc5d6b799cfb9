"""What stacks and workloads of several machines are called together: one name for what is the same, and never one for what is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numdev import digests
from numdev.analysis import HOST
from numdev.bundle.reading import Bundle
from numdev.bundle.survey import mapping
from numdev.errors import InvalidInput, Problem
from numdev.run.plan import NOT_MADE
from numdev.run.runfile import Asked, Host
from numdev.spec.stack import BASES

CANNOT = "The bundles cannot be merged."
_LONGEST = 55


@dataclass
class Part:
    """The cells of one machine. was: its level of `host` where its bundle was merged itself, else ""."""

    bundle: Bundle
    host: Host
    was: str = ""
    level: str = ""

    @property
    def source(self) -> dict[str, Any]:
        return self.bundle.run.asked_by(self.host)

    @property
    def asked(self) -> Asked:
        return self.host.asked


class Names:
    """What is called how. Names are told apart by what they meant on each machine before anything was joined, so that it
    does not matter what was joined before.

    stacks, workloads: by machine (the `id` of its part), the new names of those that it has, by the names that they have in its bundle.
    notes: which names are new, and why. folders: where the definition of a stack is taken from, by the stack's new name: a bundle, and the
    stack's name there. bases: the bundle that has a base system.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.notes: list[str] = []
        self._parts = parts
        self._made = {id(part): _made(part) for part in parts}
        self._stacks = self._names("stack", self._made)
        self._workloads = self._names("workload", {id(part): _workloads(part) for part in parts})
        self.stacks = {
            id(part): {part.asked.stacks.get(name, name): new for name, new in self._stacks[id(part)].items()}
            for part in parts
        }
        self.workloads = {
            id(part): {part.asked.workloads.get(name, name): new for name, new in self._workloads[id(part)].items()}
            for part in parts
        }
        self.folders = self._folders()
        self.bases = self._bases()

    def asked(self, part: Part) -> Asked:
        """What a machine's run was, with what its stacks and workloads are called now."""
        names = {"stacks": self._stacks[id(part)], "workloads": self._workloads[id(part)]}
        return part.asked.model_copy(update=names)

    def level(self, part: Part, key: str, level: str) -> str:
        """What a level of a machine's run, as it named it, is called now."""
        return self._stacks[id(part)].get(level, level) if key == "stack" else level

    def _names(self, what: str, keys: Mapping[int, Mapping[str, str]]) -> dict[int, dict[str, str]]:
        """New names, by the old ones, for those that one name means several of; a key of "" is not known to be another one."""
        meant: dict[str, dict[str, list[int]]] = {}
        for part, some in keys.items():
            for name, key in some.items():
                meant.setdefault(name, {}).setdefault(key, []).append(part)
        levels = {id(part): part.level for part in self._parts}
        found: dict[int, dict[str, str]] = {part: {name: name for name in some} for part, some in keys.items()}
        for name, by in sorted(meant.items()):
            if len(by.keys() - {""}) < 2:
                continue
            said = []
            for key, some in sorted(by.items()):
                if not key:
                    continue
                new = f"{name[:_LONGEST]}.{key[:8]}"
                if new in meant:
                    what_ = f"{new!a} is a {what} already, and would be the name of another one"
                    raise InvalidInput(CANNOT, [Problem(what, what_)])
                for part in some:
                    found[part][name] = new
                said.append(f"{new} on {', '.join(sorted(levels[part] for part in some))}")
            of = "another model or other inputs" if what == "workload" else "other packages"
            self.notes.append(f"The {what} {name} is {of} on some hosts, and kept apart: {'; '.join(said)}.")
        return found

    def _folders(self) -> dict[str, tuple[Bundle, str]]:
        """Of definitions that are written otherwise and come to the same, one whole: the smallest by its digest."""
        there: dict[tuple[str, str], tuple[Bundle, str]] = {}
        for part in self._parts:
            for stack, digest in definitions(part.bundle).items():
                new = self.stacks[id(part)].get(stack, stack)
                there.setdefault((new, digest), (part.bundle, stack))
        told: dict[str, dict[tuple[bool, str], list[str]]] = {}
        for part in self._parts:
            for stack, digest in part.asked.definitions.items():
                # What nothing ran on tells the least.
                rank = not self._made[id(part)].get(stack), digest
                told.setdefault(self._stacks[id(part)].get(stack, stack), {}).setdefault(rank, []).append(part.level)
        found, missing = {}, []
        for name, some in sorted(told.items()):
            _, digest = first = min(some)
            if (name, digest) in there:
                found[name] = there[name, digest]
            else:
                missing.append(Problem(f"stack {name}", "its definition is not in the bundle that has its results"))
            if len({digest for _, digest in some}) > 1:
                kept = min(some[first])
                self.notes.append(
                    f"The stack {name} is written otherwise on some hosts: the definition of {kept} is kept."
                )
        if missing:
            raise InvalidInput(CANNOT, missing)
        return found

    def _bases(self) -> dict[str, Bundle]:
        found: dict[str, Bundle] = {}
        problems = []
        for bundle in dict.fromkeys(part.bundle for part in self._parts):
            for member in bundle.members:
                if member.startswith(f"stacks/{BASES}/"):
                    first = found.setdefault(member, bundle)
                    if first.sums[member] != bundle.sums[member]:
                        where = f"{first.where} and {bundle.where}"
                        problems.append(Problem(f"{where}: {member}", "the base system is another one in each"))
        if problems:
            raise InvalidInput(CANNOT, problems)
        return found


def asked_of(bundle: Bundle) -> Asked:
    """The run of a bundle that was not merged."""
    run = bundle.run
    return Asked(
        order=run.order,
        factors=run.factors,
        baseline=run.baseline,
        reference=run.reference,
        referred=bool(run.reference) or any(cell.reference for cell in run.cells),
        lowered=run.lowered,
        apart=run.apart,
        definitions=definitions(bundle),
        workloads={name: name for name in run.workloads},
    )


def definitions(bundle: Bundle) -> dict[str, str]:
    """By stack, a digest of its files and what they are called."""
    folders: dict[str, dict[str, str]] = {}
    for member in bundle.members:
        kind, _, rest = member.partition("/")
        stack, _, file = rest.partition("/")
        if kind == "stacks" and stack != BASES:
            folders.setdefault(stack, {})[file] = bundle.sums[member]
    return {stack: digests.of_json(listing) for stack, listing in folders.items()}


def _made(part: Part) -> dict[str, str]:
    """What each stack was, by a digest over those that its records have; "" where nothing ran on it."""
    before = {now: name for name, now in part.asked.stacks.items()}
    found: dict[str, set[str]] = {}
    for names, digest in _ran(part):
        for name in names:
            found.setdefault(before.get(name, name), set()).add(digest)
    keys = dict.fromkeys((*part.asked.factors.get("stack", ()), *part.asked.definitions), "")
    for name, some in found.items():
        known = sorted(digest for digest in some if digest and not digest.startswith(NOT_MADE))
        keys[name] = digests.of_json(known) if known else ""
    return keys


def _ran(part: Part) -> Iterator[tuple[set[str], str]]:
    seen, facts = set(), part.bundle.facts
    for cell in part.bundle.cells():
        key = (cell.factors.get("stack"), cell.declared, cell.causes)
        if key in seen:
            continue
        seen.add(key)
        declared, causes = (mapping(facts[name]) if name in facts else {} for name in key[1:])
        if not part.was or host_of(cell, declared) == part.was:
            yield {str(name) for name in (key[0], declared.get("stack")) if name}, str(causes.get("stack", ""))


def host_of(cell: Any, declared: Mapping[str, Any]) -> str:
    """The level of `host` of a line: references have it in their record alone."""
    return str(declared.get(HOST, cell.factors.get(HOST, "")))


def _workloads(part: Part) -> dict[str, str]:
    found = {}
    for name, now in part.asked.workloads.items():
        told = mapping(part.bundle.run.workloads.get(now))
        rest = {key: value for key, value in told.items() if key != "name"}
        found[name] = str(told.get("digest") or digests.of_json(rest))
    return found
