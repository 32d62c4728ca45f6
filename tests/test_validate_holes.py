"""Missing chunks that the levels next to them show to be lost, and those that are just empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from foreign_stores import chunk

from ngff_convert.validate import Validation, validate

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def found(result: Validation) -> list[tuple[str, str, str]]:
    return [(finding.grade, finding.path, finding.rule) for finding in result.findings]


def write_levels(path: Path, pixels: NDArray[Any], chunks: tuple[int, ...], factor: tuple[int, ...]) -> None:
    """Write an image of two levels, the second of every n-th voxel of the first."""
    root = zarr.create_group(path, zarr_format=3)
    datasets = []
    for level in range(2):
        scale = [float(n**level) for n in factor]
        data = pixels[tuple(slice(None, None, n**level) for n in factor)]
        settings: dict[str, Any] = {"shape": data.shape, "dtype": data.dtype, "chunks": chunks}
        root.create_array(str(level), dimension_names=list("zyx"), **settings)[...] = data
        transformations = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    multiscales: list[Any] = [{"name": "a", "axes": axes, "datasets": datasets}]
    root.attrs.put({"ome": {"version": "0.5", "multiscales": multiscales}})


@pytest.mark.parametrize(
    ("chunks", "factor", "finding"),
    [
        ((16, 32, 32), (2, 2, 2), ("error", "0", "hole")),
        ((8, 32, 32), (2, 2, 2), ("error", "0", "hole")),
        ((8, 8, 8), (1, 2, 2), ("error", "0", "hole")),
        ((6, 32, 32), (2, 2, 2), ("error", "0", "hole")),
        ((1, 32, 32), (2, 2, 2), ("warning", "0", "hole-unchecked")),
        ((4, 32, 32), (2, 2, 2), ("warning", "0", "hole-unchecked")),
    ],
)
def test_holes_of_small_chunks(
    tmp_path: Path, chunks: tuple[int, ...], factor: tuple[int, ...], finding: tuple[str, str, str]
) -> None:
    write_levels(tmp_path / "store", np.full((32, 128, 128), 100, "u2"), chunks, factor)
    assert validate(tmp_path / "store", deep=True).findings == ()
    chunk(tmp_path / "store/0", "0.5", 1, 1, 1).unlink()
    assert found(validate(tmp_path / "store", deep=True)) == [("warning", "0", "missing-chunks"), finding]


@pytest.mark.parametrize("chunks", [(1, 32, 32), (4, 32, 32), (8, 32, 32)])
def test_small_chunks_without_pixels_are_no_holes(tmp_path: Path, chunks: tuple[int, ...]) -> None:
    pixels = np.full((32, 128, 128), 100, "u2")
    pixels[8:24] = 0
    write_levels(tmp_path / "store", pixels, chunks, (2, 2, 2))
    assert not chunk(tmp_path / "store/0", "0.5", 16 // chunks[0], 1, 1).exists()
    assert {rule for _, _, rule in found(validate(tmp_path / "store", deep=True))} == {"missing-chunks"}


def test_a_small_chunk_next_to_pixels_is_no_hole(tmp_path: Path) -> None:
    """Pixels of a neighbour reach into the smaller level at a chunk's edge, as some ways to shrink do."""
    pixels = np.full((32, 128, 128), 100, "u2")
    pixels[8:16] = 0
    write_levels(tmp_path / "store", pixels, (8, 32, 32), (2, 2, 2))
    level = zarr.open_array(tmp_path / "store/1", mode="r+")
    level[4], level[7] = 50, 50
    assert {rule for _, _, rule in found(validate(tmp_path / "store", deep=True))} == {"missing-chunks"}
