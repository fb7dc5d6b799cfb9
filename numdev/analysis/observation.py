"""One run of one cell, as the analysis sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from numdev import digests

OK = "ok"
# The factor whose levels are whole machines (see hosts.py).
HOST = "host"
# A result that rounding cannot explain (see suspects.py): the analysis gives this status, no run ends with it.
SUSPECT = "suspect"

# No class follows from these: nothing was computed, or not what was asked for.
GAPS = frozenset({"unsupported", "unrealised", "lost", SUSPECT})


@dataclass(frozen=True)
class OutputRef:
    """One output of one run. `tensor` is its content address: equal addresses are equal bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    tensor: str


class Named(Protocol):
    """An output as an observation or a record has it."""

    @property
    def name(self) -> str: ...
    @property
    def tensor(self) -> str: ...


@dataclass(frozen=True)
class Observation:
    """One replicate of a cell.

    `status` is `ok`, `failed`, `timeout`, `oom`, `signal:N`, `unsupported`, `unrealised` or `lost`; `reason`
    says why it is not `ok`. A reference observation's `factors` hold only factors that change the
    mathematical task, such as batch. `cell` names the stored record. `dispatch`: what each library says that it
    chose ({"OpenBLAS": "Haswell"}), empty where nothing was read back. `vouched`: whether a digest says that model and inputs
    are those of the workload; of what was measured elsewhere none does. `exact`: whether a reference
    observation is right by its making (exact integers, or float64), and not merely a cell that others are measured by. `rounds`:
    `outcome_digest` of every inference of the process, where there was more than one. `shown`: what CPUID answered, by a digest: equal
    ones told programs the same, and of "" that is not known. `emulated`: whether an emulator computed. `causes`: the digest that the
    cell had on its machine, whichever replicate it is, "" where that is not known.
    """

    workload: str
    factors: dict[str, str]
    replicate: int
    status: str
    reason: str
    outputs: tuple[OutputRef, ...]
    reference: bool
    cell: str
    dispatch: Mapping[str, str] = field(default_factory=dict, hash=False)
    vouched: bool = True
    exact: bool = True
    rounds: tuple[str, ...] = ()
    shown: str = ""
    emulated: bool = False
    causes: str = ""


def outcome_digest(outputs: Iterable[Named]) -> str:
    """What the worker names one inference's outputs by: equal digests are equal bytes of all outputs."""
    return digests.of_json(sorted([one.name, one.tensor] for one in outputs))
