"""Arrays that do not lie in C order, in that order: a block at a time, so that neither all of one is copied nor all of its file mapped."""

from __future__ import annotations

import math
import mmap
import threading

import numpy as np

# Elements of a block, and blocks that are kept: whoever reads on needs the same one or the next one.
BLOCK, _KEPT = 1 << 20, 2
# Bytes of a file that are mapped at a time, and bytes around each place that the system maps with it.
_MAPPED, _AROUND = 32 << 20, 1 << 16


class Strided:
    """The elements of an array in C order, in one dimension; only slices of it can be had, and they are not to be written to."""

    def __init__(self, array: np.ndarray, block: int = BLOCK) -> None:
        self.size = array.size
        self._array = array.view(np.ndarray)
        self._map = getattr(array, "_mmap", None)
        self._block = _whole_rows(array.shape, block)
        self._blocks: dict[int, np.ndarray] = {}
        # Comparisons have threads.
        self._lock = threading.Lock()

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, _ = span.indices(self.size)
        if start >= stop:
            return np.empty(0, self._array.dtype)
        found = []
        for number in range(start // self._block, (stop - 1) // self._block + 1):
            begin = number * self._block
            found.append(self._at(number)[max(0, start - begin) : stop - begin])
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _at(self, number: int) -> np.ndarray:
        with self._lock:
            if number not in self._blocks:
                if len(self._blocks) >= _KEPT:
                    del self._blocks[next(iter(self._blocks))]
                begin = number * self._block
                end = min(begin + self._block, self.size)
                made = np.empty(end - begin, self._array.dtype)
                _fill(made, self._array, begin, end, self._map)
                self._blocks[number] = made
            return self._blocks[number]


def _whole_rows(shape: tuple[int, ...], block: int) -> int:
    """A block of whole rows, of the longest that it has room for: parts of one would be looked for in the whole of a file."""
    rows = [math.prod(shape[axis:]) for axis in range(1, len(shape))]
    row = next((size for size in rows if size <= block), 1)
    return block - block % row


def _fill(out: np.ndarray, array: np.ndarray, start: int, stop: int, mapped: mmap.mmap | None) -> None:
    """Writes the elements from `start` to `stop`, in C order: the end of one row, whole rows, and the beginning of one."""
    if array.ndim == 1:
        _copy(out, array[start:stop], mapped)
        return
    row = math.prod(array.shape[1:])
    first, last = start // row, -(-stop // row)
    if last - first == 1:
        _fill(out, array[first], start - first * row, stop - first * row, mapped)
        return
    if start % row:
        head = row - start % row
        _fill(out[:head], array[first], row - head, row, mapped)
        out, first = out[head:], first + 1
    if tail := stop % row:
        last -= 1
        _fill(out[out.size - tail :], array[last], 0, tail, mapped)
        out = out[: out.size - tail]
    if first < last:
        _copy(out.reshape(last - first, *array.shape[1:]), array[first:last], mapped)


def _copy(out: np.ndarray, part: np.ndarray, mapped: mmap.mmap | None) -> None:
    """Along the last axis, which lies furthest apart in Fortran's order."""
    extent = sum((count - 1) * abs(stride) for count, stride in zip(part.shape[:-1], part.strides[:-1], strict=True))
    step = max(1, _MAPPED // (extent + _AROUND)) if mapped is not None else part.shape[-1]
    for at in range(0, part.shape[-1], step):
        out[..., at : at + step] = part[..., at : at + step]
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)
