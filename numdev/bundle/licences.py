"""LICENSES.md: the licences of what is inside, as each thing states its own; what states none is listed as unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from numdev.bundle import layout
from numdev.bundle.citation import license_url
from numdev.bundle.draft import Draft, Part
from numdev.bundle.inside import Inside
from numdev.bundle.survey import Survey, mapping
from numdev.bundle.words import count, marked
from numdev.workloads.builtin import BUILTINS

UNKNOWN = "unknown"


def add_licenses(draft: Draft, survey: Survey, insides: Mapping[str, Inside]) -> None:
    draft.add(layout.LICENSES, Part.of_bytes("\n".join(_lines(draft, survey, insides)).encode("ascii")))


def of_workload(draft: Draft, workload: str) -> str:
    """The licence of a workload's model and inputs: known of those that come with numdev."""
    for declared in draft.run.source.get("workloads") or []:
        name = declared if isinstance(declared, str) else mapping(declared).get("name")
        builtin = declared if isinstance(declared, str) else mapping(declared).get("builtin")
        if name == workload and isinstance(builtin, str) and builtin in BUILTINS:
            return BUILTINS[builtin].licence
    return UNKNOWN


def of_results(draft: Draft) -> str:
    """One sentence on what others may do with the bundle's own contents."""
    if not draft.license:
        return "No licence was stated: nobody but the author can say what may be done with the results."
    url = license_url(draft.license)
    return f"The author states {marked(draft.license, 100)}{f' ({url})' if url else ', which is no name of the SPDX list'}."


def _lines(draft: Draft, survey: Survey, insides: Mapping[str, Inside]) -> Iterator[str]:
    yield "# Licences"
    yield ""
    yield "As each thing states its own; nothing here is legal advice, and `unknown` means that nobody has said."
    yield ""
    yield "## The results"
    yield ""
    yield of_results(draft)
    yield ""
    yield "`verify.sh`, and the words of the documents that numdev writes, are of numdev: Apache-2.0."
    yield ""
    yield "## Models and inputs"
    yield ""
    yield "| workload | in this bundle | licence | source |"
    yield "|---|---|---|---|"
    for workload in sorted(survey.workloads):
        told = mapping(draft.run.workloads.get(workload))
        within = any(name.startswith(f"workloads/{workload}/") for name in draft.parts)
        source = mapping(told.get("facts")).get("source", UNKNOWN)
        licence = of_workload(draft, workload)
        yield f"| {marked(workload, 80)} | {'yes' if within else 'no'} | {marked(licence, 100)} | {marked(source, 100)} |"
    for name, inside in sorted(insides.items()):
        yield ""
        yield f"## Stack {marked(name, 100)}"
        yield ""
        yield from _stack(draft, name, inside)
    yield ""


def _stack(draft: Draft, name: str, inside: Inside) -> Iterator[str]:
    image = f"images/{name}.tar"
    if image in draft.parts:
        yield f"These packages are inside `{image}`, and so in this bundle."
    else:
        yield "None of these packages is in this bundle: its image is made of them."
    yield ""
    if not inside.locked:
        yield f"What it has is not known: {marked(listed(inside))}."
        return
    yield "| package | version | licence |"
    yield "|---|---|---|"
    unknown = 0
    for package, locked in sorted(inside.locked.items()):
        found = inside.packages.get(package)
        licence = (found.license if found else "") or UNKNOWN
        unknown += licence == UNKNOWN
        yield f"| {marked(package, 100)} | {marked(locked.version, 60)} | {marked(licence, 200)} |"
    if unknown:
        yield ""
        why = marked(inside.why.get("libraries", "the packages do not say"))
        yield f"Unknown of {count(unknown, 'package')}: {why}."
    yield ""
    if inside.debian:
        base = marked(inside.base.suite if inside.base else "Debian", 60)
        yield (
            f"The base system has {count(len(inside.debian), 'package')} of Debian {base}, which are free software by Debian's guidelines; "
            f"the licence of each is in the image, at `/usr/share/doc/PACKAGE/copyright`, and all are listed in `sbom/{name}.cdx.json`."
        )
    else:
        yield f"Of its base system nothing is listed: {marked(inside.why.get('base', 'it is not known'))}."


def listed(inside: Inside) -> str:
    return "; ".join(f"{what}: {why}" for what, why in sorted(inside.why.items())) or "nothing is said"
