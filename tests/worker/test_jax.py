"""JAX's backend where it needs no JAX: options, threads, layouts, and what is read out of a compiled function."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import types

import pytest

from numdev.worker import readback
from numdev.worker.backends import Task, Unsupported, jax_

PR_SET_NAME = 15


def task(**changed) -> Task:
    given = Task("net", None, ".", None, [], {}, None, 1, "all", "float32", {}, "all", ".")
    return given._replace(**changed)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No test leaves a variable or a note of the backend's behind."""
    for name in ("XLA_FLAGS", "NPROC", "PJRT_NPROC"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(jax_, "CHOSEN", {})
    monkeypatch.setattr(jax_, "_LACKING", [])


@pytest.fixture
def fake(monkeypatch):
    """A JAX that notes how it is set up."""
    told: dict = {}

    def devices():
        told["threads"] = [os.environ.get(name) for name in ("PJRT_NPROC", "NPROC")]

    module = types.SimpleNamespace(config=types.SimpleNamespace(update=told.__setitem__), devices=devices, told=told)
    monkeypatch.setitem(sys.modules, "jax", module)
    return module


class TestOptions:
    def test_nothing_is_set_by_itself(self):
        assert jax_.options(task()) == {}

    def test_those_of_session_by_xlas_names_and_types(self):
        session = {"xla_cpu_enable_fast_math": "True", "xla_backend_optimization_level": "1", "x": "a"}
        assert jax_.options(task(session=session)) == {
            "xla_cpu_enable_fast_math": True,
            "xla_backend_optimization_level": "1",
            "x": "a",
        }

    def test_optimization_off_is_jaxs_own_switch_and_session_wins(self):
        off = task(optimization="off", session={"xla_backend_optimization_level": "2"})
        assert jax_.options(off) == {"xla_backend_optimization_level": "2", "xla_llvm_disable_expensive_passes": True}

    def test_an_option_without_effect_is_refused(self):
        with pytest.raises(Unsupported, match=r"env\.XLA_FLAGS: --xla_cpu_max_isa=AVX"):
            jax_.options(task(session={"xla_cpu_max_isa": "AVX"}))

    @pytest.mark.parametrize("flags", ["--xla_cpu_max_isa=avx2", "--xla_cpu_max_isa=AVX --xla_dump_to=/x", ""])
    def test_instruction_sets_that_xla_knows(self, monkeypatch, flags):
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert jax_.options(task()) == {}

    @pytest.mark.parametrize("flags", ["--xla_cpu_max_isa=SSE9", "--xla_cpu_max_isa=AVX --xla_cpu_max_isa="])
    def test_one_that_it_would_pass_over(self, monkeypatch, flags):
        monkeypatch.setenv("XLA_FLAGS", flags)
        with pytest.raises(Unsupported, match="knows no instruction set"):
            jax_.options(task())


class TestSetUp:
    def test_a_processor_with_as_many_threads_as_asked_for(self, fake, monkeypatch):
        monkeypatch.setattr(jax_, "threads", lambda: 3)
        monkeypatch.setenv("XLA_FLAGS", "--xla_x=1")
        assert jax_._jax(task(threads=3, precision="float64")) is fake
        assert fake.told == {"jax_platforms": "cpu", "jax_enable_x64": True, "threads": ["3", "3"]}
        assert jax_.CHOSEN == {"jax_threads": 3, "jax_flags": "--xla_x=1"}
        # A second time in the same process, as the tap does.
        jax_._jax(task(threads=3))
        assert fake.told["jax_enable_x64"] is False

    def test_threads_that_it_does_not_have(self, fake, monkeypatch):
        monkeypatch.setattr(jax_, "threads", lambda: 2)
        with pytest.raises(Unsupported, match="XLA has 2 threads to compute with, where 4 were asked for"):
            jax_._jax(task(threads=4))
        assert jax_.CHOSEN == {}

    @pytest.mark.parametrize("name", ["NPROC", "PJRT_NPROC"])
    def test_a_variable_that_says_otherwise(self, fake, monkeypatch, name):
        monkeypatch.setenv(name, "8")
        with pytest.raises(Unsupported, match=f"env.{name} is 8 and threads is 1"):
            jax_._jax(task())
        assert fake.told == {}

    @pytest.mark.parametrize("imported", [True, False], ids=["before the cell", "in the cell"])
    def test_a_processor_without_avx_is_each_cells_to_tell(self, monkeypatch, tmp_path, imported):
        (tmp_path / "jax.py").write_text("raise RuntimeError('built using AVX\\ninstructions')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "jax", raising=False)
        if imported:
            jax_.preload()
            # What is left half imported says something else the second time.
            monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace())
        with pytest.raises(Unsupported, match="JAX cannot be imported: built using AVX instructions"):
            jax_._jax(task())

    def test_another_precision(self, monkeypatch):
        with pytest.raises(Unsupported, match="bfloat16"):
            jax_._function(task(precision="bfloat16"), ({}, {}), ())


def test_threads_are_counted_by_their_name():
    ready, done = threading.Barrier(4), threading.Event()

    def compute(name: bytes) -> None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, name, 0, 0, 0)
        ready.wait(10)
        done.wait(10)

    assert jax_.threads() == 0
    names = [b"tf_XLAEigen", b"tf_XLAEigen", b"tf_XLAOther"]
    started = [threading.Thread(target=compute, args=(name,)) for name in names]
    for thread in started:
        thread.start()
    ready.wait(10)
    try:
        assert jax_.threads() == 2
    finally:
        done.set()
        for thread in started:
            thread.join()


