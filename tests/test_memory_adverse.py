"""What a conversion takes of the shapes that are worst for it: huge strips, tiny chunks, many of anything."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import ome_tiffs
import pytest
import tifffile
import tiffs
import zarr
from peaks import INTERPRETER_BYTES, MIB, assert_within, needs_proc, peak_bytes
from stores import levels

from ngff_convert.cli import main
from ngff_convert.readers import hdf5_chunks
from ngff_convert.readers.hdf5_files import Hdf5Files
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 65536
"""Of a page of uint16 of 8 GiB."""

pytestmark = needs_proc


def noise(*shape: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    """Pixels that do not compress."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


def huge_strip(path: Path) -> Path:
    """Write a page of 8 GiB in one strip that is not compressed, of holes but for one voxel."""
    tifffile.imwrite(
        path,
        shape=(SIDE, SIDE),
        dtype=np.uint16,
        bigtiff=True,
        rowsperstrip=SIDE,
        photometric="minisblack",
        metadata=None,
    )
    with tifffile.TiffFile(path) as tif:
        (begin,) = tif.pages.first.dataoffsets
    with path.open("r+b") as file:
        file.seek(begin + 2 * (3000 * SIDE + 40000))
        file.write(struct.pack("<H", 54321))
    return path


def many_tiles(path: Path, across: int) -> Path:
    """Write a page of `across` by `across` tiles, all of which are the same 256 bytes of the file."""
    tile = bytes(range(256))
    offsets = np.full(across**2, 16, "<u8").tobytes()
    sizes = np.full(across**2, len(tile), "<u8").tobytes()
    at = 16 + len(tile)
    tags = [(256, 4, 1, 16 * across), (257, 4, 1, 16 * across), (258, 3, 1, 8), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 1), (277, 3, 1, 1), (322, 3, 1, 16), (323, 3, 1, 16)]
    tags += [(324, 16, across**2, at), (325, 16, across**2, at + len(offsets))]
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, at + 2 * len(offsets))
    entries = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
    path.write_bytes(
        head + tile + offsets + sizes + struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0)
    )
    return path


def test_a_set_of_ome_tiff_files(tmp_path: Path) -> None:
    first, *_ = ome_tiffs.file_set(tmp_path, noise(12, 2, 4, 512, 512), [f"f{t}.ome.tif" for t in range(12)])
    assert_within(60, first, tmp_path / "out")


@pytest.mark.parametrize("words", [[], ["--pyramid", "native"]], ids=["built", "native"])
def test_ome_tiff_with_lower_levels(tmp_path: Path, words: list[str]) -> None:
    pixels = noise(1, 1, 8, 2048, 2048)
    settings: dict[str, Any] = {"photometric": "minisblack", "metadata": None, "tile": (256, 256)}
    with tifffile.TiffWriter(tmp_path / "in.ome.tif") as tif:
        for z, plane in enumerate(pixels[0, 0]):
            xml = ome_tiffs.document(ome_tiffs.image(pixels)).encode() if z == 0 else b""
            tif.write(plane, description=xml, subifds=2, compression="zlib", **settings)
            for step in (2, 4):
                tif.write(plane[::step, ::step], subfiletype=1, compression="zlib", **settings)
    assert_within(80, tmp_path / "in.ome.tif", tmp_path / "out", *words)


def test_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, plane in enumerate(noise(400, 256, 256)):
        tifffile.imwrite(tmp_path / f"in/t{number // 20:03}_z{number % 20:03}.tif", plane)
    assert_within(60, tmp_path / "in", tmp_path / "out")


def test_source_chunks_of_one_voxel(tmp_path: Path) -> None:
    write_ims(tmp_path / "in.ims", noise(1, 1, 48, 48, 48), chunks=(1, 1, 1), filters={})
    assert_within(60, tmp_path / "in.ims", tmp_path / "out")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_of_one_voxel(tmp_path: Path, version: str) -> None:
    tifffile.imwrite(tmp_path / "in.tif", noise(20, 30, 40), photometric="minisblack")
    words = ("--chunks", "1,1,1", "--ngff-version", version, "--levels", "1")
    assert_within(60, tmp_path / "in.tif", tmp_path / "out", *words)


def test_a_part_of_a_strip_of_8_gib(tmp_path: Path) -> None:
    source = huge_strip(tmp_path / "in.tif")
    assert_within(100, source, tmp_path / "out", "--y", "2990:4014", "--x", "39000:41000", "--levels", "1")
    (level,) = levels(tmp_path / "out", "0.5")
    assert np.argwhere(level[...] != 0).tolist() == [[0, 0, 10, 1000]]
    assert peak_bytes("inspect", str(source)) <= INTERPRETER_BYTES


@pytest.mark.slow
def test_a_strip_of_8_gib(tmp_path: Path) -> None:
    assert_within(100, huge_strip(tmp_path / "in.tif"), tmp_path / "out", "--levels", "1")
    level: Any = zarr.open_array(tmp_path / "out/0", mode="r")
    assert level[0, 0, 3000, 40000] == 54321


