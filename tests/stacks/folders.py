"""Small wheels and stacks made on the spot."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

BASE = """
suite: bookworm
python: "3.11"
glibc: "2.36"
include: [python3]
epoch: 1704067200
"""


def make_wheel(folder: Path, name: str, files: dict[str, bytes], version: str = "1.0") -> tuple[Path, str]:
    """A wheel that holds `files`, and its SHA-256; a name with a leading '!' becomes a link."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    tags = b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": tags, f"{info}/RECORD": b""}
    with zipfile.ZipFile(path, "w") as archive:
        for inside, data in members.items():
            item = zipfile.ZipInfo(inside.removeprefix("!"), (2020, 1, 1, 0, 0, 0))
            item.external_attr = (0o120777 if inside.startswith("!") else 0o100644) << 16
            if inside.endswith(".so"):
                item.external_attr = 0o100755 << 16
            archive.writestr(item, data)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def make_stack(images: Path, wheels: dict[str, tuple[Path, str]], name: str = "tiny") -> Path:
    """A stack that pins `wheels` (version 1.0 each), beside a base; gives `images`."""
    (images / "base").mkdir(parents=True, exist_ok=True)
    (images / "base" / "bookworm.yaml").write_text(BASE)
    folder = images / name
    folder.mkdir(exist_ok=True)
    pins = "".join(f'  {package}: "1.0"\n' for package in wheels)
    (folder / "stack.yaml").write_text(f'base: bookworm\npython: "3.11"\nbackend: numpy\npins:\n{pins}')
    lines = [f"{package}==1.0 \\\n    --hash=sha256:{digest}\n" for package, (_, digest) in wheels.items()]
    (folder / "requirements.lock").write_text("".join(lines))
    return images


def fill_cache(cache: Path, wheels: dict[str, tuple[Path, str]]) -> Path:
    """Puts wheels where downloaded ones lie; gives `cache`."""
    for path, digest in wheels.values():
        target = cache / "wheels" / digest / path.name
        target.parent.mkdir(parents=True)
        target.write_bytes(path.read_bytes())
    return cache
