"""The system's own loader under every table: it reads more of CPUID than any library, before anything else runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu.table import build
from numdev.files import cache_dir

LOADER = Path("/lib64/ld-linux-x86-64.so.2")
pytestmark = pytest.mark.skipif(not LOADER.exists(), reason="there is no glibc loader for x86-64 here")


@pytest.mark.parametrize("name", [*cpu.names()[1:], "zen2@vendor=Intel", "haswell@l1d=48KiB"])
def test_the_loader_sees_the_profile(name):
    profile = cpu.load(name)
    table = build(profile, cpu.host(), rewritten=True)
    script = (
        "from pathlib import Path; from numdev.stacks import finder\n"
        "from numdev.worker import launcher; from numdev.worker.cpuid import parse\n"
        f"launcher.end_as(launcher.run(parse({table.text()!r}), [{str(LOADER)!r}, '--list-diagnostics'], "
        f"find=finder(Path({str(cache_dir())!r}), print)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    if "list-diagnostics" in done.stderr:
        pytest.skip("this loader is older than --list-diagnostics (glibc 2.33)")
    assert done.returncode == 0, done.stderr
    told = {key: int(value, 16) for key, value in re.findall(r"x86\.cpu_features\.(\S+)=(0x[0-9a-f]+)", done.stdout)}
    assert told["basic.kind"] == {"GenuineIntel": 1, "AuthenticAMD": 2}[profile.vendor]
    assert (told["basic.family"], told["basic.model"], told["basic.stepping"]) == (
        profile.family,
        profile.model,
        profile.stepping,
    )
    data = next(cache.bytes for cache in profile.caches if (cache.level, cache.type) == (1, "data"))
    # AMD's caches are told in other leaves; glibc asks for those of the vendor that it sees.
    assert told["level1_dcache_size"] == data


def test_the_real_loader_is_not_fooled():
    """The check can fail: the loader itself, without a trap, tells the real processor."""
    done = subprocess.run([LOADER, "--list-diagnostics"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this loader is older than --list-diagnostics (glibc 2.33)")
    family, model, _ = cpu.host().family_model_stepping
    assert f"basic.family={family:#x}" in done.stdout
    assert f"basic.model={model:#x}" in done.stdout
    assert os.uname().machine == "x86_64"
