"""Many images in one source: their regions run together, and every pixel of each is where it belongs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from stores import assert_means, levels, tree

from ngff_convert import Options, array_job, convert, display, job_file, sink
from ngff_convert.errors import ReadError
from ngff_convert.events import ImageStarted, LevelDone, RegionDone, ignore
from ngff_convert.plan import Resources
from ngff_convert.readers.tiff_pixels import TiffPixels
from ngff_convert.region import PassTask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ngff_convert.events import Event
    from ngff_convert.model import Box

# Little memory makes several passes of the large images; the small ones have one.
SMALL = Options(chunks=(1, 32, 32), memory=20_000_000, workers=3)
SHAPES = [(2, 40, 50), (1, 700, 800), (3, 33, 32), (1, 7, 9), (2, 500, 300)]
DTYPES = ["uint16", "uint8", "float32", "uint16", "int16"]


def pixels(number: int) -> NDArray[Any]:
    """Return an image whose every pixel tells the image, the channel and the place."""
    c, y, x = np.indices(SHAPES[number])
    coded: NDArray[Any] = ((number * 31 + c * 17 + y * 3 + x * 5) % 120).astype(DTYPES[number])
    return coded


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "in.ome.tiff"
    with tifffile.TiffWriter(path, ome=True) as file:
        for number in range(len(SHAPES)):
            file.write(
                pixels(number),
                metadata={"axes": "CYX", "Name": f"field {number}"},
                photometric="minisblack",
                tile=(64, 64),
            )
    return path


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    convert(source, out, SMALL)
    return tree(out)


def test_images_of_all_shapes_and_types_have_their_own_pixels(source: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    report = convert(source, tmp_path / "out", SMALL, events.append)
    assert len({len(plan.passes) for plan in report.plans}) > 1
    for number in range(len(SHAPES)):
        found = levels(tmp_path / "out" / str(number), "0.5")
        np.testing.assert_array_equal(found[0].reshape(SHAPES[number]), pixels(number))
        assert_means(found)
    check_story(events, len(SHAPES))


def check_story(events: list[Event], n_images: int) -> None:
    """All images are announced first; a level is told when all of its regions are."""
    first = next(n for n, event in enumerate(events) if isinstance(event, RegionDone))
    started = [event.index for event in events[:first] if isinstance(event, ImageStarted)]
    assert started == list(range(n_images))
    plans = {event.index: event.plan for event in events if isinstance(event, ImageStarted)}
    done: dict[tuple[int, int], int] = {}
    told: list[tuple[int, int]] = []
    for event in events:
        if isinstance(event, RegionDone):
            done[event.image, event.step] = done.get((event.image, event.step), 0) + 1
        if isinstance(event, LevelDone):
            told.append((event.image, event.level))
            step = next(s for s in plans[event.image].passes if event.level in s.write_levels)
            at = plans[event.image].passes.index(step)
            assert done[event.image, at] == step.n_regions
    assert sorted(told) == [(n, level) for n in plans for level in range(len(plans[n].levels))]


def test_regions_of_several_images_are_in_work_at_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2, timeout=30)
    work = PassTask.__call__

    def met(task: PassTask, region: int) -> RegionDone:
        if task.image in (0, 1):  # of one region each
            together.wait()
        return work(task, region)

    monkeypatch.setattr(PassTask, "__call__", met)
    report = convert(source, tmp_path / "out", Options(workers=2, images=(2, 3)))
    assert [step.n_regions for plan in report.plans for step in plan.passes] == [1, 1]


@pytest.mark.parametrize(
    ("after", "fsync"),
    [
        *((1, "region"), (4, "none"), (30, "region"), (100, "none")),
        *(
            pytest.param(*these, marks=pytest.mark.slow)
            for these in ((1, "none"), (4, "region"), (30, "none"), (100, "region"))
        ),
    ],
)
def test_what_is_interrupted_among_many_images_is_gone_on_with(
    source: Path, tmp_path: Path, whole: dict[str, str], after: int, fsync: str
) -> None:
    class Stop(Exception):  # noqa: N818 - what a signal does
        pass

    left = after

    def stop(event: Event) -> None:
        nonlocal left
        left -= isinstance(event, RegionDone)
        if not left:
            raise Stop

    options = Options(chunks=SMALL.chunks, memory=SMALL.memory, workers=SMALL.workers, fsync=fsync)
    with pytest.raises(Stop):
        convert(source, tmp_path / "out", options, stop)
    again: list[Event] = []
    report = convert(source, tmp_path / "out", options, again.append)
    n_regions = sum(step.n_regions for plan in report.plans for step in plan.passes)
    assert sum(isinstance(event, RegionDone) for event in again) <= n_regions - after
    started = [event for event in again if isinstance(event, ImageStarted)]
    assert sum(event.finished_bytes for event in started) == report.kept_bytes > 0
    assert report.kept_bytes + report.read_bytes == sum(plan.read_bytes for plan in report.plans)
    assert tree(tmp_path / "out") == whole


def test_what_was_filled_in_one_image_is_made_again_with_what_was_made_of_it_and_no_other(
    source: Path, tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TiffPixels.read

    def damaged(self: TiffPixels, box: Box) -> NDArray[Any]:
        if self.shape[-1] == 800 and box.start[3] == 0 and box.start[4] == 0:
            raise ReadError("chunk 0 is damaged")
        return read(self, box)

    options = Options(chunks=SMALL.chunks, memory=SMALL.memory, workers=SMALL.workers, on_error="fill")
    monkeypatch.setattr(TiffPixels, "read", damaged)

    def stop(event: Event) -> None:
        if isinstance(event, RegionDone) and (event.image, event.step) == (1, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", options, stop)
    report = convert(source, tmp_path / "out", options)
    assert len(report.filled) >= 1
    assert all("damaged" in line for line in report.filled)
    assert not np.array_equal(levels(tmp_path / "out" / "1", "0.5")[0].reshape(SHAPES[1]), pixels(1))
    for number in (0, 2, 3, 4):
        found = levels(tmp_path / "out" / str(number), "0.5")[0]
        np.testing.assert_array_equal(found.reshape(SHAPES[number]), pixels(number))


def test_parts_have_regions_of_many_images(source: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    job = array_job.plan(source, tmp_path / "out", 3, SMALL, ignore)
    path = tmp_path / "job.json"
    job_file.save(job, path)
    for part in (2, 3, 1):
        events: list[Event] = []
        array_job.run(job_file.load(path), part, Resources(2, 2**30), events.append)
        started = [event.index for event in events if isinstance(event, ImageStarted)]
        assert started == sorted(set(started))
        done = [event.image for event in events if isinstance(event, RegionDone)]
        assert set(done) == set(started)
    array_job.finish(job, Options(), ignore)
    found = tree(tmp_path / "out")
    assert {name: hashed for name, hashed in found.items() if "/c/" in name} == {
        name: hashed for name, hashed in whole.items() if "/c/" in name
    }


def test_open_arrays_are_bounded_however_many_images(tmp_path: Path) -> None:
    source = tmp_path / "in.ome.tiff"
    n_images = sink.OPEN_ARRAYS + 30
    with tifffile.TiffWriter(source, ome=True) as file:
        for number in range(n_images):
            file.write(np.full((5, 6), number, "uint16"), metadata={"axes": "YX"})
    opened: list[int] = []
    files: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, RegionDone):
            opened.append(sink._array.cache_info().currsize)
            files.append(len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0)

    report = convert(source, tmp_path / "out", Options(ome_xml=False), watch)
    assert len(report.plans) == n_images
    assert max(opened) <= sink.OPEN_ARRAYS
    assert max(files) - min(files) < 20
    for number in (0, 1, n_images - 1):
        assert (levels(tmp_path / "out" / str(number), "0.5")[0] == number).all()


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[int], share: float) -> None:
    ordered = np.sort(np.array(values, "int16"))
    expected = np.quantile(ordered.astype("float64"), share)
    assert display._quantile(ordered, share) == pytest.approx(expected, rel=1e-9, abs=1e-6)
