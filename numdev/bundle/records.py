"""Records as the lines of a bundle tell them: what many have in common is read, checked and held once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from numdev.bundle import layout, strict
from numdev.cpu.capture import checked
from numdev.errors import InvalidInput, Problem
from numdev.store import Record
from numdev.store.record import Output

# Of facts that have been read, and of records that are alike but for their numbers: bytes of memory, as `weight` reckons them.
_KEPT = 32 << 20
# Of a value in memory, beside its text, and of an output that a record names.
_VALUE, _OUTPUT = 120, 700


def weight(line: bytes) -> int:
    """About how much memory the values in a line of JSON take."""
    return len(line) + _VALUE * strict.values(line)


class Facts(Mapping[str, Any]):
    """Facts by name, read where they lie; the last ones stay in memory. Nobody may change what it gives."""

    def __init__(self, index: dict[str, tuple[int, int, int]], read: Callable[[int, int], Any]) -> None:
        """index: for each fact, where its line begins, how long it is and its weight. read: gives the fact of that line."""
        self._index, self._read = index, read
        self._kept: dict[str, Any] = {}
        self._size = 0

    def __getitem__(self, name: str) -> Any:
        if name not in self._kept:
            begin, size, heavy = self._index[name]
            if self._size + heavy > _KEPT:
                self._kept.clear()
                self._size = 0
            self._kept[name] = self._read(begin, size)
            self._size += heavy
        return self._kept[name]

    def weight(self, names: Iterable[str | None]) -> int:
        """About how much memory these take together; what is none of them takes nothing."""
        return sum(self._index[name][2] for name in names if name in self._index)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


class Records:
    """Makes records of lines. Those with the same facts share them."""

    def __init__(self, facts: Facts, where: str) -> None:
        self._facts, self._where = facts, where
        self._alike: dict[tuple[Any, ...], Record] = {}
        self._outputs: dict[tuple[Any, ...], list[Output]] = {}
        self._size = 0

    def of(self, cell: layout.CellLine) -> Record:
        """The record of a line; InvalidInput where it does not fit together."""
        facts = (cell.declared, cell.causes, cell.environment, cell.realised, cell.rounds, cell.tap)
        key = (*facts, cell.signature, cell.status, cell.workload, cell.reference)
        known, outputs = self._alike.get(key), self._outputs.get((cell.signature, *cell.outputs))
        if known is None or outputs is None:
            heavy = self._facts.weight(facts) + _OUTPUT * (1 + len(cell.outputs))
            if self._size + heavy > _KEPT:
                self.forget()
            self._size += heavy
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

    def forget(self) -> None:
        """Lets go of what is held for lines to come."""
        self._alike.clear()
        self._outputs.clear()
        self._size = 0

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
