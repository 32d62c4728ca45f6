"""What a conversion really takes, in a process of its own, against what its plan allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from peaks import INTERPRETER_BYTES, MIB, assert_within, needs_proc, peak_bytes

from ngff_convert import plan
from ngff_convert.cli import main
from ngff_convert.readers import stored_bytes
from ngff_convert.testing import write_ims

if TYPE_CHECKING:
    from pathlib import Path

NO_FILTERS: dict[str, Any] = {}


def noise(*shape: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Pixels that do not compress."""
    return np.random.default_rng(0).integers(0, 65535, shape, np.uint16)


@needs_proc
@pytest.mark.parametrize(
    ("shape", "chunks", "words", "budget"),
    [
        pytest.param((1, 1, 64, 1024, 1024), (8, 256, 256), "", 200, marks=pytest.mark.slow),
        ((1, 1, 64, 1024, 1024), (8, 256, 256), "--shards 16,512,512", 200),
        pytest.param((1, 1, 64, 1024, 1024), (8, 256, 256), "--method median", 200, marks=pytest.mark.slow),
        pytest.param((1, 1, 64, 1024, 1024), (8, 256, 256), "--dtype float64", 200, marks=pytest.mark.slow),
        ((6, 1, 101, 101, 101), (16, 64, 64), "--chunks 100,100,100", 120),
        pytest.param((1, 1, 20, 2300, 2300), (1, 2300, 2300), "", 300, marks=pytest.mark.slow),
        ((1, 1, 32, 512, 512), (1, 8, 16), "", 120),
        ((1, 1, 8, 200, 200), (8, 64, 64), "--chunks 1,1,4", 150),
    ],
)
def test_the_budget_is_kept(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, int, int], words: str, budget: int
) -> None:
    write_ims(tmp_path / "in.ims", noise(*shape), chunks=chunks, filters=NO_FILTERS)
    assert_within(budget, tmp_path / "in.ims", tmp_path / "out", *words.split())


@needs_proc
@pytest.mark.parametrize(
    ("shape", "settings", "budget"),
    [
        pytest.param(
            (20, 2300, 2300), {"compression": "zlib", "rowsperstrip": 2300}, 300, marks=pytest.mark.slow
        ),
        ((1, 9000, 9000), {"rowsperstrip": 9000}, 120),
        pytest.param((64, 1024, 1024), {"imagej": True}, 200, marks=pytest.mark.slow),
        ((16, 1500, 1500), {"tile": (256, 256), "compression": "zstd", "predictor": True}, 150),
        pytest.param(
            (4, 1500, 1500, 3),
            {"tile": (512, 512), "compression": "zlib", "photometric": "rgb"},
            200,
            marks=pytest.mark.slow,
        ),
        ((300, 200, 200), {"rowsperstrip": 1, "compression": "lzw"}, 120),
    ],
    ids=["a strip a page", "one raw strip", "ImageJ", "tiles", "RGB tiles", "a strip a row"],
)
def test_the_budget_is_kept_with_tiff(
    tmp_path: Path, shape: tuple[int, ...], settings: dict[str, Any], budget: int
) -> None:
    tifffile.imwrite(tmp_path / "in.tif", noise(*shape), **{"photometric": "minisblack", **settings})
    assert_within(budget, tmp_path / "in.tif", tmp_path / "out")


@needs_proc
@pytest.mark.parametrize(
    "kind",
    [
        "tiles",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("Imaris", "a strip a page", "one raw strip")),
    ],
)
def test_the_budget_is_kept_while_pixels_are_verified(tmp_path: Path, kind: str) -> None:
    budget = 200
    if kind == "Imaris":
        source = tmp_path / "in.ims"
        write_ims(source, noise(1, 1, 64, 1024, 1024), chunks=(8, 256, 256))
    else:
        source = tmp_path / "in.tif"
        settings: dict[str, Any] = {
            "tiles": {"tile": (256, 256), "compression": "zlib"},
            "a strip a page": {"rowsperstrip": 1500, "compression": "zlib"},
            "one raw strip": {"rowsperstrip": 9000},
        }
        shape = (1, 9000, 9000) if kind == "one raw strip" else (24, 1500, 1500)
        tifffile.imwrite(source, noise(*shape), photometric="minisblack", **settings[kind])
    assert_within(budget, source, tmp_path / "out", "--verify", "full")
    words = ("--memory", f"{budget}MiB", "--workers", "2")
    peak = peak_bytes("verify", str(source), str(tmp_path / "out"), *words)
    assert peak <= budget * MIB + INTERPRETER_BYTES, f"{peak / MIB:.0f} MiB"


def test_more_than_the_memory_is_refused_with_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One strip of 200 MB, which has to be decoded whole."""
    pixels = np.zeros((10000, 10000), np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", pixels, compression="zlib", rowsperstrip=10000)
    assert main([str(tmp_path / "in.tif"), str(tmp_path / "out"), "--memory", "300MiB"]) == 7
    assert "the source's chunks of 191 MiB are decoded whole" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_plan_counts_what_the_reader_takes() -> None:
    assert plan.READ_BYTES >= stored_bytes.READ_AT_ONCE
