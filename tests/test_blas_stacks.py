"""One numpy on six BLAS libraries, each the one it says; and what happens where it is another, or is not to be had."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from numdev.store import Store

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

ROOT = Path(__file__).resolve().parents[1]
ALL = {
    "blas-reference": ("reference", ""),
    "blas-atlas": ("ATLAS", ""),
    "blas-blis": ("BLIS", ""),
    "blas-openblas-0.3.21": ("OpenBLAS", "OpenBLAS 0.3.21 "),
    "blas-openblas-0.3.23": ("OpenBLAS", "OpenBLAS 0.3.23.dev "),
    "blas-mkl": ("MKL", "Intel(R) oneAPI Math Kernel Library Version 2024.2"),
}


@pytest.fixture(autouse=True)
def _debian() -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip("these libraries are Debian packages, and this is no Debian")


def run(folder: Path, text: str, images: Path, engine: str = "local") -> tuple[int, str, list]:
    (folder / "m.yaml").write_text(f"numdev: 1\n{text}")
    command = [sys.executable, "-m", "numdev", "matrix", "run", str(folder / "m.yaml"), "--images", str(images)]
    command += ["-e", engine, "-s", str(folder / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    return done.returncode, done.stderr, list(Store.open(folder / "store").records())


def test_each_computes_with_the_library_that_it_names(tmp_path):
    text = f"factors: {{stack: [{', '.join(ALL)}]}}\nworkloads: [cnn-five]\n"
    code, said, records = run(tmp_path, text, ROOT / "images")
    assert code == 0, said
    found = {record.factors["stack"]: record for record in records}
    assert set(found) == set(ALL)
    for name, (library, version) in ALL.items():
        assert found[name].status == "ok", found[name].reason
        assert found[name].realised["versions"]["numpy"] == "1.24.2"
        assert found[name].realised["gemm"]["library"] == library
        assert found[name].realised["gemm"]["version"].startswith(version)
    # Libraries, not names: other bits as well.
    bits = {name: tuple(output.tensor for output in record.outputs) for name, record in found.items()}
    assert len({bits[name] for name in ("blas-reference", "blas-atlas", "blas-blis", "blas-mkl")}) == 4


@pytest.mark.parametrize("engine", [pytest.param("docker", marks=pytest.mark.docker), "local"])
def test_another_library_or_none_is_recorded_and_the_run_goes_on(tmp_path, engine):
    if engine == "docker" and not shutil.which("mmdebstrap"):
        pytest.skip("there is no mmdebstrap to make a base with")
    images = tmp_path / "images"
    images.mkdir()
    for name in ("base", "blas-atlas", "blas-reference"):
        shutil.copytree(ROOT / "images" / name, images / name)
    # A stack whose author was wrong about what is in it, and one whose mirror has moved on.
    (images / "blas-atlas").rename(images / "wrong")
    wrong = images / "wrong" / "stack.yaml"
    wrong.write_text(wrong.read_text().replace("blas: ATLAS", "blas: MKL"))
    shutil.copytree(images / "blas-reference", images / "gone")
    declared, lock = images / "gone" / "stack.yaml", images / "gone" / "debian.lock"
    declared.write_text(declared.read_text().replace('libblas3: "3.11.0-2"', 'libblas3: "3.0.0-1"'))
    rows = [line for line in lock.read_text().splitlines() if not line.startswith("libblas3=")]
    lock.write_text("\n".join([*rows, f"libblas3=3.0.0-1 sha256:{'0' * 64}"]) + "\n")
    text = "factors: {stack: [blas-reference, wrong, gone]}\nworkloads: [cnn-five]\n"
    code, said, records = run(tmp_path, text, images, engine)
    if engine == "docker":
        listed = subprocess.run(["docker", "images", "-q", "numdev/wrong"], capture_output=True, text=True, check=True)
        subprocess.run(["docker", "rmi", "-f", *set(listed.stdout.split())], capture_output=True, check=False)
    found = {record.factors["stack"]: record for record in records}
    assert code == 4, said
    assert found["blas-reference"].status == "ok"
    assert found["wrong"].status == "unrealised"
    assert found["wrong"].reason == "numpy's matrix products are computed by ATLAS (libblas.so.3), not by MKL"
    assert found["gone"].status == "unsupported"
    assert "libblas3=3.0.0-1 cannot be fetched" in found["gone"].reason
    assert "gone cannot be made, and the run goes on without it" in said
