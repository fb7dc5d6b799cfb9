"""What platform a result comes from, as far as its own file says it; what it does not say is `unknown`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numdev import cpu
from numdev.cpu.features import simd_level
from numdev.spec.quantities import memory

UNKNOWN = "unknown"
CPU, GPU = "cpu", "gpu"


@dataclass(frozen=True)
class Microarchitecture:
    """By CPUID: family, model, and the steppings where one model has two. `profile` is numdev's own of that processor."""

    name: str
    vendor: str
    family: int
    model: int
    steppings: range
    profile: str = ""


ANY = range(256)
# Skylake-SP and Cascade Lake share a model, as do Kaby Lake and Coffee Lake: Linux, arch/x86/include/asm/intel-family.h, and
# Intel's lists of steppings (Specification Update of Xeon Scalable: 5 and above is Cascade Lake; of the 7th and 8th
# generation: 9 is Kaby Lake, 10 and above Coffee Lake).
MICROARCHITECTURES = (
    Microarchitecture("Sandy Bridge", "GenuineIntel", 6, 45, ANY, "sandybridge"),
    Microarchitecture("Ivy Bridge", "GenuineIntel", 6, 62, ANY, "ivybridge"),
    Microarchitecture("Haswell", "GenuineIntel", 6, 63, ANY, "haswell"),
    Microarchitecture("Broadwell", "GenuineIntel", 6, 79, ANY, "broadwell"),
    Microarchitecture("Skylake", "GenuineIntel", 6, 85, range(5), "skylake-sp"),
    Microarchitecture("Cascade Lake", "GenuineIntel", 6, 85, range(5, 8), "cascadelake-sp"),
    Microarchitecture("Ice Lake", "GenuineIntel", 6, 106, ANY, "icelake-sp"),
    Microarchitecture("Kaby Lake", "GenuineIntel", 6, 158, range(10)),
    Microarchitecture("Coffee Lake", "GenuineIntel", 6, 158, range(10, 16)),
    Microarchitecture("AMD Rome", "AuthenticAMD", 23, 49, ANY, "zen2"),
    Microarchitecture("AMD Milan", "AuthenticAMD", 25, 1, ANY, "zen3"),
)
# Of the two without a profile: Intel 64 and IA-32 Architectures Optimization Reference Manual, Skylake client, table of caches.
CLIENT = {"Kaby Lake": {"L1d": 32 << 10, "L2": 256 << 10}, "Coffee Lake": {"L1d": 32 << 10, "L2": 256 << 10}}
# CUDA C++ Programming Guide, compute capabilities.
GENERATIONS = {
    "3": "Kepler",
    "5": "Maxwell",
    "6": "Pascal",
    "7.0": "Volta",
    "7.2": "Volta",
    "7.5": "Turing",
    "8.0": "Ampere",
    "8.6": "Ampere",
    "8.7": "Ampere",
    "8.9": "Ada Lovelace",
    "9": "Hopper",
}
# py-cpuinfo has names from CPUID itself beside those of the kernel.
FLAGS = {"avx512vnni": "avx512_vnni", "pni": "sse3"}


def of_cpu(info: Mapping[str, Any]) -> dict[str, str]:
    """The facts of a processor that are factors, from what py-cpuinfo saw: each a word, or `unknown`."""
    found = microarchitecture(info)
    flags = info.get("flags")
    return {
        "microarchitecture": found.name if found else UNKNOWN,
        "cores": str(info.get("count") or UNKNOWN),
        "SIMD": simd_level(FLAGS.get(flag, flag) for flag in flags) if flags else UNKNOWN,
        "vendor": cpu.VENDORS.get(info.get("vendor_id_raw", ""), info.get("vendor_id_raw") or UNKNOWN),
        "L1d": _cache(info.get("l1_data_cache_size"), found, "L1d"),
        "L2": _cache(info.get("l2_cache_size"), found, "L2"),
        "Python": _python(info.get("python_version")),
    }


def of_gpu(physical: Mapping[str, str], info: Mapping[str, Any]) -> dict[str, str]:
    """The facts of a GPU that are factors, and of the processor beside it."""
    capability = physical.get("compute capability", "")
    host = of_cpu(info)
    return {
        "GPU": physical.get("name") or UNKNOWN,
        "generation": GENERATIONS.get(capability) or GENERATIONS.get(capability.partition(".")[0], UNKNOWN),
        "host_CPU": host["microarchitecture"],
        "cores": host["cores"],
        "Python": host["Python"],
    }


def microarchitecture(info: Mapping[str, Any]) -> Microarchitecture | None:
    """By vendor, family, model and stepping. A model that two share is unknown where the stepping is not told."""
    stepping = info.get("stepping")
    for one in MICROARCHITECTURES:
        same = (info.get("vendor_id_raw"), info.get("family"), info.get("model")) == (one.vendor, one.family, one.model)
        if same and (one.steppings == ANY or (stepping is not None and stepping in one.steppings)):
            return one
    return None


def _cache(told: int | str | None, found: Microarchitecture | None, which: str) -> str:
    """Per core. As a text, py-cpuinfo tells the sum over all cores, whose number it does not tell."""
    if isinstance(told, int):
        return kib(told)
    if found is None:
        return UNKNOWN
    if not found.profile:
        return kib(CLIENT[found.name][which])
    level, kinds = {"L1d": (1, ("data",)), "L2": (2, ("unified",))}[which]
    caches: Iterable[Any] = cpu.load(found.profile).caches
    return kib(next(memory(cache.size) for cache in caches if cache.level == level and cache.type in kinds))


def kib(size: int) -> str:
    return f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"


def _python(told: str | None) -> str:
    # `3.6.9.final.0 (64 bit)`: of all software this is the only version that was recorded.
    return told.partition(".final")[0] if told else UNKNOWN
