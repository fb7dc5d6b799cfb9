"""An engine in memory, for tests and for trying out designs: a function stands in for every cell.

It reads the same job folder and writes the same output folder as a container does, so that all code around it is the
code that runs with real engines.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numdev import digests
from numdev.engines.protocol import Ending, Environment, Launch, Say, stack_digest
from numdev.spec.stack import Stack
from numdev.worker import looking, tap
from numdev.worker.layers import Layer


@dataclass(frozen=True)
class Played:
    """What a cell is said to have done. A status of "missing" leaves no result, as a lost container does; `rounds`
    are the outputs of the inferences after the first, `layers` what a tap sees where it was
    asked for, with each layer's output or None, in order; `tapped` is its status.
    """

    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    status: str = "ok"
    reason: str = ""
    realised: dict[str, Any] = field(default_factory=dict)
    rounds: tuple[dict[str, np.ndarray], ...] = ()
    layers: tuple[tuple[Layer, np.ndarray | None], ...] = ()
    tapped: str = "same"


# stack, the cell's entry in job.json, the CPUID table's text or None -> what it does.
Player = Callable[[str, dict[str, Any], str | None], Played]


class MemoryEngine:
    """Plays every cell by a function.

    Args:
        player: what a cell does.
        ending: how each container ends.
    """

    name = "memory"

    def __init__(self, player: Player, ending: Ending = Ending("ok")) -> None:
        self.player = player
        self.ending = ending
        self.launches: list[Launch] = []
        self.stopped = False

    def facts(self) -> dict[str, Any]:
        return {"engine": self.name}

    def environment(self, stack: Stack, say: Say) -> Environment:
        say(f"{stack.name}: in memory")
        return Environment(f"memory:{stack.name}", stack_digest(stack, digests.of_json(stack.name)), {}, "", "")

    def emulator(self, path: str, static: bool) -> str:
        return path

    def refuses(self, architecture: str) -> str:
        return ""

    def run(self, launch: Launch, poll: Callable[[], None]) -> Ending:
        self.launches.append(launch)
        job = json.loads((launch.job / "job.json").read_text())
        table = (launch.job / "table.txt").read_text() if launch.profiled else None
        stack = launch.environment.id.removeprefix("memory:")
        for cell in job["cells"]:
            if self.stopped:
                return Ending("lost", "stopped")
            _event(launch.out, "start", cell["id"])
            played = self.player(stack, cell, table)
            if played.status != "missing":
                _write(launch.out / cell["id"], played, bool(cell.get("tap")))
                _event(launch.out, "end", cell["id"])
            poll()
        return self.ending

    def stop(self) -> None:
        self.stopped = True


def _event(out: Path, event: str, cell: str) -> None:
    with open(out / "events.jsonl", "a") as file:
        file.write(json.dumps({"event": event, "cell": cell}) + "\n")


def _write(folder: Path, played: Played, tapped: bool) -> None:
    folder.mkdir()
    rows = []
    for index, (name, array) in enumerate(sorted(played.outputs.items())):
        data = _npy(array)
        (folder / f"{index}.npy").write_bytes(data)
        rows.append({"name": name, "file": f"{index}.npy", "sha256": digests.of_bytes(data)})
    result = {
        "status": played.status,
        "reason": played.reason,
        "outputs": rows if played.status == "ok" else [],
        "realised": played.realised,
        "seconds": 0.0,
    }
    if played.rounds:
        every = (played.outputs, *played.rounds)
        result["rounds"] = [
            digests.of_json(sorted([name, digests.of_bytes(_npy(array))] for name, array in outputs.items()))
            for outputs in every
        ]
    if tapped:
        seen = {layer.name: looking.look_at(value) for layer, value in played.layers if value is not None}
        rows = tap.rows([layer for layer, _ in played.layers], seen, {}, str(folder))
        result["tap"] = {"status": played.tapped, "reason": "", "layers": rows}
    (folder / "result.json").write_text(json.dumps(result))


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return stream.getvalue()
