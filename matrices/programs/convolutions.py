"""One convolution by four algorithms whose every rounding is known, and by numpy's own matrix product.

numpy's element-wise products, sums and square roots are rounded correctly one by one, on every processor; so the bits follow from what
the environment chooses, and from nothing else:

    ALGORITHM   direct      one sum over kernel position and channel, position first
                im2col      matrix product: over channel, then position, in blocks of 32 terms that are added afterwards
                winograd    F(2x2, 3x3): Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (2016)
                fft         product of spectra, radix 2
                blas        im2col, and the product as numpy's BLAS chooses it: the only one that may look at the processor
    ORDER       forward, reversed, pairwise    of each sum over channels (and positions)
    WIDTH       float32, float64               of everything between inputs and outputs, which are float32
    FUSED       no, yes                        multiply and add with one rounding, where a running sum is made (not pairwise)

As a program it prints the error of each against the exact sum, and how that grows with the number of terms.
Convolution here is what networks call so: cross-correlation, zero padding, stride 1, output as large as input.
"""

import itertools
import math
import os
import sys

import numpy as np

ALGORITHMS = ("direct", "im2col", "winograd", "fft", "blas")
ORDERS = ("forward", "reversed", "pairwise")
WIDTHS = {"float32": np.float32, "float64": np.float64}
CHANNELS = (4, 16, 64, 256)
FILTERS, SIZE, KERNEL, BLOCK = 4, 12, 3, 32


def run(arrays):
    """An output for each number of channels: [FILTERS, SIZE, SIZE], float32."""
    algorithm, order = os.environ.get("ALGORITHM", "direct"), os.environ.get("ORDER", "forward")
    width, fused = os.environ.get("WIDTH", "float32"), os.environ.get("FUSED", "no") == "yes"
    outputs = {}
    for channels in CHANNELS:
        image, weight = case(channels)
        outputs[f"channels_{channels}"] = convolve(image, weight, algorithm, order, width, fused)
    return outputs


def case(channels, seed=0):
    """Image [channels, SIZE, SIZE] and weights [FILTERS, channels, KERNEL, KERNEL]: multiples of 2**-20 between -1 and 1, from PCG64's raw words."""
    bits = np.random.PCG64(1000 * seed + channels)

    def numbers(*shape):
        raw = bits.random_raw(int(np.prod(shape))) >> np.uint64(43)
        return np.ldexp((raw.astype(np.int64) - (1 << 20)).astype(np.float32), -20).reshape(shape)

    return numbers(channels, SIZE, SIZE), numbers(FILTERS, channels, KERNEL, KERNEL)


def convolve(image, weight, algorithm, order="forward", width="float32", fused=False):
    """float32 [filters, H, W] of float32 [channels, H, W] and [filters, channels, k, k]; ValueError for what an algorithm cannot do."""
    if algorithm not in ALGORITHMS or order not in ORDERS or width not in WIDTHS:
        raise ValueError(f"unknown: {algorithm}, {order}, {width}")
    if fused and (algorithm not in ("direct", "im2col") or order == "pairwise" or width != "float32"):
        raise ValueError("only a running float32 sum of products can be fused")
    kind = WIDTHS[width]
    image, weight = image.astype(kind), weight.astype(kind)
    if algorithm == "winograd":
        return _winograd(image, weight, order, kind).astype(np.float32)
    if algorithm == "fft":
        return _fft(image, weight, order, kind).astype(np.float32)
    columns, rows = _columns(image, weight, position_first=algorithm == "direct")
    shape = (len(weight), *image.shape[1:])
    if algorithm == "blas":
        return (rows @ columns).reshape(shape).astype(np.float32)
    block = len(columns) if algorithm == "direct" else BLOCK
    pairs = [(rows[:, at, None], columns[at][None]) for at in range(len(columns))]
    parts = [_sum_of_products(pairs[at : at + block], order, fused) for at in range(0, len(pairs), block)]
    return _total(parts, order).reshape(shape).astype(np.float32)


def exact(image, weight):
    """float64 [filters, H, W]: the sums of the exact products, each rounded once."""
    columns, rows = _columns(image.astype(np.float64), weight.astype(np.float64), position_first=False)
    sums = [[math.fsum(row * column) for column in columns.T] for row in rows]
    return np.array(sums).reshape(len(weight), *image.shape[1:])


