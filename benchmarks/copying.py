"""Compare a conversion that copies chunks as they are with `cp` of the same file; Linux only.

    python benchmarks/make_ims.py /dev/shm/in.ims --shape 1,1,512,2048,2048
    python benchmarks/copying.py /dev/shm/in.ims

Everything is beside the input, so on the same file system; what was written is removed before the next
command. The commands take turns. `cp -r` of the store that was made copies as many files as there are chunks.
With `--sync` each command ends when its output is on the disk, as a conversion's always is.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MB = 10**6


def main() -> None:
    """Measure, and print a table of medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="IN.ims")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ngff-version", default="0.4")
    parser.add_argument("--pyramid", default="native")
    parser.add_argument("--sync", action="store_true")
    options = parser.parse_args()
    source = options.source.absolute()
    with tempfile.TemporaryDirectory(prefix="copying-", dir=source.parent) as folder:
        made, work = Path(folder, "made.ome.zarr"), Path(folder, "work")
        convert = [
            *(str(Path(sys.executable).with_name("ngff-convert")), str(source)),
            *("OUT", "--compressor", "source", "--quiet"),
            *("--ngff-version", options.ngff_version, "--pyramid", options.pyramid),
        ]
        subprocess.run([str(made) if word == "OUT" else word for word in convert], check=True)
        files = [path.stat().st_size for path in made.rglob("*") if path.is_file()]
        commands = {
            "cp": ["cp", str(source), "OUT"],
            "ngff-convert": convert,
            "cp -r of the store": ["cp", "-r", str(made), "OUT"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                words = [str(work) if word == "OUT" else word for word in command]
                seconds[name].append(timed(words, work.parent, sync=options.sync))
                remove(work)
        size = source.stat().st_size
        print(f"{size / MB:.0f} MB in one file; the store has {sum(files) / MB:.0f} MB in {len(files)} files")
        print("| medians | wall, s | MB/s | rate / rate of cp |\n| --- | ---: | ---: | ---: |")
        plain = statistics.median(seconds["cp"])
        for name, times in seconds.items():
            wall = statistics.median(times)
            spread = f"{wall:.2f} ({min(times):.2f} to {max(times):.2f})"
            print(f"| {name} | {spread} | {size / MB / wall:.0f} | {plain / wall:.2f} |")


def timed(command: list[str], folder: Path, *, sync: bool) -> float:
    """Run a command, and return the seconds it took."""
    started = time.perf_counter()
    subprocess.run(command, check=True)
    if sync:
        subprocess.run(["sync", "--file-system", str(folder)], check=True)
    return time.perf_counter() - started


def remove(path: Path) -> None:
    """Remove what was written, and wait until that is done."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    subprocess.run(["sync", "--file-system", str(path.parent)], check=True)


if __name__ == "__main__":
    main()
