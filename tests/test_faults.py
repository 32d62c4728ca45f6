"""Faults that are really injected: full disks, folders that become read-only, damaged chunks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile
from stores import tree

from ngff_convert import Options, convert
from ngff_convert.cli import main
from ngff_convert.errors import ReadError, WriteError
from ngff_convert.events import RegionDone
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.events import Event

MIB = 2**20
SMALL = ["--chunks", "8,64,64", "--memory", "20MB", "--workers", "2"]


def noise(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 65535, (1, 1, 32, 512, 512), np.uint16)
    write_ims(path / "in.ims", pixels, chunks=(8, 64, 64), filters={})
    return path / "in.ims"


# -- disks -------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of a few MiB; only who may mount one can have it."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
@pytest.mark.parametrize("size", [MIB, 5 * MIB, 14 * MIB])
@pytest.mark.parametrize("fsync", ["none", "region"])
def test_a_full_disk_ends_it_and_after_room_is_made_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, fsync: str
) -> None:
    source = noise(tmp_path)
    words = [str(source), *SMALL, "--fsync", fsync, "--quiet"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    with small_disk(tmp_path / "disk", size) as disk:
        target = disk / "out"
        assert main([*words, str(target)]) == 6
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "space" in said.lower(), said
        assert not target.exists()
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        report = tmp_path / "report.json"
        assert main([*words, str(target), "--report", str(report)]) == 0
        assert json.loads(report.read_text())["kept_bytes"] > 0 or size == MIB
        assert tree(target) == tree(tmp_path / "whole")


@contextmanager
def somebody_else() -> Iterator[Path]:
    """A folder of a user for whom permissions count, and be that user."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        # That user may not be allowed to read Python's own files: load all that a conversion needs.
        with tempfile.TemporaryDirectory() as first:
            write_ims(Path(first, "in.ims"), coded_pixels((1, 1, 4, 20, 20)))
            convert(Path(first, "in.ims"), Path(first, "out"))
        os.chown(name, nobody, nobody)
        os.seteuid(nobody)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as POSIX has them")
def test_a_folder_that_becomes_read_only_ends_it_and_then_it_goes_on() -> None:
    with somebody_else() as folder:
        write_ims(folder / "in.ims", coded_pixels((1, 1, 16, 300, 300)), chunks=(8, 32, 32))
        options = Options(chunks=(8, 32, 32), memory=10_000_000)
        convert(folder / "in.ims", folder / "whole", options)
        level = folder / "out.partial" / "0" / "c" / "0" / "0"

        def lock(event: Event) -> None:
            if isinstance(event, RegionDone):
                for path in (level, *level.iterdir()):
                    path.chmod(0o555)

        try:
            with pytest.raises(WriteError, match=r"out\.partial/0.*[Pp]ermission"):
                convert(folder / "in.ims", folder / "out", options, lock)
        finally:
            for path in (level, *level.iterdir()):
                path.chmod(0o755)
        assert not (folder / "out").exists()
        assert convert(folder / "in.ims", folder / "out", options).kept_bytes > 0
        assert tree(folder / "out") == tree(folder / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as POSIX has them")
def test_a_read_only_folder_is_refused_before_work() -> None:
    with somebody_else() as folder:
        write_ims(folder / "in.ims", coded_pixels((1, 1, 4, 20, 20)))
        (folder / "locked").mkdir(mode=0o555)
        with pytest.raises(WriteError, match=r"locked/out\.partial: cannot be written: Permission denied"):
            convert(folder / "in.ims", folder / "locked" / "out")
        assert list((folder / "locked").iterdir()) == []


# -- damaged chunks ----------------------------------------------------------------------------------------

SHAPE = (1, 1, 8, 96, 96)
IMARIS_FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip"},
    "shuffle + gzip": {"compression": "gzip", "shuffle": True},
    "LZ4": dict(hdf5plugin.LZ4()),
    "Blosc": dict(hdf5plugin.Blosc()),
    "Zstandard": dict(hdf5plugin.Zstd()),
}


