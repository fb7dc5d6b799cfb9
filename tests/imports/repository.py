"""A small repository of results in the paper's layout, in a folder or a tar."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path

import numpy as np

from numdev.store.index import NAME as INDEX

RESULTS = "experiments/results"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 3018549\n" % (b"e5" * 32)
HASWELL = {
    "family": 6,
    "model": 63,
    "stepping": 2,
    "flags": ["avx", "avx2", "fma", "sse4_1", "sse4_2", "ssse3", "popcnt"],
}
ROME = {
    **HASWELL,
    "vendor_id_raw": "AuthenticAMD",
    "family": 23,
    "model": 49,
    "stepping": None,
    "l2_cache_size": 524288,
}
CLEAN = np.float32([[0.1, 0.2, 0.7]])


def array(value):
    value = np.asarray(value)
    return {"bytes": base64.b64encode(value.tobytes()).decode(), "dtype": value.dtype.name, "shape": list(value.shape)}


def result(prediction=CLEAN, model="tiny", cpu=HASWELL, cores=2, runs=None, device="CPU", **more):
    info = {
        "vendor_id_raw": "GenuineIntel",
        "brand_raw": "Some CPU @ 2.30GHz",
        "count": cores,
        "l1_data_cache_size": 32768,
        "l2_cache_size": 262144,
        "l3_cache_size": "8 MiB",
        "python_version": "3.6.9.final.0 (64 bit)",
        "arch": "not read",
        **cpu,
    }
    value = {
        "cpu_info": {key: fact for key, fact in info.items() if fact is not None},
        "memory": {"total": 1 << 33, "free": 1},
        "hostname": "abc",
        "device": {"name": f"/device:{device}:0", "device_type": device, "memory_limit": 1 << 28},
        "prediction": array(prediction),
        "model_type": model,
        "batch_dissemination": True,
    }
    if device == "GPU":
        value["device"]["physical_description"] = {"name": "Tesla T4", "compute capability": "7.5"}
    if runs is not None:
        value["all_predictions"] = runs if isinstance(runs, (dict, list)) else array(runs)
        value["count"] = 1
    return {**value, **more}


def name(host, model="tiny", sample=0, kind="cpu", cloud="gcloud"):
    return f"{RESULTS}/equivalence_classes/{cloud}/{kind}/{host}-CPU-{model}-i{sample}.json"


def small():
    """Results by path: three hosts and two samples, where the last host has other weights in one of them."""
    files = {}
    for sample in (0, 1):
        base = CLEAN + np.float32(0.01 * sample)
        files[name("one", sample=sample)] = result(base)
        files[name("two", sample=sample)] = result(base, cores=4)
        far = CLEAN[:, ::-1] if sample else base
        files[name("three", sample=sample)] = result(far, cpu=ROME)
    return {path: json.dumps(value).encode() for path, value in files.items()}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def pack(path: Path, files: dict[str, bytes], mode="w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def tree(store: Path) -> dict[str, bytes]:
    """All files but the index, which is made from the others."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != INDEX
    }
