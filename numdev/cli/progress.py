"""What is running, as it happens."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from numdev.run.plan import Item
from numdev.store import Record


class Live:
    """A progress bar on standard error, and a line for every cell that did not end well."""

    def __init__(self, total: int, stored: int, refused: int) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.total, self.stored, self.refused = total, stored, refused
        self.statuses: Counter[str] = Counter()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}", markup=False, table_column=None),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("cells", total=total, now="")

    def __enter__(self) -> Live:
        if self.stored:
            self.console.print(f"{self.stored} results are stored already.")
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if kind is None and self.total:
            counted = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
            self.console.print(f"{self.total} cells run: {counted}.", markup=False)

    def started(self, item: Item) -> None:
        self.bar.update(self.task, now=item.cell.label()[:30])

    def said(self, line: str) -> None:
        self.bar.console.print(line, markup=False)

    def ended(self, item: Item, record: Record) -> None:
        if item.refusal:
            return
        self.statuses[record.status] += 1
        self.bar.advance(self.task)
        if record.status != "ok":
            self.bar.console.print(
                f"{record.status}: {item.cell.label()} (repeat {item.replicate}): {record.reason[:300]}",
                markup=False,
            )
