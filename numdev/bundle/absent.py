"""What a bundle does not have, and whether it says why: a part that is missing without a word was taken out."""

from __future__ import annotations

from numdev.bundle.reading import Bundle

# A run keeps all of these or, where a numdev made it that kept nothing, none. Bundles of such a run say so under the first.
_KEPT = ("stacks/", "tables/", "platforms/", "profiles/")


def nothing_kept(bundle: Bundle) -> str:
    """Why nothing of what the run was made of is in a bundle; "" where something is, or nothing says why."""
    if any(name.startswith(_KEPT) for name in bundle.members):
        return ""
    return bundle.description.left_out.get(_KEPT[0], "")


def excused(bundle: Bundle, name: str) -> bool:
    """Whether a bundle says why it does not have the member `name`, which a run keeps."""
    return name in bundle.description.left_out or bool(nothing_kept(bundle))
