"""Stacks made real: locks, wheels by their hash, deterministic site folders, bases and image archives."""

from __future__ import annotations

from numdev.stacks.bases import known_base
from numdev.stacks.image import ImagePlan, image_plan, known_plan, write_archive
from numdev.stacks.lock import Locked, called, read_lock
from numdev.stacks.recipe import dockerfile_for
from numdev.stacks.relock import relock
from numdev.stacks.site import SITE, Site, known_site, linked, site_for
from numdev.stacks.sites import cpuid_sites, finder

__all__ = [
    "SITE",
    "ImagePlan",
    "Locked",
    "Site",
    "called",
    "cpuid_sites",
    "dockerfile_for",
    "finder",
    "image_plan",
    "known_base",
    "known_plan",
    "known_site",
    "linked",
    "read_lock",
    "relock",
    "site_for",
    "write_archive",
]
