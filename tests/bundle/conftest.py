"""A store with one run, made by hand: two stacks by three profiles on one workload, some cells equal, one failed, one never run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from numdev import cli, digests
from numdev.bundle import layout
from numdev.bundle.archive import Writer
from numdev.bundle.create import Options, create
from numdev.bundle.reading import Bundle
from numdev.cli import bundle_rerun
from numdev.cli import matrix as matrix_commands
from numdev.cpu import Capture, Host
from numdev.engines import MemoryEngine, Played
from numdev.engines.protocol import stack_digest
from numdev.run.runfile import Run, RunCell
from numdev.spec.cell import DEFAULTS, Cell
from numdev.spec.stack import stack_in
from numdev.store import Output, Record, Store
from numdev.workloads.archive import pack

STACKS = ("ort-1", "ort-2")
PROFILES = ("sandybridge", "haswell", "zen2")
SITES = {stack: digests.of_json(["site", stack]) for stack in STACKS}
STACK = 'base: bookworm\npython: "3.11"\nbackend: onnxruntime\npins: {onnxruntime: "1.32.0"}\n'
LOCK = f"onnxruntime==1.32.0 \\\n    --hash=sha256:{'0' * 64}\n"
BASE = 'suite: bookworm\npython: "3.11"\nglibc: "2.36"\ninclude: [python3]\nepoch: 1704067200\n'


def tensor(store: Store, values: list[float]) -> Output:
    """Stores a vector and says how a record names it."""
    path = store.folder / "new.npy"
    np.save(path, np.array(values, np.float32))
    name = store.put_tensor(path.read_bytes())
    path.unlink()
    return Output(name="y", dtype="float32", shape=[len(values)], tensor=name)


def a_store(
    folder: Path,
    shift: float = 0.0,
    brand: str = "Made by hand",
    repeats: int = 1,
    facts: dict | None = None,
    fingerprint: dict | None = None,
    took: float = 0.1,
    kernel: str = "",
) -> Store:
    """A store with the run `m`. `shift` moves every output, `brand` is the machine's, `facts` and `fingerprint` its capture's."""
    store = Store.open(folder, create=True)
    texts = {profile: table(profile).encode() for profile in PROFILES}
    materials = {f"tables/{digests.of_bytes(text)}.txt": store.put_file(text) for text in texts.values()}
    host = processor(brand)
    materials[f"platforms/{host.digest}.json"] = store.put_file(
        digests.canonical(Capture(host.leaves, facts or {}, fingerprint or {}).json()) + b"\n"
    )
    for stack in STACKS:
        materials[f"stacks/{stack}/stack.yaml"] = store.put_file(STACK.encode())
        materials[f"stacks/{stack}/requirements.lock"] = store.put_file(LOCK.encode())
    materials["stacks/base/bookworm.yaml"] = store.put_file(BASE.encode())
    model, inputs = folder.parent / "model.onnx", folder.parent / "x.npz"
    model.write_bytes(b"only a framework would read this")
    inputs.write_bytes(pack({"x": np.zeros((2, 1), np.float32)}))
    hashes = digests.of_file(model), digests.of_file(inputs)
    told = {
        "formats": {"onnx": hashes[0]},
        "entry": None,
        "command": [],
        "files": {},
        "inputs": hashes[1],
    }
    workload = digests.of_json(told)
    cells = []
    for stack in STACKS:
        for profile in PROFILES:
            for replicate in range(1, repeats + 1):
                cells.append(_cell(store, stack, profile, replicate, shift, host, workload, took, kernel))
    run = Run(
        run=1,
        matrix="m",
        engine={"engine": "memory"},
        factors={"stack": list(STACKS), "profile": list(PROFILES)},
        order=["stack", "profile"],
        baseline={"stack": "ort-1", "profile": "haswell"},
        labels={},
        profiles={
            "sandybridge": {"simd": "AVX", "vendor": "GenuineIntel"},
            "haswell": {"simd": "AVX2", "vendor": "GenuineIntel"},
            "zen2": {"simd": "AVX2", "vendor": "AuthenticAMD"},
        },
        refused={},
        workloads={
            "own": {"name": "own", **told, "facts": {"source": "the user's own"}, "digest": workload},
        },
        cells=cells,
        source={
            "numdev": 1,
            "factors": {"stack": list(STACKS), "profile": list(PROFILES)},
            "workloads": [{"name": "own", "model": "model.onnx", "inputs": "x.npz"}],
        },
        made="2026-01-31",
        materials=materials,
        origins={hashes[0]: str(model), hashes[1]: str(inputs)},
    )
    store.write_run("m", run.model_dump(mode="json"))
    return store


def table(profile: str) -> str:
    """The CPUID table that stands for a profile."""
    return f"numdev-cpuid 1\n00000001 * 000306c{PROFILES.index(profile)} 00000000 00000000 00000000\n"


def processor(brand: str) -> Host:
    """The real processor of that name, which has a model of its own."""

    def words(text: bytes) -> list[int]:
        return [int.from_bytes(text[at : at + 4], "little") for at in range(0, len(text), 4)]

    ebx, edx, ecx = words(b"GenuineIntel")
    name = words(brand.encode().ljust(48, b"\0"))
    rows = {0x80000002 + at: tuple(name[4 * at : 4 * at + 4]) for at in range(3)}
    model = int(digests.of_json(brand)[:1], 16)
    first = {0: (0xD, ebx, ecx, edx), 1: (0x600 | model << 4, 0, 1 << 28, 1 << 26), 0x80000000: (0x80000008, 0, 0, 0)}
    return Host({(leaf, 0): row for leaf, row in (first | rows).items()}, "")


def _cell(
    store: Store,
    stack: str,
    profile: str,
    replicate: int,
    shift: float,
    host: Host,
    workload: str,
    took: float,
    kernel: str,
) -> RunCell:
    """zen2 has failed on ort-2; sandybridge on ort-2 was never run; otherwise AVX and AVX2 differ."""
    site = SITES[stack]
    causes = {
        "stack": stack_digest(stack_in(STACK.encode(), stack, stack), site),
        "platform": host.digest,
        "table": digests.of_bytes(table(profile).encode()),
        "workload": workload,
        "worker": digests.of_json("worker"),
    }
    factors = {**DEFAULTS, "architecture": "x86_64", "stack": stack, "profile": profile, "threads": 2}
    digest = Cell("own", factors).digest(**causes, replicate=replicate)
    failed = (stack, profile) == ("ort-2", "zen2")
    value = 1.0 + shift + (2**-20 if profile == "sandybridge" else 0)
    labels = {"stack": stack, "reproducible": "true", "site": site, "pin.onnxruntime": "1.32.0"}
    environment = {
        "engine": "memory",
        **({"kernel": kernel} if kernel else {}),
        "labels": {f"org.numdev.{key}": label for key, label in labels.items()},
        "profile": {"profile": profile, "rung": "cpuid"},
        "platform": host.facts(),
    }
    if (stack, profile) != ("ort-2", "sandybridge"):
        store.put(
            Record(
                record=1,
                digest=digest,
                workload="own",
                factors=factors,
                replicate=replicate,
                status="failed" if failed else "ok",
                reason="no such operator" if failed else "",
                outputs=[] if failed else [tensor(store, [value, 2.0, 3.0])],
                seconds=0.25,
                realised={"versions": {"onnxruntime": "1.32.0"}, "inference_seconds": [[took + replicate]]},
                causes=causes,
                environment=environment,
                log="Traceback" if failed else "",
            )
        )
    return RunCell(
        digest=digest,
        workload="own",
        factors={"stack": stack, "profile": profile},
        replicate=replicate,
        reference=False,
    )


@pytest.fixture
def sites() -> dict[str, str]:
    """The digests of the stacks' unpacked wheels."""
    return SITES


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return a_store(tmp_path / "store")


