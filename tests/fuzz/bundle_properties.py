"""What must hold for whatever bytes somebody hands us as a bundle, as a part of one, or as its signature.

The first byte of an input says which: the file itself, one member of a bundle that is whole by its manifest all the same, or an envelope.
An input ends in a report or a clear refusal, and in nothing else; what is said of it can be shown by a terminal.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import tempfile
from pathlib import Path

from numdev import digests
from numdev.bundle import layout
from numdev.bundle.archive import Writer
from numdev.bundle.create import Options, create
from numdev.bundle.reading import Bundle
from numdev.bundle.signing import envelope_of, statement_of
from numdev.bundle.verify import Report, verify
from numdev.errors import InvalidInput, NumdevError

CRATE = b"""{"@context":"https://w3id.org/ro/crate/1.1/context","@graph":[
{"@id":"ro-crate-metadata.json","@type":"CreativeWork","about":{"@id":"./"},"conformsTo":{"@id":"https://w3id.org/ro/crate/1.1"}},
{"@id":"#cell-1","@type":"CreateAction","actionStatus":"http://schema.org/CompletedActionStatus","instrument":{"@id":"#s"},"name":"x","result":{"@id":"#r"}},
{"@id":"#r","@type":"Collection","hasPart":[{"@id":"run.json"}]},
{"@id":"run.json","@type":"File","contentSize":"1","sha256":"0"},
{"@id":"./","@type":"Dataset","conformsTo":{"@id":"https://w3id.org/ro/wfrun/process/0.5"},"datePublished":"2026-01-31","hasPart":[{"@id":"run.json"}],"license":{"@id":"#l"},"name":"x","description":"y"}
]}
"""
ENVELOPE = json.dumps(
    {"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"keyid": "", "sig": "AAAA"}]}
).encode()


def good() -> tuple[bytes, dict[str, bytes]]:
    """A bundle made by hand: the file, and its members."""
    made = runpy.run_path(str(Path(__file__).resolve().parents[1] / "bundle" / "conftest.py"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "one.bundle.tar"
        create(made["a_store"](folder / "store"), "m", path, folder / "cache", Options())
        with Bundle(path) as bundle:
            return path.read_bytes(), {one: bundle.read(one) for one in bundle.members}


WHOLE, PARTS = good()
PARTS[layout.CRATE] = CRATE
# Of each kind of member one; the file comes first, and the envelope and what it signs last.
KINDS = ["", *{name.split("/")[0]: name for name in sorted(PARTS)}.values(), "workloads/own/inputs.npz", layout.ANSWER]
KINDS += [name for name in PARTS if name.endswith((".lock", "stack.yaml"))][:2]
# What the answer follows from; of the others it would be computed for nothing.
ANSWERED = ("analysis/", "cells", "facts", "run", "outputs/")
FILE = Path(f"/proc/self/fd/{os.memfd_create('bundle')}")


def archive(parts: dict[str, bytes]) -> bytes:
    """A bundle of these members with a manifest of its own."""
    names = sorted(set(parts) - {layout.SUMS})
    sums = "".join(f"{digests.of_bytes(parts[name])}  {name}\n" for name in names).encode()
    file = io.BytesIO()
    writer = Writer(file, "one")
    writer.add(layout.SUMS, len(sums), [sums])
    for name in names:
        writer.add(name, len(parts[name]), [parts[name]])
    writer.close()
    return file.getvalue()


def seeds() -> list[bytes]:
    found = [bytes([kind]) + (PARTS[name] if name else WHOLE) for kind, name in enumerate(KINDS)]
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://numdev.org/bundle/v1"}
    statement["subject"] = [{"name": name, "digest": {"sha256": "0" * 64}} for name in ("SHA256SUMS", "one")]
    return [*found, bytes([len(KINDS)]) + ENVELOPE, bytes([len(KINDS) + 1]) + json.dumps(statement).encode()]


def one_input(data: bytes) -> None:
    kind, data = (data[0] if data else 0) % (len(KINDS) + 2), data[1:]
    if kind >= len(KINDS):
        _signature(data, kind == len(KINDS))
        return
    if kind == 0:
        bundle = data
    elif KINDS[kind] == layout.SUMS:
        bundle = _replaced(data)
    else:
        bundle = archive({**PARTS, KINDS[kind]: data})
    handle = int(FILE.name)
    os.ftruncate(handle, 0)
    os.pwrite(handle, bundle, 0)
    try:
        report = verify(FILE, crate_needed=False, analyse=not kind or KINDS[kind].startswith(ANSWERED))
    except NumdevError as error:
        _clear(error)
        return
    _plain(report)
    if kind == 0 and report.whole:
        assert bundle == WHOLE


def _replaced(sums: bytes) -> bytes:
    """The good bundle with another manifest."""
    file = io.BytesIO()
    writer = Writer(file, "one")
    writer.add(layout.SUMS, len(sums), [sums])
    for name in sorted(set(PARTS) - {layout.SUMS}):
        writer.add(name, len(PARTS[name]), [PARTS[name]])
    writer.close()
    return file.getvalue()


def _signature(data: bytes, envelope: bool) -> None:
    try:
        if envelope:
            payload, signatures = envelope_of(data, "x")
            assert isinstance(payload, bytes) and 1 <= len(signatures) <= 16  # noqa: PT018
        else:
            assert len(statement_of(data, "x")) == 2
    except NumdevError as error:
        _clear(error)


def _plain(report: Report) -> None:
    report.printed().text().encode("ascii")
    for check in report.checks:
        assert len(check.problems) <= 100
        assert all(line.isprintable() for line in [check.what, *check.notes, *map(str, check.problems)])
    assert report.code in (0, 3, 15)


def _clear(error: NumdevError) -> None:
    if isinstance(error, InvalidInput):
        assert 1 <= len(error.problems) <= 100
    assert all(line.isprintable() for line in str(error).splitlines())
