"""Make the files that fuzzing starts from: ``python fuzz/make_corpus.py FOLDER [MORE ...]``.

They are the small files that the tests of the readers make, one of each oddity that anybody thought of, tiny
Imaris files in every version of HDF5's structures, and small files in the folders `MORE`. Nothing of it is in
the repository: it is made anew in a minute.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin

from ngff_convert.model import Channel
from ngff_convert.readers.hdf5_signature import HDF5_MAGIC
from ngff_convert.readers.tiff_head import is_tiff
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LARGEST_BYTES = 2**16

TESTS = Path(__file__).parents[1] / "tests"
TEST_FILES = ("test_tiff*.py", "test_ome_tiff.py", "test_ome_xml.py", "test_imaris.py", "test_orientation.py")

OME_XML = re.compile(rb"<\?xml.{0,200}?<(?:\w+:)?OME\b.*?</(?:\w+:)?OME>", re.DOTALL)

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "deflate": {"compression": "gzip"},
    "shuffle": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "scale": {"scaleoffset": 0},
    "lz4": dict(hdf5plugin.LZ4()),
    "shuffled lz4": {"shuffle": True, **hdf5plugin.LZ4()},
    "blosc": dict(hdf5plugin.Blosc()),
    "zstd": dict(hdf5plugin.Zstd()),
    "bitshuffle": dict(hdf5plugin.Bitshuffle()),
}

VERSIONS = ("earliest", "v108", "v110", "latest")


def main() -> None:
    """Make the corpora of all harnesses below a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("more", type=Path, nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        tests = [str(path) for pattern in TEST_FILES for path in sorted(TESTS.glob(pattern))]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0", *tests]
        # A test that fails has made its files all the same.
        subprocess.run([*command, f"--basetemp={made / 'tests'}"], cwd=TESTS.parent, check=False)
        (made / "imaris").mkdir()
        make_imaris(made / "imaris")
        counts: dict[str, int] = {}
        for folder in (made, *arguments.more):
            for name, content in inputs(folder):
                place = arguments.folder / name / sha256(content).hexdigest()[:16]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
                counts[name] = counts.get(name, 0) + 1
    print(f"{arguments.folder}: " + ", ".join(f"{n} of {name}" for name, n in sorted(counts.items())))


def inputs(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each small file below a folder for the harness that takes it."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or not 0 < path.stat().st_size <= LARGEST_BYTES:
            continue
        content = path.read_bytes()
        documents = OME_XML.findall(content)
        if is_tiff(content):
            yield "tiff", content
        elif content.startswith(HDF5_MAGIC) and b"ResolutionLevel 0" in content:
            yield "imaris", content
        elif path.suffix in (".xml", ".ome"):
            documents = [content]
        for document in documents:
            yield "omexml", document


def make_imaris(folder: Path) -> None:
    """Make tiny Imaris files: each filter, each version of HDF5's structures."""
    for (name, filters), version in product(FILTERS.items(), VERSIONS):
        pixels = coded_pixels((1, 1, 9, 12, 15), "uint16")
        _write(folder / f"{name} {version}.ims", version, pixels, filters=filters)
    # Chunks of a dataset that may grow are found by other structures than those of one that may not.
    for axes, version in product((1, 2), VERSIONS):
        pixels, grows = coded_pixels((1, 1, 9, 12, 15), "uint8"), (None,) * axes + (None, 16, 16)[axes:]
        _write(folder / f"grows {axes} {version}.ims", version, pixels, filters={"maxshape": grows})
    channels = [Channel("DAPI", "0000FF", 461.0, 358.0, (10.0, 200.0)), Channel("GFP", "00FF00")]
    for dtype, version in product(("uint8", "float32", "uint32", "int16"), VERSIONS):
        pixels = coded_pixels((2, 2, 1, 9, 8), dtype)
        _write(folder / f"{dtype} {version}.ims", version, pixels, channels=channels, name="two", levels=2)


def _write(path: Path, version: str, pixels: Any, **options: Any) -> None:  # noqa: ANN401 - an array
    """Write a file as `testing.write_ims` does, then anew in a version's structures, without thumbnail."""
    whole = path.with_suffix(".whole")
    write_ims(whole, pixels, chunks=(8, 8, 8), **options)
    with h5py.File(whole) as source, h5py.File(path, "w", libver=(version, "latest")) as file:
        _anew(source, file, [name for name in source if name != "Thumbnail"])
    whole.unlink()


def _anew(source: Any, target: Any, names: Iterable[str]) -> None:  # noqa: ANN401 - h5py is untyped
    """Make groups and datasets again: a copy by HDF5 would keep the structures of the old ones."""
    for key, value in source.attrs.items():
        target.attrs[key] = value
    for name in names:
        item = source[name]
        if isinstance(item, h5py.Group):
            _anew(item, target.create_group(name), item)
        elif name == "Histogram":  # 256 numbers are most of a tiny file
            target[name] = item[:4]
        else:
            made = (item.id.get_type(), item.id.get_space(), item.id.get_create_plist())
            h5py.h5d.create(target.id, name.encode(), *made)
            target[name][...] = item[...]


if __name__ == "__main__":
    main()
