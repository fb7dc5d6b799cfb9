"""Which library computes numpy's matrix products: found where the dynamic linker finds it, and told by what it exports."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import sys
from typing import Any, Dict, Optional, Tuple

# Each BLAS by functions that no other one has. The reference implementation is known by having nothing of its own.
_TELLING = {
    "MKL": ("MKL_Get_Version_String", "mkl_get_version_string"),
    "OpenBLAS": (
        "openblas_get_config",
        "openblas_get_config64_",
        "scipy_openblas_get_config",
        "scipy_openblas_get_config64_",
    ),
    "BLIS": ("bli_info_get_version_str",),
    "ATLAS": ("ATL_sgemm",),
}
# Built as a BLAS and nothing else, BLIS exports none of its own functions; it still asks for this variable.
_ASKED = {"BLIS": b"BLIS_NUM_THREADS"}
REFERENCE = "reference"
# What numpy calls: builds of it differ in how the function's name is decorated.
_SYMBOLS = ("scipy_cblas_sgemm64_", "cblas_sgemm64_", "scipy_cblas_sgemm", "cblas_sgemm")
_NUMPY = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")


class _Info(ctypes.Structure):
    _fields_ = [
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    ]


def read() -> Dict[str, Any]:
    """The library behind numpy's sgemm: {"library", "version", "file", "sha256", "symbol"}, or {} where numpy has none.

    `library` is one of formats.BLAS_LIBRARIES or "unknown", `file` its name without the folder.
    """
    module = next((sys.modules[name] for name in _NUMPY if name in sys.modules), None)
    path = getattr(module, "__file__", None)
    if not path:
        return {}
    symbol = _called(path)
    address = _address(path, symbol) if symbol else None
    if not symbol or address is None:
        return {}
    file = _file(address)
    if not os.path.isfile(file):
        return {}
    library, version = _told(file)
    return {
        "library": library,
        "version": version,
        "file": os.path.basename(file),
        "sha256": _digest(file),
        "symbol": symbol,
    }


def _called(path: str) -> Optional[str]:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for symbol in _SYMBOLS:
            if data.find(b"\0" + symbol.encode("ascii") + b"\0") >= 0:
                return symbol
    return None


def _address(path: str, symbol: str) -> Optional[int]:
    """Where the dynamic linker finds a function for a module: first in what is global, so preloaded, then in its own."""
    for handle in (ctypes.CDLL(None), ctypes.CDLL(path)):
        try:
            return ctypes.cast(getattr(handle, symbol), ctypes.c_void_p).value
        except AttributeError:
            continue
    return None


def _file(address: int) -> str:
    info = _Info()
    dladdr = ctypes.CDLL(None).dladdr
    dladdr.argtypes, dladdr.restype = [ctypes.c_void_p, ctypes.POINTER(_Info)], ctypes.c_int
    if not dladdr(address, ctypes.byref(info)) or not info.file:
        return ""
    return os.path.realpath(os.fsdecode(info.file))


def _told(path: str) -> Tuple[str, str]:
    """What a library is and its version; the version is "" where it does not say."""
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return "unknown", ""
    for name, functions in _TELLING.items():
        for function in functions:
            if hasattr(library, function):
                return name, _version(name, getattr(library, function))
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for name, variable in _ASKED.items():
            if data.find(variable) >= 0:
                return name, ""
    return REFERENCE, ""


def _version(name: str, function: Any) -> str:
    if name == "MKL":
        text = ctypes.create_string_buffer(200)
        function.restype = None
        function(text, 199)
        return text.value.decode("ascii", "replace").strip()
    if name == "ATLAS":
        # It only prints it.
        return ""
    function.argtypes, function.restype = [], ctypes.c_char_p
    return (function() or b"").decode("ascii", "replace").strip()


def _digest(path: str) -> str:
    state = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                state.update(piece)
    except OSError:
        return ""
    return state.hexdigest()
