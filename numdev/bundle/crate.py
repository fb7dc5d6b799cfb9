"""`ro-crate-metadata.json`: RO-Crate 1.1 with Process Run Crate 0.5, written piece by piece, for there may be many cells.

An action is one line of cells.jsonl, `#cell-17` the seventeenth. It has to be short: a run has many more actions than anything else. So what
many have in common (a stack, a CPU as it was shown, a parameter, several outputs together) is an entity of its own, named by a number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from numdev import digests
from numdev.bundle import layout
from numdev.bundle.citation import license_url
from numdev.bundle.draft import Draft
from numdev.bundle.survey import Software, Survey, declared, mapping, parameters, software_of
from numdev.bundle.words import plain
from numdev.spec import identity

CRATE_1_1 = "https://w3id.org/ro/crate/1.1"
PROCESS_RUN = "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
# These terms of Process Run Crate are not in RO-Crate's own context. Given here they need no second document from the network.
CONTEXT = [f"{CRATE_1_1}/context", {term: _TERMS + term for term in ("ContainerImage", "containerImage", "sha256")}]
# What has no status completed, says Process Run Crate; so most actions need none.
FAILED = "http://schema.org/FailedActionStatus"
_FORMATS = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".lock": "text/plain",
    ".yaml": "application/yaml",
    ".cff": "application/yaml",
    ".sh": "application/x-sh",
    ".tar": "application/x-tar",
    ".npy": "application/x-npy",
    ".npz": "application/zip",
}
_ABOUT = {
    layout.SUMS: "SHA-256 of every other file; its own SHA-256 is the bundle's digest",
    layout.DESCRIPTION: "the format's version, and what the bundle does not have",
    layout.RUN: "the run: the matrix as resolved, its factors, levels and workloads",
    layout.CELLS: "a line a replicate of a cell: what was asked, what came of it, and the digests of its outputs",
    layout.FACTS: "what many cells have in common: causes, environment, realised dispatch",
    layout.ANSWER: "the analysis, for machines",
    layout.ANSWER_TEXT: "the analysis, for people",
    layout.ARTIFACT: "what this is, how to check it and how to run it again",
    layout.CHECKLIST: "answers for a reproducibility checklist",
    layout.CITATION: "how to cite this",
    layout.LICENSES: "the licences of what is inside, as far as they are known",
    layout.VERIFY: "checks this folder without numdev",
}
Entity = dict[str, Any]


def add_crate(draft: Draft, survey: Survey, authors: list[Entity]) -> None:
    """Adds the crate, as the last member: it lists all others. `authors`: entities of people and organisations."""
    draft.add_stream(layout.CRATE, _pieces(draft, survey, authors))


def _pieces(draft: Draft, survey: Survey, authors: list[Entity]) -> Iterator[bytes]:
    writer = _Crate(draft, survey)
    yield b'{"@context":' + digests.canonical(CONTEXT) + b',"@graph":[\n'
    yield digests.canonical(
        {
            "@id": layout.CRATE,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [{"@id": CRATE_1_1}, {"@id": PROCESS_RUN}],
        }
    )
    for cell in writer.actions():
        yield b",\n" + digests.canonical(cell)
    for entity in (*writer.shared(), *authors, *writer.files()):
        yield b",\n" + digests.canonical(entity)
    yield b",\n" + digests.canonical(writer.root(authors))[:-1]
    # The longest lists stand last, and never in memory.
    yield b',"hasPart":['
    yield b",".join(digests.canonical({"@id": name}) for name in writer.members())
    yield b'],"mentions":['
    for at, name in enumerate(writer.mentioned()):
        yield (b"," if at else b"") + digests.canonical({"@id": name})
    yield b"]}\n]}\n"


def _refs(names: list[str]) -> Any:
    found = [{"@id": name} for name in names]
    return found[0] if len(found) == 1 else found


class _Crate:
    """Makes entities, and numbers those that many actions share in the order in which they are met."""

    def __init__(self, draft: Draft, survey: Survey) -> None:
        self._draft = draft
        self._survey = survey
        self._shared: dict[str, Entity] = {}
        self._numbers: dict[tuple[Any, ...], str] = {}
        self._ran: list[int] = []

    def members(self) -> list[str]:
        """What the root has as its parts: every member but the crate itself."""
        return sorted({*self._draft.parts, layout.SUMS})

    def mentioned(self) -> Iterator[str]:
        yield from (f"#cell-{number}" for number in self._ran)
        yield from (
            name for name, entity in self._shared.items() if entity["@type"] in ("Collection", "ContainerImage")
        )

    def shared(self) -> Iterator[Entity]:
        yield from self._shared.values()

    def _one(self, kind: str, key: Any, make: Any) -> str:
        """The @id of what is `key` among things of one kind; `make` gives its entity the first time."""
        if (kind, key) not in self._numbers:
            self._numbers[kind, key] = name = f"#{kind}-{sum(known == kind for known, _ in self._numbers) + 1}"
            self._shared[name] = {"@id": name, **make()}
        return self._numbers[kind, key]

    def actions(self) -> Iterator[Entity]:
        """An action for every line of cells.jsonl that has a record. What was never run is nothing that happened."""
        models: dict[str, list[str]] = {}
        for number, cell in enumerate(self._draft.cells(), 1):
            if cell.status == "missing":
                continue
            self._ran.append(number)
            if cell.workload not in models:
                models[cell.workload] = self._workload(cell.workload)
            levels = declared(self._draft, cell)
            settings = [self._setting(key, level) for key, level in parameters(levels).items()]
            software = self._survey.software[software_of(self._draft, cell).name]
            environment = mapping(self._draft.facts.get(cell.environment or ""))
            image = environment.get("image")
            run = "reference" if cell.reference else f"run {cell.replicate}"
            action: Entity = {
                "@id": f"#cell-{number}",
                "@type": "CreateAction",
                "instrument": [{"@id": self._stack(software)}, {"@id": self._cpu(cell, levels, environment)}],
                "name": plain(f"{cell.workload}, {run}"),
                "object": _refs([*models[cell.workload], *settings]),
            }
            if isinstance(image, str) and image:
                action["containerImage"] = {"@id": self._image(software, image)}
            if cell.outputs:
                action["result"] = {"@id": self._result(cell.outputs)}
            if cell.status != "ok":
                action["actionStatus"] = FAILED
                action["error"] = plain(f"{cell.status}: {cell.reason}" if cell.reason else cell.status)
            yield action

    def _stack(self, software: Software) -> str:
        """A stack as the tool that computed."""

        def make() -> Entity:
            folder = f"stacks/{software.stack}/"
            of = [name for name in self._draft.parts if name.startswith(folder)]
            bom = f"sbom/{software.name}.cdx.json"
            about = ", ".join(f"{name} {version}" for name, version in sorted(software.versions.items()) if version)
            found: Entity = {
                "@type": "SoftwareApplication",
                "name": f"stack {plain(software.stack)} for {plain(software.architecture)}",
                "description": plain(f"pinned software: {about}" if about else "pinned software"),
            }
            if digests_ := sorted(software.images) or [f"sha256:{site}" for site in sorted(software.sites)]:
                found["softwareVersion"] = digests_[0] if len(digests_) == 1 else digests_
            if of:
                found["isBasedOn"] = _refs(sorted(of))
            if bom in self._draft.parts:
                found["subjectOf"] = {"@id": bom}
            return found

        return self._one("stack", software.name, make)

    def _image(self, software: Software, image: str) -> str:
        archive = f"images/{software.name}.tar"
        within = {"subjectOf": {"@id": archive}} if archive in self._draft.parts else {}
        made = "in no registry: made from the definition in stacks/, with this ID wherever it is made"
        return self._one(
            "image",
            image,
            lambda: {
                "@type": "ContainerImage",
                "additionalType": {"@id": f"{_TERMS}DockerImage"},
                "name": f"numdev/{plain(software.stack)}",
                "description": made,
                "sha256": plain(image.removeprefix("sha256:")),
                **within,
            },
        )

    def _cpu(self, cell: layout.CellLine, levels: dict[str, Any], environment: dict[str, Any]) -> str:
        """A profile as the instrument that programs saw, linked to its table and to the processor that it stood for."""
        causes = mapping(self._draft.facts.get(cell.causes or ""))
        profile, table, platform = (
            identity.compose(levels),
            str(causes.get("table", "")),
            str(causes.get("platform", "")),
        )

        def make() -> Entity:
            told = mapping(environment.get("profile"))
            rung = f", by {plain(told['rung'], 40)}" if told.get("rung") else ""
            brand = plain(
                mapping(environment.get("platform")).get("brand", "a processor that its record does not name")
            )
            shown = "as it is" if profile == identity.HOST else f"shown as {plain(profile, 100)}{rung}"
            files = [f"tables/{table}.txt", f"platforms/{platform}.json"]
            based = [name for name in files if name in self._draft.parts]
            return {
                "@type": "SoftwareApplication",
                "name": f"CPU profile {plain(profile, 100)}",
                "description": f"{brand}, {shown}",
                "softwareVersion": plain(f"table {table or 'unknown'}, platform {platform or 'unknown'}"),
                **({"isBasedOn": _refs(based)} if based else {}),
            }

        return self._one("cpu", (profile, table, platform), make)

    def _setting(self, key: str, level: str) -> str:
        return self._one(
            "set", (key, level), lambda: {"@type": "PropertyValue", "name": plain(key, 100), "value": plain(level, 100)}
        )

    def _workload(self, workload: str) -> list[str]:
        """The model and the inputs of a workload: the members, or what names them where they are left out."""
        told = mapping(self._draft.run.workloads.get(workload))
        models = {f"model.{format}": sha256 for format, sha256 in sorted(mapping(told.get("formats")).items())}
        models |= {f"files/{sha256}": sha256 for sha256 in sorted(mapping(told.get("files")).values())}
        ids = [self._material(workload, name, str(sha256)) for name, sha256 in models.items()]
        if len(ids) > 1:
            what = f"{workload}: its model in {len(ids)} files, of which a stack reads those that it can"
            ids = [
                self._one(
                    "model",
                    workload,
                    lambda: {
                        "@type": "Collection",
                        "name": plain(what),
                        "hasPart": _refs(ids),
                        "mainEntity": {"@id": ids[0]},
                    },
                )
            ]
        if told.get("inputs"):
            ids.append(self._material(workload, "inputs.npz", str(told["inputs"])))
        return ids or [
            self._one("model", workload, lambda: {"@type": "CreativeWork", "name": plain(f"{workload}: a program")})
        ]

    def _material(self, workload: str, name: str, sha256: str) -> str:
        member = f"workloads/{workload}/{name}"
        if member in self._draft.parts:
            return member
        left = self._draft.description.left_out
        why = left.get(member) or left.get(f"workloads/{workload}/") or "not in the bundle"
        return self._one(
            "file",
            (workload, name),
            lambda: {
                "@type": "CreativeWork",
                "name": plain(f"{workload}: {name}"),
                "identifier": f"sha256:{plain(sha256, 80)}",
                "description": plain(why),
            },
        )

    def _result(self, outputs: list[str]) -> str:
        files = [f"outputs/{tensor}.npy" for tensor in outputs]
        if len(files) == 1:
            return files[0]
        return self._one(
            "out",
            tuple(outputs),
            lambda: {
                "@type": "Collection",
                "name": f"{len(files)} outputs of one run",
                "hasPart": _refs(files),
                "mainEntity": {"@id": files[0]},
            },
        )

    def files(self) -> Iterator[Entity]:
        """Every member; of the manifest nothing is known yet, for it is about this file too."""
        for name in self.members():
            part = self._draft.parts.get(name)
            entity: Entity = {"@id": name, "@type": "File", "name": _ABOUT.get(name) or PurePosixPath(name).name}
            suffix = ".json" if name.endswith(".json") else PurePosixPath(name).suffix
            entity["encodingFormat"] = (
                "application/vnd.cyclonedx+json"
                if name.endswith(".cdx.json")
                else _FORMATS.get(suffix, "application/octet-stream")
            )
            if part:
                entity["contentSize"] = str(part.size)
                if part.sha256 not in name:
                    entity["sha256"] = part.sha256
            yield entity
        yield {"@id": CRATE_1_1, "@type": "CreativeWork", "name": "RO-Crate", "version": "1.1"}
        yield {"@id": PROCESS_RUN, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
        yield self._license()

    def _license(self) -> Entity:
        draft = self._draft
        if url := license_url(draft.license):
            return {"@id": url, "@type": "CreativeWork", "name": draft.license, "identifier": draft.license}
        if draft.license:
            return {"@id": "#license", "@type": "CreativeWork", "name": plain(draft.license)}
        none = "No licence was stated: who made this has not said what others may do with it."
        return {"@id": "#license", "@type": "CreativeWork", "name": "no licence stated", "description": none}

    def root(self, authors: list[Entity]) -> Entity:
        draft = self._draft
        never = self._survey.statuses["missing"]
        left = f" {never} were never run, and have no action." if never else ""
        described = (
            f"The run {plain(draft.run.matrix)} of numdev: {self._survey.cells} cells in {sum(self._survey.statuses.values())} replicates."
            f" The action #cell-N is line N of {layout.CELLS}; where it says no status it completed.{left} {layout.ARTIFACT} says more."
        )
        found: Entity = {
            "@id": "./",
            "@type": "Dataset",
            "conformsTo": {"@id": PROCESS_RUN},
            "datePublished": draft.description.date,
            "description": described,
            "license": {"@id": self._license()["@id"]},
            "name": json_text(draft.title) or plain(f"{draft.run.matrix}: a reproducibility bundle"),
        }
        if authors:
            found["author"] = _refs([author["@id"] for author in authors])
        if draft.doi:
            found["identifier"] = f"https://doi.org/{draft.doi}"
        return found


def json_text(value: str) -> str:
    """What an author says, as it was said, on one line; what is no Unicode text is left out."""
    return json.loads(json.dumps(" ".join(value.split()))).encode("utf-8", "ignore").decode("utf-8")
