"""One result file: what it has to be, and what is said of it where it is not."""

from __future__ import annotations

import base64
import contextlib
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.imports.places import Place, path_of, place
from numdev.imports.results import Unreadable, read_result

repository = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("repository.py"))))
CPU = Place("equivalence_classes", "tiny-i0-cpu", "gcloud/one", "cpu", "tiny", "0")
GPU = Place("equivalence_classes", "tiny-i0-gpu", "gcloud/t4", "gpu", "tiny", "0")
RUNS = np.float32([[0.1, 0.2, 0.7], [0.1, 0.2, 0.70001]])


def read(value, where=CPU):
    return read_result(json.dumps(value).encode(), where)


def changed(*path, to, **more):
    value = repository.result(**more)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if to is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return value


def test_a_cpu_has_one_run():
    (run,) = read(repository.result()).runs
    assert run.tobytes() == repository.CLEAN.tobytes()
    assert run.shape == (1, 3)


def test_a_gpu_has_several_each_with_its_batch():
    found = read(repository.result(RUNS[0], device="GPU", runs=RUNS), GPU)
    assert [run.shape for run in found.runs] == [(1, 3), (1, 3)]
    assert b"".join(run.tobytes() for run in found.runs) == RUNS.tobytes()


def test_runs_may_be_a_list():
    each = [repository.array(run[None]) for run in RUNS]
    assert len(read(repository.result(RUNS[:1], runs=each)).runs) == 2


def test_bits_are_kept_with_nan_and_signed_zero():
    odd = np.array([[0x7FC00001, 0x80000000, 0x7F800001]], np.uint32).view(np.float32)
    assert read(repository.result(odd)).runs[0].tobytes() == odd.tobytes()


BAD = {
    "no JSON": (b"{", "not JSON"),
    "nothing": (b"", "not JSON"),
    "a list": (b"[]", "no JSON object"),
    "NaN": (json.dumps(repository.result(hostname=float("nan"))).encode(), "NaN is no JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "a huge number": (b'{"cpu_info": ' + b"9" * 5000 + b"}", "not JSON"),
    "pickle": (b"\x80\x04\x95\x10\x00", "not JSON"),
    "no processor": (changed("cpu_info", to=None), "cpu_info missing"),
    "no prediction": (changed("prediction", to=None), "prediction missing"),
    "cores as text": (changed("cpu_info", "count", to="4"), "whole number"),
    "no cores": (changed("cpu_info", "count", to=0), "greater than or equal to 1"),
    "an escape in a name": (changed("cpu_info", "brand_raw", to="\x1b[2J"), "pattern"),
    "objects": (changed("prediction", "dtype", to="object"), "dtype"),
    "another order": (changed("prediction", "dtype", to=">f4"), "dtype"),
    "a negative extent": (changed("prediction", "shape", to=[-1, 3]), "greater than or equal to 0"),
    "too few bytes": (changed("prediction", "shape", to=[2, 3]), "12 bytes for the shape [2, 3]"),
    "a huge shape": (changed("prediction", "shape", to=[1 << 61, 1 << 61]), "bytes for the shape"),
    "many axes": (changed("prediction", "shape", to=[1] * 60), "at most 8"),
    "no base64": (changed("prediction", "bytes", to="%%%%"), "not base64"),
    "no ASCII": (changed("prediction", "bytes", to="ä" * 16), "not base64"),
    "another model": (repository.result(model="large"), "its path says tiny, the file itself large"),
    "another device": (repository.result(device="GPU", runs=RUNS), "its path says cpu, the file itself GPU"),
    "empty runs": (repository.result(runs=[]), "are empty"),
    "no axis of runs": (repository.result(runs=np.float32(1)), "have the shape []"),
    "no runs": (repository.result(runs=np.zeros((0, 3), np.float32)), "have the shape [0, 3]"),
    "runs of other shapes": (
        repository.result(runs=[repository.array(repository.CLEAN), repository.array(RUNS)]),
        "several shapes",
    ),
    "a prediction of no run": (repository.result(runs=RUNS[1:]), "none of its all_predictions"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said(what):
    data, message = BAD[what]
    with pytest.raises(Unreadable) as error:
        read_result(data if isinstance(data, bytes) else json.dumps(data).encode(), CPU)
    assert message in str(error.value)
    assert str(error.value).isprintable()


def test_a_gpu_without_its_runs():
    with pytest.raises(Unreadable, match="no all_predictions"):
        read(repository.result(device="GPU"), GPU)


def test_several_things_are_said_at_once():
    value = changed("cpu_info", "count", to="4")
    del value["prediction"]
    with pytest.raises(Unreadable, match=r"(?s)count.*prediction missing"):
        read(value)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)),
    st.data(),
)
def test_no_value_is_a_surprise(value, data):
    whole = repository.result()
    inner = data.draw(st.sampled_from([whole, whole["cpu_info"], whole["prediction"], whole["device"]]))
    inner[data.draw(st.sampled_from(sorted(inner)))] = value
    # Anything but this one error is a failure of this test.
    with contextlib.suppress(Unreadable):
        found = read(whole)
        assert base64.b64encode(found.runs[0].tobytes()).decode() == whole["prediction"]["bytes"]


PLACES = {
    "equivalence_classes/aws/gpu/g3s.xlarge-Tesla_M60-cifar10_large-i0.json": (
        "cifar10_large-i0-gpu",
        "aws/g3s.xlarge-Tesla_M60",
    ),
    "equivalence_classes/gcloud/gpu/nvidia_a100-A100-SXM4-40GB-deep_weeds-i6.json": (
        "deep_weeds-i6-gpu",
        "gcloud/nvidia_a100-A100-SXM4-40GB",
    ),
    "precision/cifar10_medium_float16/amd-rome-2.json": ("cifar10_medium_float16", "amd-rome-2"),
    "race_conditions/amd-rome-16.json": ("race_conditions", "amd-rome-16"),
    "raw_simd/gcloud/amd-milan.json": ("raw_simd", "gcloud/amd-milan"),
    "input_distribution/cifar10_medium-conv2d_11/original/amd_milan.json": (
        "cifar10_medium-conv2d_11/original",
        "amd_milan",
    ),
    "parameter_distribution/l/without_bias/amd_milan-random.json": ("l/without_bias/random", "amd_milan"),
    "parameter_distribution/l/without_bias/amd_milan.json": ("l/without_bias", "amd_milan"),
}


@pytest.mark.parametrize("path", PLACES)
def test_a_path_says_workload_and_platform_and_back(path):
    whole = f"{repository.RESULTS}/{path}"
    found = place(whole)
    assert (found.workload, found.platform) == PLACES[path]
    assert path_of(found) == whole


@pytest.mark.parametrize(
    "path",
    [
        "x.json",
        "equivalence_classes/a.json",
        "equivalence_classes/aws/tpu/a-m-i0.json",
        "winning_algorithm/g/a.json",
        "parameter_distribution/a/b/.json",
        "precision/m/.json",
        "precision/m/x.feather",
    ],
)
def test_other_paths_say_nothing(path):
    assert place(f"{repository.RESULTS}/{path}") is None
