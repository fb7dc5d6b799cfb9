"""What others' tools say of a bundle: the crate validator, CycloneDX's own schema, the schema of citation files, and Docker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from numdev.bundle.create import NONE, Options

JUDGE = Path(__file__).with_name("judge.py")


@pytest.fixture(scope="session")
def judges(tmp_path_factory) -> Path:
    """A Python that has the tools; they are no part of numdev's own environment, for they bring many packages."""
    folder = tmp_path_factory.mktemp("judges")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "roc-validator", "cyclonedx-python-lib[json-validation]", "jsonschema", "pyyaml"], check=True)
    # It is wanted for the schema in it, and pins old versions of what it needs to run.
    subprocess.run([*pip, "--no-deps", "cffconvert==2.0.0"], check=True)
    return folder / "bin" / "python"


def judged(judges: Path, folder: Path) -> str:
    done = subprocess.run([judges, JUDGE, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


def unpacked(path: Path, folder: Path) -> Path:
    subprocess.run(["tar", "-xf", path, "-C", folder], check=True)
    return folder / path.name.removesuffix(".bundle.tar")


SAID = Options(
    title='Bits: "some" & Größe',
    authors=("Lovelace, Ada", "The Engine Group"),
    license="CC-BY-4.0",
    doi="10.5281/zenodo.1",
    models=NONE,
)


@pytest.mark.network
@pytest.mark.parametrize("options", [Options(), SAID, Options(license="my own")], ids=["nothing", "all", "odd licence"])
def test_they_find_nothing_wrong(bundled, judges, tmp_path, options):
    said = judged(judges, unpacked(bundled("one", options, repeats=2), tmp_path))
    assert said.count(": judged") == 5


@pytest.mark.docker
@pytest.mark.network
@pytest.mark.frameworks
def test_a_real_run_with_its_images(judges, tmp_path):
    """Two cells in Docker; the bundle with its images is checked by its own script, and by the tools."""
    matrix = tmp_path / "real.yaml"
    matrix.write_text(
        "numdev: 1\nenforce: best\nfactors: {stack: [numpy-2.4], profile: [host], threads: [1, 2]}\nworkloads: [cnn-small]\n"
    )
    numdev = [sys.executable, "-m", "numdev"]
    store = ["--store", tmp_path / "store"]
    subprocess.run([*numdev, "matrix", "run", matrix, "--engine", "docker", *store], check=True, capture_output=True)
    path = tmp_path / "real.bundle.tar"
    subprocess.run([*numdev, "bundle", "create", "real", "--with-images", "-o", path, *store], check=True)
    folder = unpacked(path, tmp_path)
    done = subprocess.run(["sh", folder / "verify.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "ok: numpy-2.4: Docker has loaded sha256:" in done.stdout
    assert "OpenBLAS" in (folder / "sbom" / "numpy-2.4.cdx.json").read_text()
    assert "numdev:realised:symbol" in (folder / "sbom" / "numpy-2.4.cdx.json").read_text()
    judged(judges, folder)
