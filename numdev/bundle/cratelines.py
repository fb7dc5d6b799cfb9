"""What an action of the crate has to say of its line, and what the things that many actions share have to say of themselves.

The names of these things are the crate's own: an action says that its stack is `#stack-1`, and `#stack-1` which stack that is. So each name is
noted with what it has to mean, the first time that an action uses it, and compared with what is said under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numdev.bundle import layout
from numdev.bundle.found import Check
from numdev.bundle.reading import Bundle
from numdev.bundle.survey import declared, mapping, parameters
from numdev.bundle.words import plain
from numdev.spec import identity
from numdev.spec.architecture import X86

# What something means: its kind, then what it has to say of itself. A text is the name of a member, which is the thing itself.
Meaning = str | tuple[Any, ...]
_KEPT = 4096


class Lines:
    """Notes what actions use, and at the end compares it with the entities."""

    def __init__(self, bundle: Bundle, check: Check) -> None:
        self._bundle, self._check = bundle, check
        self._means: dict[str, Meaning] = {}
        self._said: dict[str, Meaning] = {}
        self._known: dict[Any, tuple[list[Meaning], list[Meaning], Meaning | None]] = {}
        self._workloads: dict[str, list[Meaning]] = {}
        self._members: dict[str, list[str]] = {}
        for name in bundle.members:
            kind, _, rest = name.partition("/")
            if kind == "stacks":
                self._members.setdefault(rest.partition("/")[0], []).append(name)

    def action(self, number: int, cell: layout.CellLine, entity: Mapping[str, Any]) -> None:
        """An action of the line `number`."""
        key = (
            cell.declared,
            cell.causes,
            cell.environment,
            cell.workload,
            cell.reference,
            *sorted(cell.factors.items()),
        )
        if key not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = self._of(cell)
        instruments, objects, image = self._known[key]
        self._uses(number, entity, "instrument", instruments)
        self._uses(number, entity, "object", objects)
        self._uses(number, entity, "containerImage", [image] if image else [])
        wrong = "" if cell.status == "ok" else plain(f"{cell.status}: {cell.reason}" if cell.reason else cell.status)
        if entity.get("error", "") != wrong:
            self._wrong(f"the error of #cell-{number} is not what line {number} of {layout.CELLS} has")
        run = "reference" if cell.reference else f"run {cell.replicate}"
        if entity.get("name") != plain(f"{cell.workload}, {run}"):
            self._wrong(f"#cell-{number} has another name than line {number} of {layout.CELLS} gives")

    def _wrong(self, what: str) -> None:
        self._check.wrong(layout.CRATE, what)

    def _uses(self, number: int, entity: Mapping[str, Any], key: str, wanted: list[Meaning]) -> None:
        """The references under `key` are to these things, in this order."""
        names = refs(entity.get(key))
        if len(names) != len(wanted):
            self._wrong(f"the {key} of #cell-{number} is not what line {number} of {layout.CELLS} has")
            return
        for name, meaning in zip(names, wanted, strict=True):
            known = name if isinstance(meaning, str) else self._means.setdefault(name, meaning)
            if known != meaning:
                self._wrong(f"{name[:60]!a} is not what #cell-{number} has as its {key}")

    def _of(self, cell: layout.CellLine) -> tuple[list[Meaning], list[Meaning], Meaning | None]:
        """Instruments, objects and image of a line."""
        bundle = self._bundle
        # It looks at facts and the run alone, which both have.
        levels = declared(bundle, cell)  # type: ignore[arg-type]
        environment = mapping(bundle.facts.get(cell.environment or ""))
        causes = mapping(bundle.facts.get(cell.causes or ""))
        stack, architecture = str(levels["stack"]), str(levels["architecture"])
        if cell.reference and "architecture" not in mapping(bundle.facts.get(cell.declared or "")):
            # By default it was that of the machine which made the bundle.
            architecture = ""
        table, platform = str(causes.get("table", "")), str(causes.get("platform", ""))
        settings: list[Meaning] = [
            ("PropertyValue", plain(key, 100), plain(level, 100)) for key, level in parameters(levels).items()
        ]
        image = environment.get("image")
        return (
            [self._stack(stack, architecture), self._cpu(identity.compose(levels), table, platform)],
            [*self._workload(cell.workload), *settings],
            # Two stacks may have come to one image, which is called by the name of either.
            ("ContainerImage", "", plain(image.removeprefix("sha256:"))) if isinstance(image, str) and image else None,
        )

    def _stack(self, stack: str, architecture: str) -> Meaning:
        name = layout.software(stack, architecture or X86)
        bill = f"sbom/{name}.cdx.json"
        bills = (bill,) if bill in self._bundle.members else ()
        called = f"stack {plain(stack)} for {plain(architecture)}" if architecture else ""
        # Its version are its images, of which the bill of materials says more.
        return "stack", called, tuple(sorted(self._members.get(stack, ()))), bills

    def _cpu(self, profile: str, table: str, platform: str) -> Meaning:
        files = (f"tables/{table}.txt", f"platforms/{platform}.json")
        based = tuple(name for name in files if name in self._bundle.members)
        version = plain(f"table {table or 'unknown'}, platform {platform or 'unknown'}")
        return "CPU", f"CPU profile {plain(profile, 100)}", based, version

    def _workload(self, workload: str) -> list[Meaning]:
        if workload not in self._workloads:
            self._workloads[workload] = list(self._made_of(workload))
        return self._workloads[workload]

    def _made_of(self, workload: str) -> Iterator[Meaning]:
        told = mapping(self._bundle.run.workloads.get(workload))
        models = {f"model.{format}": sha256 for format, sha256 in sorted(mapping(told.get("formats")).items())}
        models |= {f"files/{sha256}": sha256 for sha256 in sorted(map(str, mapping(told.get("files")).values()))}
        found = [self._material(workload, name, str(sha256)) for name, sha256 in models.items()]
        if len(found) > 1:
            yield (
                "Collection",
                plain(f"{workload}: its model in {len(found)} files, of which a stack reads those that it can"),
                tuple(found),
            )
        yield from found if len(found) == 1 else ()
        if told.get("inputs"):
            yield self._material(workload, "inputs.npz", str(told["inputs"]))
        elif not found:
            yield "CreativeWork", plain(f"{workload}: a program"), ""

    def _material(self, workload: str, name: str, sha256: str) -> Meaning:
        member = f"workloads/{workload}/{name}"
        if member in self._bundle.members:
            return member
        return "CreativeWork", plain(f"{workload}: {name}"), f"sha256:{plain(sha256, 80)}"

    def said(self, name: str, kinds: list[str], entity: Mapping[str, Any]) -> None:
        """What an entity says that may be one of the things which actions use."""
        called = str(entity.get("name", ""))
        if "SoftwareApplication" in kinds:
            based = tuple(refs(entity.get("isBasedOn")))
            version = str(entity.get("softwareVersion", "")) if called.startswith("CPU ") else ""
            about = tuple(refs(entity.get("subjectOf")))
            self._said[name] = ("CPU", called, based, version) if version else ("stack", called, based, about)
        elif "ContainerImage" in kinds:
            self._said[name] = ("ContainerImage", called, str(entity.get("sha256", "")))
        elif "PropertyValue" in kinds:
            self._said[name] = ("PropertyValue", called, str(entity.get("value", "")))
        elif "Collection" in kinds:
            self._said[name] = ("Collection", called, tuple(refs(entity.get("hasPart"))))
        elif "CreativeWork" in kinds:
            self._said[name] = ("CreativeWork", called, str(entity.get("identifier", "")))

    def rest(self) -> None:
        """Everything that an action uses is what it has to be."""
        for name, meaning in self._means.items():
            if not self._agrees(meaning, name):
                self._wrong(f"{name[:60]!a} does not say what it has to be for its actions: {_short(meaning)}")

    def _agrees(self, meaning: Meaning, name: str) -> bool:
        if isinstance(meaning, str):
            return meaning == name
        said = self._said.get(name)
        if said is None or said[0] != meaning[0] or meaning[1] not in ("", said[1]):
            return False
        if meaning[0] != "Collection":
            return said[2:] == meaning[2:]
        inner, names = meaning[2], said[2]
        return len(inner) == len(names) and all(self._agrees(*pair) for pair in zip(inner, names, strict=True))


def _short(meaning: Meaning) -> str:
    return meaning if isinstance(meaning, str) else str(meaning[1] or meaning[0])


def refs(value: Any) -> list[str]:
    """The @ids of a reference, or of a list of them."""
    values = value if isinstance(value, list) else [value]
    return [one["@id"] for one in values if isinstance(one, dict) and isinstance(one.get("@id"), str)]


def all_refs(entity: Mapping[str, Any]) -> Iterator[str]:
    """All that an entity refers to."""
    for value in entity.values():
        yield from refs(value)
