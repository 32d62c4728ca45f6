"""Damaged texts of variable length, at which HDF5 itself hangs or ends the process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import test_bigdataviewer
from servers import http_files

from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from pathlib import Path

OPEN = """
import sys, ngff_convert
with ngff_convert.open(sys.argv[1], reader=sys.argv[2]) as source:
    assert source.images[0].pixels[..., :1, :1].any()
    print(source.images[0].original_metadata)
"""


def opened(path: str, reader: str) -> str:
    """Return the metadata of the first image, read in a process that is ended where it hangs."""
    run = subprocess.run(
        [sys.executable, "-c", OPEN, path, reader], capture_output=True, text=True, timeout=60, check=True
    )
    return run.stdout


def break_heaps(path: Path) -> None:
    """Make the free space at the end of every heap end early, so that zeros follow it."""
    whole = bytearray(path.read_bytes())
    at = whole.find(b"GCOL")
    assert at >= 0
    while at >= 0:
        place = at + 16
        while any(whole[place : place + 2]):
            place += 16 + -(-int.from_bytes(whole[place + 8 : place + 16], "little") // 8) * 8
        free = int.from_bytes(whole[place + 8 : place + 16], "little")
        assert free > 64
        whole[place + 8 : place + 16] = (free - 40).to_bytes(8, "little")
        at = whole.find(b"GCOL", at + 1)
    path.write_bytes(whole)


def plain(path: Path) -> None:
    """Write a dataset with texts of variable length: attributes, labels, scales."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=coded_pixels((5, 6, 7)) + 1)
        data.attrs["remark"] = "of variable length"
        data.attrs["units"] = np.bytes_("of fixed length")
        data.dims[0].label = "z"
        file["scale"] = np.arange(6.0)
        file["scale"].make_scale("y")
        data.dims[1].attach_scale(file["scale"])


def test_a_plain_dataset_is_read_without_them(tmp_path: Path) -> None:
    plain(tmp_path / "in.h5")
    sound = opened(str(tmp_path / "in.h5"), "hdf5")
    assert "of variable length" in sound
    break_heaps(tmp_path / "in.h5")
    broken = opened(str(tmp_path / "in.h5"), "hdf5")
    assert "of variable length" not in broken
    assert "of fixed length" in broken


def test_so_is_one_on_a_server(tmp_path: Path) -> None:
    plain(tmp_path / "in.h5")
    break_heaps(tmp_path / "in.h5")
    with http_files(tmp_path) as server:
        assert "of fixed length" in opened(f"{server.url}/in.h5", "hdf5")


@pytest.mark.parametrize("as_dataset", [False, True])
def test_an_imaris_file_is_read_without_them(as_dataset: bool, tmp_path: Path) -> None:
    path = tmp_path / "in.ims"
    write_ims(path, coded_pixels((1, 1, 4, 5, 6)) + 1)
    with h5py.File(path, "r+") as file:
        info = file["DataSetInfo"].create_group("Lab")
        if as_dataset:
            info["Remark"] = "of variable length"
        else:
            info.attrs["Remark"] = "of variable length"
    assert "of variable length" in opened(str(path), "imaris")
    break_heaps(path)
    assert "of variable length" not in opened(str(path), "imaris")


def test_a_scale_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    plain(tmp_path / "in.h5")
    with h5py.File(tmp_path / "in.h5", "r+") as file:
        file.move("scale", b"sc\xff")
    assert "of variable length" in opened(str(tmp_path / "in.h5"), "hdf5")


def test_a_type_that_is_neither_list_nor_text_ends_no_process(tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    plain(path)
    with h5py.File(path, "r+") as file:
        lists = np.empty(2, object)
        lists[:] = [np.array([7], "u1"), np.array([7, 9], "u1")]
        file["data"].attrs.create("list", lists, dtype=h5py.vlen_dtype("u1"))
    assert "7 9" in opened(str(path), "hdf5")
    whole = bytearray(path.read_bytes())
    for name in (b"remark", b"DIMENSION_LIST", b"list\0\0\0\0"):
        kind = whole.index(b"\x19", whole.index(name)) + 1
        assert whole[kind] & 15 in (0, 1)
        whole[kind] |= 13
    path.write_bytes(whole)
    broken = opened(str(path), "hdf5")
    assert "of variable length" not in broken
    assert "7 9" not in broken
    assert "of fixed length" in broken


def test_a_bigdataviewer_file_is_read_without_them(tmp_path: Path) -> None:
    test_bigdataviewer.write(tmp_path)
    with h5py.File(tmp_path / "in.h5", "r+") as file:
        file.attrs["remark"] = file["s00"].attrs["remark"] = "of variable length"
    break_heaps(tmp_path / "in.h5")
    opened(str(tmp_path / "in.xml"), "bigdataviewer")
