"""Images become arrays: bounded decoding, and arithmetic that gives the same bytes everywhere."""

from __future__ import annotations

import io
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from numdev.errors import InvalidInput, Problem
from numdev.files import read_bytes
from numdev.spec.workload import Preprocess

FILE_LIMIT = 256 << 20
PIXEL_LIMIT = 64 << 20
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def decode(data: bytes, where: str) -> Image.Image:
    """An RGB image; raises InvalidInput for what is none, or has more than 64 million pixels."""
    try:
        with warnings.catch_warnings():
            # What Pillow thinks of metadata and palettes does not matter here; a bomb does.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > PIXEL_LIMIT:
                raise InvalidInput(
                    f"{where} is too large.",
                    [
                        Problem(
                            where,
                            f"{image.width} x {image.height} pixels, more than {PIXEL_LIMIT}",
                            "shrink it",
                        )
                    ],
                )
            if image.mode.startswith(("I", "F")) or ";16" in str(image.tile):
                # Pillow would make 16 bits to 8, and so another picture, without a word.
                what = "has more than 8 bits a channel"
                raise InvalidInput(f"{where} cannot be used.", [Problem(where, what, "convert it to 8 bits")])
            return image.convert("RGB")
    except InvalidInput:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{where} is too large.", [Problem(where, str(error))]) from None
    except Exception as error:
        # What a malformed image makes Pillow raise has no common base.
        what = "no image that is understood" if isinstance(error, UnidentifiedImageError) else str(error)
        remedy = f"use one of {', '.join(FORMATS)}"
        raise InvalidInput(f"{where} cannot be read.", [Problem(where, what or type(error).__name__, remedy)]) from None


def _float32(value: Fraction) -> np.float32:
    """The nearest float32; by way of float64 alone it would be rounded twice."""
    near = np.float32(float(value))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min(around, key=lambda one: (abs(Fraction(float(one)) - value), int(one.view(np.uint32)) & 1))


def prepare(images: list[Image.Image], how: Preprocess) -> np.ndarray:
    """A batch [N, C, H, W] or [N, H, W, C] of float32.

    Pixels are integers, so the value of each is taken from a table of 256 entries, each computed as an exact
    fraction and rounded once: no machine can give another.
    """
    count = 1 if how.channels == "gray" else 3
    mean = [Fraction(value) for value in (how.mean * count)[:count]]
    std = [Fraction(value) for value in (how.std * count)[:count]]
    scale = Fraction(how.scale)
    tables = [
        np.array([_float32((pixel * scale - mean[c]) / std[c]) for pixel in range(256)], np.float32)
        for c in range(count)
    ]
    batch = []
    for image in images:
        resized = image.resize(how.size, _FILTERS[how.resize])
        if how.channels == "gray":
            pixels = np.asarray(resized.convert("L"))[:, :, None]
        else:
            pixels = np.asarray(resized)
            pixels = pixels[:, :, ::-1] if how.channels == "bgr" else pixels
        batch.append(np.stack([tables[c][pixels[:, :, c]] for c in range(count)], axis=-1))
    array = np.stack(batch)
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2) if how.layout == "nchw" else array)


def load(paths: list[Path], how: Preprocess) -> np.ndarray:
    """The batch of image files; raises InvalidInput with the problems of all of them."""
    problems: list[Problem] = []
    images = []
    for path in paths:
        try:
            images.append(decode(read_bytes(path, FILE_LIMIT), str(path)))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput("Some images cannot be used.", problems)
    return prepare(images, how)
