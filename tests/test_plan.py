from __future__ import annotations

import json
import re
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from images import NoPixels, image

from ngff_convert import plan
from ngff_convert.errors import MemoryBudgetError, OptionError
from ngff_convert.model import Calibration, NativeLevel
from ngff_convert.options import Options
from ngff_convert.plan import Resources
from ngff_convert.write_plan import Level, Pass, WritePlan

MIB = 2**20
SMALL = st.tuples(st.integers(1, 5), st.integers(1, 4), *[st.integers(1, 70)] * 3)
TINY = st.tuples(st.integers(1, 3), st.integers(1, 2), *[st.integers(1, 20)] * 3)
LARGE = st.tuples(st.integers(1, 2000), st.integers(1, 9), *[st.integers(1, 60_000)] * 3)
CHUNKS = st.tuples(*[st.integers(1, 40)] * 3)
DTYPES = st.sampled_from(["uint8", "uint16", "float32", "float64"])
RESOURCES = st.builds(Resources, workers=st.integers(1, 64), memory=st.integers(60 * MIB, 4096 * MIB))


def assert_sound(decided: WritePlan) -> None:
    """Every voxel of every level is written once, by a job that owns its files, within the budget."""
    written = [k for step in decided.passes for k in step.write_levels]
    assert written == list(range(len(decided.levels)))
    for step in decided.passes:
        assert_pass_sound(step, decided.levels)
        assert step.job_bytes * decided.workers <= decided.budget_bytes
    assert decided.workers >= 1


def assert_pass_sound(step: Pass, levels: tuple[Level, ...]) -> None:
    assert step.shape == levels[step.read_level].shape
    for k, factor in zip(step.write_levels, step.factors, strict=True):
        level = levels[k]
        for axis in range(5):
            n, size, ratio, unit = (
                level.shape[axis],
                step.region[axis],
                factor[axis],
                level.write_object[axis],
            )
            # All regions but the last along an axis are alike, so the first, any inner and the last will do.
            assert size % ratio == 0 or step.grid[axis] == 1
            inner = size // ratio
            assert inner % unit == 0 or step.grid[axis] == 1, "an inner edge cuts a write object"
            last = (step.grid[axis] - 1) * inner
            assert last < n <= last + ceil(size / ratio), "the regions do not end where the level does"
        if level.shards:
            assert all(s % c == 0 for s, c in zip(level.shards, level.chunks, strict=True))
        assert all(c <= n for c, n in zip(level.chunks, level.shape, strict=True))


@st.composite
def options(draw: st.DrawFn) -> Options:
    chunks: Any = draw(st.just("auto") | CHUNKS)
    version = draw(st.sampled_from(["0.4", "0.5"]))
    shards: Any = "auto"
    if version == "0.5" and chunks != "auto":
        times = draw(st.tuples(*[st.integers(1, 5)] * 3))
        shards = draw(
            st.sampled_from(["auto", "none", tuple(c * n for c, n in zip(chunks, times, strict=True))])
        )
    return Options(
        chunks=chunks,
        shards=shards,
        ngff_version=version,
        levels=draw(st.none() | st.integers(1, 6)),
        factors=tuple(draw(st.lists(st.tuples(*[st.integers(1, 4)] * 3), max_size=3))),
        output_axes=draw(st.sampled_from(["auto", "tczyx"])),
        method=draw(st.sampled_from([None, "mean", "nearest"])),
    )


@given(shape=SMALL | LARGE, dtype=DTYPES, chosen=options(), resources=RESOURCES, data=st.data())
def test_plans_are_sound_or_refused_for_memory(
    shape: tuple[int, ...], dtype: str, chosen: Options, resources: Resources, data: st.DataObject
) -> None:
    chunks = (1, 1, *data.draw(st.tuples(*[st.sampled_from([1, 3, 8, 16, 64, 256, 1000])] * 3)))
    voxel = data.draw(
        st.sampled_from([(1.0, 1.0, 1.0), (2.0, 0.2, 0.2), (None, None, None), (0.1, 0.4, 0.3)])
    )
    # Half a million tiny chunks cost the test time and show nothing new.
    assume(chosen.chunks == "auto" or prod(shape) < 10**9)
    try:
        decided = plan.build(image(NoPixels(shape, dtype, chunks), voxel), chosen, resources)
    except MemoryBudgetError:
        return
    assert_sound(decided)
    assert WritePlan.from_json(json.loads(json.dumps(decided.to_json()))) == decided


