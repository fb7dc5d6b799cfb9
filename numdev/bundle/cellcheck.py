"""Whether the lines of cells.jsonl are what they are called by, and fit to facts, outputs and everything else in a bundle.

A cell's digest is over its causes and factors: who changes one of them and writes a new manifest has another cell, and is told so.
"""

from __future__ import annotations

import hashlib
from typing import Any

from numdev import cpu, digests
from numdev.analysis import HOST
from numdev.bundle import celldigests, layout
from numdev.bundle.found import Check, some
from numdev.bundle.partcheck import processor, replaced
from numdev.bundle.reading import Bundle
from numdev.bundle.records import Records
from numdev.cpu import Host
from numdev.engines.protocol import stack_digest
from numdev.errors import InvalidInput, StoreFailed
from numdev.spec import identity
from numdev.spec.architecture import X86
from numdev.spec.cell import DEFAULTS
from numdev.spec.stack import Stack
from numdev.stacks.lock import Locked
from numdev.store import Record

_SHOWN = frozenset(("stack", "profile", *identity.FACTORS))
_PIN = "org.numdev.pin."
_NUMBERS = "biufc"


class Cells:
    """One look at every line. What many lines have in common is looked at once."""

    def __init__(
        self, bundle: Bundle, stacks: dict[tuple[str, str], Stack], locked: dict[tuple[str, str], dict[str, Locked]]
    ) -> None:
        self.check = Check("cells")
        self._bundle, self._stacks, self._locked = bundle, stacks, locked
        self._records = Records(bundle.facts, bundle.where)
        self._seen: dict[bytes, bytes] = {}
        self._asked: set[bytes] = set()
        self._outputs: set[str] = set()
        self._tensors: set[tuple[str, str, tuple[int, ...]]] = set()
        self._facts: set[str] = set()
        self._looked: set[tuple[Any, ...]] = set()
        self._hosts: dict[str, Host | None] = {}

    def all(self) -> Check:
        check, bundle = self.check, self._bundle
        count = ran = 0
        for _, cell in bundle.placed():
            count += 1
            ran += cell.status != "missing"
            where = f"{layout.CELLS}:{count}"
            self._asked_for(cell, where)
            self._same(cell, where)
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
        unknown = set(cell.factors) - set(run.factors)
        if unknown or (not cell.reference and len(cell.factors) != len(run.factors)):
            check.wrong(where, f"does not have the factors of the run ({', '.join(sorted(run.factors))})")
        for key, level in cell.factors.items():
            if not cell.reference and level not in run.factors.get(key, [level]):
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
        if cell.causes and cell.declared and replaced(declared):
            check.note("words were replaced in the factors of some cells, so that their digests cannot be computed")
        elif cell.digest not in self._digests(cell, record):
            check.wrong(where, f"its digest {cell.digest[:12]} is not that of its causes, factors and replicate")
        for key, level in cell.factors.items():
            own = str(declared.get(key, X86 if key == "architecture" else DEFAULTS.get(key, "")))
            if level == own or replaced(level):
                continue
            if key not in _SHOWN:
                check.wrong(where, f"{key} is {level!a} in the line, and {own!a} in what was recorded")
            else:
                self._renamed(cell, record, key, own, where)
        told = self._bundle.run.workloads.get(cell.workload)
        if isinstance(told, dict) and told.get("digest") and told["digest"] != causes["workload"]:
            check.wrong(where, f"ran another {cell.workload!a} than the run describes")
        key = (cell.causes, cell.environment, declared.get("stack"), declared.get("architecture"))
        if key not in self._looked:
            self._looked.add(key)
            self._shown(record, where)
            self._platform(record, where)
            self._software(record, where)

    def _renamed(self, cell: layout.CellLine, record: Record, key: str, own: str, where: str) -> None:
        """Two levels may come to the same: then equal causes were run once, under the name of either."""
        if key == "stack":
            site = _site(record)
            stack = self._stacks.get((cell.factors[key], str(record.factors.get("architecture", X86))))
            same = stack is not None and (not site or stack_digest(stack, site) == record.causes["stack"])
        else:
            same = own in self._bundle.run.factors.get(key, []) or record.causes["table"] == cpu.HOST
            same = same and identity.compose(cell.factors) != identity.HOST
        if same:
            self.check.note(f"{key} {cell.factors[key]!a} came to the same as {own!a}, and has its results")
        else:
            self.check.wrong(where, f"{key} is {cell.factors[key]!a} in the line, and {own!a} in what was recorded")

    def _digests(self, cell: layout.CellLine, record: Record) -> set[str]:
        """What the cell may be called. In a merged run, each host has cells of its own matrix."""
        run = self._bundle.run
        host = run.hosts.get(str(record.factors.get(HOST, "")))
        source = host.source if host and host.source else run.source
        return {celldigests.digest(record, rounds, tap) for rounds, tap in celldigests.possible(record, source)}

    def _shown(self, record: Record, where: str) -> None:
        """The CPUID table that its programs were shown is there."""
        bundle, table = self._bundle, str(record.causes["table"])
        told = record.environment.get("profile")
        rung = told.get("rung") if isinstance(told, dict) else None
        member = f"tables/{table}.txt"
        if table == cpu.HOST or member in bundle.members or layout.limit(member) is None:
            return
        if rung in (cpu.CPUID, cpu.REWRITE):
            if {member, "stacks/"} & set(bundle.description.left_out):
                self.check.note("CPUID tables that programs were shown were not kept, so they are not in it")
            else:
                self.check.wrong(member, f"is missing: {where} was shown it")

    def _platform(self, record: Record, where: str) -> None:
        """The processor that its record tells is the one whose capture is there."""
        bundle, host = self._bundle, self._bundle.run.hosts.get(str(record.factors.get(HOST, "")))
        # Of one kind of processor, each host of a merged run has a capture of its own.
        member = host.capture if host and host.capture else f"platforms/{record.causes['platform']}.json"
        if member not in bundle.members:
            self.check.note("no capture of the processor of some cells is in it: only what their records say of it")
            return
        if member not in self._hosts:
            try:
                self._hosts[member] = processor(bundle, member)
            except InvalidInput:
                # That is said where captures are looked at.
                self._hosts[member] = None
        real, told = self._hosts[member], record.environment.get("platform")
        if real is None or not isinstance(told, dict):
            return
        facts = real.facts()
        for key in sorted(told.keys() & facts.keys()):
            if told[key] != facts[key] and not replaced(told[key]):
                self.check.wrong(where, f"{key} of its processor is not as in {member}")

    def _software(self, record: Record, where: str) -> None:
        """Pins are those of definition and lock, and the stack's digest is of them."""
        stack, architecture = str(record.factors.get("stack", "")), str(record.factors.get("architecture", X86))
        declared, locked = self._stacks.get((stack, architecture)), self._locked.get((stack, architecture), {})
        if declared is None:
            if self._stacks:
                self.check.wrong(where, f"ran on the stack {stack!a}, whose definition is missing")
            return
        member = f"stacks/{stack}/"
        labels = record.environment.get("labels")
        labels = labels if isinstance(labels, dict) else {}
        for name, version in declared.pins.items():
            if labels and labels.get(_PIN + name, version) != version:
                self.check.wrong(
                    where, f"{name} was {labels[_PIN + name]!a} in its image, and is {version} in {member}"
                )
        for label, version in labels.items():
            name = label.removeprefix(_PIN)
            if label.startswith(_PIN) and name in locked and locked[name].version != version:
                self.check.wrong(where, f"{name} was {version!a} in its image, and {locked[name].version} in its lock")
        site = _site(record)
        if site and stack_digest(declared, site) != record.causes["stack"]:
            self.check.wrong(
                where, f"its stack's digest is not that of the packages in its image and {member}stack.yaml"
            )
        versions = record.realised.get("versions")
        for name, version in (versions if isinstance(versions, dict) else {}).items():
            wanted = locked[name].version if name in locked else ""
            if wanted and str(version).partition("+")[0] != wanted.partition("+")[0]:
                self.check.wrong(where, f"its process had {name} {version!a}, and its lock has {wanted}")

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
        # bfloat16 has no type of numpy's.
        if array.dtype.name != dtype and array.dtype.kind in _NUMBERS and dtype != "bfloat16":
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


_FACTS = ("signature", "declared", "causes", "environment", "realised", "rounds", "tap")


def _site(record: Record) -> str:
    """The digest of the packages that it ran with, as its environment has it; "" where that is not known."""
    labels = record.environment.get("labels")
    if isinstance(labels, dict) and labels.get("org.numdev.reproducible") == "true":
        found = labels.get("org.numdev.site")
    else:
        found = record.environment.get("site")
    return found if isinstance(found, str) else ""
