"""What numdev promises, on real networks in real containers: runs where the processor and the engine allow it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from numdev import cpu
from numdev.errors import ProfileRefused
from numdev.store import Store

ROOT = Path(__file__).resolve().parents[2]
ENGINES = [pytest.param("docker", marks=pytest.mark.docker), "local"]

pytestmark = [pytest.mark.network, pytest.mark.frameworks]


def numdev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "numdev", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def run(folder: Path, matrix: str, engine: str) -> dict[str, dict]:
    """The answer of a matrix by workload."""
    (folder / "matrix.yaml").write_text(matrix)
    done = numdev(
        "matrix", "run", str(folder / "matrix.yaml"), "-e", engine, "-s", str(folder / engine), "--json", "--images", "images"
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr
    return {one["workload"]: one for one in json.loads(done.stdout)["workloads"]}


def classes(workload: dict) -> dict[tuple[str, str], str]:
    """The class of each stack and profile."""
    found = {}
    for one in workload["classes"]:
        for levels in one["levels"]:
            found[levels["stack"], levels["profile"]] = one["name"]
    return found


def missing(name: str) -> str:
    """Why this host cannot show a profile by any rung, or ""."""
    try:
        cpu.shown(name, cpu.host(), cpu.BEST)
    except ProfileRefused as error:
        return error.why
    return ""


def needs(*names: str) -> None:
    """Skips where this host cannot show all of these profiles."""
    for name in names:
        if reason := missing(name):
            pytest.skip(reason)


def test_stack_effects_are_seen_on_any_processor(tmp_path):
    """basic-pitch changes between versions of onnxruntime, the text direction network does not."""
    answer = run(
        tmp_path,
        """
        numdev: 1
        factors: {stack: [onnxruntime-1.17, onnxruntime-1.32]}
        workloads: [basic-pitch, ocr-classifier]
        reference: reference
        """,
        "local",
    )
    assert len(set(classes(answer["basic-pitch"]).values())) == 2
    assert len(set(classes(answer["ocr-classifier"]).values())) == 1
    assert all(one["reference"]["verdict"] for name in answer for one in answer[name]["classes"])


def test_s1_on_this_processor(tmp_path):
    """u8 x s8 products: exact with VNNI and below AVX2, wrong with AVX2 or AVX-512 alone."""
    answer = run(
        tmp_path,
        """
        numdev: 1
        factors: {stack: [onnxruntime-1.17, onnxruntime-1.32], session.x64quantprecision: ["0", "1"]}
        workloads: [matmul-integer]
        reference: reference
        """,
        "local",
    )["matmul-integer"]
    features = cpu.host().features
    wrong = "avx2" in features and not features & {"avx512_vnni", "avx_vnni"}
    verdicts = {
        (levels["stack"], levels["session.x64quantprecision"]): one["reference"]["verdict"]
        for one in answer["classes"]
        for levels in one["levels"]
    }
    for stack in ("onnxruntime-1.17", "onnxruntime-1.32"):
        assert verdicts[stack, "0"] == ("wrong" if wrong else "exact")
        assert verdicts[stack, "1"] == "exact", "the option cures it"
    said = [one["text"] for one in answer["sentences"] if one["about"] == "reference"]
    assert any("WRONG against the exact integer reference" in text for text in said) == wrong


@pytest.mark.parametrize("engine", ENGINES)
def test_s1_follows_the_profile(tmp_path, engine):
    needs("sandybridge", "haswell", "zen2")
    vnni = [name for name in ("icelake-sp",) if "avx512_vnni" in cpu.host().features]
    plain = [name for name in ("skylake-sp",) if "avx512bw" in cpu.host().features]
    profiles = ["sandybridge", "haswell", "zen2", *vnni, *plain]
    answer = run(
        tmp_path,
        f"""
        numdev: 1
        enforce: best
        factors: {{stack: [onnxruntime-1.17, onnxruntime-1.32], profile: [{", ".join(profiles)}]}}
        workloads: [matmul-integer]
        reference: reference
        """,
        engine,
    )["matmul-integer"]
    verdicts = {
        levels["profile"]: (one["reference"]["verdict"], one["reference"]["deviation"])
        for one in answer["classes"]
        for levels in one["levels"]
    }
    assert verdicts["sandybridge"][0] == "exact"
    for name in ("haswell", "zen2", *plain):
        assert verdicts[name][0] == "wrong"
        assert verdicts[name][1]["differ"] == verdicts[name][1]["total"] == 64 * 64
    for name in vnni:
        assert verdicts[name][0] == "exact"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_small_network_has_a_class_for_each_simd_level(tmp_path, engine):
    levels = ["x86-64-v2", "x86-64-v3"] + (["x86-64-v4"] if "avx512bw" in cpu.host().features else [])
    needs(*levels)
    answer = run(
        tmp_path,
        f"""
        numdev: 1
        enforce: best
        factors: {{stack: [onnxruntime-1.17, onnxruntime-1.32], profile: [{", ".join(levels)}]}}
        workloads: [cnn-five]
        repeats: 2
        """,
        engine,
    )["cnn-five"]
    found = classes(answer)
    assert len({found["onnxruntime-1.32", level] for level in levels}) == len(levels)
    assert all(found["onnxruntime-1.17", level] == found["onnxruntime-1.32", level] for level in levels)
    assert answer["sufficient"]["sets"] == [["profile"]]


def test_the_parts_of_an_identity_are_told_apart(tmp_path):
    """MKL in torch goes by the vendor, onnxruntime by features alone, and neither by the caches."""
    needs("haswell")
    matrix = """
        numdev: 1
        enforce: best
        factors:
          stack: [{stack}]
          profile: [haswell]
          features: [own, -fma]
          vendor: [own, AMD]
          caches: [own, icelake-sp]
        exclude: [{{features: -fma, caches: icelake-sp}}, {{features: -fma, vendor: AMD}}]
        workloads: [cnn-small]
        """
    for stack, moving in (("torch-2.13", {"features", "vendor"}), ("onnxruntime-1.32", {"features"})):
        (tmp_path / stack).mkdir()
        answer = run(tmp_path / stack, matrix.format(stack=stack), "local")["cnn-small"]
        found = {one["factor"]: one["status"] for one in answer["effects"]}
        assert {name for name, status in found.items() if status == "depends"} == moving
        assert found["caches"] == "no effect"
        assert answer["without_class"] == []


@pytest.mark.faulting
def test_the_rungs_give_the_same_bytes(tmp_path):
    """Rewritten libraries and CPUID faulting are two ways to the same answer: each is the other's oracle."""
    profiles = [name for name in ("nehalem", "sandybridge", "haswell", "zen2") if not missing(name)]
    tensors = []
    for enforce in ("cpuid", "rewrite"):
        matrix = f"""
        numdev: 1
        enforce: {enforce}
        factors: {{stack: [onnxruntime-1.32, numpy-2.4], profile: [{", ".join(profiles)}]}}
        workloads: [cnn-small, cnn-five]
        """
        (tmp_path / enforce).mkdir()
        run(tmp_path / enforce, matrix, "local")
        store = Store.open(tmp_path / enforce / "local")
        tensors.append(
            {
                (record.workload, record.factors["stack"], record.factors["profile"]): [
                    output.tensor for output in record.outputs
                ]
                for record in store.records()
            }
        )
    assert tensors[0] == tensors[1]
    assert all(tensors[0].values())


