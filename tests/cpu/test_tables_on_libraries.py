"""Real libraries under our tables, on any x86-64 processor: by rewriting CPUID in memory, which works everywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu.table import Shown, build
from numdev.engines.local import interpreter
from numdev.files import cache_dir
from numdev.spec.stack import load_stack
from numdev.stacks import finder, site_for
from numdev.worker import launcher, readback

IMAGES = Path(__file__).resolve().parents[2] / "images"

pytestmark = [
    pytest.mark.network,
    pytest.mark.frameworks,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is an instruction of x86-64"),
]


@pytest.fixture(scope="module")
def numpy_site() -> Path:
    return site_for(load_stack(IMAGES, "numpy-2.4"), cache_dir(), print).path


def table_of(profile: str) -> Shown:
    loaded = cpu.load(profile)
    return Shown(loaded, build(loaded, cpu.host(), rewritten=True))


def realised(profile: str, site: Path, folder: Path, **how) -> dict:
    """What is read back under a profile."""
    how.setdefault("find", finder(cache_dir(), print))
    shown = table_of(profile)
    table, out = folder / "table.txt", folder / "found.json"
    table.write_text(shown.table.text())
    code = (
        "import json, sys, numpy; from numdev.worker import readback\n"
        "a = numpy.arange(10000, dtype=numpy.float32).reshape(100, 100); a @ a\n"
        f"json.dump(readback.read({str(table)!r}), open({str(out)!r}, 'w'))"
    )
    repository = Path(readback.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{site}:{repository}"}
    assert launcher.run(shown.table, [interpreter("3.11"), "-S", "-c", code], environment, **how) == 0
    return json.loads(out.read_text())


KERNELS = {
    "x86-64-v2": "Nehalem",
    "nehalem": "Nehalem",
    "sandybridge": "Sandybridge",
    "haswell": "Haswell",
    "x86-64-v3": "Haswell",
    "zen2": "Haswell",
}


@pytest.mark.parametrize(("profile", "kernel"), KERNELS.items())
def test_libraries_choose_by_the_profile(profile, kernel, numpy_site, tmp_path):
    loaded = cpu.load(profile)
    if missing := set(loaded.features) - cpu.host().features - cpu.features.INCIDENTAL:
        pytest.skip(f"this processor lacks {', '.join(sorted(missing))}")
    found = realised(profile, numpy_site, tmp_path)
    assert found["cpuid"]["traps"] > 3
    assert found["cpuid"]["mismatches"] == []
    assert [row["architecture"] for row in found["blas"]] == [kernel]
    assert ("X86_V3" in found["numpy_features"]) == ("avx2" in loaded.features)
    assert ("AVX" in found["numpy_features"]) == ("avx" in loaded.features)
    assert cpu.contradictions(table_of(profile), found) == []


def test_another_profiles_choice_is_a_contradiction(numpy_site, tmp_path):
    if "avx2" not in cpu.host().features:
        pytest.skip("this processor has no AVX2")
    reasons = cpu.contradictions(table_of("sandybridge"), realised("haswell", numpy_site, tmp_path))
    assert any("OpenBLAS chose its Haswell kernel" in reason for reason in reasons)
    assert any("numpy uses X86_V3" in reason for reason in reasons)


@pytest.mark.parametrize("leak", ["openblas", "_multiarray_umath"])
def test_a_library_that_is_left_out_is_found_out(leak, numpy_site, tmp_path):
    """The check can fail: one library that asks the real processor."""
    if "avx2" not in cpu.host().features:
        pytest.skip("this processor has no AVX2")
    found = realised("nehalem", numpy_site, tmp_path, skip=[leak])
    reasons = cpu.contradictions(table_of("nehalem"), found)
    word = {"openblas": "OpenBLAS chose", "_multiarray_umath": "numpy uses X86_V3"}[leak]
    assert any(word in reason for reason in reasons)


def test_files_that_nobody_knows_are_found_out(numpy_site, tmp_path):
    found = realised("nehalem", numpy_site, tmp_path, find=None)
    assert found["cpuid"]["uncovered"] >= 3
    assert any("may have asked the real processor" in why for why in cpu.contradictions(table_of("nehalem"), found))
