"""Whether the software that records tell of is that of definitions, locks and bills of materials.

No digest is over a pin: a cell's is over the unpacked wheels as a whole, and these are in no bundle. So pins are compared wherever they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numdev.bundle import layout
from numdev.bundle.absent import nothing_kept
from numdev.bundle.bomcheck import bill
from numdev.bundle.found import Check
from numdev.bundle.images import IMAGE_ID
from numdev.bundle.partcheck import Stacks
from numdev.bundle.reading import Bundle
from numdev.bundle.survey import mapping
from numdev.engines.protocol import stack_digest
from numdev.run.plan import NOT_MADE
from numdev.spec.architecture import X86
from numdev.spec.stack import Stack
from numdev.stacks.lock import Locked
from numdev.store import Record

_PIN = "org.numdev.pin."
# Labels that follow from a definition, by what they are called in it.
_DEFINED = ("base", "python", "backend")


@dataclass
class Ran:
    """What records say of one stack for one architecture: digests of packages, base systems and images, and of libraries that computed."""

    stack: str
    architecture: str
    sites: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    computed: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """What its files in a bundle are called."""
        return layout.software(self.stack, self.architecture)


class Software:
    """One look at each combination of facts, and one at each bill of materials once all lines were seen."""

    def __init__(self, bundle: Bundle, stacks: Stacks, check: Check) -> None:
        self._bundle, self._stacks, self._check = bundle, stacks, check
        self._ran: dict[str, Ran] = {}
        self._seen: set[tuple[Any, ...]] = set()
        # Whether a line does not say for which architecture it ran: then nobody can tell which bills there have to be.
        self._unknown = False

    def gather(self, cell: layout.CellLine) -> None:
        """What a line says of its stack, measured or not: that is what bills of materials are made of."""
        level = cell.factors.get("stack"), cell.factors.get("architecture")
        key = (cell.declared, cell.environment, cell.realised, cell.reference, level)
        if key in self._seen:
            return
        self._seen.add(key)
        facts = self._bundle.facts
        declared, environment, realised = (
            mapping(facts.get(name or "")) for name in (cell.declared, cell.environment, cell.realised)
        )
        levels = declared if cell.reference else {"architecture": X86, **declared, **cell.factors}
        if "architecture" not in levels:
            self._unknown = True
            return
        stack = str(levels.get("stack", self._bundle.run.source.get("reference") or ""))
        new = Ran(stack, str(levels["architecture"]))
        ran = self._ran.setdefault(new.name, new)
        labels = mapping(environment.get("labels"))
        for place, value in (
            (ran.sites, labels.get("org.numdev.site") or environment.get("site")),
            (ran.bases, labels.get("org.numdev.base.sha256")),
            (ran.images, environment.get("image")),
            (ran.computed, mapping(realised.get("gemm")).get("sha256")),
        ):
            if isinstance(value, str) and value:
                place.add(value)

    def record(self, cell: layout.CellLine, record: Record, where: str) -> None:
        """Pins are those of definition and lock, and the stack's digest is of them. A line's stack is the one that its run asked for."""
        check = self._check
        stack = str(cell.factors.get("stack", record.factors.get("stack", "")))
        architecture = str(record.factors.get("architecture", X86))
        declared, locked = (
            self._stacks.declared.get((stack, architecture)),
            self._stacks.locked.get((stack, architecture)),
        )
        if declared is None:
            if not nothing_kept(self._bundle):
                check.wrong(where, f"ran on the stack {stack!a}, whose definition is missing")
            return
        if str(record.causes["stack"]).startswith(NOT_MADE):
            return
        self._digest(declared, record, where)
        self._labels(declared, locked or {}, record, where)
        self._versions(locked or {}, record, where)

    def _digest(self, declared: Stack, record: Record, where: str) -> None:
        made = _site(record)
        if made:
            if stack_digest(declared, made) != record.causes["stack"]:
                what = (
                    f"its stack's digest is not that of the packages in its image and stacks/{declared.name}/stack.yaml"
                )
                self._check.wrong(where, what)
        elif record.status != "unsupported":
            self._check.note(
                "records of some cells do not say which packages they ran with, so that their stacks' digests cannot be computed"
            )

    def _labels(self, declared: Stack, locked: dict[str, Locked], record: Record, where: str) -> None:
        check, member = self._check, f"stacks/{declared.name}/"
        labels = mapping(record.environment.get("labels"))
        if labels and not self._bundle.run.hosts and labels.get("org.numdev.stack") != record.factors.get("stack"):
            # In a merged run, a stack may have another name than its image.
            what = f"its image is one of {labels.get('org.numdev.stack')!a}, and its record declares another stack"
            check.wrong(where, what)
        if declared.dockerfile is not None:
            return
        if labels and labels.get("org.numdev.reproducible") != "true":
            check.wrong(where, f"its image is not reproducible, as it says, and {member} is no Dockerfile")
        if not labels:
            return
        pins = {name.removeprefix(_PIN): version for name, version in labels.items() if name.startswith(_PIN)}
        for name, version in declared.pins.items():
            if pins.get(name, version) != version:
                check.wrong(where, f"{name} was {pins[name]!a} in its image, and is {version} in {member}")
        for name, version in pins.items():
            if name in locked and locked[name].version != version:
                check.wrong(where, f"{name} was {version!a} in its image, and {locked[name].version} in its lock")
            elif locked and name not in locked:
                check.wrong(where, f"{name} was in its image, and is not in its lock")
        if locked.keys() - pins.keys():
            check.note("records of some cells do not say the version of every package in their images")
        for key in _DEFINED:
            label = labels.get(f"org.numdev.{key}")
            if label is not None and label != getattr(declared, key):
                check.wrong(where, f"{key} was {label!a} in its image, and is {getattr(declared, key)!a} in {member}")

    def _versions(self, locked: dict[str, Locked], record: Record, where: str) -> None:
        for name, version in mapping(record.realised.get("versions")).items():
            wanted = locked[name].version if name in locked else ""
            if wanted and str(version).partition("+")[0] != wanted.partition("+")[0]:
                self._check.wrong(where, f"its process had {name} {version!a}, and its lock has {wanted}")

    def rest(self, check: Check) -> None:
        """Every stack that some line is of has its bill of materials, which says what its lock and the records say. check: takes what is not so."""
        bundle, bills = self._bundle, set()
        for name, ran in sorted(self._ran.items()):
            member = f"sbom/{name}.cdx.json"
            if layout.limit(member) is None or layout.limit(f"images/{name}.tar") is None:
                # A stack without a name that a file can have has none, and a bundle says so.
                if "sbom/" not in bundle.description.left_out:
                    check.wrong("sbom/", f"has no bill of the stack {name!a}, and nothing says why")
                continue
            bills.add(member)
            if member not in bundle.members:
                check.wrong(member, "is missing, and nothing says why")
                continue
            declared = self._stacks.declared.get((ran.stack, ran.architecture))
            locked = self._stacks.locked.get((ran.stack, ran.architecture), {})
            suite = self._stacks.suites.get(declared.base, "") if declared else ""
            told = {
                "numdev:site:sha256": ran.sites,
                "numdev:base:sha256": ran.bases,
                # Of cells that ran without an image, the bill may name one that has the same wheels.
                "numdev:image": {image for image in ran.images if IMAGE_ID.fullmatch(image)} or None,
                "numdev:base": {declared.base} if declared and suite else None,
                "numdev:base:suite": {suite} if suite else None,
            }
            with check.reading():
                bill(bundle, member, name, declared, locked, told, ran.computed, check)
        for member in bundle.members:
            if member.startswith("sbom/") and member not in bills and not self._unknown:
                check.wrong(member, "is of no stack of the run")


def _site(record: Record) -> str:
    """The digest of the packages that it ran with, as its environment has it; "" where that is not known."""
    environment = record.environment
    labels = mapping(environment.get("labels"))
    if labels.get("org.numdev.reproducible") == "true":
        found = labels.get("org.numdev.site")
    elif environment.get("reproducible") is False:
        # Of an image that Docker has built from a Dockerfile, nothing else is known.
        found = environment.get("image")
    else:
        found = environment.get("site")
    return found if isinstance(found, str) else ""