def test_a_program_as_haswell_has_the_haswell_kernel():
    needs("haswell")
    code = (
        "import numpy, threadpoolctl; numpy.show_config(); numpy.ones((9, 9)) @ numpy.ones((9, 9)); "
        "print([row['architecture'] for row in threadpoolctl.threadpool_info()])"
    )
    done = numdev("as", "haswell", "--", sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "['Haswell']" in done.stdout


@pytest.mark.parametrize(
    ("profile", "kernel"), [("nehalem", "Nehalem"), ("sandybridge", "Sandybridge"), ("haswell", "Haswell")]
)
def test_a_stacks_numpy_as_another_processor(profile, kernel):
    needs(profile)
    code = (
        "import numpy, threadpoolctl; numpy.ones((9, 9)) @ numpy.ones((9, 9)); "
        "print([row['architecture'] for row in threadpoolctl.threadpool_info()])"
    )
    done = numdev("as", "--stack", "numpy-2.4", profile, "--", "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"['{kernel}']"


def test_mkl_follows_features_and_vendor_each(tmp_path):
    """On an Intel AVX2 profile torch's product has the bits of MKL_CBWR=AVX2; the same features in AMD's name are another class."""
    needs("nehalem", "haswell", "haswell@vendor=AMD")
    done = numdev("matrix", "run", "matrices/mkl.yaml", "-e", "local", "-s", str(tmp_path / "store"), "--json")
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["workloads"]
    found = {
        (levels["profile"], levels["vendor"], levels["env.MKL_CBWR"]): one["name"]
        for one in answer["classes"]
        for levels in one["levels"]
    }
    assert len(found) == 12
    assert found["haswell", "own", "AUTO"] == found["haswell", "own", "AVX2"]
    assert found["haswell", "own", "AUTO"] not in (found["nehalem", "own", "AUTO"], found["haswell", "AMD", "AUTO"])
    assert len({name for (_, _, knob), name in found.items() if knob == "COMPATIBLE"}) == 1
    assert answer["sufficient"]["sets"] == [["profile", "vendor", "env.MKL_CBWR"]]
