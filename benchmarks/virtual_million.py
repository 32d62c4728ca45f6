"""Refer to a million tiny chunks: what `ngff-convert virtual` costs a chunk, in JSON and in tables.

Files of a million chunks are made first: Imaris files of one dataset and of a hundred, and one plain HDF5
dataset, whose chunks are of 16 voxels: where the source states no display window, one is estimated from
262,144 voxels, and chunks of one voxel would make that the better part of the work. Each command is a process
of its own, warm; wall and CPU seconds of a million chunks are microseconds a chunk. The start of the program
is among them. Print Markdown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from ngff_convert.testing import coded_pixels, write_ims

MILLION = 1_000_000


def fill(dataset: Any) -> None:  # noqa: ANN401 - h5py is untyped
    """Write every chunk of a dataset of three axes, as HDF5 stores it."""
    width = dataset.chunks[2]
    for z, y, at in np.ndindex(*dataset.shape[:2], dataset.shape[2] // width):
        values = (z + y + at) % 2**16
        stored = zlib.compress(values.to_bytes(2, "little") * width, 0)
        dataset.id.write_direct_chunk((z, y, at * width), stored)


def imaris(path: Path, n_times: int) -> Path:
    """Make an Imaris file of a million chunks in so many datasets."""
    write_ims(path, coded_pixels((n_times, 1, 1, 8, 8)))
    size = (MILLION // n_times // 100, 100, 1)
    with h5py.File(path, "r+", rdcc_nbytes=0) as file:
        for t in range(n_times):
            group = file[f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel 0"]
            del group["Data"]
            fill(group.create_dataset("Data", size, "u2", chunks=(1, 1, 1), compression="gzip"))
            for axis, n in zip("ZYX", size, strict=True):
                group.attrs[f"ImageSize{axis}"] = np.frombuffer(str(n).encode(), "S1")
    return path


def plain(path: Path) -> Path:
    """Make an HDF5 file of a million chunks in one dataset."""
    with h5py.File(path, "w", libver="latest", rdcc_nbytes=0) as file:
        dataset = file.create_dataset("data", (100, 100, 1600), "u2", chunks=(1, 1, 16), compression="gzip")
        dataset.attrs["axes"] = "zyx"
        fill(dataset)
    return path


def seconds(source: Path, target: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of a run."""
    begun, before = time.perf_counter(), os.times()
    words = [sys.executable, "-m", "ngff_convert", "virtual", str(source), str(target), "--overwrite", "-q"]
    subprocess.run(words, check=True)
    wall, after = time.perf_counter() - begun, os.times()
    own = after.children_user + after.children_system
    return wall, own - before.children_user - before.children_system


def main() -> None:
    """Make the files, run, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for the files, 200 MB; else one that is removed")
    chosen = parser.parse_args()
    with TemporaryDirectory() as made:
        work = chosen.work or Path(made)
        work.mkdir(parents=True, exist_ok=True)
        inputs = {
            "Imaris, one dataset": lambda path: imaris(path, 1),
            "Imaris, a hundred datasets": lambda path: imaris(path, 100),
            "HDF5 dataset": plain,
        }
        print("| a million chunks | wall, us a chunk | CPU, us a chunk | size, MB |")
        print("| --- | ---: | ---: | ---: |")
        for number, (name, make) in enumerate(inputs.items()):
            source = work / f"in{number}.h5"
            if not source.exists():
                make(source)
            for kind in ("json", "parquet"):
                target = work / f"out.{kind}"
                runs = [seconds(source, target) for _ in range(chosen.rounds)]
                wall, cpu = (median(column) for column in zip(*runs, strict=True))
                files = [target] if target.is_file() else [f for f in target.rglob("*") if f.is_file()]
                size = sum(file.stat().st_size for file in files) / 1e6
                print(f"| {name}, {kind} | {wall:.2f} | {cpu:.2f} | {size:.1f} |", flush=True)


if __name__ == "__main__":
    main()
