"""Two arrays of one shape, read in pieces: nothing larger than a piece is ever copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from numdev.analysis.strided import BLOCK, Strided

# Elements: few enough for a processor's caches, enough that what is called for each piece takes no time.
PIECE = 1 << 17

# What numpy has no type for is stored as raw elements; ml_dtypes' bfloat16 is saved as these by numpy itself.
BFLOAT16 = np.dtype("V2")


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: its width and precision (with the hidden bit) in bits, and infinity's bits."""

    name: str
    width: int
    precision: int
    infinity: int

    @cached_property
    def signed(self) -> np.dtype:
        return np.dtype(f"i{self.width // 8}")

    @cached_property
    def unsigned(self) -> np.dtype:
        return np.dtype(f"u{self.width // 8}")


_FORMATS = {
    np.dtype(np.float16): Format("float16", 16, 11, 0x7C00),
    BFLOAT16: Format("bfloat16", 16, 8, 0x7F80),
    np.dtype(np.float32): Format("float32", 32, 24, 0x7F800000),
    np.dtype(np.float64): Format("float64", 64, 53, 0x7FF0000000000000),
}


def format_of(dtype: np.dtype) -> Format | None:
    return _FORMATS.get(dtype.newbyteorder("="))


def dtype_name(dtype: np.dtype) -> str:
    return "bfloat16" if dtype == BFLOAT16 else dtype.name


def widened(array: np.ndarray) -> np.ndarray:
    """bfloat16 as float32, which holds all its values; everything else as it is."""
    if array.dtype != BFLOAT16:
        return array
    high = np.ascontiguousarray(array).view(np.uint16).astype(np.uint32)
    return np.left_shift(high, 16).view(np.float32)


def flat(array: np.ndarray, block: int = BLOCK) -> np.ndarray | Strided:
    """The array in one dimension and in C order, to be sliced; one that does not lie so is not copied as a whole, but in blocks."""
    return array.reshape(-1) if array.flags.c_contiguous else Strided(array, block)


def stretches(array: np.ndarray, piece: int = 0) -> Iterator[np.ndarray]:
    """All elements of an array in C order, a piece at a time."""
    piece = piece or PIECE
    elements = flat(array)
    return (elements[start : start + piece] for start in range(0, array.size, piece))


class Pairs:
    """Elements of two arrays of one shape in the order they lie in, in native byte order.

    `format` is the format in which both are compared bit by bit: that of both, or the narrower of float16,
    float32 and float64, to which the other is rounded; None where there is no such.
    """

    def __init__(self, one: np.ndarray, other: np.ndarray) -> None:
        self.size = one.size
        self.same_type = one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=")
        self._arrays = tuple(flat(array) for array in (one, other))
        formats = [format_of(array.dtype) for array in (one, other)]
        self.format: Format | None = None
        if None not in formats and (self.same_type or BFLOAT16 not in (one.dtype, other.dtype)):
            self.format = min(formats, key=lambda each: each.width)

    def at(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The elements from `start` to `stop`, views where the arrays lie in C order."""
        first, second = (array[start:stop] for array in self._arrays)
        return _native(first), _native(second)

    def bits(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The same in `format`, as signed integers of its width."""
        assert self.format is not None
        first, second = self.at(start, stop)
        if not self.same_type:
            narrow = np.dtype(f"f{self.format.width // 8}")
            with np.errstate(over="ignore"):
                first, second = first.astype(narrow, copy=False), second.astype(narrow, copy=False)
        return first.view(self.format.signed), second.view(self.format.signed)

    def spans(self, piece: int = 0) -> Iterator[tuple[int, int]]:
        piece = piece or PIECE
        return ((start, min(start + piece, self.size)) for start in range(0, self.size, piece))


def _native(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)
