"""cuDNN's convolution by an algorithm that is named, which torch does not let one choose.

Names, numbers and orders of arguments are those of cuDNN's C interface, which lies in its libraries and is in no header here. They were
checked against public bindings that were made from the headers: for cuDNN 8 and 9 in Rust, Julia, Python and Pascal.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, Dict, Sequence

ALGORITHMS = (
    "implicit_gemm",
    "implicit_precomp_gemm",
    "gemm",
    "direct",
    "fft",
    "fft_tiling",
    "winograd",
    "winograd_nonfused",
)
# cudnnDataType_t, cudnnTensorFormat_t, cudnnConvolutionMode_t.
_TYPES = {"float32": 0, "float64": 1}
_NCHW, _CROSS_CORRELATION = 0, 1
# cudnnMathType_t: CUDNN_DEFAULT_MATH takes TF32 where there is such, CUDNN_FMA_MATH never does.
_DEFAULT_MATH, _FMA_MATH = 0, 3
# CUDNN_STATUS_NOT_SUPPORTED, which has a range of its own since cuDNN 9.
_NOT_SUPPORTED = (9, *range(3000, 4000))


class Failed(Exception):
    """cuDNN refused; the message says what and why."""


class NotOffered(Failed):
    """cuDNN does not compute this convolution by this algorithm."""


class Cudnn:
    """A handle on the library.

    Args:
        library: libcudnn, loaded.
        stream: the CUDA stream in which everything is queued; 0 is the default one.
    """

    def __init__(self, library: ctypes.CDLL, stream: int = 0) -> None:
        self._library = library
        library.cudnnGetErrorString.restype = ctypes.c_char_p
        self._handle = self._made("cudnnCreate")
        self._call("cudnnSetStream", self._handle, ctypes.c_void_p(stream))
        self._x, self._y = self._made("cudnnCreateTensorDescriptor"), self._made("cudnnCreateTensorDescriptor")
        self._w = self._made("cudnnCreateFilterDescriptor")
        self._how = self._made("cudnnCreateConvolutionDescriptor")

    def convolve(self, task: Dict[str, Any], workspace: Callable[[int], int]) -> None:
        """Writes a convolution's outputs.

        Args:
            task: `x`, `w` and `y`, each (address on the device, shape); `padding` and `stride`, two numbers each; `precision`,
                `algorithm` (one of ALGORITHMS) and `tf32`.
            workspace: gives the address of so many bytes on the device.

        Raises:
            NotOffered: there is no such algorithm for this convolution.
            Failed: anything else.
        """
        kind, algorithm = _TYPES[task["precision"]], ALGORITHMS.index(task["algorithm"])
        (x, x_shape), (w, w_shape), (y, y_shape) = task["x"], task["w"], task["y"]
        self._call("cudnnSetTensor4dDescriptor", self._x, _NCHW, kind, *x_shape)
        self._call("cudnnSetTensor4dDescriptor", self._y, _NCHW, kind, *y_shape)
        self._call("cudnnSetFilter4dDescriptor", self._w, kind, _NCHW, *w_shape)
        numbers = [*task["padding"], *task["stride"], 1, 1]
        self._call("cudnnSetConvolution2dDescriptor", self._how, *numbers, _CROSS_CORRELATION, kind)
        math = _DEFAULT_MATH if task["tf32"] else _FMA_MATH
        self._call("cudnnSetConvolutionMathType", self._how, math)
        size = ctypes.c_size_t(0)
        described = (self._handle, self._x, self._w, self._how, self._y, algorithm)
        self._call("cudnnGetConvolutionForwardWorkspaceSize", *described, ctypes.byref(size))
        scalar = ctypes.c_double if task["precision"] == "float64" else ctypes.c_float
        one, zero = scalar(1), scalar(0)
        self._call(
            "cudnnConvolutionForward",
            self._handle,
            ctypes.byref(one),
            self._x,
            ctypes.c_void_p(x),
            self._w,
            ctypes.c_void_p(w),
            self._how,
            algorithm,
            ctypes.c_void_p(workspace(size.value) if size.value else None),
            size,
            ctypes.byref(zero),
            self._y,
            ctypes.c_void_p(y),
        )

    def _made(self, function: str) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self._call(function, ctypes.byref(made))
        return made

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if not status:
            return
        why = f"{function}: {(self._library.cudnnGetErrorString(status) or b'').decode('ascii', 'replace')}"
        raise (NotOffered if status in _NOT_SUPPORTED else Failed)(why)


def output_shape(x: Sequence[int], w: Sequence[int], padding: Sequence[int], stride: Sequence[int]) -> Sequence[int]:
    """[N, filters, height, width] of a convolution of x [N, C, height, width] with w [filters, C, kh, kw]."""
    extents = [(x[axis + 2] + 2 * padding[axis] - w[axis + 2]) // stride[axis] + 1 for axis in (0, 1)]
    return (x[0], w[0], *extents)
