"""Images become arrays: what is refused, and arithmetic against fractions."""

import io
import random
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from numdev.errors import InvalidInput
from numdev.spec.workload import Preprocess
from numdev.workloads import images


def how(**changes) -> Preprocess:
    return Preprocess.model_validate({"input": "x", "size": [2, 1], **changes})


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def picture(pixels) -> Image.Image:
    return Image.fromarray(np.array(pixels, np.uint8))


def grid(width: int = 16, height: int = 12) -> Image.Image:
    values = np.arange(width * height * 3) * 7 % 256
    return picture(values.reshape(height, width, 3))


def refused(data: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        images.decode(data, "a.png")
    (problem,) = caught.value.problems
    assert problem.where == "a.png"
    return problem.what


def png(width: int, height: int, data: bytes, depth: int = 8, colours: int = 2) -> bytes:
    """A PNG as its bytes are, whether they fit its size or not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_keep_their_pixels(format):
    image = grid()
    data = encoded(image, format, **({"lossless": True} if format == "WEBP" else {}))
    assert images.decode(data, "a").tobytes() == image.tobytes()


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_other_formats_are_decoded(format):
    found = images.decode(encoded(picture(np.full((8, 8, 3), 200)), format), "a")
    assert (found.mode, found.size) == ("RGB", (8, 8))
    assert np.abs(np.asarray(found).astype(int) - 200).max() <= 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb(mode):
    image = Image.new(mode, (3, 2))
    data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    assert images.decode(data, "a").mode == "RGB"


@pytest.mark.parametrize("colours", [0, 2, 4, 6])
def test_more_than_8_bits_would_be_clipped(colours):
    assert "more than 8 bits" in refused(png(2, 2, bytes(100), depth=16, colours=colours))


@pytest.mark.parametrize("format", ["GIF", "TIFF", "PPM"])
def test_formats_outside_the_list_are_not_even_tried(format):
    assert refused(encoded(grid(), format)) == "no image that is understood"


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"II*\x00" + b"\xff" * 100])
def test_what_is_no_image(data):
    assert refused(data)


@pytest.mark.parametrize("format", images.FORMATS)
def test_truncated_and_flipped_images_are_refused_or_decoded(format):
    whole = encoded(grid(), format)
    chance = random.Random(format)
    refusals = 0
    for _ in range(150):
        data = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.5 else whole)
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            assert images.decode(bytes(data), "a").mode == "RGB"
        except InvalidInput:
            refusals += 1
    assert refusals > 5


@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (20_000, 4_000), (20_000, 8_000), (60_000, 60_000)])
def test_large_images_are_not_decoded(width, height):
    assert "pixels" in refused(png(width, height, bytes(100)))


def test_all_images_that_cannot_be_used(tmp_path):
    (tmp_path / "good.png").write_bytes(encoded(grid()))
    (tmp_path / "bad.png").write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    names = ["missing.png", "good.png", "bad.png", "folder.png"]
    with pytest.raises(InvalidInput) as caught:
        images.load([tmp_path / name for name in names], how())
    assert [problem.where for problem in caught.value.problems] == [
        str(tmp_path / name) for name in ("missing.png", "bad.png", "folder.png")
    ]


def nearest(value: Fraction) -> float:
    """The float32 nearest to a fraction, ties to even, from the definition of the format."""
    if value == 0:
        return 0.0
    exponent = 0
    size = abs(value)
    while size >= 1 << 24:
        size, exponent = size / 2, exponent + 1
    while size < 1 << 23:
        size, exponent = size * 2, exponent - 1
    return float(round(size) * Fraction(2) ** exponent) * (1 if value > 0 else -1)


DECIMALS = st.from_regex(r"-?[0-9]{1,9}(\.[0-9]{1,12})?", fullmatch=True).filter(str.isascii)


@settings(max_examples=30, deadline=None)
@given(DECIMALS, DECIMALS.filter(lambda text: Fraction(text) != 0), st.sampled_from(["1", "1/255", "1/7"]))
def test_the_table_is_exact(mean, std, scale):
    ramp = picture(np.repeat(np.arange(256)[None, :, None], 3, axis=2))
    found = images.prepare([ramp], how(size=[256, 1], scale=scale, mean=[mean], std=[std]))
    expected = [nearest((pixel * Fraction(scale) - Fraction(mean)) / Fraction(std)) for pixel in range(256)]
    assert found[0, 1, 0].tolist() == expected


def test_values_are_rounded_once():
    """By way of float64 this would be half way between two float32, and go to the wrong one."""
    found = images.prepare([Image.new("RGB", (2, 1))], how(scale="1", mean=["-8388608.500000000001"]))
    assert found[0, 0, 0, 0] == 8388609


IMAGE = picture([[[10, 20, 30], [40, 50, 60]]])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [[[[10, 40]], [[20, 50]], [[30, 60]]]]),
        ({"channels": "bgr"}, [[[[30, 60]], [[20, 50]], [[10, 40]]]]),
        ({"layout": "nhwc"}, [[[[10, 20, 30], [40, 50, 60]]]]),
        ({"layout": "nhwc", "channels": "bgr"}, [[[[30, 20, 10], [60, 50, 40]]]]),
        ({"mean": ["1", "2", "3"]}, [[[[9, 39]], [[18, 48]], [[27, 57]]]]),
        ({"channels": "bgr", "mean": ["1", "2", "3"]}, [[[[29, 59]], [[18, 48]], [[7, 37]]]]),
        ({"std": ["1", "2", "-4"]}, [[[[10, 40]], [[10, 25]], [[-7.5, -15]]]]),
        ({"channels": "gray"}, [[[[18, 48]]]]),
        ({"channels": "gray", "layout": "nhwc", "mean": ["8"]}, [[[[10], [40]]]]),
    ],
    ids=str,
)
def test_layouts_channels_and_their_own_means(changes, expected):
    found = images.prepare([IMAGE], how(scale="1", **changes))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.tolist() == expected


def test_a_batch_keeps_its_order_and_its_size():
    found = images.prepare([grid(30, 20), IMAGE, grid(5, 50)], how(size=[7, 5]))
    assert found.shape == (3, 3, 5, 7)
    alone = images.prepare([grid(5, 50)], how(size=[7, 5]))
    assert found[2].tobytes() == alone[0].tobytes()


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "bicubic"])
def test_resizing(resize):
    flat = images.prepare([Image.new("RGB", (40, 30), (9, 9, 9))], how(size=[7, 5], scale="1", resize=resize))
    assert set(flat.ravel().tolist()) == {9}
    results = {kind: images.prepare([grid()], how(size=[7, 5], resize=kind)).tobytes() for kind in images._FILTERS}
    assert len(set(results.values())) == 3
