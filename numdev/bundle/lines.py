"""Records as lines of `cells.jsonl` and `facts.jsonl`: what many cells have in common stands once."""

from __future__ import annotations

from typing import Any

from numdev import digests
from numdev.bundle.layout import CellLine
from numdev.bundle.private import Scrubber
from numdev.run.runfile import RunCell
from numdev.store import Record

# What a worker reads back of each process, which is never twice the same.
MEASURED = ("inference_seconds",)


class Lines:
    """Makes lines; `facts` gathers, by its name, what they have in common."""

    def __init__(self, scrubber: Scrubber) -> None:
        self.facts: dict[str, Any] = {}
        self._scrubber = scrubber

    def line(self, cell: RunCell, record: Record | None) -> CellLine:
        """A cell with its record; without one it is "missing"."""
        asked = {
            "digest": cell.digest,
            "workload": cell.workload,
            "factors": self._scrubber.value(cell.factors),
            "replicate": cell.replicate,
            "reference": cell.reference,
        }
        if record is None:
            return CellLine(**asked, status="missing")
        realised, measured = _apart(record.realised)
        outputs = [output.model_dump(mode="json") for output in record.outputs]
        signature = [{key: value for key, value in output.items() if key != "tensor"} for output in outputs]
        return CellLine(
            **asked,
            status=record.status,
            reason=self._scrubber.text(record.reason),
            outputs=[output["tensor"] for output in outputs],
            signature=self._fact(signature),
            declared=self._fact(dict(record.factors)),
            causes=self._fact(record.causes),
            environment=self._fact(record.environment),
            realised=self._fact(realised),
            rounds=self._fact(list(record.rounds)),
            tap=self._fact(record.tap.model_dump(mode="json") if record.tap else None),
            seconds=record.seconds,
            measured=self._scrubber.value(measured),
        )

    def _fact(self, value: Any) -> str | None:
        if not value:
            return None
        value = self._scrubber.value(value)
        name = digests.of_json(value)[:16]
        self.facts[name] = value
        return name


def json_of(line: CellLine) -> dict[str, Any]:
    """The line without what is as by default."""
    return line.model_dump(mode="json", exclude_defaults=True)


def _apart(realised: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was read back, and what of it is of that process alone; put together by `{**first, **second}`."""
    measured = {key: value for key, value in realised.items() if key in MEASURED}
    common = {key: value for key, value in realised.items() if key not in MEASURED}
    if isinstance(cpuid := common.get("cpuid"), dict) and "traps" in cpuid:
        # As a whole: what is put together again has no deeper level.
        measured["cpuid"] = common.pop("cpuid")
    return common, measured
