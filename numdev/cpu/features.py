"""Features by the names that the Linux kernel gives them, and the CPUID bits they are.

Source: Intel SDM volume 2A (CPUID), AMD APM volume 3 appendix E, Linux arch/x86/include/asm/cpufeatures.h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

EAX, EBX, ECX, EDX = range(4)


class Bit(NamedTuple):
    leaf: int
    subleaf: int
    register: int
    bit: int


def _word(leaf: int, subleaf: int, register: int, text: str) -> dict[str, Bit]:
    pairs = (item.split(":") for item in text.split())
    return {name: Bit(leaf, subleaf, register, int(bit)) for name, bit in pairs}


# What a program may use or not. Everything a profile can name; what is not named in a profile is hidden.
FEATURES: dict[str, Bit] = {
    **_word(
        1,
        0,
        ECX,
        "sse3:0 pclmulqdq:1 ssse3:9 fma:12 cx16:13 sse4_1:19 sse4_2:20 movbe:22 popcnt:23 aes:25 xsave:26 avx:28 "
        "f16c:29 rdrand:30",
    ),
    **_word(
        7,
        0,
        EBX,
        "fsgsbase:0 bmi1:3 hle:4 avx2:5 bmi2:8 erms:9 invpcid:10 rtm:11 mpx:14 avx512f:16 avx512dq:17 rdseed:18 "
        "adx:19 avx512ifma:21 clflushopt:23 clwb:24 avx512pf:26 avx512er:27 avx512cd:28 sha_ni:29 avx512bw:30 "
        "avx512vl:31",
    ),
    **_word(
        7,
        0,
        ECX,
        "avx512vbmi:1 pku:3 waitpkg:5 avx512_vbmi2:6 gfni:8 vaes:9 vpclmulqdq:10 avx512_vnni:11 avx512_bitalg:12 "
        "avx512_vpopcntdq:14 rdpid:22 cldemote:25 movdiri:27 movdir64b:28",
    ),
    **_word(
        7,
        0,
        EDX,
        "avx512_4vnniw:2 avx512_4fmaps:3 fsrm:4 uintr:5 avx512_vp2intersect:8 serialize:14 tsxldtrk:16 amx_bf16:22 "
        "avx512_fp16:23 amx_tile:24 amx_int8:25",
    ),
    **_word(
        7,
        1,
        EAX,
        "sha512:0 sm3:1 sm4:2 avx_vnni:4 avx512_bf16:5 fzrm:10 fsrs:11 fsrc:12 amx_fp16:21 avx_ifma:23",
    ),
    **_word(7, 1, EDX, "avx_vnni_int8:4 avx_ne_convert:5 amx_complex:8 avx_vnni_int16:10 prefetchi:14 avx10:19"),
    **_word(0xD, 1, EAX, "xsaveopt:0 xsavec:1 xgetbv1:2 xsaves:3"),
    **_word(
        0x80000001,
        0,
        ECX,
        "lahf_lm:0 abm:5 sse4a:6 misalignsse:7 3dnowprefetch:8 xop:11 fma4:16 tbm:21 topoext:22",
    ),
    **_word(0x80000001, 0, EDX, "mmxext:22 fxsr_opt:25 pdpe1gb:26 rdtscp:27"),
    **_word(0x80000008, 0, EBX, "clzero:0 xsaveerptr:2 wbnoinvd:9"),
}

# Features that no numerical library chooses its arithmetic by: where this host lacks one, the profile is still
# shown, without it, and the table's facts say so. All others must be there.
INCIDENTAL = frozenset(
    [
        "fsgsbase",
        "hle",
        "rtm",
        "mpx",
        "invpcid",
        "rdseed",
        "rdrand",
        "adx",
        "clflushopt",
        "clwb",
        "sha_ni",
        "pku",
        "waitpkg",
        "rdpid",
        "cldemote",
        "movdiri",
        "movdir64b",
        "fsrm",
        "uintr",
        "serialize",
        "tsxldtrk",
        "fzrm",
        "fsrs",
        "fsrc",
        "prefetchi",
        "xsaveopt",
        "xsavec",
        "xgetbv1",
        "xsaves",
        "lahf_lm",
        "sse4a",
        "misalignsse",
        "3dnowprefetch",
        "topoext",
        "mmxext",
        "fxsr_opt",
        "pdpe1gb",
        "rdtscp",
        "clzero",
        "xsaveerptr",
        "wbnoinvd",
        "erms",
        "sha512",
        "sm3",
        "sm4",
        "avx512_vp2intersect",
        "aes",
        "pclmulqdq",
        "vaes",
        "vpclmulqdq",
        "gfni",
        "xop",
        "fma4",
        "tbm",
        "avx512_4vnniw",
        "avx512_4fmaps",
    ]
)

# Bits that describe the system and not the arithmetic; they come from the real processor: OSXSAVE must agree with
# XCR0, and the kernel's view of paging or timers is no program's business to be lied to about.
SYSTEM: dict[tuple[int, int, int], int] = {
    (1, 0, ECX): 1 << 17 | 1 << 21 | 1 << 24 | 1 << 27 | 1 << 31,
    (1, 0, EDX): 0xFFFFFFFF,
    (7, 0, EBX): 1 << 1 | 1 << 7 | 1 << 20,
    (7, 0, ECX): 1 << 2 | 1 << 4 | 1 << 16,
    (7, 0, EDX): 1 << 10 | 0xFC000000,
    (0x80000001, 0, ECX): 1 << 1 | 1 << 4,
    (0x80000001, 0, EDX): 1 << 11 | 1 << 20 | 1 << 29,
}

# The SIMD levels by which numerical libraries dispatch, lowest first: (name, features that all have to be there).
SIMD = (
    ("SSE2", ()),
    ("SSE4.2", ("ssse3", "sse4_1", "sse4_2", "popcnt")),
    ("AVX", ("sse4_2", "avx")),
    ("AVX2", ("avx", "avx2", "fma")),
    ("AVX-512", ("avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl")),
    ("AVX-512 VNNI", ("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni")),
    ("AVX-512 AMX", ("avx512_vnni", "amx_tile", "amx_int8")),
)


# numpy's words for groups of features, where a profile without them must not have them found.
NUMPY = {
    "AVX": "avx",
    "AVX2": "avx2",
    "FMA3": "fma",
    "F16C": "f16c",
    "AVX512F": "avx512f",
    "AVX512CD": "avx512cd",
    "AVX512_KNL": "avx512er",
    "AVX512_KNM": "avx512_4vnniw",
    "AVX512_SKX": "avx512bw",
    "AVX512_CLX": "avx512_vnni",
    "AVX512_CNL": "avx512vbmi",
    "AVX512_ICL": "avx512_bitalg",
    "AVX512_SPR": "avx512_fp16",
    "X86_V3": "avx2",
    "X86_V4": "avx512bw",
}

# What a feature cannot be without (Intel SDM volume 1, chapters 13 to 15; Linux arch/x86/kernel/cpu/cpuid-deps.c):
# libraries check only one of them.
_NEEDS: dict[str, tuple[str, ...]] = {
    "ssse3": ("sse3",),
    "sse4_1": ("ssse3",),
    "sse4_2": ("sse4_1",),
    "avx": ("sse4_2", "xsave"),
    "avx2": ("avx",),
    "fma": ("avx",),
    "f16c": ("avx",),
    "vaes": ("avx", "aes"),
    "vpclmulqdq": ("avx", "pclmulqdq"),
    **dict.fromkeys(("xsaveopt", "xsavec", "xgetbv1", "xsaves"), ("xsave",)),
    **{name: ("avx2",) for name in FEATURES if name.startswith("avx_")},
    **dict.fromkeys(("fma4", "xop", "sha512", "sm3", "sm4"), ("avx",)),
    "avx512f": ("avx2", "fma", "f16c"),
    "avx10": ("avx512f",),
    "amx_complex": ("amx_tile",),
    "amx_int8": ("amx_tile",),
    "amx_bf16": ("amx_tile",),
    "amx_fp16": ("amx_tile",),
    **{name: ("avx512f",) for name in FEATURES if name.startswith("avx512") and name != "avx512f"},
}


def contradictions(features: Iterable[str]) -> list[str]:
    """What is wrong with a set of features: those without which others cannot be."""
    have = set(features)
    return [
        f"{name} needs {', '.join(needed for needed in _NEEDS[name] if needed not in have)}"
        for name in FEATURES
        if name in have and not have.issuperset(_NEEDS.get(name, ()))
    ]


def closed(features: Iterable[str]) -> frozenset[str]:
    """The features that can be where no others are: without those that need one that is missing."""
    have = frozenset(features)
    while lame := {name for name in have if not have.issuperset(_NEEDS.get(name, ()))}:
        have -= lame
    return have


def simd_level(features: Iterable[str]) -> str:
    """The highest SIMD level that a set of features reaches."""
    have = set(features)
    return [name for name, needed in SIMD if have.issuperset(needed)][-1]


def present(cpuid: Callable[[int, int], tuple[int, int, int, int]]) -> frozenset[str]:
    """The named features in a CPUID table; leaves beyond the highest ones count as zero."""
    basic, extended = cpuid(0, 0)[EAX], cpuid(0x80000000, 0)[EAX]
    found = set()
    for name, (leaf, subleaf, register, bit) in FEATURES.items():
        if leaf > (extended if leaf & 0x80000000 else basic) or (leaf == 7 and subleaf > cpuid(7, 0)[EAX]):
            continue
        if cpuid(leaf, subleaf)[register] >> bit & 1:
            found.add(name)
    return frozenset(found)