def fma(a, b, c):
    """a * b + c of float32 with one rounding, wherever nothing underflows.

    The product is exact in float64; the sum is rounded to odd there (Boldo & Melquiond, "Emulation of FMA and Correctly Rounded Sums",
    2008), so that the second rounding is that of the exact sum.
    """
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)
    even = total.view(np.int64) & 1 == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, odd, total).astype(np.float32)


def _columns(image, weight, position_first):
    """Terms of all sums: [terms, H * W] of the image and [filters, terms] of the weights, in one order of terms."""
    channels, height, wide = image.shape
    kernel = weight.shape[2]
    padded = np.pad(image, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    places = list(itertools.product(range(kernel), range(kernel)))
    windows = np.stack([padded[:, y : y + height, x : x + wide] for y, x in places])
    rows = weight.reshape(len(weight), channels, len(places))
    if position_first:
        return windows.reshape(-1, height * wide), np.ascontiguousarray(rows.transpose(0, 2, 1)).reshape(
            len(weight), -1
        )
    return np.ascontiguousarray(windows.transpose(1, 0, 2, 3)).reshape(-1, height * wide), rows.reshape(len(weight), -1)


def _sum_of_products(pairs, order, fused):
    if not fused:
        return _total([a * b for a, b in pairs], order)
    total = None
    for a, b in pairs if order == "forward" else reversed(pairs):
        total = a * b if total is None else fma(*np.broadcast_arrays(a, b, total))
    return total


def _total(terms, order):
    if order == "pairwise":
        while len(terms) > 1:
            pairs = [terms[at] + terms[at + 1] for at in range(0, len(terms) - 1, 2)]
            terms = pairs + terms[len(pairs) * 2 :]
        return terms[0]
    if order == "reversed":
        terms = terms[::-1]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _winograd(image, weight, order, kind):
    channels, height, wide = image.shape
    if weight.shape[2] != 3 or height % 2 or wide % 2:
        raise ValueError("F(2x2, 3x3) has kernels of 3 x 3 and even images")
    half = kind(0.5)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    tiles = [[padded[:, y : y + height - 1 : 2, x : x + wide - 1 : 2] for x in range(4)] for y in range(4)]

    def data(d):
        return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]

    def filters(g):
        return [g[0], ((g[0] + g[1]) + g[2]) * half, ((g[0] - g[1]) + g[2]) * half, g[2]]

    def back(m):
        return [(m[0] + m[1]) + m[2], (m[1] - m[2]) - m[3]]

    def both(transform, square):
        return _turned([transform(column) for column in _turned([transform(row) for row in square])])

    tiles = both(data, tiles)
    kernels = both(filters, [[weight[:, :, y, x] for x in range(3)] for y in range(3)])
    products = [
        [
            _total([kernels[y][x][:, c, None, None] * tiles[y][x][c][None] for c in range(channels)], order)
            for x in range(4)
        ]
        for y in range(4)
    ]
    found = both(back, products)
    result = np.empty((len(weight), height, wide), kind)
    for y, x in itertools.product(range(2), range(2)):
        result[:, y::2, x::2] = found[y][x]
    return result


def _turned(square):
    return [[row[x] for row in square] for x in range(len(square[0]))]


def _fft(image, weight, order, kind):
    """Circular correlation, long enough that nothing wraps around."""
    channels, height, wide = image.shape
    kernel = weight.shape[2]
    side = 1 << (max(height, wide) + kernel - 2).bit_length()
    turns = _turns(side)
    planes = np.zeros((channels, side, side), kind)
    planes[:, :height, :wide] = image
    # Correlation is convolution with the kernel turned round.
    kernels = np.zeros((len(weight), channels, side, side), kind)
    kernels[:, :, :kernel, :kernel] = weight[:, :, ::-1, ::-1]
    xr, xi = _spectrum(planes, np.zeros_like(planes), turns, kind)
    wr, wi = _spectrum(kernels, np.zeros_like(kernels), turns, kind)
    real = _total([xr[c] * wr[:, c] - xi[c] * wi[:, c] for c in range(channels)], order)
    imaginary = _total([xr[c] * wi[:, c] + xi[c] * wr[:, c] for c in range(channels)], order)
    # The inverse is the conjugate's transform over a power of two.
    real, _ = _spectrum(real, -imaginary, turns, kind)
    off = kernel // 2
    return real[:, off : off + height, off : off + wide] * kind(1 / (side * side))


