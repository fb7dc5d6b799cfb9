"""Records as the lines of a bundle tell them: what many have in common is read, checked and held once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from numdev.bundle import layout
from numdev.cpu.capture import checked
from numdev.errors import InvalidInput, Problem
from numdev.store import Record
from numdev.store.record import Output

# Of facts that have been read, in bytes of their text, and of records that are alike but for their numbers.
_KEPT = 16 << 20
_ALIKE = 4096


class Facts(Mapping[str, Any]):
    """Facts by name, read where they lie; the last ones stay in memory. Nobody may change what it gives."""

    def __init__(self, index: dict[str, tuple[int, int]], read: Callable[[int, int], Any]) -> None:
        """index: for each fact, where its line begins and how long it is. read: gives the fact of that line."""
        self._index, self._read = index, read
        self._kept: dict[str, Any] = {}
        self._size = 0

    def __getitem__(self, name: str) -> Any:
        if name not in self._kept:
            begin, size = self._index[name]
            if self._size + size > _KEPT:
                self._kept.clear()
                self._size = 0
            self._kept[name] = self._read(begin, size)
            self._size += size
        return self._kept[name]

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


class Records:
    """Makes records of lines. Those with the same facts share them."""

    def __init__(self, facts: Mapping[str, Any], where: str) -> None:
        self._facts, self._where = facts, where
        self._alike: dict[tuple[Any, ...], Record] = {}
        self._outputs: dict[tuple[Any, ...], list[Output]] = {}

    def of(self, cell: layout.CellLine) -> Record:
        """The record of a line; InvalidInput where it does not fit together."""
        facts = (cell.declared, cell.causes, cell.environment, cell.realised, cell.rounds, cell.tap)
        key = (*facts, cell.signature, cell.status, cell.workload, cell.reference)
        known, outputs = self._alike.get(key), self._outputs.get((cell.signature, *cell.outputs))
        if known is None or outputs is None:
            if len(self._alike) + len(self._outputs) >= _ALIKE:
                self._alike.clear()
                self._outputs.clear()
            # What is of this line alone is not held for others.
            record = recorded(cell, self._facts, self._where)
            known = record.model_copy(update={"realised": self._realised(cell), "outputs": []})
            self._alike[key] = known
            outputs = self._outputs[(cell.signature, *cell.outputs)] = record.outputs
        return known.model_copy(
            update={
                "digest": cell.digest,
                "replicate": cell.replicate,
                "reason": cell.reason,
                "outputs": outputs,
                "seconds": cell.seconds,
                "realised": {**known.realised, **cell.measured},
            }
        )

    def _realised(self, cell: layout.CellLine) -> dict[str, Any]:
        return self._facts[cell.realised] if cell.realised else {}


def recorded(cell: layout.CellLine, facts: Mapping[str, Any], where: str) -> Record:
    """The record that a line of `cells.jsonl` tells with its facts; InvalidInput where they do not fit together."""
    place = f"{where}: {layout.CELLS}: {cell.digest[:12]}"

    def fact(key: str, default: Any) -> Any:
        name = getattr(cell, key)
        if name is not None and name not in facts:
            raise InvalidInput(f"{where} is not valid.", [Problem(place, f"its {key}, the fact {name}, is missing")])
        return default if name is None else facts[name]

    tap, rounds = fact("tap", None), fact("rounds", [])
    try:
        pairs = list(zip(fact("signature", []), cell.outputs, strict=True))
        data = {
            "record": 3 if tap else 2 if rounds else 1,
            "digest": cell.digest,
            "workload": cell.workload,
            "factors": fact("declared", {}),
            "replicate": cell.replicate,
            "reference": cell.reference,
            "status": cell.status,
            "reason": cell.reason,
            "outputs": [{**described, "tensor": tensor} for described, tensor in pairs],
            "seconds": cell.seconds,
            "realised": {**fact("realised", {}), **cell.measured},
            "causes": fact("causes", {}),
            "environment": fact("environment", {}),
            "rounds": rounds,
            "tap": tap,
        }
    except (TypeError, ValueError):
        raise InvalidInput(f"{where} is not valid.", [Problem(place, "its facts do not fit together")]) from None
    return checked(Record, data, place)
