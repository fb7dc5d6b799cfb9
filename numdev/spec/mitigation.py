"""The candidates of `numdev mitigate`: which factor each sets, and to what (mitigations.yaml)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from numdev.spec import yamlfile
from numdev.spec.cell import DEFAULTS, Cell

CATALOGUE = Path(__file__).with_name("mitigations.yaml")
PRECISION = "precision"
THREADS = "threads"


class Pin(yamlfile.Strict):
    """One candidate. `levels`: the one first that the most processors can follow, later ones faster."""

    name: str
    factor: str
    levels: list[str | int] = Field(min_length=1)
    kind: Literal["dispatch", "threads", "deterministic", "algorithm", "optimization", "integer", "precision"]
    why: str
    python: str = ""
    cast: bool = Field(default=False, description="whether outputs are rounded to float32 afterwards")


class _Catalogue(yamlfile.Strict):
    pins: dict[str, list[Pin]]


@dataclass(frozen=True)
class Setting:
    """A pin at one of its levels."""

    pin: Pin
    level: Any

    @property
    def label(self) -> str:
        """`ATEN=avx2`; of a pin with one level that is a switch or a list, only its name."""
        plain = len(self.pin.levels) > 1 or self.pin.factor == THREADS
        return f"{self.pin.name}={self.level}" if plain else self.pin.name

    def shell(self) -> str:
        """The line of a shell that sets it, or ""."""
        kind, _, name = self.pin.factor.partition(".")
        return f"export {name}={self.level}" if kind == "env" else ""

    def python(self) -> str:
        return self.pin.python.format(level=self.level)


@cache
def catalogue() -> dict[str, list[Pin]]:
    """Every backend's candidates."""
    return yamlfile.validate(_Catalogue, {"pins": yamlfile.read(CATALOGUE)}, CATALOGUE.name).pins


def pinned(cell: Cell, settings: Iterable[Setting]) -> Cell:
    """The cell with these set, whatever its matrix says of their factors."""
    return Cell(cell.workload, {**cell.factors, **{one.pin.factor: one.level for one in settings}})


def changes(cell: Cell, pin: Pin) -> bool:
    """Whether a pin would make another cell of this one."""
    return cell.factors.get(pin.factor, DEFAULTS.get(pin.factor)) != pin.levels[0] or len(pin.levels) > 1
