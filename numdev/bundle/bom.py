"""`sbom/<stack>.cdx.json`: CycloneDX 1.6 for each image, down to the libraries inside the wheels, for they compute.

It is written as plain JSON: the format is small, every byte has to follow from the run, and what the public library makes carries a random
serial number and the time of day unless both are taken out again. tests/bundle/test_bom.py lets that library's schema judge it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from numdev import __version__
from numdev.bundle.draft import Draft
from numdev.bundle.inside import Inside, Library, Package
from numdev.bundle.words import plain
from numdev.stacks import Locked

SPEC = "1.6"
Component = dict[str, Any]


def add_bom(draft: Draft, inside: Inside) -> None:
    """Adds the bill of materials of one stack, and says what of it is not known."""
    name = f"sbom/{inside.software.name}.cdx.json"
    draft.add_json(name, bom(inside))
    for what, why in sorted(inside.why.items()):
        draft.leave_out(f"{name}: {what}", why)


def bom(inside: Inside) -> dict[str, Any]:
    """The document: components sorted by their reference, which is made of what they are."""
    software = inside.software
    components = [*_wheels(inside), *_loose(inside), *_unfound(inside), *_debian(inside)]
    if inside.stack:
        components.append(
            {"type": "application", "bom-ref": "python", "name": "CPython", "version": inside.stack.python}
        )
    components.sort(key=lambda one: one["bom-ref"])
    about: Component = {"type": "container", "bom-ref": "image", "name": f"numdev/{software.name}"}
    if inside.stack and inside.stack.description:
        about["description"] = plain(inside.stack.description)
    if len(software.images) == 1:
        about["hashes"] = _hashes(next(iter(software.images)).removeprefix("sha256:"))
    facts = [("numdev:image", image) for image in sorted(software.images)]
    if software.equal:
        facts.append(
            ("numdev:image:not-run", "the cells ran without an image; this one has the same wheels, byte for byte")
        )
    facts += [("numdev:site:sha256", site) for site in sorted(software.sites)]
    facts += [("numdev:base:sha256", base) for base in sorted(software.bases)]
    if inside.base:
        facts += [("numdev:base", inside.base.name), ("numdev:base:suite", inside.base.suite)]
    facts += [(f"numdev:unknown:{what}", why) for what, why in sorted(inside.why.items())]
    if facts:
        about["properties"] = _properties(facts)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {
            "component": about,
            "tools": {"components": [{"type": "application", "name": "numdev", "version": __version__}]},
        },
        "components": components,
        "dependencies": [{"ref": "image", "dependsOn": sorted({one["bom-ref"] for one in components})}],
    }


def _wheels(inside: Inside) -> Iterator[Component]:
    used = inside.site.facts.get("wheels", {}) if inside.site else {}
    for name, locked in sorted(inside.locked.items()):
        yield _wheel(inside, locked, used.get(name, {}), inside.packages.get(name))


def _wheel(inside: Inside, locked: Locked, used: dict[str, str], package: Package | None) -> Component:
    purl = f"pkg:pypi/{locked.name}@{quote(locked.version, safe='.-')}"
    made: Component = {
        "type": "library",
        "bom-ref": purl,
        "name": locked.name,
        "version": locked.version,
        "purl": purl,
    }
    facts = []
    if hashes := [used["sha256"]] if used.get("sha256") else list(locked.hashes) if len(locked.hashes) == 1 else []:
        made["hashes"] = _hashes(*hashes)
    else:
        # One of these: a hash of a component would say that it is this one.
        facts += [("numdev:locked:sha256", sha256) for sha256 in locked.hashes]
    if used.get("file"):
        facts.append(("numdev:file", used["file"]))
    if package and package.license:
        text = plain(package.license)
        made["licenses"] = [{"expression": text}] if package.spdx else [{"license": {"name": text}}]
    if package and package.libraries:
        made["components"] = [_library(inside, library, purl) for library in package.libraries]
    if facts:
        made["properties"] = _properties(facts)
    return made


def _library(inside: Inside, library: Library, within: str = "site") -> Component:
    made: Component = {
        "type": "library",
        "bom-ref": f"{within}#{quote(library.path, safe='/.-_')}",
        "name": library.path.rpartition("/")[2],
        "hashes": _hashes(library.sha256),
    }
    facts = [("numdev:path", library.path), ("numdev:size", str(library.size))]
    if library.kernels:
        facts.append(("numdev:kernels", library.kernels))
    if told := inside.software.blas.get(library.sha256):
        facts += _loaded(told)
        if told.get("version"):
            made["version"] = plain(told["version"])
    made["properties"] = _properties(facts)
    return made


def _loaded(told: dict[str, str]) -> list[tuple[str, str]]:
    """What the records say of a library that computed numpy's products: it was not only there."""
    found = [("numdev:realised", "computed numpy's matrix products in the cells of this run")]
    return found + [(f"numdev:realised:{key}", told[key]) for key in ("library", "symbol") if told.get(key)]


def _loose(inside: Inside) -> Iterator[Component]:
    """Libraries that no wheel names, and the Debian packages that brought them."""
    site = inside.site.facts if inside.site else {}
    for name, one in sorted(site.get("debian", {}).items()):
        yield _deb(name, str(one["version"]), inside, _hashes(str(one["sha256"])))
    for library in inside.loose:
        yield _library(inside, library)


def _unfound(inside: Inside) -> Iterator[Component]:
    """Libraries that the records name and that are not among those of the site, or whose site is not here."""
    there = {library.sha256 for package in inside.packages.values() for library in package.libraries}
    there |= {library.sha256 for library in inside.loose}
    for sha256, told in sorted(inside.software.blas.items()):
        if sha256 in there or len(sha256) != 64:
            continue
        where = "by its records alone: " + (
            "it is not among the files of the wheels" if inside.site else "the wheels are not here"
        )
        made: Component = {
            "type": "library",
            "bom-ref": f"realised#{sha256}",
            "name": plain(told.get("file") or "a library without a name"),
            "hashes": _hashes(sha256),
            "properties": _properties([("numdev:known", where), *_loaded(told)]),
        }
        if told.get("version"):
            made["version"] = plain(told["version"])
        yield made


def _debian(inside: Inside) -> Iterator[Component]:
    for name, version in sorted(inside.debian.items()):
        yield _deb(name, version, inside)


def _deb(name: str, version: str, inside: Inside, hashes: list[dict[str, str]] | None = None) -> Component:
    suite = f"?distro={quote(inside.base.suite, safe='.-')}" if inside.base else ""
    purl = f"pkg:deb/debian/{quote(name, safe='.-')}@{quote(version, safe='.-')}{suite}"
    made: Component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return {**made, **({"hashes": hashes} if hashes else {})}


def _hashes(*sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": one} for one in sorted(sha256)]


def _properties(facts: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": plain(name), "value": plain(value)} for name, value in facts]
