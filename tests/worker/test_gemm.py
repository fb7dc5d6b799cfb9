"""Which library computes numpy's products: told of this process's own, and of libraries made to be told apart."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from numdev import digests
from numdev.worker import gemm


def test_the_library_of_this_numpy():
    found = gemm.read()
    rows = [row for row in threadpool_info() if row["user_api"] == "blas"]
    files = {Path(row["filepath"]).name: row for row in rows}
    assert found["file"] in files
    row = files[found["file"]]
    assert found["library"].lower() == row["internal_api"]
    assert row["version"] in found["version"]
    assert found["sha256"] == digests.of_file(Path(row["filepath"]))


# The functions by which each is told; ATLAS's is in a library of its own, on which its BLAS depends.
MADE = {
    "OpenBLAS": 'char *openblas_get_config(void) { return "OpenBLAS 9"; }',
    "MKL": "void MKL_Get_Version_String(char *text, int size) { text[0] = 'M'; text[1] = 0; }",
    "ATLAS": "int ATL_sgemm(void) { return 0; }",
    "BLIS": '#include <stdlib.h>\nchar *f(void) { return getenv("BLIS_NUM_THREADS"); }',
    "reference": "int lsame_(void) { return 0; }",
}


@pytest.mark.parametrize("name", MADE)
def test_each_is_told_by_what_it_has(tmp_path, name):
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    (tmp_path / "x.c").write_text(MADE[name] + "\nint cblas_sgemm(void) { return 0; }\n")
    # Not called as they are, for threadpoolctl would look into these for the rest of the process.
    library = tmp_path / f"made-{name}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "x.c"], check=True)
    version = {"OpenBLAS": "OpenBLAS 9", "MKL": "M"}.get(name, "")
    assert gemm._told(str(library)) == (name, version)
    address = gemm._address(str(library), "cblas_sgemm")
    assert gemm._file(address) == str(library)
    assert address == ctypes.cast(ctypes.CDLL(str(library)).cblas_sgemm, ctypes.c_void_p).value


def test_what_is_no_library(tmp_path):
    assert gemm._told(str(tmp_path / "none.so")) == ("unknown", "")
    assert gemm._file(1) == ""
