"""Whether the lines of cells.jsonl are what they are called by, and fit to facts, outputs and everything else in a bundle.

A cell's digest is over its causes and factors: who changes one of them and writes a new manifest has another cell, and is told so. What no
digest is over (levels.py, showncheck.py, softcheck.py) is compared wherever else it stands.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from numdev import digests
from numdev.analysis import HOST
from numdev.bundle import layout
from numdev.bundle.absent import excused
from numdev.bundle.found import Check, some
from numdev.bundle.levels import Levels
from numdev.bundle.partcheck import Stacks, Told, processor, replaced
from numdev.bundle.reading import Bundle
from numdev.bundle.records import Records
from numdev.bundle.showncheck import Shown
from numdev.bundle.softcheck import Software
from numdev.errors import InvalidInput, StoreFailed
from numdev.run import celldigests
from numdev.spec.architecture import X86
from numdev.spec.cell import COVERED, DEFAULTS, OPTION
from numdev.store import Record

# Levels of these may be called otherwise in a record, see levels.py.
_CAPTURE = re.compile(r"(?:platforms|profiles)/[0-9a-f]{64}\.json")


class Cells:
    """One look at every line. What many lines have in common is looked at once."""

    def __init__(self, bundle: Bundle, stacks: Stacks, tables: Mapping[str, Told]) -> None:
        self.check = Check("cells")
        self.software = Software(bundle, stacks, self.check)
        self._bundle = bundle
        self._records = Records(bundle.facts, bundle.where)
        self._levels, self._shown = Levels(stacks, self.check), Shown(bundle, tables, self.check)
        # A run may have many lines and many levels.
        self._known = {key: frozenset(levels) for key, levels in bundle.run.factors.items()}
        self._seen: dict[bytes, bytes] = {}
        self._asked: set[bytes] = set()
        self._outputs: set[str] = set()
        self._tensors: set[tuple[str, str, tuple[int, ...]]] = set()
        self._facts: set[str] = set()
        self._looked: set[tuple[Any, ...]] = set()
        self._hosts: dict[str, tuple[str, dict[str, Any]]] = {}

    def all(self) -> Check:
        check, bundle = self.check, self._bundle
        count = ran = 0
        for _, cell in bundle.placed():
            count += 1
            ran += cell.status != "missing"
            where = f"{layout.CELLS}:{count}"
            self._asked_for(cell, where)
            self._same(cell, where)
            self.software.gather(cell)
            if cell.status == "missing":
                if cell.outputs or cell.causes or cell.realised:
                    check.wrong(where, "is said to have never run, and has results")
                continue
            try:
                record = self._records.of(cell)
            except InvalidInput as error:
                for problem in error.problems:
                    check.wrong(where, problem.what)
                continue
            self._facts.update(filter(None, (getattr(cell, key) for key in _FACTS)))
            if cell.status not in ("ok", "unrealised") and cell.outputs:
                check.wrong(where, f"has outputs, and the status {cell.status!a}")
            self._causes(cell, record, where)
            self._arrays(record, where)
        if not count:
            check.wrong(layout.CELLS, "has no cell")
        self._records.forget()
        self._levels.rest()
        self._rest()
        outputs, facts = some(len(self._outputs), "output"), some(len(bundle.facts), "fact")
        check.what = f"{some(count, 'line')}, {ran:,} of them with a result, {outputs}, {facts}"
        return check

    def _asked_for(self, cell: layout.CellLine, where: str) -> None:
        """The line is one that the run asks for, once."""
        run, check = self._bundle.run, self.check
        key = digests.canonical([cell.workload, cell.factors, cell.replicate, cell.reference])
        name = hashlib.sha256(key).digest()
        if name in self._asked:
            check.wrong(where, "asks for the same replicate of the same cell as a line before")
        self._asked.add(name)
        if cell.workload not in run.workloads:
            check.wrong(where, f"is of {cell.workload!a}, which is no workload of the run")
        unknown = cell.factors.keys() - run.factors.keys()
        # Results that were imported may have few factors in common, as those of processors and of GPUs.
        whole = cell.reference or len(cell.factors) == len(run.factors) or not (run.source or run.hosts)
        if unknown or not whole:
            check.wrong(where, f"does not have the factors of the run ({', '.join(sorted(run.factors))})")
        for key, level in cell.factors.items():
            if not cell.reference and key in self._known and level not in self._known[key]:
                check.wrong(where, f"{level!a} is no level of {key} in the run")

    def _same(self, cell: layout.CellLine, where: str) -> None:
        """Lines with one digest are of one record."""
        said = cell.model_dump(mode="json", exclude={"workload", "factors", "reference"})
        name = hashlib.sha256(digests.canonical(said)).digest()
        if self._seen.setdefault(bytes.fromhex(cell.digest), name) != name:
            check = "is the cell of a line before, by its digest, and says other things of it"
            self.check.wrong(where, check)

    def _causes(self, cell: layout.CellLine, record: Record, where: str) -> None:
        """The digest follows from the causes, and the causes are those of what is in the bundle."""
        check, causes, declared = self.check, record.causes, dict(record.factors)
        if not celldigests.vouched(record):
            check.note("cells that no numdev measured have no digest to compute again: they are as they were imported")
            return
        # What stands in a level of anything else cannot name a machine, or is not in the digest.
        if replaced({key: level for key, level in declared.items() if OPTION.fullmatch(key)}):
            check.note("words were replaced in the factors of some cells, so that their digests cannot be computed")
        elif cell.digest not in self._digests(cell, record):
            check.wrong(where, f"its digest {cell.digest[:12]} is not that of its causes, factors and replicate")
        for key, level in cell.factors.items():
            own = str(declared.get(key, X86 if key == "architecture" else DEFAULTS.get(key, "")))
            if level != own and key not in COVERED and not replaced(level):
                check.wrong(where, f"{key} is {level!a} in the line, and {own!a} in what was recorded")
        told = self._bundle.run.workloads.get(cell.workload)
        if isinstance(told, dict) and told.get("digest") and told["digest"] != causes["workload"]:
            check.wrong(where, f"ran another {cell.workload!a} than the run describes")
        self._levels.record(cell, record, where)
        self._shown.record(cell, record, where)
        key = (cell.causes, cell.environment, cell.realised, cell.declared, cell.factors.get("stack"))
        if key not in self._looked:
            self._looked.add(key)
            self._declared(cell, record, where)
            self._platform(record, where)
            self.software.record(cell, record, where)

    def _digests(self, cell: layout.CellLine, record: Record) -> set[str]:
        """What the cell may be called. In a merged run, each host has cells of its own matrix."""
        run = self._bundle.run
        source = run.asked_by(run.host_of(record))
        return {celldigests.digest(record, rounds, tap) for rounds, tap in celldigests.possible(record, source)}

    def _declared(self, cell: layout.CellLine, record: Record, where: str) -> None:
        """What is declared are factors that a matrix can have; options that are set are those of the line."""
        for key in record.factors:
            option = OPTION.fullmatch(key)
            if not option and key not in DEFAULTS and key not in ("stack", HOST):
                self.check.wrong(where, f"{key[:60]!a} was recorded, which is no factor that a matrix has")
            elif option and not cell.reference and key not in cell.factors:
                self.check.wrong(where, f"{key[:60]!a} was recorded, and is not in the line")
        engine, said = record.environment.get("engine"), self._bundle.run.engine.get("engine")
        if isinstance(engine, str) and isinstance(said, str) and engine != said and not self._bundle.run.hosts:
            what = f"some cells ran on the engine {engine!a}, and the run says {said!a}: they were there before, or one is wrong"
            self.check.note(what)

    def _platform(self, record: Record, where: str) -> None:
        """The processor that its record tells is the one whose capture is there."""
        bundle, host = self._bundle, self._bundle.run.host_of(record)
        told = record.environment.get("platform")
        # Of one kind of processor, each host of a merged run has a capture of its own.
        member = host.capture if host and host.capture else f"platforms/{record.causes['platform']}.json"
        if not _CAPTURE.fullmatch(member):
            self.check.wrong(where, f"{member[:80]!a} is no capture of a processor")
            return
        if member not in bundle.members:
            # What a merged run was made of may have lacked one.
            if host or excused(bundle, member) or _uncaptured(told, record.causes["platform"]):
                self.check.note("no capture of the processor of some cells is in it: only what their records say of it")
            else:
                self.check.wrong(member, "is missing, and nothing says why: cells ran on it")
            return
        if member not in self._hosts:
            try:
                real = processor(bundle, member)
                self._hosts[member] = real.digest, real.facts()
            except InvalidInput:
                # That is said where captures are looked at.
                self._hosts[member] = "", {}
        digest, facts = self._hosts[member]
        if not digest or not isinstance(told, dict):
            return
        if digest != record.causes["platform"]:
            self.check.wrong(where, f"its processor is not the one that {member} is of")
        for key in sorted(told.keys() & facts.keys()):
            if told[key] != facts[key] and not replaced(told[key]):
                self.check.wrong(where, f"{key} of its processor is not as in {member}")

    def _arrays(self, record: Record, where: str) -> None:
        """Every output is there, and is of the type and shape that the line says."""
        for output in record.outputs:
            self._array(output.tensor, output.dtype, tuple(output.shape), where)
        for layer in record.tap.layers if record.tap else ():
            if layer.sample:
                self._array(layer.sample, layer.dtype, None, where)

    def _array(self, tensor: str, dtype: str, shape: tuple[int, ...] | None, where: str) -> None:
        self._outputs.add(tensor)
        key = (tensor, dtype, shape or ())
        if key in self._tensors:
            return
        self._tensors.add(key)
        try:
            array = self._bundle.array(tensor)
        except StoreFailed as error:
            self.check.wrong(where, f"{error.what} {error.why}")
            return
        if array.dtype.name != dtype:
            self.check.wrong(where, f"outputs/{tensor}.npy is of {array.dtype.name}, not {dtype!a} as the line says")
        if shape is not None and array.shape != shape:
            self.check.wrong(where, f"outputs/{tensor}.npy has the shape {array.shape}, not {shape} as the line says")

    def _rest(self) -> None:
        """Nothing is in the bundle that no cell names."""
        for name in self._bundle.members:
            if name.startswith("outputs/") and name[8:72] not in self._outputs:
                self.check.wrong(name, "is an output of no cell")
        for fact, value in self._bundle.facts.items():
            if digests.of_json(value)[:16] != fact:
                self.check.wrong(layout.FACTS, f"the fact {fact} is not the one that it is called by")
            if fact not in self._facts:
                self.check.wrong(layout.FACTS, f"the fact {fact} is of no cell")


def _uncaptured(told: Any, platform: Any) -> bool:
    """Whether a processor is none that can be captured, as all are that are no x86-64 ones: then its digest is over what the record says."""
    if not isinstance(told, dict) or told.get("architecture", X86) == X86:
        return False
    facts = {key: value for key, value in told.items() if key != "brand"}
    return replaced(facts) or digests.of_json({**facts, "caches": []}) == platform


_FACTS = ("signature", "declared", "causes", "environment", "realised", "rounds", "tap")
