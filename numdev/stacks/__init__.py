"""Stacks made real: locks, wheels by their hash, deterministic site folders, bases and image archives."""

from __future__ import annotations

from numdev.stacks.image import ImagePlan, image_plan, write_archive
from numdev.stacks.lock import Locked, read_lock
from numdev.stacks.recipe import dockerfile_for
from numdev.stacks.relock import relock
from numdev.stacks.rewritten import Rewritten, rewritten_site
from numdev.stacks.site import SITE, Site, known_site, site_for

__all__ = [
    "SITE",
    "ImagePlan",
    "Locked",
    "Rewritten",
    "Site",
    "dockerfile_for",
    "image_plan",
    "known_site",
    "read_lock",
    "relock",
    "rewritten_site",
    "site_for",
    "write_archive",
]
