"""All that is told from the rest of a bundle: images, bills of materials, what people read, and the crate that lists everything."""

from __future__ import annotations

from pathlib import Path

from numdev.analysis import Answer
from numdev.bundle import images, layout
from numdev.bundle.artifact import add_artifact
from numdev.bundle.bom import add_bom
from numdev.bundle.checklist import add_checklist
from numdev.bundle.citation import add_citation
from numdev.bundle.draft import Draft
from numdev.bundle.inside import Inside, look_inside
from numdev.bundle.licences import add_licenses
from numdev.bundle.survey import Survey, survey
from numdev.bundle.verification import add_verify
from numdev.stacks.tools import Say


def add_stacks(draft: Draft, cache: Path, with_images: bool, say: Say) -> tuple[Survey, dict[str, Inside]]:
    """Adds bills of materials, and images where they are wanted; what is not known is left out by name."""
    surveyed = survey(draft)
    insides = {}
    for name, software in surveyed.software.items():
        if not _sound(name):
            draft.leave_out("sbom/", "a stack has a name that no file of a bundle can have")
            continue
        inside = insides[name] = look_inside(draft, software, cache)
        images.know(draft, inside, cache)
        if with_images:
            images.add_image(draft, inside, cache, say)
        add_bom(draft, inside)
    if not with_images and insides:
        draft.leave_out(
            "images/", "not asked for (--with-images); the definitions in stacks/ give images with the same IDs"
        )
    return surveyed, insides


def _sound(name: str) -> bool:
    return layout.limit(f"sbom/{name}.cdx.json") is not None and layout.limit(f"images/{name}.tar") is not None


def add_papers(draft: Draft, surveyed: Survey, insides: dict[str, Inside], answer: Answer) -> None:
    """Adds what people read, once all that can be left out has been."""
    add_citation(draft)
    add_licenses(draft, surveyed, insides)
    add_checklist(draft, surveyed, answer, insides)
    add_verify(draft, surveyed)
    add_artifact(draft, surveyed, answer)
