"""Whether a level of a run is one thing: every cell under it has the cause that it stands for, whatever its record is called.

Two levels may come to the same; then equal causes were run once, under the name of either, or under one that an earlier run in the same store
had for it. No digest is over a level's name, so who swaps the levels of two lines has changed nothing that a digest covers. What gives it
away is the rest of the run: a run asks for a level once, and so has one cause for it.
"""

from __future__ import annotations

from typing import Any

from numdev import cpu
from numdev.analysis import HOST
from numdev.bundle import layout
from numdev.bundle.found import Check
from numdev.bundle.partcheck import Stacks, replaced
from numdev.spec import identity
from numdev.spec.architecture import X86
from numdev.spec.cell import EMULATED, NATIVE
from numdev.store import Record

# What tells cells apart that may show one level differently: the machine, the architecture and, of a CPU, what computes.
_Place = tuple[str, ...]


class Levels:
    """By place and level, what it came to: as lines have it, and as records declare it."""

    def __init__(self, stacks: Stacks, check: Check) -> None:
        self._stacks, self._check = stacks, check
        self._asked: dict[tuple[_Place, str], str] = {}
        self._declared: dict[tuple[_Place, str], set[str]] = {}
        self._renamed: dict[tuple[_Place, str, str, str], str] = {}
        self._told: set[Any] = set()

    def record(self, cell: layout.CellLine, record: Record, where: str) -> None:
        """A line with a record that numdev measured."""
        declared, causes = record.factors, record.causes
        machine = str(declared.get(HOST, "")), str(declared.get("architecture", X86))
        silicon = str(declared.get("silicon", NATIVE))
        if silicon not in (NATIVE, EMULATED) or silicon != cell.factors.get(
            "silicon", silicon if cell.reference else NATIVE
        ):
            self._check.wrong(where, f"silicon is {silicon!a} in what was recorded, and is not in the line")
        shown = identity.compose(declared)
        stack, table = str(causes["stack"]), str(causes["table"])
        self._declared.setdefault((("stack", *machine), str(declared.get("stack", ""))), set()).add(stack)
        self._declared.setdefault((("profile", *machine, silicon), shown), set()).add(table)
        if cell.reference:
            # It has no levels; what is computed exactly is computed by the real processor, whatever is shown.
            return
        if "stack" in cell.factors:
            own = str(declared.get("stack", ""))
            self._one(("stack", *machine), cell.factors["stack"], own, stack, where)
        levels = {key: cell.factors[key] for key in ("profile", *identity.FACTORS) if key in cell.factors}
        level = identity.compose(levels)
        if levels and not replaced(level):
            self._one(("profile", *machine, silicon), level, shown, table, where)
            if level != identity.HOST and table == cpu.HOST:
                what = f"profile is {level!a} in the line, and its programs were shown the real processor"
                self._check.wrong(where, what)

    def _one(self, place: _Place, level: str, own: str, cause: str, where: str) -> None:
        first = self._asked.setdefault((place, level), cause)
        if first != cause and (place, level, cause) not in self._told:
            self._told.add((place, level, cause))
            self._check.wrong(
                where, f"{place[0]} {level!a} is another one than in lines before: it did not come to the same"
            )
        if level != own and not replaced([level, own]):
            self._renamed.setdefault((place, level, own, cause), where)

    def rest(self) -> None:
        """What is said of lines whose records have another name, once all were seen."""
        check = self._check
        for (place, level, own, cause), where in self._renamed.items():
            known = self._declared.get((place, level))
            if known is not None and cause not in known:
                check.wrong(where, f"{place[0]} is {level!a} in the line, and {own!a} in what was recorded")
                continue
            check.note(f"{place[0]} {level!a} came to the same as {own!a}, and has its results")
            if known is None and place[0] == "profile":
                check.note(
                    f"nothing was recorded under the name of profile {level!a}: that it is the same, the bundle's author says"
                )
        self._locks()

    def _locks(self) -> None:
        """Stacks that came to the same have the same packages, from files that both locks allow."""
        groups: dict[tuple[_Place, str], list[str]] = {}
        for (place, level), cause in self._asked.items():
            if place[0] == "stack":
                groups.setdefault((place, cause), []).append(level)
        for (place, _), levels in groups.items():
            first = self._packages(levels[0], place[-1])
            for other in levels[1:]:
                second = self._packages(other, place[-1])
                if first is None or second is None:
                    continue
                alike = first.keys() == second.keys() and all(
                    first[name].version == second[name].version and set(first[name].hashes) & set(second[name].hashes)
                    for name in first
                )
                if not alike:
                    what = f"has other packages than {levels[0]}, and the same results: they cannot be one stack"
                    self._check.wrong(f"stacks/{other}/", what)

    def _packages(self, stack: str, architecture: str) -> Any:
        """Its lock; None where it has none, as a stack that is a Dockerfile."""
        return self._stacks.locked.get((stack, architecture))
