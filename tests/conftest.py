"""What this machine can run, and an honest last word about what it did not."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure() -> None:
    _no_silent_end()
    # What the user's shell tells a library would be obeyed whatever profile a test shows.
    from numdev.cpu import knobs

    for name, _ in knobs.set_in(os.environ):
        del os.environ[name]


def _no_silent_end() -> None:
    """`numdev as` ends its process as its program ended: done in the tests' own, all that follows would be passed over."""
    end, own = os._exit, os.getpid()

    def guarded(code: int) -> None:
        if os.getpid() == own:
            os.write(2, b"\nA test has ended the process of all tests by os._exit.\n")
            code = 70
        end(code)

    os._exit = guarded


@functools.cache
def _docker() -> str:
    """Why no Docker engine can be used, or ""."""
    try:
        done = subprocess.run(["docker", "version"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no Docker engine answers ({error.__class__.__name__})"
    return "" if done.returncode == 0 else "no Docker engine answers"


@functools.cache
def _network() -> str:
    """Why pinned packages cannot be fetched, or ""."""
    if os.environ.get("NUMDEV_TEST_OFFLINE"):
        return "NUMDEV_TEST_OFFLINE is set"
    command = [sys.executable, "-m", "pip", "index", "versions", "six", "--disable-pip-version-check"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return "the package index does not answer"
    return "" if done.returncode == 0 else "the package index cannot be reached"


@functools.cache
def _faulting() -> str:
    if platform.machine() != "x86_64":
        return f"CPUID is an instruction of x86-64; this is {platform.machine()}"
    from numdev import cpu

    return cpu.host().refusal


@functools.cache
def _avx512() -> str:
    from numdev import cpu

    return "" if "avx512bw" in cpu.host().features else "this processor has no AVX-512"


@functools.cache
def _qemu() -> str:
    from numdev.cpu import emulated

    return emulated.find()[1]


REASONS = {
    "qemu": _qemu,
    "docker": _docker,
    "network": _network,
    "frameworks": _network,
    "faulting": _faulting,
    "avx512": _avx512,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, reason_of in REASONS.items():
        if item.get_closest_marker(marker) and (reason := reason_of()):
            if marker == "docker" and os.environ.get("NUMDEV_REQUIRE_DOCKER"):
                pytest.fail(f"needs Docker, which was promised here: {reason}")
            pytest.skip(reason)


def pytest_terminal_summary(terminalreporter) -> None:
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    if reasons:
        terminalreporter.section("not run on this machine")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count} tests: {reason}")


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the folder with shared test data is not here")
    return SHARED


@pytest.fixture(scope="session")
def real_cache() -> Path:
    """The user's own cache: stacks that are built there are not built again for tests."""
    from numdev.files import cache_dir

    return cache_dir()


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
