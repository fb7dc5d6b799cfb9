"""The catalogue of pins: what is in it can be a matrix's factors, and be pasted."""

from __future__ import annotations

import ast

import pytest

from numdev.cpu.taken import NO, UNKNOWN, YES, seconds, taken
from numdev.spec.cell import DEFAULTS, Cell
from numdev.spec.matrix import load_matrix
from numdev.spec.mitigation import Setting, catalogue, changes, pinned
from numdev.worker.formats import BACKENDS

PINS = [(backend, pin) for backend, pins in catalogue().items() for pin in pins]
SETTINGS = [(backend, Setting(pin, level)) for backend, pin in PINS for level in pin.levels]


def test_every_backend_is_one_and_its_pins_have_names_of_their_own():
    assert set(catalogue()) <= set(BACKENDS)
    for pins in catalogue().values():
        labels = [Setting(pin, level).label for pin in pins for level in pin.levels]
        assert len(set(labels)) == len(labels)
        assert len({pin.factor for pin in pins}) == len(pins), "two pins of one factor would undo each other"


@pytest.mark.parametrize(("backend", "pin"), PINS, ids=lambda one: getattr(one, "name", one))
def test_levels_are_levels_of_a_matrix(backend, pin, tmp_path):
    levels = ", ".join(f'"{level}"' if isinstance(level, str) else str(level) for level in pin.levels)
    path = tmp_path / "m.yaml"
    path.write_text(f"numdev: 1\nfactors: {{stack: [one], {pin.factor}: [{levels}]}}\nworkloads: [cnn-small]\n")
    assert len(load_matrix(path).cells) == len(pin.levels)


@pytest.mark.parametrize(("backend", "setting"), SETTINGS, ids=lambda one: getattr(one, "label", one))
def test_snippets_can_be_pasted(backend, setting):
    if line := setting.python():
        ast.parse(line)
    assert bool(setting.shell()) is setting.pin.factor.startswith("env.")
    assert " " not in setting.shell().removeprefix("export ")


def test_a_pin_wins_over_the_matrix():
    pin = next(pin for pin in catalogue()["torch"] if pin.name == "threads")
    cell = Cell("w", {**DEFAULTS, "stack": "s", "threads": 4})
    assert pinned(cell, [Setting(pin, 1)]).factors["threads"] == 1
    assert changes(cell, pin)
    assert not changes(pinned(cell, [Setting(pin, 1)]), pin)


@pytest.mark.parametrize(
    ("factor", "level", "realised", "said"),
    [
        ("env.ATEN_CPU_CAPABILITY", "default", {"torch_capability": "DEFAULT"}, YES),
        ("env.ATEN_CPU_CAPABILITY", "default", {"torch_capability": "AVX2"}, NO),
        ("env.ATEN_CPU_CAPABILITY", "default", {}, UNKNOWN),
        ("env.OPENBLAS_CORETYPE", "Nehalem", {"blas": [{"internal_api": "openblas", "architecture": "Haswell"}]}, NO),
        ("env.NPY_DISABLE_CPU_FEATURES", "AVX2,FMA3", {"numpy_dispatch": ["SSE42"]}, YES),
        ("env.NPY_DISABLE_CPU_FEATURES", "AVX2,FMA3", {"numpy_dispatch": ["AVX2"]}, NO),
        ("threads", 1, {"torch_threads": 1}, YES),
        ("threads", 1, {"tensorflow_threads": 2}, NO),
        ("threads", 2, {"jax_threads": 2}, YES),
        ("env.XLA_FLAGS", "--xla_cpu_max_isa=AVX", {"jax_features": ["avx", "sse4.2"]}, YES),
        ("env.XLA_FLAGS", "--xla_cpu_max_isa=AVX", {"jax_features": ["avx", "avx2"]}, NO),
        ("env.XLA_FLAGS", "--xla_cpu_max_isa=AVX", {}, UNKNOWN),
        ("env.XLA_FLAGS", "--xla_cpu_ftz=true", {"jax_features": ["avx"]}, UNKNOWN),
        ("env.MKL_CBWR", "COMPATIBLE", {"torch_capability": "AVX2"}, UNKNOWN),
    ],
)
def test_what_was_taken_is_what_was_read_back(factor, level, realised, said):
    assert taken(factor, level, realised) == said


@pytest.mark.parametrize(
    ("found", "times"),
    [
        ([[9.0, 3.0], [9.0, 1.0], [9.0, 2.0]], [1.0, 2.0]),
        ([[9.0, 3.0]], [3.0]),
        ([], []),
        (None, []),
        ("x", []),
        ([1.0, ["a", "b"], [1.0], [1.0, -1.0], {}], []),
    ],
)
def test_times_that_a_stranger_wrote(found, times):
    assert seconds({"inference_seconds": found}, 1) == times


def test_threads_that_share_the_work_are_timed_by_the_clock():
    assert seconds({"inference_seconds": [[9.0, 12.0], [2.0, 7.0]]}, 4) == [2.0]
