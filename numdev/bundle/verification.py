"""`verify.sh`: checks a bundle where there is no numdev, with sha256sum, and with Docker where the bundle has images."""

from __future__ import annotations

import re

from numdev.bundle import layout
from numdev.bundle.draft import Draft, Part
from numdev.bundle.images import IMAGE_ID
from numdev.bundle.survey import Survey

_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")
_SCRIPT = r"""#!/bin/sh
# Checks this bundle where there is no numdev: sh verify.sh
#
# It needs sha256sum; and Docker where the bundle has images. It changes nothing here; `docker load` adds images to Docker.
# Exit status: 0 where all that was checked is as it should be, 1 where something is not, 2 where nothing could be checked.
set -u
LC_ALL=C
export LC_ALL
case $0 in */*) cd "${0%/*}" || exit 2 ;; esac
failed=0

echo "Files:"
if ! command -v sha256sum >/dev/null 2>&1; then
    echo "  NOT CHECKED: there is no sha256sum here"
    exit 2
fi
if [ ! -f SHA256SUMS ]; then
    echo "  FAILED: there is no SHA256SUMS beside this script"
    exit 1
fi
if said=$(sha256sum -c SHA256SUMS 2>&1); then
    echo "  ok: every file that SHA256SUMS names is there, with the SHA-256 that it names"
else
    printf '%s\n' "$said" | grep -v ': OK$' | sed 's/^/  FAILED: /'
    failed=1
fi
# The manifest's names are taken twice, so that what stands once among all is a file that no line names.
more=$({ sed 's/^[0-9a-f]*  //' SHA256SUMS; sed 's/^[0-9a-f]*  //' SHA256SUMS; find . -type f | sed 's|^\./||' | grep -v '^SHA256SUMS$'; } | sort | uniq -u)
if [ -n "$more" ]; then
    printf '%s\n' "$more" | sed 's/^/  FAILED: not of this bundle: /'
    failed=1
fi
sum=$(sha256sum SHA256SUMS)
echo "  The bundle's digest is the SHA-256 of SHA256SUMS. Compare it with the one that was published:"
echo "  ${sum%% *}"

# image STACK ID: whether Docker finds in images/STACK.tar the image that the records of the cells name.
image() {
    if [ ! -f "images/$1.tar" ]; then
        echo "  not checked: $1: its archive is not in this bundle; the records have $2"
        return
    fi
    inside=$(tar -xOf "images/$1.tar" "${2#sha256:}.json" 2>/dev/null | sha256sum)
    if [ "${inside%% *}" != "${2#sha256:}" ]; then
        echo "  FAILED: $1: its archive holds another image than $2"
        failed=1
        return
    fi
    echo "  ok: $1: the configuration in its archive is that of $2"
    if [ "$docker" = no ]; then
        return
    fi
    if ! said=$(docker load -i "images/$1.tar" 2>&1); then
        echo "  FAILED: $1: Docker does not load it: $said"
        failed=1
        return
    fi
    if found=$(docker image inspect --format '{{.Id}}' "$2" 2>/dev/null) && [ "$found" = "$2" ]; then
        echo "  ok: $1: Docker has loaded $2"
        return
    fi
    tag=$(printf '%s\n' "$said" | sed -n 's/^Loaded image: //p' | head -n 1)
    found=$(docker image inspect --format '{{.Id}}' "${tag:-none}" 2>/dev/null)
    if docker info 2>/dev/null | grep -q 'io.containerd.snapshotter'; then
        echo "  not checked: $1: this Docker names images by their manifests, here $found, and the records by their configurations"
    else
        echo "  FAILED: $1: Docker has loaded ${found:-nothing}, not $2"
        failed=1
    fi
}

echo "Images:"
docker=yes
if ! command -v docker >/dev/null 2>&1 || ! docker info >/dev/null 2>&1; then
    docker=no
fi
@IMAGES@
if [ "$docker" = no ]; then
    echo "  not checked: no Docker answers here, so no image was loaded"
fi

echo "Not checked, for it takes numdev:"
echo "  whether the analysis follows from the outputs, and whether running again gives the same classes (ARTIFACT.md says how)"
if [ "$failed" -ne 0 ]; then
    echo "This is NOT the bundle that SHA256SUMS describes."
    exit 1
fi
echo "What was checked is as it should be."
"""


def add_verify(draft: Draft, survey: Survey) -> None:
    """Adds the script, with the image IDs that the records have."""
    lines = []
    for name, software in survey.software.items():
        images = sorted(image for image in software.images if IMAGE_ID.fullmatch(image))
        # What stands in a script is a name and an ID, or it does not stand there.
        if _WORD.fullmatch(name) and len(images) == 1:
            lines.append(f"image {name} {images[0]}")
        elif _WORD.fullmatch(name):
            known = f"its records have {len(images)} image IDs" if images else "its image ID is not known"
            lines.append(f'echo "  not checked: {name}: {known}"')
        else:
            lines.append('echo "  not checked: a stack whose name is none"')
    text = _SCRIPT.replace("@IMAGES@", "\n".join(lines))
    draft.add(layout.VERIFY, Part.of_bytes(text.encode("ascii")))
