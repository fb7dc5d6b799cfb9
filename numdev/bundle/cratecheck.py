"""The crate against its profiles and against the rest of the bundle: read an entity a line, as it was written.

RO-Crate 1.1 asks for the descriptor and a root with name, description, date and licence whose parts are all files; Process Run Crate for an
action for each execution, with its instrument, and its result where there is one. What it says has to be what cells.jsonl says: who reads
the crate alone must not be told other causes than who reads the cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numdev.bundle import layout, strict
from numdev.bundle.cratelines import Lines, all_refs, refs
from numdev.bundle.found import Check, some
from numdev.bundle.reading import Bundle

_OPENS, _CLOSES = b'"@graph":[', b"]}"
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROCESS = "https://w3id.org/ro/wfrun/process/"
_COMPLETED, _FAILED = "http://schema.org/CompletedActionStatus", "http://schema.org/FailedActionStatus"
# Of one entity, in bytes and values, beside what is allowed for each file and each line: the root names every file and every action.
_LONGEST, _PARTS = 1 << 20, 20_000
_A_NAME, _A_LINE, _A_PART = 20, 64, 4
_ROOT = ("name", "description", "datePublished", "license", "hasPart")
_ACTION = ("name", "instrument")


def crate(bundle: Bundle, needed: bool) -> Check:
    """needed: whether a bundle without one lacks something."""
    check = Check("crate")
    if layout.CRATE not in bundle.members:
        if needed:
            check.wrong(layout.CRATE, "is missing")
        else:
            check.note(f"{layout.CRATE} is not in it, so nothing was checked against its profile")
        return check
    for name in layout.PAPERS:
        if name not in bundle.members:
            check.wrong(name, "is missing: every bundle has it")
    with check.reading():
        _Checked(bundle, check).all()
    return check


class _Checked:
    def __init__(self, bundle: Bundle, check: Check) -> None:
        self._bundle, self._check = bundle, check
        self._ids: set[str] = set()
        self._referred: set[str] = set()
        self._files: set[str] = set()
        self._results: dict[str, tuple[str, ...]] = {}
        self._collections: dict[str, tuple[str, ...]] = {}
        self._cells = self._ran()
        self._lines = Lines(bundle, check)
        self._actions = 0

    def all(self) -> None:
        check = self._check
        found = set()
        for entity in self._entities():
            name, kinds = entity.get("@id"), _list(entity.get("@type"))
            if not isinstance(name, str) or not kinds:
                check.wrong(layout.CRATE, f"an entity has no @id or no @type: {str(name)[:60]!a}")
                continue
            if name in self._ids:
                # It is looked at once: what is said of the root may take a look at every file.
                check.wrong(layout.CRATE, f"{name[:100]!a} stands twice")
                continue
            self._ids.add(name)
            if name == layout.CRATE:
                found.add(name)
                self._descriptor(entity)
            elif name == "./":
                found.add(name)
                self._root(entity)
            elif "CreateAction" in kinds:
                self._action(name, entity)
            elif "File" in kinds:
                self._file(name, entity)
            else:
                if "Collection" in kinds:
                    self._collections[name] = tuple(refs(entity.get("hasPart")))
                self._lines.said(name, kinds, entity)
            self._referred.update(all_refs(entity))
        for name in sorted({layout.CRATE, "./"} - found):
            check.wrong(layout.CRATE, f"has no entity {name}")
        self._rest()
        check.what = (
            f"RO-Crate 1.1 with Process Run Crate: {some(self._actions, 'action')}, {some(len(self._files), 'file')}"
        )

    def _entities(self) -> Iterator[dict[str, Any]]:
        """Every entity; who wrote the crate wrote each on a line."""
        bundle, first, last = self._bundle, True, b""
        many = len(bundle.members) + len(bundle.run.cells)
        names = sum(len(name) + _A_NAME for name in bundle.members)
        for begin, line in bundle.raw(layout.CRATE, _LONGEST + names + _A_LINE * many):
            where = f"{bundle.where}: {layout.CRATE}: byte {begin}"
            if last == _CLOSES:
                raise bundle.wrong(layout.CRATE, "goes on after its end")
            last = line
            if first:
                if not line.endswith(_OPENS):
                    raise bundle.wrong(
                        layout.CRATE, "does not begin as a bundle's crate does: a line of context, then one an entity"
                    )
                context = strict.parsed(line + _CLOSES, where).get("@context")
                if f"{_CRATE}/context" not in _list(context):
                    self._check.wrong(layout.CRATE, f"its @context is not {_CRATE}/context")
                first = False
            elif line != _CLOSES:
                yield strict.parsed(line.removesuffix(b","), where, _PARTS + _A_PART * many)
        if last != _CLOSES:
            raise bundle.wrong(layout.CRATE, "does not end as a bundle's crate does")

    def _descriptor(self, entity: dict[str, Any]) -> None:
        if refs(entity.get("about")) != ["./"]:
            self._check.wrong(layout.CRATE, "its descriptor is not about ./")
        if _CRATE not in refs(entity.get("conformsTo")):
            self._check.wrong(layout.CRATE, f"its descriptor does not conform to {_CRATE}")

    def _root(self, entity: dict[str, Any]) -> None:
        check, bundle = self._check, self._bundle
        for key in _ROOT:
            if not entity.get(key):
                check.wrong(layout.CRATE, f"the root has no {key}")
        if "Dataset" not in _list(entity.get("@type")):
            check.wrong(layout.CRATE, "the root is no Dataset")
        if not any(one.startswith(_PROCESS) for one in refs(entity.get("conformsTo"))):
            check.wrong(layout.CRATE, "the root does not conform to Process Run Crate")
        if entity.get("datePublished") != bundle.description.date:
            check.wrong(layout.CRATE, f"its date is not that of {layout.DESCRIPTION}")
        parts = refs(entity.get("hasPart"))
        for name in sorted(set(parts) - set(bundle.members)):
            check.wrong(layout.CRATE, f"has the part {name[:120]!a}, which is not there")
        for name in sorted(set(bundle.members) - set(parts) - {layout.CRATE}):
            check.wrong(layout.CRATE, f"does not have {name} as a part")

    def _file(self, name: str, entity: dict[str, Any]) -> None:
        check, bundle = self._check, self._bundle
        self._files.add(name)
        if name not in bundle.members:
            check.wrong(layout.CRATE, f"tells of {name[:120]!a}, which is not there")
            return
        if name == layout.SUMS:
            return
        size, sha256 = entity.get("contentSize"), entity.get("sha256")
        if size != str(bundle.members[name].size):
            check.wrong(
                layout.CRATE, f"says that {name} has {str(size)[:20]!a} bytes: it has {bundle.members[name].size}"
            )
        # What is called by its digest need not say it again.
        if sha256 != bundle.sums[name] and not (sha256 is None and bundle.sums[name] in name):
            check.wrong(layout.CRATE, f"does not give the SHA-256 of {name}")

    def _ran(self) -> Iterator[tuple[int, layout.CellLine]]:
        return ((number, cell) for number, cell in enumerate(self._bundle.cells(), 1) if cell.status != "missing")

    def _action(self, name: str, entity: dict[str, Any]) -> None:
        """The next action is of the next line that has a result."""
        check = self._check
        self._actions += 1
        number, cell = next(self._cells, (0, None))
        if cell is None:
            check.wrong(layout.CRATE, f"{name[:60]!a} is of no line of {layout.CELLS}")
            return
        if name != f"#cell-{number}":
            check.wrong(layout.CRATE, f"{name[:60]!a} stands where #cell-{number} has to")
        for key in _ACTION:
            if not entity.get(key):
                check.wrong(layout.CRATE, f"#cell-{number} has no {key}")
        # An action without a status is completed, by its profile.
        if entity.get("actionStatus", _COMPLETED) != (_COMPLETED if cell.status == "ok" else _FAILED):
            check.wrong(
                layout.CRATE, f"#cell-{number} has another status than line {number} of {layout.CELLS}, {cell.status!a}"
            )
        self._lines.action(number, cell, entity)
        results = refs(entity.get("result"))
        outputs = tuple(f"outputs/{tensor}.npy" for tensor in cell.outputs)
        if len(results) == 1 and results[0].startswith("#"):
            if self._results.setdefault(results[0], outputs) != outputs:
                check.wrong(
                    layout.CRATE, f"the result of #cell-{number} is not what line {number} of {layout.CELLS} has"
                )
        elif tuple(results) != outputs:
            check.wrong(layout.CRATE, f"the result of #cell-{number} is not what line {number} of {layout.CELLS} has")

    def _rest(self) -> None:
        check, bundle = self._check, self._bundle
        self._lines.rest()
        left = [number for number, _ in self._cells]
        for number in left[:20]:
            check.wrong(layout.CRATE, f"has no action for line {number} of {layout.CELLS}")
        check.more += max(0, len(left) - 20)
        for name, outputs in self._results.items():
            if self._collections.get(name) != outputs:
                check.wrong(layout.CRATE, f"{name[:60]!a} does not have the outputs that its cells have")
        for name in sorted(set(bundle.members) - self._files - {layout.CRATE}):
            check.wrong(layout.CRATE, f"says nothing of {name}")
        for name in sorted(self._referred - self._ids):
            if name.startswith(("#", "./")) or name in bundle.members:
                check.wrong(layout.CRATE, f"names {name[:60]!a}, and has no entity of it")


def _list(value: Any) -> list[Any]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
