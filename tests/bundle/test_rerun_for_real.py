"""Real stacks: a bundle is made, moved and run again on both engines; and beside one of an older numpy."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

NUMDEV = (sys.executable, "-c", "from numdev.cli import main; main()")
IMAGES = Path(__file__).resolve().parents[2] / "images"
MATRIX = """
numdev: 1
enforce: best
factors: {stack: [STACK, onnxruntime-1.32], profile: [host, haswell, nehalem]}
workloads: [cnn-small]
repeats: 2
tap: layers
"""


@pytest.fixture
def bundled(for_real, tmp_path):
    """Makes the bundle of a run on an engine, and moves it away from all that it was made of."""

    def make(stack: str, engine: str) -> Path:
        (tmp_path / "m.yaml").write_text(MATRIX.replace("STACK", stack))
        for_real("matrix", "run", "m.yaml", "--images", IMAGES, "-e", engine, "-s", f"store-{stack}")
        for_real("bundle", "create", "-s", f"store-{stack}", "-o", f"{stack}.bundle.tar", "--models", "all")
        (tmp_path / "away").mkdir(exist_ok=True)
        shutil.rmtree(tmp_path / f"store-{stack}")
        return Path(shutil.move(tmp_path / f"{stack}.bundle.tar", tmp_path / "away"))

    return make


@pytest.mark.docker
def test_a_bundle_of_docker_gives_the_same_classes_on_both_engines(bundled, for_real):
    path = bundled("numpy-2.4", "docker")
    for engine in ("docker", "local"):
        data = json.loads(for_real("bundle", "rerun", path, "--engine", engine, "--json"))
        assert data["counts"] == {"same": 6}, engine
        assert data["engine"] == engine
        assert data["runs"] == 12
        assert data["classes"][0]["same_partition"]


def test_an_older_numpy_beside_it(bundled, for_real):
    one, other = bundled("numpy-2.4", "local"), bundled("numpy-1.26", "local")
    data = json.loads(for_real("bundle", "diff", one, other, "--json", code=(0, 13)))
    assert data["matched"] == ["stack: numpy-2.4 of A is compared with numpy-1.26 of B"]
    assert data["platforms"] == []
    cells = {cell["cell"]: cell for cell in data["cells"]}
    assert all(cell["outcome"] == "same" for name, cell in cells.items() if "onnxruntime" in name)
    for cell in cells.values():
        if cell["outcome"] == "other":
            assert cell["first"] == "software stack"
            assert cell["layer"].startswith("conv_0")


@pytest.mark.faulting
def test_results_of_another_processor_are_had_here_by_its_table(for_real, tmp_path):
    """A Haswell is a machine of its own for the numdev that runs under its CPUID, and is not there when the bundle is run again."""
    matrix = MATRIX.replace("STACK", "numpy-2.4").replace("profile: [host, haswell, nehalem]", "threads: [1, 2]")
    (tmp_path / "m.yaml").write_text(matrix)
    run = [*NUMDEV, "matrix", "run", "m.yaml", "--images", IMAGES, "-e", "local", "-s", "there"]
    for_real("as", "haswell", "--", *run)
    for_real("as", "haswell", "--", *NUMDEV, "bundle", "create", "-s", "there", "-o", "there.bundle.tar")
    data = json.loads(for_real("bundle", "rerun", "there.bundle.tar", "--engine", "local", "--json"))
    assert data["counts"] == {"same": 4}
    assert "E5-2699 v3" in data["notes"][0]
    # This very processor, as itself, is another one.
    for_real("matrix", "run", "m.yaml", "--images", IMAGES, "-e", "local", "-s", "here")
    for_real("bundle", "create", "-s", "here", "-o", "here.bundle.tar")
    data = json.loads(for_real("bundle", "diff", "there.bundle.tar", "here.bundle.tar", "--json", code=(0, 13)))
    assert any("E5-2699 v3" in line for line in data["platforms"])
    assert {cell["first"] for cell in data["cells"] if cell["outcome"] == "other"} <= {"CPU as shown"}