def test_a_compressed_strip_of_8_gib_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {tiffs.COMPRESSION: ("H", [8]), tiffs.ROWS_PER_STRIP: ("I", [SIDE])}
    page = tiffs.page((SIDE, SIDE), [bytes(8 * MIB)], bits=16)
    page.tags |= whole
    (tmp_path / "in.tif").write_bytes(tiffs.tiff_bytes([page]))
    assert main([str(tmp_path / "in.tif"), str(tmp_path / "out"), "--memory", "4GiB"]) == 7
    message = capsys.readouterr().err
    assert "the source's chunks of 8192 MiB are decoded whole" in message
    assert "needs 24587 MiB" in message
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_ten_thousand_time_points_of_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "in.tif", noise(10000, 32, 32), photometric="minisblack", metadata={"axes": "TYX"}
    )
    assert_within(60, tmp_path / "in.tif", tmp_path / "out", "--chunks", "100,1,1,32,32")
    assert peak_bytes("inspect", str(tmp_path / "in.tif")) <= INTERPRETER_BYTES


@pytest.mark.slow
def test_ten_thousand_time_points_of_imaris(tmp_path: Path) -> None:
    write_ims(tmp_path / "in.ims", noise(10000, 1, 1, 32, 32), chunks=(1, 32, 32), filters={})
    assert_within(60, tmp_path / "in.ims", tmp_path / "out", "--chunks", "100,1,1,32,32")
    assert peak_bytes("inspect", str(tmp_path / "in.ims")) <= INTERPRETER_BYTES


@pytest.mark.slow
def test_a_million_source_chunks(tmp_path: Path) -> None:
    write_ims(tmp_path / "in.ims", noise(1, 1, 100, 1000, 1000, dtype="u1"), chunks=(1, 10, 10), filters={})
    assert_within(120, tmp_path / "in.ims", tmp_path / "out")


@pytest.mark.slow
def test_chunk_tables_that_do_not_all_fit_the_cache(tmp_path: Path) -> None:
    """14 times 262,144 chunks, of which each region needs all."""
    write_ims(tmp_path / "in.ims", noise(14, 1, 64, 64, 64, dtype="u1"), chunks=(1, 1, 1), filters={})
    assert_within(150, tmp_path / "in.ims", tmp_path / "out", "--chunks", "14,1,16,16,16")


@pytest.mark.slow
@pytest.mark.parametrize("shards", ["auto", "none"])
def test_a_million_chunks_written(tmp_path: Path, shards: str) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((1000, 1001), np.uint16))
    assert_within(60, tmp_path / "in.tif", tmp_path / "out", "--chunks", "1,1,1", "--shards", shards)


def test_a_plan_of_millions_of_chunks(tmp_path: Path) -> None:
    """A dataset of 4 TiB, of which nothing was written."""
    write_ims(tmp_path / "in.ims", noise(1, 1, 1, 8, 8))
    with h5py.File(tmp_path / "in.ims", "r+") as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        del group["Data"]
        group.create_dataset("Data", (2048, 32768, 32768), "u2", chunks=(8, 128, 128), compression="gzip")
        for axis, size in zip("ZYX", (2048, 32768, 32768), strict=True):
            group.attrs[f"ImageSize{axis}"] = np.frombuffer(str(size).encode(), "S1")
    peak = peak_bytes(str(tmp_path / "in.ims"), str(tmp_path / "out"), "--dry-run", "--memory", "200MiB")
    assert peak <= INTERPRETER_BYTES


def test_the_places_of_many_chunks_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ims(tmp_path / "in.ims", noise(1, 1, 48, 48, 48), chunks=(1, 1, 1), filters={})
    assert main([str(tmp_path / "in.ims"), str(tmp_path / "out"), "--memory", "12MiB"]) == 7
    assert "give more memory: 8 MiB of it go into where the source's chunks lie" in capsys.readouterr().err


def test_a_page_of_many_tiles(tmp_path: Path) -> None:
    source = many_tiles(tmp_path / "in.tif", across=300)
    assert_within(60, source, tmp_path / "out")
    (level, *_) = levels(tmp_path / "out", "0.5")
    np.testing.assert_array_equal(level[0, 0, 4784:, 16:32], np.arange(256).reshape(16, 16))


@pytest.mark.slow
def test_a_page_of_a_million_tiles(tmp_path: Path) -> None:
    assert_within(160, many_tiles(tmp_path / "in.tif", across=1000), tmp_path / "out")


def test_a_page_of_more_tiles_than_can_be_listed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(many_tiles(tmp_path / "in.tif", across=2100))]) == 4
    assert "tag 324" in capsys.readouterr().err


def test_a_table_leaves_out_what_goes_without_saying(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 1, 4, 8, 8), "uint16")[0, 0]
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("whole", data=pixels, chunks=(1, 2, 4))
        gaps = file.create_dataset("gaps", pixels.shape, "u2", chunks=(1, 2, 4))
        gaps[2:4, 2:] = pixels[2:4, 2:]
    files = Hdf5Files()
    for name, n_chunks, columns in (("whole", 32, 12), ("gaps", 12, 20)):
        storage = hdf5_chunks.storage_of(files, str(tmp_path / "in.h5"), name)
        assert storage is not None
        assert storage.table is not None
        assert storage.table.nbytes == n_chunks * columns
        assert storage.table.nbytes <= hdf5_chunks.index_bytes(storage, 10**9, 1)
        out = np.empty((3, 5, 7), np.uint16)
        hdf5_chunks.read_box(files, storage, (1, 2, 1), out)
        expected = pixels[1:4, 2:7, 1:8].copy()
        expected[: 1 if name == "gaps" else 0] = 0
        np.testing.assert_array_equal(out, expected)
    files.close()