@pytest.fixture
def bundled(tmp_path: Path) -> Callable[..., Path]:
    """Makes a bundle of the run of a store made by hand: bundled(NAME, shift=..., brand=...)."""

    def make(name: str = "one", options: Options = Options(), **how) -> Path:
        folder = tmp_path / f"made-{name}"
        how.setdefault("took", 0.1 + sum(name.encode()) / 1000)
        folder.mkdir()
        path = tmp_path / f"{name}.bundle.tar"
        create(a_store(folder / "store", **how), "m", path, tmp_path / "cache", options)
        return path

    return make


@dataclass(frozen=True)
class Done:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict:
        return json.loads(self.out)


class Playing:
    """`numdev` in a folder of its own, where a memory engine plays every cell."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.engines: list[MemoryEngine] = []

    def numdev(self, *arguments: object) -> Done:
        self._monkeypatch.setattr(sys, "argv", ["numdev", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = self._capsys.readouterr()
        assert "Traceback" not in said.err
        return Done(ended.value.code or 0, said.out, said.err)

    def play(self, player: Callable[..., Played]) -> None:
        """Has `matrix run` and `bundle rerun` play by this from now on."""

        def opened(name: str, cache: Path) -> MemoryEngine:
            self.engines.append(MemoryEngine(player))
            return self.engines[-1]

        self._monkeypatch.setattr(matrix_commands, "choose_engine", lambda name, cache: (opened(name, cache), ""))
        self._monkeypatch.setattr(bundle_rerun, "open_engine", opened)

    def bundle(self, matrix: str, player: Callable[..., Played], name: str = "m", *options: str) -> Path:
        """Runs a matrix into a store of its own, and makes a bundle of that in another folder."""
        (self.folder / f"{name}.yaml").write_text(matrix)
        self.play(player)
        store, path = self.folder / f"store-{name}", self.folder / "moved" / f"{name}.bundle.tar"
        self.numdev("matrix", "run", f"{name}.yaml", "-s", store)
        done = self.numdev("bundle", "create", name, "-s", store, "-o", path, *options)
        assert done.code == 0, done.err
        return path


@pytest.fixture
def playing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Playing:
    """Stacks `one` and `two`, a model and its inputs; NUMDEV_CACHE among them, and no Docker engine."""
    for name in ("one", "two"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        (folder / "stack.yaml").write_text(STACK)
        (folder / "requirements.lock").write_text(LOCK)
    (tmp_path / "images" / "base").mkdir()
    (tmp_path / "images" / "base" / "bookworm.yaml").write_text(BASE)
    (tmp_path / "model.onnx").write_bytes(b"only a framework would read this")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 1), np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMDEV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    return Playing(tmp_path, monkeypatch, capsys)


@pytest.fixture
def for_real(tmp_path: Path, real_cache: Path) -> Callable[..., str]:
    """`numdev` as a process of its own, with the user's cache: for_real(*arguments) is what it printed.

    code: how it may end. under: what it is run by.
    """

    def run(*arguments: object, code: tuple[int, ...] = (0,), under: Sequence[str] = ()) -> str:
        done = subprocess.run(
            [*under, sys.executable, "-c", "from numdev.cli import main; main()", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            env={**os.environ, "NUMDEV_CACHE": str(real_cache)},
        )
        assert done.returncode in code, done.stderr
        return done.stdout

    return run


@pytest.fixture
def forged(tmp_path: Path) -> Callable[..., Path]:
    """A bundle once more with other members, whole by its manifest: forged(path, {NAME: bytes, None or a change of its JSON})."""

    def make(path: Path, changes: dict) -> Path:
        parts = {}
        with Bundle(path) as bundle:
            for name in [*bundle.members, *changes]:
                if name == layout.SUMS or changes.get(name, b"") is None:
                    continue
                change = changes.get(name)
                if callable(change):
                    data = json.loads(bundle.read(name))
                    change(data)
                    change = json.dumps(data).encode()
                parts[name] = bundle.read(name) if change is None else change
        out = tmp_path / "forged" / path.name
        out.parent.mkdir(exist_ok=True)
        sums = "".join(f"{digests.of_bytes(parts[name])}  {name}\n" for name in sorted(parts)).encode()
        with open(out, "wb") as file:
            writer = Writer(file, path.name.split(".")[0])
            writer.add(layout.SUMS, len(sums), [sums])
            for name in sorted(parts):
                writer.add(name, len(parts[name]), [parts[name]])
            writer.close()
        return out

    return make
