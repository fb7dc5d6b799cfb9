"""How cuDNN is asked for one algorithm, on a library that takes the same arguments and computes in the memory of the CPU.

It has the arguments as public bindings of cuDNN 8 and 9 have them: it shows that every argument arrives where these have it, not that
cuDNN does as they say.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from numdev.worker import net
from numdev.worker.backends import Task, Unsupported, cudnn, torch_cuda_

STUB = r"""
#include <stdlib.h>
#include <string.h>
typedef struct { int kind, format, d[4]; } D;
typedef struct { int pad[2], stride[2], dilation[2], mode, compute, math; } C;
static int made = 0;
int last_math = -1, last_algorithm = -1; size_t last_workspace = 0; void *last_stream = 0;
static int make(void **p, size_t n) { *p = calloc(1, n); made++; return 0; }
int cudnnCreate(void **p) { return make(p, 1); }
int cudnnSetStream(void *h, void *s) { last_stream = s; return h ? 0 : 1; }
int cudnnCreateTensorDescriptor(void **p) { return make(p, sizeof(D)); }
int cudnnCreateFilterDescriptor(void **p) { return make(p, sizeof(D)); }
int cudnnCreateConvolutionDescriptor(void **p) { return make(p, sizeof(C)); }
const char *cudnnGetErrorString(int s) { return s == 3000 ? "CUDNN_STATUS_NOT_SUPPORTED" : "CUDNN_STATUS_OTHER"; }
int cudnnSetTensor4dDescriptor(D *x, int format, int kind, int n, int c, int h, int w)
{ D v = {kind, format, {n, c, h, w}}; *x = v; return 0; }
int cudnnSetFilter4dDescriptor(D *x, int kind, int format, int k, int c, int h, int w)
{ D v = {kind, format, {k, c, h, w}}; *x = v; return 0; }
int cudnnSetConvolution2dDescriptor(C *c, int ph, int pw, int u, int v, int dh, int dw, int mode, int compute)
{ C x = {{ph, pw}, {u, v}, {dh, dw}, mode, compute, 0}; *c = x; return 0; }
int cudnnSetConvolutionMathType(C *c, int math) { last_math = c->math = math; return 0; }
int cudnnGetConvolutionForwardWorkspaceSize(void *h, D *x, D *w, C *c, D *y, int algorithm, size_t *size)
{ if (algorithm == 3) return 3000; if (algorithm == 4) return 7; *size = algorithm == 2 ? 64 : 0; return 0; }
#define AT(p, i) (x->kind ? ((double *)(p))[i] : ((float *)(p))[i])
int cudnnConvolutionForward(void *h, const void *alpha, D *x, const void *px, D *w, const void *pw, C *c, int algorithm,
                            void *ws, size_t wss, const void *beta, D *y, void *py)
{
  last_algorithm = algorithm; last_workspace = ws ? wss : 0;
  if (AT(alpha, 0) != 1 || AT(beta, 0) != 0 || c->mode != 1 || x->kind != w->kind || x->kind != c->compute) return 3;
  for (int n = 0; n < y->d[0]; n++) for (int k = 0; k < y->d[1]; k++)
  for (int i = 0; i < y->d[2]; i++) for (int j = 0; j < y->d[3]; j++) {
    double s = 0;
    for (int q = 0; q < w->d[1]; q++) for (int a = 0; a < w->d[2]; a++) for (int b = 0; b < w->d[3]; b++) {
      int r = i * c->stride[0] + a - c->pad[0], t = j * c->stride[1] + b - c->pad[1];
      if (r < 0 || t < 0 || r >= x->d[2] || t >= x->d[3]) continue;
      s += AT(px, ((n * x->d[1] + q) * x->d[2] + r) * x->d[3] + t) * AT(pw, ((k * w->d[1] + q) * w->d[2] + a) * w->d[3] + b);
    }
    size_t o = ((n * y->d[1] + k) * y->d[2] + i) * y->d[3] + j;
    if (x->kind) ((double *)py)[o] = s; else ((float *)py)[o] = s;
  }
  return 0;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    folder = tmp_path_factory.mktemp("cudnn")
    (folder / "stub.c").write_text(STUB)
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", "libcudnn.so", "stub.c"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "libcudnn.so"))


def task(x, w, y, **other):
    described = {name: (array.ctypes.data, array.shape) for name, array in (("x", x), ("w", w), ("y", y))}
    return {**described, "padding": (1, 2), "stride": (2, 1), "tf32": False, "algorithm": "gemm", **other}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_argument_arrives(library, precision):
    random = np.random.default_rng(5)
    x = random.standard_normal((2, 3, 9, 7)).astype(precision)
    w = random.standard_normal((4, 3, 3, 5)).astype(precision)
    y = np.full(cudnn.output_shape(x.shape, w.shape, (1, 2), (2, 1)), np.nan, precision)
    held = []

    def workspace(size):
        held.append(np.zeros(size, np.uint8))
        return held[0].ctypes.data

    cudnn.Cudnn(library, 12345).convolve(task(x, w, y, precision=precision), workspace)
    layer = {"op": "conv", "padding": (1, 2, 1, 2), "stride": (2, 1)}
    right = net._conv(layer, {"weight": w.astype(np.float64)}, x.astype(np.float64))
    assert y.shape == right.shape
    assert np.abs(y - right).max() < (1e-5 if precision == "float32" else 1e-13)
    numbers = {
        name: kind.in_dll(library, name).value
        for name, kind in (
            ("last_math", ctypes.c_int),
            ("last_algorithm", ctypes.c_int),
            ("last_workspace", ctypes.c_size_t),
            ("last_stream", ctypes.c_void_p),
        )
    }
    assert numbers == {"last_math": 3, "last_algorithm": 2, "last_workspace": 64, "last_stream": 12345}
    assert held[0].size == 64


def test_what_cudnn_does_not_offer_is_told_from_what_fails(library):
    x, w, y = np.ones((1, 1, 5, 5), np.float32), np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 3, 3), np.float32)
    handle = cudnn.Cudnn(library)
    with pytest.raises(cudnn.NotOffered, match="NOT_SUPPORTED"):
        handle.convolve(task(x, w, y, precision="float32", algorithm="direct"), lambda size: 0)
    with pytest.raises(cudnn.Failed, match="WorkspaceSize: CUDNN_STATUS_OTHER") as caught:
        handle.convolve(task(x, w, y, precision="float32", algorithm="fft"), lambda size: 0)
    assert not isinstance(caught.value, cudnn.NotOffered)


def test_entries_that_there_are_not():
    assert torch_cuda_.settings({"tf32": "1"}) == {
        "benchmark": "0",
        "deterministic": "0",
        "tf32": "1",
        "algorithm": "auto",
    }
    for wrong in ({"tf32": "yes"}, {"speed": "1"}, {"algorithm": "fastest"}):
        with pytest.raises(Unsupported, match="there are benchmark: 0, 1"):
            torch_cuda_.settings(wrong)


def test_only_networks_of_ours_are_forced():
    given = Task("torchscript", "m", ".", None, [], {}, None, 1, "all", "float32", {"algorithm": "gemm"}, "all", ".")
    with pytest.raises(Unsupported, match="not on torchscript"):
        torch_cuda_.prepare(given)
