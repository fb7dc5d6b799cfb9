"""The bytes of bundles on their way into a store: read once, in pieces, and in their place only when all of them are what they should be."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from numdev import digests, files
from numdev.bundle import layout
from numdev.bundle.found import Check
from numdev.bundle.joined import Joined
from numdev.bundle.reading import Bundle
from numdev.bundle.verify import digests_of
from numdev.store import Store

# Files that are on their way at a time: hashing needs no Python, so two of them take two processors.
_HANDS, _BATCH = 2, 64
_OUTPUTS = "outputs/"
# Members that a run is made of, beside its outputs.
_KEPT = ("stacks/", "tables/", "platforms/", "profiles/", "workloads/")


class Incoming:
    """A folder inside of a store for what is not known to be whole yet; a context manager, after which it is gone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with files.storage_errors(store.folder):
            self._folder = Path(tempfile.mkdtemp(dir=store.folder, prefix=".merging-"))

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def take(self, bundle: Bundle) -> Check:
        """Reads every member of a bundle to its end, and puts aside what the store does not have yet."""
        with ThreadPoolExecutor(_HANDS) as pool:
            return digests_of(bundle, self._hashed(bundle, pool))

    def _hashed(self, bundle: Bundle, pool: ThreadPoolExecutor) -> Iterator[tuple[str, str]]:
        names = iter(bundle.sums)
        while batch := list(islice(names, _BATCH)):
            yield from zip(batch, pool.map(partial(self._one, bundle), batch), strict=True)

    def _one(self, bundle: Bundle, name: str) -> str:
        """The SHA-256 of a member, which is put aside on the way where it is wanted."""
        place = self._place(name, bundle.sums[name])
        if place is None:
            return digests.of_pieces(bundle.pieces(name))
        state = hashlib.sha256()
        with files.storage_errors(self._store.folder), open(place, "wb", buffering=0) as file:
            for piece in bundle.pieces(name):
                state.update(piece)
                left = memoryview(piece)
                while left:
                    left = left[file.write(left) :]
        return state.hexdigest()

    def _place(self, name: str, sha256: str) -> Path | None:
        """Where a member is put aside, and nobody else puts anything; None where nobody wants it, or it is there."""
        if name.startswith(_OUTPUTS):
            kind, target = "tensor", self._store.tensor(sha256)
        elif name.startswith(_KEPT):
            kind, target = "file", self._store.file(sha256)
        else:
            return None
        place = self._folder / f"{kind}-{sha256}"
        if target.exists():
            return None
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            # The same bytes under another name, or in another bundle.
            return None
        return place

    def settle(self) -> None:
        """Puts everything in its place, once it is on the disk: from here on it is a part of the store."""
        with files.storage_errors(self._store.folder), ThreadPoolExecutor(_HANDS) as pool:
            names = iter(sorted(os.listdir(self._folder)))
            while batch := list(islice(names, _BATCH)):
                list(pool.map(self._settled, batch))

    def _settled(self, entry: str) -> None:
        kind, _, sha256 = entry.partition("-")
        target = self._store.tensor(sha256) if kind == "tensor" else self._store.file(sha256)
        handle = os.open(self._folder / entry, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self._folder / entry, target)


def materials(joined: Joined) -> dict[str, str]:
    """What the merged run is made of: SHA-256 by name in a bundle. Notes the capture of each host, which may have another name now."""
    found = {member: bundle.sums[member] for member, bundle in joined.names.bases.items()}
    for stack, (bundle, folder) in joined.names.folders.items():
        start = f"stacks/{folder}/"
        some = {name.removeprefix(start): sha256 for name, sha256 in bundle.sums.items() if name.startswith(start)}
        found |= {f"stacks/{stack}/{file}": sha256 for file, sha256 in some.items()}
    for bundle in joined.bundles:
        found |= {name: sha256 for name, sha256 in bundle.sums.items() if name.startswith(("tables/", "profiles/"))}
    captures: dict[str, dict[str, None]] = {}
    for part in joined.parts:
        if part.host.capture in part.bundle.sums:
            captures.setdefault(part.host.platform, {})[part.bundle.sums[part.host.capture]] = None
    for platform, some_ in captures.items():
        found[f"platforms/{platform}.json"] = min(some_)
        # Of one kind of processor, other machines' captures have other facts: they are named by their content.
        found |= {f"profiles/{sha256}.json": sha256 for sha256 in some_ if sha256 != min(some_)}
    for part in joined.parts:
        if part.host.capture in part.bundle.sums:
            sha256 = part.bundle.sums[part.host.capture]
            name = f"platforms/{part.host.platform}.json"
            part.host = part.host.model_copy(
                update={"capture": name if found[name] == sha256 else f"profiles/{sha256}.json"}
            )
    return {name: sha256 for name, sha256 in sorted(found.items()) if layout.limit(name) is not None}
