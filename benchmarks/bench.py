"""Measure ngff-convert beside a bare one-thread loop and beside other converters, and write tables.

    python benchmarks/bench.py --out benchmarks/README.md
    python benchmarks/bench.py --inputs ome-tiff-deflate,ome-tiff,imagej

Commands run in turn, round after round (A B C A B C ...), so that a slow minute of the machine hits all
alike.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from inputs import HERE, KINDS, PROBE_SHAPE, Image, Kind, enlarged, make_image, warm
from measure import Run, last_line, run
from outputs import describe
from peers import PEERS, Peer, PeerUnavailableError, install
from pixels import shape_of
from rich.console import Console
from rows import Place, Result, Row
from tables import COLUMNS, RATIO_COLUMNS, cells, markdown, ratios, save, save_runs, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tables import Cells

MESSAGE_LENGTH = 160
"""Characters of a failed command's last line that are shown."""

# --- running -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """Where things are, for one kind of input."""

    kind: Kind
    work: Path
    ram: Path
    disk: Path | None
    product: Path
    images: dict[str, Image]
    timeout_s: float

    def image(self, row: Row) -> Image | None:
        """Return the image that a row converts."""
        return self.images.get(row.input)

    def measure(self, result: Result) -> None:
        """Run a row's command once and note figures or failure."""
        row = result.row
        folder = self.disk if row.place is Place.DISK and self.disk else self.ram
        with tempfile.TemporaryDirectory(prefix=f"{row.key}-", dir=folder) as scratch:
            target = Path(scratch) / "out.ome.zarr"
            command = self.fill(row, self.image(row), target)
            log = self.work / f"{self.kind.key}-{row.key}.log"
            try:
                measured = run(command, log, timeout_s=self.timeout_s, environment=dict(row.environment))
            except OSError as error:
                result.failure = f"{Path(command[0]).name} cannot be started: {error.strerror}"
                return
            result.runs.append(measured)
            result.failure = self.check(result, measured, target)

    def check(self, result: Result, measured: Run, target: Path) -> str:
        """Return what is wrong with a run; empty if it did what it was to do."""
        said = shorten(measured.last_line.replace(f"{self.work}/", ""), MESSAGE_LENGTH, placeholder=" ...")
        if not measured.ok:
            return f"failed with exit code {measured.exit_code}: {said}"
        image = self.image(result.row)
        if image is None or result.row.place is Place.NOWHERE:
            return ""
        result.output = describe(target)
        if result.output.n_voxels != math.prod(image.shape):
            return f"wrote no array of {math.prod(image.shape):,} voxels: {said}"
        return ""

    def fill(self, row: Row, image: Image | None, target: Path) -> list[str]:
        """Complete a command."""
        names = {
            "python": sys.executable,
            "product": str(self.product),
            "here": str(HERE),
            "input": str((image or self.images["input"]).path),
            "output": str(target),
        }
        return [word.format(**names) for word in row.command]


def peer_row(peer: Peer, programs: Path, home: Path) -> Row:
    """Make the row of an installed peer; it finds no settings of its user's."""
    command = tuple(word.replace("{bin}", str(programs)) for word in peer.command)
    title = " ".join((peer.name, version_in(programs, peer)))
    return Row(peer.name, title, command, environment=(("HOME", str(home)),))


