"""The bundle of the paper's table that lies in docs/bundles: whole, in agreement with the published one, and run again on this silicon."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from numdev import cpu
from numdev.bundle.merge import merge
from numdev.bundle.reading import Bundle
from numdev.bundle.verify import verify
from numdev.errors import InvalidInput

STORED = Path(__file__).resolve().parents[2] / "docs" / "bundles" / "paper-amd-25-17-1.bundle.tar.xz"
# As docs/paper.md prints it.
DIGEST = "94ca0a24b1e523f449960583bea42f31a69ec5337468654f63bc6e0ea8de6edd"


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("paper") / STORED.stem
    path.write_bytes(lzma.decompress(STORED.read_bytes()))
    return path


def rsqrtps(path: Path) -> str:
    """What the processor of the bundle makes of approximate square roots."""
    with Bundle(path) as bundle:
        (name,) = (name for name in bundle.members if name.startswith("platforms/"))
        return bundle.json(name)["fingerprint"]["rsqrtps"]


def test_it_is_whole_and_has_every_platform(paper):
    report = verify(paper, expected=DIGEST)
    assert report.whole, [check for check in report.checks if check.problems]
    with Bundle(paper) as bundle:
        cells = list(bundle.cells())
    assert len(cells) == 190
    assert {cell.status for cell in cells} == {"ok"}
    assert DIGEST in (STORED.parents[1] / "paper.md").read_text()


def test_small_alone_has_three_tiers_and_amd_those_of_avx2(paper):
    with Bundle(paper) as bundle:
        outputs: dict[str, set[tuple[str, ...]]] = {}
        for cell in bundle.cells():
            if cell.workload == "cnn-small":
                outputs.setdefault(cell.factors["profile"], set()).add(tuple(cell.outputs))
    assert all(len(found) == 1 for found in outputs.values())
    tiers = (("sandybridge", "ivybridge"), ("haswell", "broadwell", "zen2", "zen3"), ("skylake-sp", "icelake-sp"))
    found = [{next(iter(outputs[name])) for name in tier} for tier in tiers]
    assert [len(some) for some in found] == [1, 1, 1]
    assert len(set.union(*found)) == 3


def test_one_bundle_is_no_two_hosts(paper, tmp_path):
    copy = tmp_path / paper.name
    copy.write_bytes(paper.read_bytes())
    with pytest.raises(InvalidInput, match="named twice"):
        merge([paper, copy], tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.docker
@pytest.mark.frameworks
@pytest.mark.network
def test_run_again_it_is_the_same_where_silicon_is(paper, for_real):
    chosen = ("-k", "haswell and (cnn-small or cnn-medium)", "--once", "--json")
    found = json.loads(for_real("bundle", "rerun", paper, *chosen, code=(0, 13)))
    cells = {cell["cell"]: cell for cell in found["cells"]}
    assert len(cells) == 10
    alike = cpu.capture().fingerprint["rsqrtps"] == rsqrtps(paper)
    for name, cell in cells.items():
        # Of these two only the medium network has batch normalisation, and TensorFlow 2.5 makes that of `rsqrtps`.
        if alike or "cnn-small" in name:
            assert cell["outcome"] == "same", cell
        elif cell["outcome"] != "same":
            assert "silicon" in {one["factor"] for one in cell["differs"]}, cell
