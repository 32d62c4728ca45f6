"""What a conversion shows while it runs: images, and label images apart from them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import ome_tiffs
import pytest
from label_files import CHUNKS, objects, write_image, write_labels

from ngff_convert import Options, array_job, convert, labels_store, machine, progress
from ngff_convert.events import ignore
from ngff_convert.json_log import JsonLines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)


def two_images(folder: Path) -> Path:
    image = ome_tiffs.coded(t=1, z=9, y=70, x=90)
    n = image.shape[0] * image.shape[1] * image.shape[2]
    xml = ome_tiffs.document(
        *(ome_tiffs.image(image, ome_tiffs.data(IFD=n * k, PlaneCount=n), number=k) for k in range(2))
    )
    return ome_tiffs.write(folder / "two.ome.tif", ome_tiffs.pages_of(image) * 2, xml)


@pytest.mark.usefixtures("every_step")
def test_label_images_are_told_apart_from_images(tmp_path: Path) -> None:
    ims, seg = write_image(tmp_path / "in.ims"), write_labels(tmp_path / "seg.tif", objects())
    options = Options(**CHUNKS, verify="full", labels=(("nuclei", str(seg)), ("cells", str(seg))))
    said = io.StringIO()
    convert(ims, tmp_path / "out.ome.zarr", options, progress.Lines(said, verbose=True))
    title, *lines = said.getvalue().splitlines()
    assert title == "in and 2 label images"
    assert "labels/nuclei: nuclei" in lines
    assert [
        line
        for line in lines
        if ", level 0 of labels/cells, " in line or "levels 0-2 of labels/cells" in line
    ]
    assert [line for line in lines if line.endswith("verification 3 of 3, labels/cells")]
    assert not [line for line in lines if "image 1" in line]


@pytest.mark.usefixtures("every_step")
def test_a_label_image_that_is_added_is_called_by_its_name(tmp_path: Path) -> None:
    seg = write_labels(tmp_path / "seg.tif", objects())
    convert(write_image(tmp_path / "in.ims"), tmp_path / "out.ome.zarr", Options(**CHUNKS))
    said = io.StringIO()
    labels_store.add(tmp_path / "out.ome.zarr", "nuclei", str(seg), None, progress.Lines(said, verbose=False))
    title, *lines = said.getvalue().splitlines()
    assert title == "nuclei"
    assert lines
    assert not [line for line in lines if "label image" in line or " of labels" in line]


@pytest.mark.usefixtures("every_step")
def test_images_are_counted_without_their_label_images(tmp_path: Path) -> None:
    seg = write_labels(tmp_path / "seg.tif", objects(), "ZYX")
    said = io.StringIO()
    options = Options(**CHUNKS, verify="full")
    convert(two_images(tmp_path), tmp_path / "two.ome.zarr", options, progress.Lines(said, verbose=False))
    labels_store.add(tmp_path / "two.ome.zarr", "nuclei", str(seg), image="1")
    copy, events = io.StringIO(), io.StringIO()
    convert(
        tmp_path / "two.ome.zarr", tmp_path / "copy.ome.zarr", options, progress.Lines(copy, verbose=False)
    )
    convert(tmp_path / "two.ome.zarr", tmp_path / "again.ome.zarr", options, JsonLines(events))
    assert said.getvalue().splitlines()[0] == "2 images"
    title, *lines = copy.getvalue().splitlines()
    assert title == "2 images and 1 label image"
    assert [line for line in lines if " of image 1, " in line]
    assert [line for line in lines if " of 1/labels/nuclei, " in line]
    assert lines[-1].endswith("verification 3 of 3, 1/labels/nuclei")
    plans = [
        found for line in events.getvalue().splitlines() if (found := json.loads(line))["event"] == "plan"
    ]
    assert [(plan["image"], plan["images"], plan["labels"], plan["label_of"]) for plan in plans] == [
        (0, 3, 1, None),
        (1, 3, 1, None),
        (2, 3, 1, "1"),
    ]


def test_a_part_of_a_job_that_begins_with_a_label_image(tmp_path: Path) -> None:
    ims, seg = write_image(tmp_path / "in.ims"), write_labels(tmp_path / "seg.tif", objects())
    options = Options(**CHUNKS, workers=1, memory=10 * 2**20, labels=(("nuclei", str(seg)),))
    job = array_job.plan(ims, tmp_path / "out.ome.zarr", 9, options, ignore)
    said = io.StringIO()
    array_job.run(job, 9, machine.resources(), progress.Lines(said, verbose=True))
    title, line, *_ = said.getvalue().splitlines()
    assert (title, line) == ("1 image and 1 label image", "labels/nuclei: nuclei")
