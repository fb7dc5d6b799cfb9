"""From a result to records of the store, and to a row that says what they are."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from numdev import digests
from numdev.imports.layout import Entry
from numdev.imports.places import FRESH, Place
from numdev.imports.platforms import CPU, of_cpu, of_gpu
from numdev.imports.results import Result
from numdev.store import Output, Record, Store
from numdev.store.record import SCHEMA

# Another reading of the same file is another record.
READING = 1
OUTPUT = "prediction"


@dataclass(frozen=True)
class Row:
    """One result file: where it belongs, its platform's facts, and for each run the record and the tensor."""

    path: str
    place: Place
    facts: dict[str, str]
    records: tuple[str, ...]
    tensors: tuple[str, ...]
    new: int

    @property
    def platform(self) -> tuple[str, str]:
        return self.place.platform, self.place.kind


def keep(entry: Entry, place: Place, result: Result, store: Store) -> Row:
    """Writes what the store does not have of a result's runs yet."""
    sha256 = digests.of_bytes(entry.data)
    info = result.file.cpu_info.model_dump(mode="json")
    device = result.file.device
    facts = of_cpu(info) if place.kind == CPU else of_gpu(device.physical_description if device else {}, info)
    environment = {
        **result.environment,
        "path": entry.path,
        "repeats": "containers of their own" if place.experiment in FRESH and len(result.runs) > 1 else "none",
    }
    records, tensors, new = [], [], 0
    for replicate, run in enumerate(result.runs):
        causes: dict[str, Any] = {"imported": "unannticipated", "path": entry.path, "sha256": sha256}
        digest = digests.of_json({**causes, "reading": READING, "replicate": replicate})
        data = _npy(run)
        # Both are written once, and a second import finds them.
        tensor = store.put_tensor(data)
        if not store.has(digest):
            new += 1
            store.put(
                Record(
                    record=SCHEMA,
                    digest=digest,
                    workload=place.workload,
                    factors={**facts, "platform": place.platform, "kind": place.kind, "experiment": place.experiment},
                    replicate=replicate,
                    status="ok",
                    outputs=[Output(name=OUTPUT, dtype=run.dtype.name, shape=list(run.shape), tensor=tensor)],
                    causes=causes,
                    environment=environment,
                )
            )
        records.append(digest)
        tensors.append(tensor)
    return Row(entry.path, place, facts, tuple(records), tuple(tensors), new)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return file.getvalue()
