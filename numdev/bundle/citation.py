"""CITATION.cff: Citation File Format 1.2.0, of what the author said and of nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

from numdev.bundle import layout
from numdev.bundle.draft import Draft, Part
from numdev.bundle.words import count
from numdev.errors import InvalidInput, Problem

_DOI = re.compile(r"10\.[0-9]{4,9}(\.[0-9]+)?/[A-Za-z0-9:/_;\-.()\[\]\\]+")
# Of the SPDX list, what results and code are published under. Citation files may name any of that list, and nothing else.
SPDX = frozenset(
    [
        "0BSD",
        "AFL-3.0",
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-ND-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CDLA-Permissive-1.0",
        "CDLA-Permissive-2.0",
        "CDLA-Sharing-1.0",
        "ECL-2.0",
        "EPL-2.0",
        "EUPL-1.2",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "ISC",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "MS-PL",
        "NCSA",
        "ODbL-1.0",
        "ODC-By-1.0",
        "PDDL-1.0",
        "Unlicense",
        "UPL-1.0",
        "Zlib",
    ]
)
_KEY = "the author's name was not stated"


def license_url(license: str) -> str:
    """Where the text of a licence is; "" for what is no name of the SPDX list above."""
    return f"https://spdx.org/licenses/{license}" if license in SPDX else ""


def checked_doi(doi: str) -> str:
    """A DOI without the address before it; raises InvalidInput where it is none."""
    found = re.sub(r"^(https?://(dx\.)?doi\.org/|doi:)", "", doi.strip())
    if found and not _DOI.fullmatch(found):
        raise InvalidInput(
            "The bundle cannot be made.", [Problem("--doi", f"{doi!a} is no DOI", "like 10.5281/zenodo.1")]
        )
    return found


def people(draft: Draft) -> list[dict[str, Any]]:
    """The authors for the crate."""
    return [
        {"@id": f"#author-{at}", "@type": "Person", "name": _line(name)} for at, name in enumerate(draft.authors, 1)
    ]


def add_citation(draft: Draft) -> None:
    draft.add(layout.CITATION, Part.of_bytes(_text(draft).encode("utf-8")))


def _text(draft: Draft) -> str:
    authors = [_author(name) for name in draft.authors] or [{"name": _KEY}]
    title = _line(draft.title) or f"{draft.run.matrix}: a reproducibility bundle of numdev"
    lines = ["cff-version: 1.2.0"]
    if not draft.authors:
        lines.insert(
            0,
            "# Nobody said who made this: the author below stands for that. numdev bundle create --author 'Family, Given'",
        )
    lines += [
        f"message: {_quoted('If you use these results, please cite them, with the digest of the bundle that you used.')}",
        "type: dataset",
        f"title: {_quoted(title)}",
        f"date-released: {_quoted(draft.description.date)}",
        "authors:",
    ]
    for author in authors:
        lines += [
            f"  {'-' if not at else ' '} {key}: {_quoted(value)}" for at, (key, value) in enumerate(author.items())
        ]
    if draft.license in SPDX:
        lines.append(f"license: {draft.license}")
    elif draft.license.startswith(("https://", "http://")):
        lines.append(f"license-url: {_quoted(draft.license)}")
    elif draft.license:
        lines.append(
            f"# The licence was stated as {_line(draft.license)!a}, which is no name of the SPDX list that citation files may have."
        )
    else:
        lines.append("# No licence was stated.")
    if draft.doi:
        lines.append(f"doi: {_quoted(draft.doi)}")
    else:
        lines.append("# No DOI was stated.")
    stacks = count(len(draft.run.factors.get("stack", [])), "software stack")
    lines.append("abstract: " + _quoted(f"Inference in {stacks}, compared by its bytes."))
    return "\n".join(lines) + "\n"


def _author(name: str) -> dict[str, str]:
    """A person where the name says which part is which; otherwise the name as it was given, and no guess."""
    family, comma, given = _line(name).partition(",")
    if comma and family.strip() and given.strip():
        return {"family-names": family.strip(), "given-names": given.strip()}
    return {"name": _line(name) or _KEY}


def _line(value: str) -> str:
    text = " ".join(value.split()).encode("utf-8", "ignore").decode("utf-8")
    return "".join(letter for letter in text if letter.isprintable())[:1000]


def _quoted(value: str) -> str:
    """YAML's double quotes are JSON's."""
    return json.dumps(value, ensure_ascii=False)
