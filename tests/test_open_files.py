"""The files of one source: how many are open, when they close, what other threads and processes see."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiffs import READER, write

from ngff_convert.errors import ReadError
from ngff_convert.readers import open_files
from ngff_convert.readers.open_files import MAX_OPEN_FILES, Cache, FilePool, OpenFile
from ngff_convert.readers.tiff_files import TiffFiles
from ngff_convert.readers.tiff_pixels import MISSING, Pages, make_pixels
from ngff_convert.testing import coded_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.readers.tiff_pixels import TiffPixels

N_FILES = 100
PIXELS = coded_pixels((N_FILES, 20, 30))


class PlainFiles(FilePool[OpenFile]):
    def open_file(self, path: str) -> OpenFile:
        return OpenFile(path)


def open_below(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith(f"{folder}/"):
            found.add(target)
    return sorted(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    for number, plane in enumerate(PIXELS):
        write(made / f"{number}.tif", plane, compression="zlib", rowsperstrip=8)
    return made


@pytest.fixture
def pixels(folder: Path) -> Iterator[TiffPixels]:
    """Put one image together of a file a plane."""
    files = TiffFiles()
    numbers = np.arange(N_FILES, dtype=np.int32).reshape(1, 1, N_FILES)
    pages = Pages(numbers, np.zeros(numbers.shape, np.int64))
    yield make_pixels(files, [str(folder / f"{n}.tif") for n in range(N_FILES)], pages, 1)
    files.close()


def test_few_files_are_open_at_once(
    pixels: TiffPixels, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    opening = OpenFile.__init__

    def counting(self: OpenFile, path: str) -> None:
        nonlocal most
        opening(self, path)
        most = max(most, len(open_below(folder)))

    monkeypatch.setattr(OpenFile, "__init__", counting)
    np.testing.assert_array_equal(pixels[0, 0], PIXELS)
    assert most == MAX_OPEN_FILES + 1  # the next one, before the oldest is closed
    assert len(open_below(folder)) == MAX_OPEN_FILES
    np.testing.assert_array_equal(pixels[0, 0, ::-7], PIXELS[::-7])
    pixels.files.close()
    assert open_below(folder) == []


def test_threads_read_at_once(pixels: TiffPixels, folder: Path) -> None:
    orders = [np.random.default_rng(seed).permutation(N_FILES).tolist() for seed in range(6)]

    def read_all(order: list[int]) -> bool:
        return all(np.array_equal(pixels[0, 0, z], PIXELS[z]) for z in order)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read_all, orders))
    assert len(open_below(folder)) <= MAX_OPEN_FILES + 6


def test_files_in_use_are_not_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MAX_OPEN_FILES", 2)
    files = PlainFiles()
    buffer = bytearray(4)
    with files.using(str(folder / "0.tif")) as first:
        for number in range(1, 6):
            with files.using(str(folder / f"{number}.tif")) as other:
                other.read_into(0, buffer)
        first.read_into(0, buffer)
        assert buffer == b"II*\0"
        assert len(open_below(folder)) == 2
        files.close()
        assert open_below(folder) == [first.path]
        first.read_into(0, buffer)
    assert open_below(folder) == []
    with pytest.raises(ValueError, match="the source was closed"), files.using(first.path):
        pass


def test_a_file_is_opened_once_for_all_threads(folder: Path) -> None:
    files = PlainFiles()
    together = threading.Barrier(4)

    def take(_: int) -> int:
        together.wait()
        with files.using(str(folder / "0.tif")) as file:
            return id(file)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(take, range(4)))) == 1
    assert len(open_below(folder)) == 1
    files.close()


def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no TIFF")
    files = TiffFiles()
    for name in ("text.tif", "none.tif"):
        with pytest.raises((ReadError, ValueError)), files.using(str(tmp_path / name)):
            pass
    assert open_below(tmp_path) == []


def test_pickled_in_its_process_it_is_the_same(pixels: TiffPixels, folder: Path) -> None:
    again = pickle.loads(pickle.dumps(pixels))
    assert again.files is pixels.files
    assert len(pickle.dumps(pixels)) < 20000
    pixels.files.close()
    with pytest.raises(ValueError, match="the source was closed"):
        again[0, 0, 0]
    late = pickle.loads(pickle.dumps(again))  # of a source that was closed: its own files
    np.testing.assert_array_equal(late[0, 0, 3], PIXELS[3])
    assert open_below(folder) == [str(folder / "3.tif")]
    del late
    assert open_below(folder) == []


def test_pickled_to_a_fresh_process_it_opens_files_anew(pixels: TiffPixels) -> None:
    program = (
        "import sys, pickle, os\n"
        "pixels = pickle.load(sys.stdin.buffer)\n"
        "assert not pixels.files._open\n"
        "sys.stdout.buffer.write(pixels[0, 0, 90:].tobytes())\n"
        "assert len(pixels.files._open) == 10"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(pixels), capture_output=True, check=True
    )
    assert done.stdout == PIXELS[90:].tobytes()


def test_two_sources_of_one_file_close_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", PIXELS[:2])
    with READER.open(str(path)) as first:
        with READER.open(str(path)) as second:
            second.images[0].pixels[...]
        np.testing.assert_array_equal(first.images[0].pixels[0, 0], PIXELS[:2])
    assert open_below(tmp_path) == []
    with pytest.raises(ValueError, match="the source was closed"):
        first.images[0].pixels[...]


def test_a_source_that_fails_to_open_closes_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((3, 4), "c8"))
    with pytest.raises(ValueError, match="complex"):
        READER.open(str(path))
    assert open_below(tmp_path) == []


def test_a_file_that_ends_says_where(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    file = OpenFile(str(path))
    with pytest.raises(ReadError, match="ends at byte 100, within 20 bytes at 90"):
        file.read_into(90, bytearray(20))
    file.close()


def test_reads_that_return_less_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    read = os.preadv

    def short(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        return read(descriptor, [buffers[0][:7]], offset)

    monkeypatch.setattr(os, "preadv", short)
    file = OpenFile(str(path))
    found = np.empty(50, np.uint8)
    file.read_into(30, found)
    file.close()
    assert found.tolist() == list(range(30, 80))


def test_a_missing_page_reads_as_zeros_and_opens_nothing(folder: Path) -> None:
    files = TiffFiles()
    page = np.array([0, MISSING, 0]).reshape(1, 1, 3)
    made = make_pixels(files, [str(folder / "0.tif")], Pages(np.zeros(page.shape, np.int32), page))
    found: Any = made[0, 0]
    np.testing.assert_array_equal(found, [PIXELS[0], np.zeros_like(PIXELS[0]), PIXELS[0]])
    files.close()


def test_what_is_learnt_is_forgotten_beyond_a_number_of_bytes() -> None:
    cache = Cache(100)
    made: list[int] = []

    def value(n: int) -> int:
        def make() -> tuple[int, int]:
            made.append(n)
            return n, 40

        found: int = cache.get(n, make)
        return found

    assert [value(n) for n in (1, 2, 1, 2, 3, 2, 1)] == [1, 2, 1, 2, 3, 2, 1]
    assert made == [1, 2, 3, 1]
    assert cache.get("large", lambda: ("x", 10**9)) == "x"
    assert cache.get("large", lambda: ("y", 1)) == "x"
    assert value(1) == 1
    assert made == [1, 2, 3, 1, 1]
