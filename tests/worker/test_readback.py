"""What is read back in a cell: plain data, and true."""

from __future__ import annotations

import json
import platform
import sys
import types

import numpy as np
import pytest

from numdev.worker import readback


def test_it_is_plain_json_and_true():
    found = readback.read(None)
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == platform.python_version()
    assert found["versions"]["numpy"] == np.__version__
    assert "cpuid" not in found
    assert found["numpy_features"] == sorted(
        name for name, present in np._core._multiarray_umath.__cpu_features__.items() if present
    )


def test_the_blas_that_numpy_brings_and_no_paths():
    np.ones((2, 2)) @ np.ones((2, 2))
    rows = readback.read(None)["blas"]
    assert any(row["internal_api"] == "openblas" and row["architecture"] for row in rows)
    assert all(set(row) <= {"user_api", "internal_api", "version", "architecture", "num_threads", "threading_layer"} for row in rows)  # fmt: skip


def test_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert readback.read(None)["blas"] == []


def test_torch_says_its_capability(monkeypatch):
    cpu = types.SimpleNamespace(get_cpu_capability=lambda: "AVX2")
    fake = types.SimpleNamespace(__version__="2.0", get_num_threads=lambda: 3, backends=types.SimpleNamespace(cpu=cpu))
    monkeypatch.setitem(sys.modules, "torch", fake)
    found = readback.read(None)
    assert (found["torch_capability"], found["torch_threads"]) == ("AVX2", 3)
    assert found["versions"]["torch"] == "2.0"


class Library:
    """TensorFlow's library on a processor with AVX and FMA and no more, in one of the two namespaces."""

    def __init__(self, name):
        setattr(self, name, self.Test())

    class Test:
        def __call__(self, number):
            return number in (0, 12, 15)


@pytest.mark.parametrize("namespace", ["10tensorflow", "3tsl"])
def test_tensorflow_says_its_build_and_what_its_own_code_sees(monkeypatch, namespace):
    version = types.SimpleNamespace(GIT_VERSION="v2.5.0-1", COMPILER_VERSION="7.3.1")
    threading = types.SimpleNamespace(get_intra_op_parallelism_threads=lambda: 4)
    fake = types.SimpleNamespace(
        __version__="2.5.0",
        __file__="/site/tensorflow/__init__.py",
        version=version,
        config=types.SimpleNamespace(threading=threading),
    )
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    asked = []
    library = Library(f"_ZN{namespace}4port14TestCPUFeatureENS0_10CPUFeatureE")
    monkeypatch.setattr(readback.gemm, "read", dict)
    monkeypatch.setattr(readback.ctypes, "CDLL", lambda path: asked.append(path) or library)
    found = readback.read(None)
    assert found["versions"]["tensorflow"] == "2.5.0"
    assert found["tensorflow_build"] == "v2.5.0-1, compiler 7.3.1"
    assert found["tensorflow_threads"] == 4
    assert found["tensorflow_features"] == ["avx", "fma"]
    assert asked == ["/site/tensorflow/libtensorflow_framework.so.2"]


def test_tensorflow_whose_library_does_not_say():
    assert readback._tensorflow_features("/nowhere/tensorflow/__init__.py") is None


class Answers:
    """A processor that answers from a dictionary; leaf 0x4e554d44 is the launcher's."""

    def __init__(self, leaves, in_force=1, traps=41):
        self.leaves, self.magic = leaves, (in_force, traps, 0, 0)

    def __call__(self, leaf, subleaf=0):
        if leaf == readback.cpuids.MAGIC:
            return self.magic
        return self.leaves.get((leaf, subleaf), (0, 0, 0, 0))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(
        readback.cpuids.Table({(0, None): (7, 1, 2, 3), (7, 0): (0, 5, 6, 7)}, {(7, 0): (0, 0, 6, 0)}, [0x80000006]).text()
    )  # fmt: skip
    return str(path)


@pytest.mark.parametrize(
    ("leaves", "mismatches"),
    [
        ({(0, 0): (7, 1, 2, 3), (7, 0): (0, 5, 6, 7)}, []),
        ({(0, 0): (7, 1, 2, 3), (7, 0): (0, 5, 0, 7)}, []),
        ({(0, 0): (7, 1, 2, 3), (7, 0): (0, 4, 6, 7)}, ["0x7.0"]),
        ({(0, 0): (8, 1, 2, 3), (7, 0): (0, 5, 6, 7)}, ["0x0.0"]),
        ({(0, 0): (7, 1, 2, 3), (7, 0): (0, 5, 6, 7), (1, 0): (1, 0, 0, 0)}, ["0x1.0"]),
        ({(0, 0): (7, 1, 2, 3), (7, 0): (0, 5, 6, 7), (0x80000006, 0): (1, 2, 3, 4)}, []),
    ],
)
def test_leaves_that_do_not_answer_as_the_table_says(monkeypatch, table, leaves, mismatches):
    monkeypatch.setattr(readback.cpuids, "Cpuid", lambda *_: Answers(leaves))
    assert readback.read(table)["cpuid"] == {"traps": 41, "mismatches": mismatches, "uncovered": 0}


def test_no_launcher_means_no_traps(monkeypatch, table):
    monkeypatch.setattr(readback.cpuids, "Cpuid", lambda *_: Answers({}, in_force=0))
    assert readback.read(table)["cpuid"] == {"traps": 0, "mismatches": []}


def test_on_arm64_no_cpuid_is_executed_and_what_it_is_known_by_is_read(monkeypatch):
    monkeypatch.setattr(readback.platform, "machine", lambda: "aarch64")
    found = readback.read(None, emulated=True)
    assert found["machine"] == "aarch64"
    assert "identity" not in found
    assert all(int(word, 16) >= 0 for word in found["hwcap"])
    with pytest.raises(OSError, match="this is aarch64"):
        readback.cpuids.Cpuid()
