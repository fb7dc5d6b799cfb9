"""The store: write-once records and tensors, named by content."""

from numdev.store.record import Output, Record
from numdev.store.store import Store

__all__ = ["Output", "Record", "Store"]
