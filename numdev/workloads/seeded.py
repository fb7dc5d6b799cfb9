"""Numbers from a seed, the same bytes on every machine and with every numpy.

PCG64's raw 64-bit words are fixed by its definition; everything after them is integer arithmetic and scaling by powers
of two, which are exact. numpy's distributions may change between versions, and use libm.
"""

from __future__ import annotations

import numpy as np


class Seeded:
    """A stream of numbers."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """int64 from `low` to `high`, both included; the slight bias of taking a remainder is accepted."""
        raw = self._bits.random_raw(int(np.prod(shape))) >> np.uint64(16)
        return (raw % np.uint64(high - low + 1)).astype(np.int64).reshape(shape) + low

    def normal(self, shape: tuple[int, ...], exponent: int = 0) -> np.ndarray:
        """float32, nearly normal with standard deviation 2**exponent: the sum of twelve uniform 12-bit numbers."""
        size = int(np.prod(shape))
        raw = self._bits.random_raw(size * 3).reshape(size, 3)
        total = np.zeros(size, np.int64)
        for shift in (0, 12, 24, 36):
            total += (raw >> np.uint64(shift + 8) & np.uint64(0xFFF)).astype(np.int64).sum(axis=1)
        centred = total * 2 - 12 * 0xFFF
        # Twelve uniform numbers of [0, 1) have variance one: 2**13 is the scale of the doubled integers.
        return np.ldexp(centred.astype(np.float32), exponent - 13).astype(np.float32).reshape(shape)

    def scaled(self, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Weights whose products keep about the size of what they are multiplied with (He et al. 2015), up to 2**0.5."""
        variance = 2.0 / fan_in
        exponent = 0
        while 4.0**exponent > variance * 1.4:
            exponent -= 1
        return self.normal(shape, exponent)

    def fine(self, shape: tuple[int, ...]) -> np.ndarray:
        """float32, uniform from -2 to 2 in steps of 2**-23: whole mantissas, where `normal` leaves half of one zero."""
        most = (1 << 24) - 1
        return np.ldexp(self.integers(-most, most, shape).astype(np.float32), -23).astype(np.float32)
