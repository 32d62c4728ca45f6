from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import ArrayPixels, image
from reference import shrunk

from ngff_convert import engine, plan
from ngff_convert.errors import OptionError
from ngff_convert.model import Box
from ngff_convert.options import Options
from ngff_convert.plan import Resources
from ngff_convert.region import PassTask, cast_exactly
from ngff_convert.sink import Sink
from ngff_convert.storage import Folder
from ngff_convert.testing import coded_pixels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ngff_convert.write_plan import Pass, WritePlan

BOX = Box((0,) * 5, (1,) * 5)


def task(step: Pass, source: ArrayPixels | None, sink: Sink, decided: WritePlan) -> PassTask:
    return PassTask(0, 0, step, source, sink, decided.dtype, decided.method, again=False, fills=False)


def write(folder: Path, pixels: ArrayPixels, options: Options, region_bytes: int) -> list[NDArray[Any]]:
    """Write an image with regions of a few kilobytes and return its levels as zarr reads them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "REGION_BYTES", region_bytes)
        decided = plan.build(image(pixels, (1.0, 1.0, 1.0)), options, Resources(2, 1 << 28))
    with Sink(Folder.of(str(folder)), "", decided.ngff_version, decided.axes, 2) as sink:
        sink.create(decided)
        for step in decided.passes:
            source = pixels if step.native else None
            for _ in engine.run(task(step, source, sink, decided), range(step.n_regions), 2):
                pass
    return [np.asarray(zarr.open_array(folder / str(k), mode="r")[...]) for k in range(len(decided.levels))]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(2, 3), st.integers(1, 2), *[st.integers(1, 40)] * 3),
    chunks=st.tuples(*[st.integers(2, 12)] * 3),
    method=st.sampled_from(["mean", "nearest", "mode", "max", "min", "median"]),
    version=st.sampled_from(["0.4", "0.5"]),
    shards=st.booleans(),
    region_bytes=st.sampled_from([500, 5000, 10**6]),
)
def test_every_level_equals_the_reference_made_from_the_level_above(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    method: str,
    version: str,
    shards: bool,
    region_bytes: int,
) -> None:
    pixels = ArrayPixels(coded_pixels(shape), (1, 1, 3, 16, 16))
    sharded: Any = tuple(2 * c for c in chunks) if shards and version == "0.5" else "none"
    options = Options(chunks=chunks, shards=sharded, method=method, ngff_version=version)
    levels = write(tmp_path_factory.mktemp("store"), pixels, options, region_bytes)
    np.testing.assert_array_equal(levels[0], pixels.array)
    for above, level in itertools.pairwise(levels):
        factors = tuple(-(-a // b) for a, b in zip(above.shape, level.shape, strict=True))
        np.testing.assert_array_equal(level, shrunk(above, factors, method))


def test_the_source_is_read_once(tmp_path: Path) -> None:
    pixels = ArrayPixels(coded_pixels((2, 1, 40, 100, 100)), (1, 1, 8, 16, 16))
    write(tmp_path, pixels, Options(chunks=(8, 16, 16)), 20_000)
    times = np.zeros(pixels.shape, int)
    for box in pixels.reads:
        times[box.slices] += 1
    assert (times == 1).all()
    assert len(pixels.reads) > 10


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 255], "uint16"), "uint8"),
        (np.array([-5, 5], "float64"), "int8"),
        (np.array([1.5, np.nan, np.inf], "float64"), "float32"),
        (np.array([2**24], "uint32"), "float32"),
        (np.array([0, 1], "uint8"), "bool"),
        (np.array([True, False]), "uint8"),
    ],
)
def test_values_that_fit_are_cast(values: NDArray[Any], dtype: str) -> None:
    cast = cast_exactly(values, np.dtype(dtype), BOX)
    assert cast.dtype == dtype
    np.testing.assert_array_equal(cast.astype(np.float64), values.astype(np.float64))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 256], "uint16"), "uint8"),
        (np.array([-1], "int16"), "uint16"),
        (np.array([1.0, np.nan]), "uint16"),
        (np.array([np.inf]), "int32"),
        (np.array([2**63], "uint64"), "int64"),
        (np.array([2.0**64]), "uint64"),
        (np.array([2.0**63]), "int64"),
        (np.array([2**24 + 1], "uint32"), "float32"),
        (np.array([2**64 - 1], "uint64"), "float64"),
        (np.array([1e39]), "float32"),
        (np.array([2], "uint8"), "bool"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: NDArray[Any], dtype: str) -> None:
    with pytest.raises(OptionError, match=f"--dtype {dtype}: "):
        cast_exactly(values, np.dtype(dtype), BOX)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_called_so(value: float) -> None:
    with pytest.raises(
        OptionError, match=r"NaN or infinity.* has no place in an integer type; choose a float"
    ):
        cast_exactly(np.array([1.0, value]), np.dtype("uint16"), BOX)


def test_floats_are_rounded_to_the_nearest_integer() -> None:
    assert cast_exactly(np.array([1.4, 1.6, -0.4]), np.dtype("int8"), BOX).tolist() == [1, 2, 0]
