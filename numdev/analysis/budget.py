"""How much an analysis may cost: of one's own cells whatever it takes, of a stranger's only so much.

Who analyses a stranger's cells says so once, around all of it, and what costs more than its cells are large counts its steps. They
are counted and not timed, so that the same cells are within the budget or beyond it on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class OverBudget(Exception):
    """It would take more steps than were given."""


class _Budget:
    def __init__(self, steps: int) -> None:
        self.left = steps


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def bounded(steps: int) -> Iterator[None]:
    """Inside of the block at most so many steps are spent; beyond them OverBudget is raised.

    A step is what one element of a comparison takes, about a fifth of a microsecond.
    """
    token = _budget.set(_Budget(steps))
    try:
        yield
    finally:
        _budget.reset(token)


def counted() -> bool:
    """Whether there is a budget, so that it is worth foreseeing what something will take."""
    return _budget.get() is not None


def spend(steps: int) -> None:
    """Counts steps before they are taken; nothing where there is no budget. Threads of a pool have none."""
    budget = _budget.get()
    if budget is not None:
        budget.left -= steps
        if budget.left < 0:
            raise OverBudget
