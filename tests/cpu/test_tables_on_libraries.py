"""Real libraries under our tables, on any x86-64 processor.

Where CPUID cannot fault, the libraries' own CPUID instructions are replaced by UD2, which faults everywhere and is as long: the
launcher answers it from the same tables in the same way. So the tables are tried on numpy and OpenBLAS wherever the tests run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu.table import Shown, build
from numdev.engines.local import interpreter
from numdev.files import cache_dir
from numdev.spec.stack import load_stack
from numdev.stacks import site_for
from numdev.worker import readback
from numdev.worker.launcher import Fault, Launcher

IMAGES = Path(__file__).resolve().parents[2] / "images"
UD2 = Fault(signal.SIGILL, 2, b"\x0f\x0b")

pytestmark = [
    pytest.mark.network,
    pytest.mark.frameworks,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is an instruction of x86-64"),
    pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump (binutils) is not installed"),
]


def replace_cpuid(library: Path) -> int:
    """Replaces every CPUID instruction that the disassembler finds by UD2; how many there were."""
    listing = subprocess.run(["objdump", "-d", "-w", library], capture_output=True, text=True, check=True).stdout
    headers = subprocess.run(["objdump", "-h", "-w", library], capture_output=True, text=True, check=True).stdout
    sections = [
        tuple(int(word, 16) for word in found)
        for found in re.findall(r"^\s*\d+ \S+\s+([0-9a-f]+)\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", headers, re.M)
    ]
    data = bytearray(library.read_bytes())
    addresses = [int(found, 16) for found in re.findall(r"^\s*([0-9a-f]+):\t0f a2\s+\tcpuid", listing, re.M)]
    for address in addresses:
        at = next(offset + address - start for size, start, offset in sections if start <= address < start + size)
        assert data[at : at + 2] == b"\x0f\xa2"
        data[at : at + 2] = UD2.instruction
    library.write_bytes(data)
    return len(addresses)


@pytest.fixture(scope="module")
def numpy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("rewritten") / "site"
    stack = load_stack(IMAGES, "numpy-2.4")
    shutil.copytree(site_for(stack, cache_dir(), print).path, site)
    for library in [*site.glob("numpy/_core/_multiarray_umath*.so"), *site.glob("numpy.libs/*openblas*.so*")]:
        library.chmod(0o644)
        assert replace_cpuid(library) > 0
    return site


def realised(profile: str, site: Path, out: Path) -> tuple[dict, int]:
    """What numpy and OpenBLAS read back under a profile, and how often CPUID was answered."""
    host = cpu.host()
    tracer = Launcher(build(cpu.load(profile), host), fault=UD2, faulting=False)
    code = (
        "import json, sys, numpy; from numdev.worker import readback\n"
        "a = numpy.arange(10000, dtype=numpy.float32).reshape(100, 100); a @ a\n"
        f"json.dump(readback.read(None), open({str(out)!r}, 'w'))"
    )
    repository = Path(readback.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{site}:{repository}"}
    assert tracer.run([interpreter("3.11"), "-S", "-c", code], environment) == 0
    return json.loads(out.read_text()), tracer.traps


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
    found, traps = realised(profile, numpy_site, tmp_path / "found.json")
    assert traps > 3
    assert [row["architecture"] for row in found["blas"]] == [kernel]
    assert ("X86_V3" in found["numpy_features"]) == ("avx2" in loaded.features)
    assert ("AVX" in found["numpy_features"]) == ("avx" in loaded.features)
    shown = Shown(loaded, build(loaded, cpu.host()))
    found["cpuid"] = {"traps": traps, "mismatches": []}
    assert cpu.contradictions(shown, found) == []


def test_another_profiles_choice_is_a_contradiction(numpy_site, tmp_path):
    if "avx2" not in cpu.host().features:
        pytest.skip("this processor has no AVX2")
    found, traps = realised("haswell", numpy_site, tmp_path / "found.json")
    found["cpuid"] = {"traps": traps, "mismatches": []}
    loaded = cpu.load("sandybridge")
    reasons = cpu.contradictions(Shown(loaded, build(loaded, cpu.host())), found)
    assert any("OpenBLAS chose its Haswell kernel" in reason for reason in reasons)
    assert any("numpy uses X86_V3" in reason for reason in reasons)