def _spectrum(real, imaginary, turns, kind):
    for _ in range(2):
        real, imaginary = _transform(real, imaginary, turns, kind)
        real, imaginary = real.swapaxes(-1, -2), imaginary.swapaxes(-1, -2)
    return real, imaginary


def _transform(real, imaginary, turns, kind):
    """Along the last axis, recursively: even and odd places, then butterflies."""
    count = real.shape[-1]
    if count == 1:
        return real, imaginary
    er, ei = _transform(real[..., ::2], imaginary[..., ::2], turns, kind)
    dr, di = _transform(real[..., 1::2], imaginary[..., 1::2], turns, kind)
    cos, sin = (part[:: 2 * len(part) // count].astype(kind) for part in turns)
    tr, ti = dr * cos - di * sin, dr * sin + di * cos
    return np.concatenate([er + tr, er - tr], -1), np.concatenate([ei + ti, ei - ti], -1)


def _turns(count):
    """cos and sin of -2 pi k / count for k below count / 2, float64: by half angles, whose square roots no libm decides."""
    cos, sin = np.array([1.0]), np.array([0.0])
    step = (-1.0, 0.0)
    while len(cos) < count // 2:
        # From -2 pi / n to half of it: cosine and sine of the half angle.
        step = (math.sqrt((1 + step[0]) / 2), -math.sqrt((1 - step[0]) / 2))
        cos, sin = _interleave(cos, cos * step[0] - sin * step[1]), _interleave(sin, sin * step[0] + cos * step[1])
    return cos, sin


def _interleave(even, odd):
    return np.stack([even, odd], -1).reshape(-1)


def errors(algorithm, order="forward", width="float32", fused=False, seeds=3):
    """The root mean square error for each of CHANNELS, in units of 2**-24 of the exact outputs' root mean square."""
    found = []
    for channels in CHANNELS:
        squares = scale = 0.0
        for seed in range(seeds):
            image, weight = case(channels, seed)
            right = exact(image, weight)
            squares += float(((convolve(image, weight, algorithm, order, width, fused) - right) ** 2).sum())
            scale += float((right**2).sum())
        found.append(math.sqrt(squares / scale) * 2**24)
    return found


def growth(sizes):
    """The exponent p of size = a * terms**p, by least squares of the logarithms."""
    return float(np.polyfit(np.log(np.array(CHANNELS) * KERNEL**2), np.log(sizes), 1)[0])


def choices():
    """All that can be chosen: (algorithm, order, width, fused)."""
    for algorithm, width, fused, order in itertools.product(ALGORITHMS, WIDTHS, (False, True), ORDERS):
        if fused and (algorithm not in ("direct", "im2col") or order == "pairwise" or width != "float32"):
            continue
        if algorithm != "blas" or order == "forward":
            yield algorithm, order, width, fused


def main():
    names = {}
    print("Root mean square error in 2**-24 of the outputs' own, by the number of terms; p: error ~ terms**p.")
    print("Choices with the same number as their class have the same bytes.")
    terms = "".join(f"{channels * KERNEL**2:8}" for channels in CHANNELS)
    print(f"{'algorithm':9} {'order':9} {'width':8} {'fused':5} class{terms}       p")
    for one in choices():
        data = b"".join(convolve(*case(channels), *one).tobytes() for channels in CHANNELS)
        name = names.setdefault(data, len(names) + 1)
        sizes = errors(*one)
        shown = "".join(f"{size:8.2f}" for size in sizes)
        algorithm, order, width, fused = one
        print(f"{algorithm:9} {order:9} {width:8} {'yes' if fused else 'no':5} {name:5}{shown}{growth(sizes):8.2f}")


if __name__ == "__main__":
    sys.exit(main())
