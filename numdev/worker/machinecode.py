"""Machine code as a function of three addresses, for as long as it is needed."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def function(code: bytes) -> Iterator[Callable[[int, int, int], None]]:
    """`void f(void *, void *, void *)` of at most a page of x86-64 instructions, by the calling convention of Linux."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    anchor = ctypes.c_char.from_buffer(page)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(ctypes.addressof(anchor))
    try:
        yield call
    finally:
        # The buffer's owner must be gone before the page can be.
        del call, anchor
        page.close()