def message(triple: bytes, cpu: bytes, features: bytes) -> bytes:
    def field(tag: int, value: bytes) -> bytes:
        size = len(value)
        length = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
        return bytes([tag]) + length + value

    return field(0x0A, triple) + field(0x12, cpu) + field(0x1A, features)


FEATURES = b"+avx,+avx2,+sse4.2," + b",".join(b"-avx10.%d" % number for number in range(20))


class TestTarget:
    def test_what_it_was_compiled_for(self):
        data = b"junk\n\x05x86_6J\xfd\x07" + message(b"x86_64-unknown-linux-gnu", b"haswell", FEATURES) + b"+z"
        assert jax_.target(data) == ("haswell", ["avx", "avx2", "sse4.2"])

    def test_arm64(self):
        found = jax_.target(message(b"aarch64-unknown-linux-gnu", b"neoverse-n1", b"+neon,-sve"))
        assert found == ("neoverse-n1", ["neon"])

    @pytest.mark.parametrize(
        "data", [b"", b"\n", b"\n\x18x86_64-unknown-linux-gnu", b"\n\x18x86_64-unknown-linux-gnu\x12"]
    )
    def test_what_says_nothing(self, data):
        assert jax_.target(data) == ("", None)

    def test_no_end_breaks_it(self):
        whole = message(b"x86_64-unknown-linux-gnu", b"haswell", FEATURES)
        for end in range(len(whole)):
            jax_.target(whole[:end])


def test_who_computes_beside_xlas_own_code():
    text = (
        'f = fusion(x), kind=kCustom, backend_config={"fusion_config":{"kind":"__ynn_fusion"}}\n'
        'g = custom-call(x), custom_call_target="TopK"\nh = fusion(x), backend_config={"fusion_config":{"kind":"__ynn_fusion"}}'
    )
    executable = types.SimpleNamespace(
        serialize=lambda: message(b"x86_64-unknown-linux-gnu", b"znver2", b"+avx"),
        hlo_modules=lambda: [types.SimpleNamespace(to_string=lambda: text)],
    )
    assert jax_.said(executable) == {
        "jax_target": "znver2",
        "jax_features": ["avx"],
        "jax_libraries": ["TopK", "ynn_fusion"],
    }


def test_what_was_chosen_is_read_back(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(__version__="0.10.2"))
    assert "jax_threads" not in readback.read(None)
    monkeypatch.setattr(jax_, "CHOSEN", {"jax_threads": 2, "jax_target": "haswell"})
    found = readback.read(None)
    assert (found["jax_threads"], found["jax_target"], found["versions"]["jax"]) == (2, "haswell", "0.10.2")


def test_padding_is_what_the_layer_says():
    assert jax_.around({"padding": [1, 2, 3, 4]}) == [(0, 0), (1, 3), (2, 4), (0, 0)]
    assert jax_.around({}) == [(0, 0)] * 4