@given(shape=TINY, chosen=options(), region_bytes=st.sampled_from([1, 500, 5000]))
@example(shape=(3, 1, 3, 65, 70), chosen=Options(chunks=(2, 8, 8), shards=(2, 16, 24)), region_bytes=1)
def test_each_voxel_is_written_once_and_each_write_object_by_one_job(
    shape: tuple[int, ...], chosen: Options, region_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "REGION_BYTES", region_bytes)
        patch.setattr(plan, "UNSHARDED_CHUNKS", 20)
        pixels = NoPixels(shape, "uint16", (1, 1, 3, 4, 8))
        decided = plan.build(image(pixels), chosen, Resources(2, 200 * MIB))
    for step in decided.passes:
        for k, factor in zip(step.write_levels, step.factors, strict=True):
            level = decided.levels[k]
            times = np.zeros(level.shape, np.uint8)
            owners: dict[tuple[int, ...], set[int]] = {}
            for index in range(step.n_regions):
                box = step.box_at(step.box(index), factor)
                times[box.slices] += 1
                spans = zip(box.start, box.stop, level.write_object, strict=True)
                for key in product(*(range(a // unit, -(-b // unit)) for a, b, unit in spans)):
                    owners.setdefault(key, set()).add(index)
            assert (times == 1).all()
            assert all(len(jobs) == 1 for jobs in owners.values())


def test_all_workers_are_kept_busy_where_the_budget_allows() -> None:
    pixels = NoPixels((1, 1, 500, 4000, 4000))
    for workers, memory in ((1, 100 * MIB), (2, 200 * MIB), (8, 400 * MIB), (16, 4096 * MIB)):
        decided = plan.build(image(pixels), Options(), Resources(workers, memory))
        assert_sound(decided)
        assert decided.workers == workers
        # A region is grown until one twice as large would be too much, for the budget or at all.
        room = min(memory / workers, 3 * plan.REGION_BYTES)
        assert decided.passes[0].job_bytes > room / 4


def test_regions_shrink_before_workers_are_given_up() -> None:
    pixels = NoPixels((1, 1, 500, 4000, 4000))
    roomy = plan.build(image(pixels), Options(), Resources(8, 4096 * MIB))
    tight = plan.build(image(pixels), Options(), Resources(8, 400 * MIB))
    assert tight.workers == roomy.workers == 8
    assert prod(tight.passes[0].region) < prod(roomy.passes[0].region)


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    pixels = NoPixels((1, 1, 500, 4000, 4000))
    refused = r"16,2048,2048 voxels.* needs (\d+) MiB, but --memory allows 50 MiB"
    with pytest.raises(MemoryBudgetError, match=refused) as told:
        plan.build(image(pixels), Options(chunks=(16, 1024, 1024)), Resources(4, 50 * MIB))
    # What is said to be needed is enough.
    needed = re.search(refused, str(told.value))
    assert needed
    plan.build(image(pixels), Options(chunks=(16, 1024, 1024)), Resources(4, (int(needed[1]) + 1) * MIB))


@pytest.mark.parametrize(
    ("chunks", "dtype", "kept"),
    [
        ((1, 1, 8, 256, 256), "uint16", True),
        ((1, 1, 16, 128, 128), "uint8", True),
        ((1, 1, 1, 512, 1024), "uint16", True),
        ((1, 1, 1, 32, 32), "uint16", False),
        ((1, 1, 128, 512, 512), "uint16", False),
        ((4, 1, 8, 256, 256), "uint16", False),
    ],
)
def test_the_source_grid_is_kept_where_it_is_useful(chunks: tuple[int, ...], dtype: str, kept: bool) -> None:
    pixels = NoPixels((5, 1, 300, 3000, 3000), dtype, chunks)
    decided = plan.build(image(pixels, (1.0, 1.0, 1.0)), Options(), Resources(2, 1024 * MIB))
    found = decided.levels[0].chunks
    assert (found == chunks) is kept
    assert 2**18 <= prod(found) * pixels.dtype.itemsize <= 2**20


def test_new_chunks_are_near_cubic_in_physical_space() -> None:
    pixels = NoPixels((1, 1, 900, 900, 900), "uint16", (1, 1, 1, 1, 900))
    isotropic = plan.build(image(pixels, (1.0, 1.0, 1.0)), Options(), Resources(2, 1024 * MIB))
    assert isotropic.levels[0].chunks == (1, 1, 64, 64, 128)
    flat = plan.build(image(pixels, (1.0, 0.1, 0.1)), Options(), Resources(2, 1024 * MIB))
    assert flat.levels[0].chunks == (1, 1, 16, 128, 256)


def test_several_levels_are_made_from_one_reading_and_nothing_is_decoded_twice() -> None:
    decided = plan.build(
        image(NoPixels((1, 1, 128, 4096, 4096), chunks=(1, 1, 8, 256, 256)), (1.0, 0.2, 0.2)),
        Options(),
        Resources(2, 4096 * MIB),
    )
    assert [step.write_levels for step in decided.passes] == [(0, 1, 2), (3,), (4,)]
    assert [step.native for step in decided.passes] == [True, False, False]
    assert decided.passes[0].decoded_twice == 0
    assert decided.passes[1].read_level == 2


def test_chunks_across_the_sources_grid_say_what_they_cost() -> None:
    pixels = NoPixels((1, 1, 100, 1000, 1000), chunks=(1, 1, 7, 1000, 1000))
    decided = plan.build(image(pixels), Options(chunks=(16, 1000, 1000)), Resources(2, 400 * MIB))
    step = decided.passes[0]
    regions = range(0, 100, step.region[2])
    touched = sum(-(-min(100, z + step.region[2]) // 7) - z // 7 for z in regions)
    assert step.decoded_twice == pytest.approx(touched / 15 - 1)
    assert step.decoded_twice > 0


def test_many_chunks_are_sharded_one_shard_a_region() -> None:
    pixels = NoPixels((1, 1, 4000, 6000, 6000), chunks=(1, 1, 16, 256, 256))
    decided = plan.build(image(pixels, (1.0, 1.0, 1.0)), Options(), Resources(2, 4096 * MIB))
    assert decided.levels[0].shards == decided.passes[0].region
    assert decided.levels[-1].shards is None
    assert_sound(decided)
    for changed in (Options(shards="none"), Options(ngff_version="0.4")):
        plain = plan.build(image(pixels, (1.0, 1.0, 1.0)), changed, Resources(2, 4096 * MIB))
        assert all(level.shards is None for level in plain.levels)


def test_shards_that_are_no_multiple_of_the_chunk_are_refused() -> None:
    with pytest.raises(OptionError, match="not a multiple"):
        plan.build(
            image(NoPixels((1, 1, 64, 512, 512))),
            Options(chunks=(8, 64, 64), shards=(8, 100, 128)),
            Resources(2, 1024 * MIB),
        )


def test_scales_and_translations() -> None:
    pixels = NoPixels((1, 1, 1, 1025, 1000), chunks=(1, 1, 1, 256, 256))
    mean = plan.build(
        image(pixels, (2.0, 0.25, 0.5)), Options(chunks=(1, 256, 256)), Resources(2, 1024 * MIB)
    )
    assert mean.levels[1].shape == (1, 1, 1, 513, 1000)
    assert mean.levels[1].scale == (1, 1, 2.0, 0.5, 0.5)
    assert mean.levels[1].translation == (0, 0, 10.0, 20.0 + 0.125, -30.0)
    first = plan.build(
        image(pixels, (2.0, 0.25, 0.5)),
        Options(chunks=(1, 256, 256), method="nearest"),
        Resources(2, 1024 * MIB),
    )
    assert first.levels[1].translation == (0, 0, 10.0, 20.0, -30.0)


def test_unknown_sizes_scale_by_the_factor() -> None:
    pixels = NoPixels((1, 1, 1, 1000, 1000), chunks=(1, 1, 1, 256, 256))
    unknown = image(pixels, (None, None, None), calibration=Calibration())
    decided = plan.build(unknown, Options(chunks=(1, 256, 256)), Resources(2, 1024 * MIB))
    assert decided.levels[2].scale == (1, 1, 1, 4, 4)
    assert decided.levels[2].translation == (0, 0, 0, 1.5, 1.5)


def test_native_levels_are_copied_one_by_one() -> None:
    pixels = NoPixels((1, 1, 37, 257, 333), chunks=(1, 1, 16, 128, 128))
    lower = NativeLevel(NoPixels((1, 1, 18, 128, 166)), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5))
    decided = plan.build(
        image(pixels, (1.0, 1.0, 1.0), (lower,)), Options(pyramid="native"), Resources(2, 1024 * MIB)
    )
    assert [level.shape for level in decided.levels] == [pixels.shape, lower.pixels.shape]
    assert [(step.native, step.read_level, step.write_levels) for step in decided.passes] == [
        (True, 0, (0,)),
        (True, 1, (1,)),
    ]
    assert decided.method == "native"
    assert_sound(decided)
    with pytest.raises(OptionError, match="no complete lower levels"):
        plan.build(image(pixels), Options(pyramid="native"), Resources(2, 1024 * MIB))


def test_t_is_left_out_for_one_time_point_unless_it_is_asked_for() -> None:
    one, two = NoPixels((1, 1, 8, 64, 64)), NoPixels((2, 1, 8, 64, 64))
    resources = Resources(2, 1024 * MIB)
    assert plan.build(image(one), Options(), resources).axes == "czyx"
    assert plan.build(image(two), Options(), resources).axes == "tczyx"
    assert plan.build(image(one), Options(output_axes="tczyx"), resources).axes == "tczyx"


def test_the_digest_names_what_is_written_and_not_how_fast() -> None:
    pixels = NoPixels((1, 1, 8, 640, 640))  # so small that more workers do not mean smaller regions
    digest = plan.build(image(pixels), Options(), Resources(2, 1024 * MIB)).digest
    assert plan.build(image(pixels), Options(), Resources(1, 1000 * MIB)).digest == digest
    assert plan.build(image(pixels), Options(chunks=(8, 64, 64)), Resources(2, 1024 * MIB)).digest != digest
    assert plan.build(image(pixels), Options(method="max"), Resources(2, 1024 * MIB)).digest != digest


def test_small_time_points_share_a_region() -> None:
    pixels = NoPixels((10_000, 4, 1, 64, 64), chunks=(1, 1, 1, 64, 64))
    decided = plan.build(image(pixels), Options(), Resources(2, 1024 * MIB))
    assert decided.passes[0].n_regions < 100
    assert_sound(decided)


def test_shards_of_lower_levels_belong_to_one_region() -> None:
    """Regions of 512 voxels at level 1 cannot own shards of 192, so those are made of 64."""
    pixels = NoPixels((1, 1, 1544, 2593, 2995))
    chosen = Options(chunks=(64, 64, 64), shards=(192, 192, 192))
    decided = plan.build(image(pixels, (1.0, 1.0, 1.0)), chosen, Resources(2, 4096 * MIB))
    assert decided.levels[0].shards == (1, 1, 192, 192, 192)
    assert_sound(decided)


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), *[st.integers(1, 3000)] * 3),
    chunks=st.tuples(*[st.integers(16, 200)] * 3),
    times=st.tuples(*[st.integers(1, 5)] * 3),
    source=st.tuples(*[st.integers(1, 700)] * 3),
    memory=st.integers(100, 8000),
)
def test_chosen_chunks_and_shards_make_sound_plans(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    times: tuple[int, ...],
    source: tuple[int, ...],
    memory: int,
) -> None:
    shards = tuple(c * n for c, n in zip(chunks, times, strict=True))
    pixels = NoPixels(shape, "uint16", (1, 1, *source))
    try:
        decided = plan.build(image(pixels), Options(chunks=chunks, shards=shards), Resources(3, memory * MIB))
    except MemoryBudgetError:
        return
    assert_sound(decided)


@pytest.mark.parametrize(
    "chunks", [(1, 4096, 4096), (1, 2300, 2300), (128, 1024, 1024), (1, 1, 4096), (1, 32, 32)]
)
def test_whatever_the_source_grid_its_chunks_are_decoded_once(chunks: tuple[int, ...]) -> None:
    pixels = NoPixels((1, 1, 256, 4096, 4096), chunks=(1, 1, *chunks))
    decided = plan.build(image(pixels, (1.0, 1.0, 1.0)), Options(), Resources(2, 4096 * MIB))
    assert decided.passes[0].decoded_twice == 0
    assert_sound(decided)


def test_chosen_chunks_across_large_source_chunks_take_the_memory_there_is() -> None:
    pixels = NoPixels((1, 1, 256, 2048, 2048), chunks=(1, 1, 1, 2048, 2048))
    chosen = Options(chunks=(16, 64, 64))
    roomy = plan.build(image(pixels), chosen, Resources(2, 4096 * MIB))
    assert roomy.passes[0].decoded_twice == 0
    tight = plan.build(image(pixels), chosen, Resources(2, 200 * MIB))
    assert tight.passes[0].decoded_twice > 0


def test_a_source_chunk_that_does_not_fit_is_named_as_the_cause() -> None:
    pixels = NoPixels((1, 1, 512, 2048, 2048), chunks=(1, 1, 512, 2048, 2048))
    with pytest.raises(MemoryBudgetError, match="the source's chunks of 4096 MiB are decoded whole"):
        plan.build(image(pixels), Options(), Resources(2, 4096 * MIB))


def test_tiny_chunks_are_counted_with_what_each_of_them_costs() -> None:
    pixels = NoPixels((1, 1, 64, 512, 512))
    decided = plan.build(image(pixels), Options(chunks=(1, 1, 1)), Resources(2, 1024 * MIB))
    step = decided.passes[0]
    assert step.job_bytes > prod(step.region) * plan.CHUNK_TASK_BYTES
    assert_sound(decided)


@pytest.mark.parametrize("memory", [256 * MIB, 1024 * MIB, 4096 * MIB])
@pytest.mark.parametrize("workers", [2, 32])
def test_samples_of_one_pixel_are_decoded_once(memory: int, workers: int) -> None:
    """The tiles of a slide hold red, green and blue together."""
    slide = image(NoPixels((1, 3, 1, 20_000, 20_000), "uint8", (1, 3, 1, 512, 512)), (None, 0.5, 0.5))
    decided = plan.build(slide, Options(), Resources(workers, memory))
    assert_sound(decided)
    assert decided.passes[0].decoded_twice == 0
