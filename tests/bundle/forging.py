"""Bundles that nobody should believe, made from a good one: with a manifest of their own where that is what a forger would do."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.bundle import layout
from numdev.bundle.archive import Writer
from numdev.bundle.reading import Bundle

PEAK = Path(__file__).parents[1] / "peak.py"


def verified(path: Path, **how: Any) -> tuple[int, int, str]:
    """(exit code, megabytes, what it said) of `bundle verify` in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(PEAK), "bundle", "verify", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **how,
    )
    *said, peak = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    return done.returncode, int(peak), done.stdout + "\n".join(said)


def parts_of(path: Path) -> dict[str, bytes]:
    """All members of a bundle but its manifest."""
    with Bundle(path) as bundle:
        return {name: bundle.read(name) for name in bundle.sums}


def manifest(parts: dict[str, bytes]) -> bytes:
    return "".join(f"{digests.of_bytes(parts[name])}  {name}\n" for name in sorted(parts)).encode()


def archive(parts: dict[str, bytes], sums: bytes | None = None, folder: str = "one") -> bytes:
    """The file of these members; by default with the manifest that fits."""
    file = io.BytesIO()
    writer = Writer(file, folder)
    sums = manifest(parts) if sums is None else sums
    writer.add(layout.SUMS, len(sums), [sums])
    for name in sorted(parts):
        writer.add(name, len(parts[name]), [parts[name]])
    writer.close()
    return file.getvalue()


def changed(parts: dict[str, bytes], name: str, change: Callable[[Any], Any]) -> dict[str, bytes]:
    """The same with the JSON of a member changed, written as numdev writes it."""
    value = json.loads(parts[name])
    change(value)
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True)
    return {**parts, name: text.encode() + b"\n"}


def lined(parts: dict[str, bytes], name: str, number: int, change: Callable[[Any], Any]) -> dict[str, bytes]:
    """The same with one line of a member changed; `number` from 0."""
    lines = parts[name].splitlines()
    value = json.loads(lines[number])
    change(value)
    lines[number] = digests.canonical(value)
    return {**parts, name: b"\n".join(lines) + b"\n"}


def fact(parts: dict[str, bytes], number: int, key: str, change: Callable[[Any], Any]) -> dict[str, bytes]:
    """The same where what the line `number` of cells.jsonl says by the fact `key` is another, under a name of its own."""
    cell = json.loads(parts[layout.CELLS].splitlines()[number])
    facts = {row["fact"]: row["value"] for row in map(json.loads, parts[layout.FACTS].splitlines())}
    value = json.loads(json.dumps(facts[cell[key]]))
    change(value)
    new = digests.of_json(value)[:16]
    facts[new] = value
    there = lined(parts, layout.CELLS, number, lambda line: line.update({key: new}))
    used = {json.loads(line).get(one) for line in there[layout.CELLS].splitlines() for one in FACTS}
    rows = [digests.canonical({"fact": name, "value": facts[name]}) for name in sorted(used & facts.keys())]
    return {**there, layout.FACTS: b"\n".join(rows) + b"\n"}


FACTS = ("signature", "declared", "causes", "environment", "realised", "rounds", "tap")


def output(data: bytes) -> tuple[str, bytes]:
    """An output under the name that it has to have."""
    return f"outputs/{digests.of_bytes(data)}.npy", data


def swapped(parts: dict[str, bytes], data: bytes) -> dict[str, bytes]:
    """The same where the first cell that has an output has this one, under its own name."""
    lines = [json.loads(line) for line in parts[layout.CELLS].splitlines()]
    old = lines[0]["outputs"][0]
    name, _ = output(data)
    rest = {key: value for key, value in parts.items() if key != f"outputs/{old}.npy"}
    text = rest[layout.CELLS].replace(old.encode(), name[8:72].encode())
    return {**rest, layout.CELLS: text, name: data}
