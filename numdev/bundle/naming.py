"""What stacks and workloads of several bundles are called together: one name for what is the same, and never one for what is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from numdev import digests
from numdev.bundle.reading import Bundle
from numdev.bundle.survey import mapping
from numdev.errors import InvalidInput, Problem
from numdev.spec.stack import BASES

_LONGEST = 55
_NOT_MADE = "not made"


class Names:
    """stacks, workloads: by bundle (its `id`), the new names of those that have one. notes: which, and why.

    folders: the bundle whose definition of a stack is taken, by the stack's new name. bases: the same of base systems.
    """

    def __init__(self, bundles: Sequence[Bundle], called: Mapping[int, str]) -> None:
        self.notes: list[str] = []
        self._bundles, self._called = bundles, called
        self._made = {id(bundle): _made(bundle) for bundle in bundles}
        self.stacks = self._names("stack", self._made)
        self.workloads = self._names("workload", {id(bundle): _workloads(bundle) for bundle in bundles})
        self.folders = self._folders()
        self.bases = self._bases()

    def _names(self, what: str, keys: Mapping[int, Mapping[str, str]]) -> dict[int, dict[str, str]]:
        """New names for those that one name means several of; a key of "" is not known to be another one."""
        meant: dict[str, dict[str, list[int]]] = {}
        for bundle, some in keys.items():
            for name, key in some.items():
                meant.setdefault(name, {}).setdefault(key, []).append(bundle)
        found: dict[int, dict[str, str]] = {id(bundle): {} for bundle in self._bundles}
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
                    raise InvalidInput("The bundles cannot be merged.", [Problem(what, what_)])
                for bundle in some:
                    found[bundle][name] = new
                said.append(f"{new} on {', '.join(sorted(self._called[bundle] for bundle in some))}")
            of = "another model or other inputs" if what == "workload" else "other packages"
            self.notes.append(f"The {what} {name} is {of} on some hosts, and kept apart: {'; '.join(said)}.")
        return found

    def _folders(self) -> dict[str, Bundle]:
        """Of definitions that are written otherwise and come to the same, one whole: the smallest by its digest."""
        found: dict[str, dict[str, Bundle]] = {}
        for bundle in self._bundles:
            folders: dict[str, dict[str, str]] = {}
            for member in bundle.members:
                kind, _, rest = member.partition("/")
                stack, _, file = rest.partition("/")
                if kind == "stacks" and stack != BASES:
                    folders.setdefault(stack, {})[file] = bundle.sums[member]
            for stack, listing in folders.items():
                new = self.stacks[id(bundle)].get(stack, stack)
                # What nothing ran on tells the least.
                rank = "0" if self._made[id(bundle)].get(stack) else "1"
                found.setdefault(new, {}).setdefault(rank + digests.of_json(listing), bundle)
        for name, some in sorted(found.items()):
            if len(some) > 1:
                kept = self._called[id(some[min(some)])]
                self.notes.append(
                    f"The stack {name} is written otherwise on some hosts: the definition of {kept} is kept."
                )
        return {name: some[min(some)] for name, some in found.items()}

    def _bases(self) -> dict[str, Bundle]:
        found: dict[str, Bundle] = {}
        problems = []
        for bundle in self._bundles:
            for member in bundle.members:
                if member.startswith(f"stacks/{BASES}/"):
                    first = found.setdefault(member, bundle)
                    if first.sums[member] != bundle.sums[member]:
                        where = f"{first.where} and {bundle.where}"
                        problems.append(Problem(f"{where}: {member}", "the base system is another one in each"))
        if problems:
            raise InvalidInput("The bundles cannot be merged.", problems)
        return found


def _made(bundle: Bundle) -> dict[str, str]:
    """What each stack was, by a digest over those that its records have; "" where nothing ran on it."""
    found: dict[str, set[str]] = {}
    for names, digest in _ran(bundle):
        for name in names:
            found.setdefault(name, set()).add(digest)
    keys = dict.fromkeys(bundle.run.factors.get("stack", ()), "")
    for name, some in found.items():
        known = sorted(digest for digest in some if digest and not digest.startswith(_NOT_MADE))
        keys[name] = digests.of_json(known) if known else ""
    return keys


def _ran(bundle: Bundle) -> Iterator[tuple[set[str], str]]:
    seen = set()
    for cell in bundle.cells():
        key = (cell.factors.get("stack"), cell.declared, cell.causes)
        if key in seen:
            continue
        seen.add(key)
        declared, causes = (mapping(bundle.facts[name]) if name in bundle.facts else {} for name in key[1:])
        yield {str(name) for name in (key[0], declared.get("stack")) if name}, str(causes.get("stack", ""))


def _workloads(bundle: Bundle) -> dict[str, str]:
    return {
        name: str(mapping(told).get("digest") or digests.of_json(told)) for name, told in bundle.run.workloads.items()
    }
