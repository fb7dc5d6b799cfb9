"""Speech-like audio from integers, framed as a voice activity detector takes it."""

from __future__ import annotations

import numpy as np

from numdev.workloads.seeded import Seeded

RATE = 16000
# Samples of a frame, and those of the frame before that stand in front of it.
FRAME, CONTEXT = 512, 64
# Pitch in Hz, and three formants in Hz, of four syllables: a, e, i and o.
_SYLLABLES = ((110, 750, 1200, 2500), (130, 500, 1800, 2500), (120, 300, 2200, 2900), (100, 500, 900, 2400))
_SYLLABLE, _SPOKEN = 4096, 3072


def audio(count: int) -> np.ndarray:
    """int64 samples of 16 bits: syllables and the pauses between them.

    A syllable is a pulse train; each pulse starts three triangle waves at the formants, which fade until the next one.
    Integers only, for a sine of libm's may differ between machines.
    """
    time = np.arange(count, dtype=np.int64)
    within, index = time % _SYLLABLE, time // _SYLLABLE % len(_SYLLABLES)
    pitch, *formants = np.array(_SYLLABLES, np.int64)[index].T
    period = RATE // pitch
    since = within % period
    total = np.zeros(count, np.int64)
    for share, hertz in zip((4, 2, 1), formants, strict=True):
        phase = since * hertz * 65536 // RATE % 65536
        total += (np.abs(phase - 32768) * 2 - 32768) * share
    fading = total * (period - since) // period // 14
    return np.where(within < _SPOKEN, fading, 0)


def frames(count: int) -> np.ndarray:
    """float32 [count, CONTEXT + FRAME]: each frame with the end of the one before, zeros before the first."""
    samples = np.concatenate([np.zeros(CONTEXT, np.int64), audio(count * FRAME)])
    framed = np.stack([samples[start : start + CONTEXT + FRAME] for start in range(0, count * FRAME, FRAME)])
    return framed.astype(np.float32) / np.float32(32768)


# Frames of the middle of each of four syllables; each is a sample of its own.
_CHOSEN = (2, 11, 19, 27)


def frame_inputs() -> dict[str, np.ndarray]:
    """Four frames, each with a seeded state: `input` [4, CONTEXT + FRAME], `state` [2, 4, 128] and `sr`, a number."""
    state = Seeded(24).normal((2, len(_CHOSEN), 128), -2)
    return {"input": frames(32)[list(_CHOSEN)], "state": state, "sr": np.array(RATE, np.int64)}


def sequence_inputs() -> dict[str, np.ndarray]:
    """Two seconds from a state of zeros: `input` [62, CONTEXT + FRAME], `h` and `c` [1, 1, 128]."""
    nothing = np.zeros((1, 1, 128), np.float32)
    return {"input": frames(62), "h": nothing, "c": nothing}


def script_inputs() -> dict[str, np.ndarray]:
    """The four frames as TorchScript takes them, without context: `input` [4, FRAME] and `sr`, a number.

    The script keeps its state to itself: it starts from zeros, and a second inference goes on from the first.
    """
    chosen = np.ascontiguousarray(frames(32)[list(_CHOSEN), CONTEXT:])
    return {"input": chosen, "sr": np.array(RATE, np.int64)}
