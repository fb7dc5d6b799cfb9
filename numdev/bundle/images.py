"""The images of a bundle: their IDs, which it always has where they are known, and their archives, which it may have."""

from __future__ import annotations

import re
from pathlib import Path

from numdev import digests, files
from numdev.bundle.archive import MEMBER_LIMIT
from numdev.bundle.draft import Draft, Part
from numdev.bundle.inside import Inside
from numdev.errors import InvalidInput, NumdevError
from numdev.stacks import ImagePlan, image_plan, known_plan, write_archive
from numdev.stacks.tools import Say

IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")


def know(draft: Draft, inside: Inside, cache: Path) -> None:
    """Adds the ID of a stack's image where no record has it and the cache knows it without making anything; else says that it is not known.

    Cells of the local engine ran in no image: the ID is that of the image that the same software has.
    """
    software = inside.software
    software.images = {image for image in software.images if IMAGE_ID.fullmatch(image)}
    if software.images:
        return
    name = f"image ID of {software.name}"
    if not software.sites:
        draft.leave_out(name, "no record says in which environment it ran")
        return
    plan = None
    if inside.stack is not None:
        try:
            plan = known_plan(inside.stack, cache)
        except InvalidInput:
            # `look_inside` has said what is wrong with the definition.
            plan = None
    if plan is not None and plan.image_id and plan.site_digest in software.sites:
        software.images.add(plan.image_id)
        software.equal = True
    else:
        where = f"its cells ran on {', '.join(sorted(software.engines)) or 'an unknown engine'} without an image"
        draft.leave_out(name, f"{where}, and none was made here of the same wheels: `numdev images build` makes it")


def add_image(draft: Draft, inside: Inside, cache: Path, say: Say) -> None:
    """Adds a stack's archive for `docker load`, made where the cache lacks what it is made of.

    Only the image that the records name is one of this run: another one is left out, and that is said.
    """
    name = f"images/{inside.software.name}.tar"
    if inside.stack is None or inside.stack.dockerfile:
        why = "its definition is not in the bundle" if inside.stack is None else "Docker builds it from a Dockerfile"
        draft.leave_out(name, why)
        return
    try:
        plan = image_plan(inside.stack, cache, say)
    except NumdevError as error:
        draft.leave_out(name, " ".join(f"it cannot be made: {error.what} {error.why}".split())[:300])
        return
    if why := _stranger(plan, inside):
        draft.leave_out(name, why)
        return
    say(f"{inside.software.name}: writing its image")
    path = draft.work / name.replace("/", "-")
    with files.storage_errors(path), open(path, "wb") as file:
        write_archive(plan, file)
    if path.stat().st_size > MEMBER_LIMIT:
        draft.leave_out(name, f"it has {path.stat().st_size} bytes, more than {MEMBER_LIMIT}")
        return
    inside.software.images.add(plan.image_id)
    draft.add(name, Part.of_file(path, digests.of_file(path)))


def _stranger(plan: ImagePlan, inside: Inside) -> str:
    """Why a plan's image is not the one that the cells ran in, or that has the software that they ran with; or ""."""
    images, sites = inside.software.images, inside.software.sites
    if plan.image_id in images or (not images and plan.site_digest in sites):
        return ""
    known = (
        ", ".join(sorted(image[:19] for image in images)) or ", ".join(sorted(site[:12] for site in sites)) or "nothing"
    )
    return f"what can be made now is another one ({plan.image_id[:19]}) than the records have ({known})"
