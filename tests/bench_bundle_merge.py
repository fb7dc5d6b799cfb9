"""How fast bundles are merged, beside `sha256sum` and `tar` on the same files: `python tests/bench_bundle_merge.py --gigabytes 5`.

Two bundles of the same cells on two hosts, whose outputs are all different: nothing of them is stored once for both. All are measured one
after the other in one run, each with the files in the page cache as far as memory goes. `tar` unpacks into a folder, as a merge does.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

bench = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("bench_bundle.py"))))
HOSTS = {"one": "Made by hand", "two": "Made by others"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of both bundles together")
    parser.add_argument("--folder", type=Path, help="where there is room for three times as much")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        paths = [
            made(folder, called, brand, seed, asked.gigabytes / 2)
            for seed, (called, brand) in enumerate(HOSTS.items(), 1)
        ]
        size = sum(path.stat().st_size for path in paths) / 2**30
        # Once for the page cache; and what was written is on the disk before anything is measured.
        bench.timed(["sha256sum", *map(str, paths)])
        os.sync()
        summed, _ = bench.timed(["sha256sum", *map(str, paths)])
        listed = sum(bench.tar(path) for path in paths)
        unpacked = unpack(paths, folder / "unpacked")
        command = [*bench.NUMDEV, "bundle", "merge", *map(str, paths), "--store", str(folder / "store")]
        merged, done = bench.timed(command, env={**os.environ, "COLUMNS": "80"})
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        peak = done.stderr.split()[-1]
        print(
            f"{size:.2f} GiB in two bundles: sha256sum {summed:.1f} s, tar {unpacked:.1f} s ({listed:.1f} s into nothing), "
            f"numdev bundle merge {merged:.1f} s"
        )
        print(
            f"  {merged / (summed + unpacked):.2f} times sha256sum and tar (at most 2), "
            f"{merged / (summed + listed):.2f} times where tar writes nothing; {peak} MiB (at most 300)"
        )


def made(folder: Path, called: str, brand: str, seed: int, gigabytes: float) -> Path:
    """A bundle of that name."""
    work = folder / f"made-{called}"
    work.mkdir()
    path = bench.large(work, gigabytes, 2, brand, seed)
    # A bundle is called as its file was when it was made; these two may be called alike.
    shutil.move(path, folder / f"{called}.bundle.tar")
    shutil.rmtree(work)
    return folder / f"{called}.bundle.tar"


def unpack(paths: list[Path], folder: Path) -> float:
    """Unpacking all of them by tar, each into a folder of its own, which is gone afterwards."""
    started = time.perf_counter()
    for number, path in enumerate(paths):
        target = folder / str(number)
        target.mkdir(parents=True)
        subprocess.run(["tar", "-xf", str(path), "-C", str(target)], check=True)
    took = time.perf_counter() - started
    shutil.rmtree(folder)
    os.sync()
    return took


if __name__ == "__main__":
    main()