def damaged_ims(path: Path, filters: dict[str, Any]) -> int:
    """Damage chunk 3, which is at z 0, y 32, x 0."""
    write_ims(path, coded_pixels(SHAPE), chunks=(8, 32, 32), filters=filters)
    with h5py.File(path) as file:
        chunk = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"].id.get_chunk_info(3)
    overwrite(path, chunk.byte_offset, chunk.size)
    return int(chunk.byte_offset)


def overwrite(path: Path, offset: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("filters", IMARIS_FILTERS.values(), ids=IMARIS_FILTERS)
def test_a_damaged_imaris_chunk_is_named_or_filled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], filters: dict[str, Any]
) -> None:
    path = tmp_path / "in.ims"
    offset = damaged_ims(path, filters)
    box = np.s_[:, :, :, 32:64, 0:32]
    check_damage(tmp_path, path, capsys, box, rf"Data.*{offset}|Data.*\(0, 32, 0\)")


def check_damage(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str], box: tuple[slice, ...], place: str
) -> None:
    """A damaged chunk ends a conversion with its name; filled, it is 0, counted, listed, and exit code 3."""
    import re

    import zarr

    with pytest.raises(ReadError) as caught:
        convert(source, folder / "out")
    assert re.search(place, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()
    words = [str(source), str(folder / "out"), "--on-error", "fill", "--report", str(folder / "report.json")]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert "not whole" in said
    assert "1 chunk filled with 0" in said
    report = json.loads((folder / "report.json").read_text())
    assert report["exit_code"] == 3
    assert len(report["filled"]) == 1
    with_gap = np.asarray(zarr.open_array(folder / "out" / "0", mode="r")[...])
    assert not with_gap.reshape(SHAPE)[box].any()
    whole = coded_pixels(SHAPE).copy()
    whole[box] = 0
    np.testing.assert_array_equal(with_gap.reshape(SHAPE), whole)


TIFF_CODECS = ["zlib", "lzw", "packbits", "zstd", "lzma", "jpeg2000", "png", "jpegxl"]


@pytest.mark.parametrize("codec", TIFF_CODECS)
def test_a_damaged_tiff_tile_is_named_or_filled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], codec: str
) -> None:
    path = tmp_path / "in.tif"
    pixels = coded_pixels(SHAPE)[0, 0]
    settings = {"lossless": True} if codec == "jpegxl" else {}
    tifffile.imwrite(
        path,
        pixels,
        tile=(32, 32),
        compression=codec,
        compressionargs=settings,
        photometric="minisblack",
        metadata=None,
    )
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[2]
        assert isinstance(page, tifffile.TiffPage)
        offset, size = page.dataoffsets[3], page.databytecounts[3]
    overwrite(path, offset, size)
    check_damage(
        tmp_path, path, capsys, np.s_[:, :, 2:3, 32:64, 0:32], rf"page 2: strip or tile 3 .*{offset}"
    )


def test_a_damaged_jpeg_tile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96), np.uint8)
    tifffile.imwrite(path, pixels, tile=(32, 32), compression="jpeg", photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        offset, size = page.dataoffsets[3], page.databytecounts[3]
    overwrite(path, offset, size)
    with pytest.raises(ReadError, match=rf"page 0: strip or tile 3 .*{offset}"):
        convert(path, tmp_path / "out")
    report = convert(path, tmp_path / "out", Options(on_error="fill"))
    assert len(report.filled) == 1


def test_a_verification_knows_what_was_filled(tmp_path: Path) -> None:
    path = tmp_path / "in.ims"
    damaged_ims(path, {"compression": "gzip"})
    report = convert(path, tmp_path / "out", Options(on_error="fill", verify="full"))
    assert report.verification is not None
    assert report.verification.passed