def version_in(programs: Path, peer: Peer) -> str:
    """Ask a peer's own environment for its version."""
    name = peer.requirements[0].partition("==")[0].partition("[")[0]
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    found = subprocess.run([programs / "python", "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def ready_peers(bench: Bench, peers: Sequence[Peer]) -> Iterator[Result]:
    """Install peers and try each on a small image; yields results without figures, or with a failure.

    The trial also keeps first-run costs (byte code, downloads) out of the figures.
    """
    home = bench.work / "home"
    home.mkdir(exist_ok=True)
    for peer in peers:
        try:
            row = peer_row(peer, install(peer, bench.work / "peers"), home)
        except PeerUnavailableError as error:
            yield Result(Row(peer.name, peer.name, ()), failure=f"cannot be installed: {error}")
            continue
        tried = Result(row)
        probe = make_image(bench.work, bench.kind, PROBE_SHAPE)
        trial = replace(bench, disk=None, images={"input": probe})
        trial.measure(tried)
        yield Result(row, failure=f"cannot read the input ({tried.failure})" if tried.failure else "")


def measure_all(bench: Bench, results: Sequence[Result], n_rounds: int, console: Console) -> None:
    """Run every row in turn, round after round; a row that failed is not run again."""
    for number in range(n_rounds):
        for image in bench.images.values() if number == 0 else (bench.images["input"],):
            warm(image.path)
        for result in results:
            if result.failure or (number and result.row.once):
                continue
            bench.measure(result)
            state = result.failure or f"{result.runs[-1].wall_s:.2f} s"
            console.print(f"round {number + 1}: {result.row.title}: {state}", highlight=False, markup=False)


# --- what is said about the machine and the programs -------------------------------------------------


def memory_gib() -> float:
    """Return the memory of this machine, GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def n_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def product_version(product: Path, work: Path) -> str:
    """Ask the product for its version."""
    log = work / "version.log"
    try:
        asked = run([str(product), "--version"], log, timeout_s=60)
    except OSError:
        return "not installed"
    return last_line(log) if asked.ok else "of unknown version"


def others(results: Sequence[Result]) -> str:
    """Say how busy everything else kept the machine."""
    runs = [run for result in results if not result.failure for run in result.runs]
    if not runs:
        return "nothing was measured"
    share = sum(run.others_s for run in runs) / sum(run.wall_s for run in runs)
    return f"all else used {share:.2f} of {n_cores()} cores meanwhile"


def header(bench: Bench, results: Sequence[Result], n_rounds: int) -> list[str]:
    """Describe machine, input and versions, a sentence a line."""
    image = bench.images["input"]
    shape = " x ".join(map(str, image.shape))
    libraries = ("h5py", "imagecodecs", "numpy", "tensorstore", "tifffile")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    return [
        f"Machine: {n_cores()} cores, {memory_gib():.0f} GiB, {platform.system()} {platform.machine()}; "
        f"{others(results)}.",
        f"Input: {image.raw_bytes / 1e9:.2f} GB, {shape} (t c z y x) {image.dtype}; "
        f"{bench.kind.about}, {image.stored_bytes / 1e9:.2f} GB, in the page cache; "
        f"output to {'RAM' if bench.ram != bench.work else 'disk'}.",
        f"Programs: ngff-convert: {product_version(bench.product, bench.work)}; "
        f"Python {platform.python_version()}, {versions}.",
        f"Figures are medians of {n_rounds} rounds (smallest to largest); CPU is user and system time of all "
        "processes.",
        *(f"{peer.name}: {peer.note}." for peer in PEERS if peer.note),
    ]


# --- the command -------------------------------------------------------------------------------------


def kinds_of(text: str) -> list[Kind]:
    """Read the names of kinds of input."""
    known = {kind.key: kind for kind in KINDS}
    try:
        return [known[key] for key in text.split(",")]
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"{error} is none of {', '.join(known)}") from None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    default_work = Path(tempfile.gettempdir()) / "ngff-convert-bench"
    add("--work", type=Path, default=default_work, help="keeps inputs, peers and logs [%(default)s]")
    add("--product", type=Path, default=Path(sys.executable).parent / "ngff-convert", help="[%(default)s]")
    add("--disk", type=Path, help="folder for the row that writes to disk; left out without it")
    add("--ram", type=Path, default=Path("/dev/shm"), help="folder for all other output [%(default)s]")
    add("--rounds", type=int, default=3)
    every = ",".join(kind.key for kind in KINDS)
    add("--inputs", type=kinds_of, default=every, metavar="KIND,...", help="kinds of input [%(default)s]")
    add("--shape", type=shape_of, help="t,c,z,y,x of every input, instead of its own")
    add("--only", action="append", default=[], metavar="ROW", help="rows by key or peer name; repeat")
    add("--no-peers", action="store_true", help="leave other converters out")
    add("--timeout", type=float, default=1800, help="seconds for one command [%(default)s]")
    add("--out", type=Path, help="Markdown: a new file, or a page with markers for the tables")
    add("--runs", type=Path, help="JSON of every single run")
    return parser.parse_args(arguments)


def ram_folder(wanted: Path, work: Path, needed_bytes: int) -> Path:
    """Return a folder on the RAM disk, or the work folder where there is no room."""
    if wanted.is_dir() and shutil.disk_usage(wanted).free > needed_bytes:
        return Path(tempfile.mkdtemp(prefix="ngff-convert-bench-", dir=wanted))
    return work


def wanted_rows(options: argparse.Namespace, kind: Kind) -> list[Row]:
    """Return the rows of an input that were asked for and that can be run."""
    rows = [row for row in kind.rows if row.place is not Place.DISK or options.disk]
    return [row for row in rows if not options.only or row.key in options.only]


def prepare(options: argparse.Namespace, kind: Kind, rows: Sequence[Row]) -> Bench:
    """Make inputs and folders."""
    options.work.mkdir(parents=True, exist_ok=True)
    shape = options.shape or kind.shape
    images = {"input": make_image(options.work, kind, shape)}
    if any(row.input == "big" for row in rows):
        images["big"] = make_image(options.work, kind, enlarged(shape))
    largest = max(image.raw_bytes for image in images.values())
    ram = ram_folder(options.ram, options.work, 2 * largest)
    return Bench(kind, options.work, ram, options.disk, options.product, images, options.timeout)


def wanted_peers(options: argparse.Namespace) -> list[Peer]:
    """Return the peers that were asked for."""
    return [p for p in PEERS if not options.no_peers and (not options.only or p.name in options.only)]


def measure_kind(kind: Kind, options: argparse.Namespace) -> list[Result]:
    """Measure and report what was asked for with one kind of input, unless that is nothing."""
    rows, wanted = wanted_rows(options, kind), wanted_peers(options)
    if not rows and not wanted:
        return []
    bench = prepare(options, kind, rows)
    try:
        results = [Result(row) for row in rows]
        peers = list(ready_peers(bench, wanted))
        measure_all(bench, [*results, *peers], options.rounds, Console(stderr=True))
        report(bench, results, peers, options)
    finally:
        if bench.ram != bench.work:
            shutil.rmtree(bench.ram, ignore_errors=True)
    return [*results, *peers]


def report(bench: Bench, results: list[Result], peers: list[Result], options: argparse.Namespace) -> None:
    """Print the tables of a kind of input and put them into the page that was asked for."""
    told = header(bench, [*results, *peers], options.rounds)
    compared = [ratio.cells() for ratio in ratios(results, peers, n_cores(), bench.kind.aims)]
    tables: list[tuple[Cells, list[Cells]]] = [(COLUMNS, [cells(result) for result in [*results, *peers]])]
    if compared:
        tables.append((RATIO_COLUMNS, compared))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print("\n".join([bench.kind.title, *told]), highlight=False, markup=False)
    for columns, lines in tables:
        show(console, columns, lines)
    if options.out:
        parts = [markdown(columns, lines) for columns, lines in tables]
        fragment = "\n\n".join([f"### {bench.kind.title}", " \\\n".join(told), *parts])
        save(options.out, bench.kind.key, fragment)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    measured: dict[str, list[Result]] = {}
    for kind in options.inputs:
        measured[kind.key] = measure_kind(kind, options)
        if options.runs:
            save_runs(options.runs, measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
