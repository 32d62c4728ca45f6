from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from images import ArrayPixels, image

from ngff_convert import chunking, plan, resume
from ngff_convert.errors import MemoryBudgetError, ReadError
from ngff_convert.model import Channel
from ngff_convert.options import RUNNING, Options
from ngff_convert.plan import Resources
from ngff_convert.testing import coded_pixels
from ngff_convert.write_plan import Codec, Decided

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Resources(2, 1 << 30)
DEFAULTS = Options()


def decided(options: Options = DEFAULTS, machine: Resources = MACHINE) -> tuple[Decided, ...]:
    made = image(ArrayPixels(coded_pixels((1, 2, 8, 40, 40)), (1, 1, 8, 16, 16)), (1.0, 1.0, 1.0))
    return (Decided(made, plan.build(made, options, machine), ""),)


def begun(
    source: Path, options: Options = DEFAULTS, missing: tuple[str, ...] = (), **changed: Any
) -> resume.Begun:
    items = tuple(replace(item, **changed) for item in decided(options))
    record = resume.begun([resume.facts(str(source))], missing, options, MACHINE, items)
    # As it is after a trip through the file.
    loaded: resume.Begun = json.loads(json.dumps(record))
    return loaded


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.ims"
    path.write_bytes(bytes(range(256)) * 100)
    return path


def test_the_same_is_the_same(source: Path) -> None:
    assert begun(source)["digest"] == begun(source)["digest"]
    (source.parent / "moved").mkdir()
    assert (
        begun(source.rename(source.parent / "moved" / "in.ims"))["digest"]
        == begun(source.parent / "moved" / "in.ims")["digest"]
    )


def test_another_name_may_be_another_place_in_a_series(source: Path) -> None:
    before = begun(source)
    now = begun(source.rename(source.with_name("in_t2.ims")))
    assert now["digest"] != before["digest"]
    assert resume.differences(before, now).endswith("in_t2.ims was called in.ims")


def test_what_is_missing_counts(source: Path) -> None:
    before, now = begun(source), begun(source, missing=("t3.tif is missing",))
    assert now["digest"] != before["digest"]
    assert resume.differences(before, now) == "what of the input is missing"


OTHER: dict[str, Any] = {
    "ngff_version": "0.4",
    "chunks": (8, 8, 8),
    "shards": (16, 16, 16),
    "codec": Codec("zstd"),
    "method": "max",
    "levels": 2,
    "min_size": 8,
    "factors": ((1, 2, 2),),
    "pyramid": "native",
    "images": (1,),
    "wells": ("B02",),
    "fields": ("0:2",),
    "crop": ((0, 1), *((None, None),) * 4),
    "spacing": (2.0, 1.0, 1.0),
    "unit": "nm",
    "origin": (0.0, 0.0, 0.0),
    "channel_names": ("a", "b"),
    "channel_colors": ("red", "green"),
    "name": "cells",
    "layout": "single",
    "output_axes": "tczyx",
    "dtype": "uint32",
    "ome_xml": False,
    "original_metadata": False,
    "reader": "tiff",
    "dataset": ("data",),
    "axes": "tz",
    "shape": (4, 4),
    "files_from": "list.txt",
    "labels": (("a", "seg.tif"),),
    "label_properties": (("a", "a.csv"),),
    "label_method": "nearest",
    "own_labels": False,
}


@pytest.mark.parametrize("name", sorted(set(Options.__dataclass_fields__) - set(RUNNING)))
def test_every_option_that_says_what_is_written_counts(source: Path, name: str) -> None:
    """Also where sizes and types stay the same, as with another part of equal size."""
    needed = {"shape": "axes", "label_properties": "labels"}
    given = {one: OTHER[one] for one in (name, needed.get(name, name))}
    (item,) = decided()
    facts = [resume.facts(str(source))]
    before = resume.begun(facts, (), Options(), MACHINE, [item])
    now = resume.begun(facts, (), Options(**given), MACHINE, [item])
    assert now["digest"] != before["digest"]
    assert " is " in resume.differences(before, now)


def test_how_it_runs_does_not_matter(source: Path) -> None:
    running: dict[str, Any] = {
        "workers": 1,
        "memory": 1 << 29,
        "on_error": "fill",
        "overwrite": True,
        "restart": True,
        "fsync": "region",
        "verify": "full",
        "cluster": "slurm",
        "jobs": 3,
        "job_cores": 2,
        "job_memory": 1 << 33,
        "job_time": "01:00:00",
        "queue": "long",
        "job_extra": ("--account=imaging",),
        "storage_options": (("region", "eu-west-1"),),
    }
    assert running.keys() == set(RUNNING) - {"scheduler"}
    assert begun(source)["digest"] == begun(source, Options(scheduler="tcp://host:8786"))["digest"]
    assert begun(source)["digest"] == begun(source, Options(**running))["digest"]


def end_changed(path: Path, at: int) -> None:
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes() + b"0"), "in.ims has 25601 bytes, had 25600"),
        (lambda p: end_changed(p, 0), "in.ims has another content"),
        (lambda p: end_changed(p, -1), "in.ims has another content"),
        (
            lambda p: os.utime(p, ns=(1, 1)),
            "in.ims was changed meanwhile, or copied without its time (cp -p keeps it)",
        ),
    ],
    ids=["size", "head", "tail", "time"],
)
def test_a_changed_file_is_named(source: Path, change: Any, said: str) -> None:
    before = begun(source)
    change(source)
    now = begun(source)
    assert now["digest"] != before["digest"]
    assert resume.differences(before, now).endswith(said)
    assert resume.differences(before, now).startswith(str(source.parent))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(chunks=(8, 8, 8)), '--chunks is [8, 8, 8], was "auto"'),
        (Options(codec=Codec("none")), "--compressor is name none, was name blosc-lz4 level 5 shuffle bit"),
        (Options(method="max"), '--method is "max", was not given'),
        (Options(ome_xml=False), "--ome-xml is false, was true"),
        (Options(ngff_version="0.4"), '--ngff-version is "0.4", was "0.5"'),
    ],
)
def test_a_changed_option_is_named(source: Path, options: Options, said: str) -> None:
    before, now = begun(source), begun(source, options)
    assert now["digest"] != before["digest"]
    assert resume.differences(before, now) == said


def test_another_name_or_description_is_told(source: Path) -> None:
    before = begun(source)
    (item,) = decided()
    now = begun(source, image=replace(item.image, name="cells"))
    assert now["digest"] != before["digest"]
    assert 'an image is called "cells", was' in resume.differences(before, now)
    channels = (Channel("GFP"), Channel())
    now = begun(source, image=replace(item.image, channels=channels))
    assert now["digest"] != before["digest"]
    assert resume.differences(before, now) == "the images are described otherwise"


def test_a_program_version_matters_only_where_it_plans_otherwise(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = begun(source)
    monkeypatch.setattr(resume, "__version__", "99")
    assert begun(source)["digest"] == before["digest"]
    monkeypatch.setattr(chunking, "CHUNK_BYTES", 2**10)
    monkeypatch.setattr(chunking, "SOURCE_CHUNK_BYTES", (2**30, 2**31))
    now = begun(source)
    assert now["digest"] != before["digest"]
    assert resume.differences(before, now) == (
        f"ngff-convert {before['version']} planned it otherwise than 99 does"
    )


def test_many_differences_are_counted(source: Path) -> None:
    before = begun(source)
    many = {**before, "source": before["source"] * 9}
    fewer = {**many, "source": [{**file, "size": 1} for file in many["source"]]}
    assert resume.differences(before, many) == "the input is 9 files, was 1"
    assert resume.differences(many, fewer).endswith("had 25600 and 4 more")


@pytest.mark.parametrize("before", [{}, {"source": 1}, {"source": [], "options": None}])
def test_a_damaged_record_is_called_that(source: Path, before: dict[str, Any]) -> None:
    assert resume.differences(before, begun(source)) == "its record is damaged or of another program version"


# -- what a run may use ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left", [None, {}, {"resources": 1}, {"resources": {"workers": "2", "memory": 3}}, {"resources": []}]
)
def test_without_an_earlier_run_the_machine_decides(left: Any) -> None:
    assert resume.earlier(left, MACHINE) == MACHINE


def test_regions_are_those_of_the_earlier_run_and_workers_those_of_now() -> None:
    first = resume.earlier({"resources": {"workers": 7, "memory": 1 << 31}}, MACHINE)
    assert first == Resources(7, 1 << 31)
    (planned,) = decided(machine=first)
    needed = max(step.job_bytes for step in planned.plan.passes)
    (fitted,) = resume.fitted([planned], Resources(3, 2 * needed))
    assert (fitted.plan.workers, fitted.plan.budget_bytes) == (2, 2 * needed)
    assert fitted.plan.passes == planned.plan.passes
    assert fitted.plan.digest == planned.plan.digest
    with pytest.raises(MemoryBudgetError, match="as much memory as to the first run, or use --restart"):
        resume.fitted([planned], Resources(3, needed - 1))


# -- a source that changes while it is read ----------------------------------------------------------------


def test_a_source_that_stays_is_fine(source: Path) -> None:
    resume.check_unchanged([resume.facts(str(source))])


def test_a_source_that_changed_while_it_was_opened_is_refused(source: Path) -> None:
    before = source.stat()
    resume.check_as_opened(str(source), before, [resume.facts(str(source))])
    resume.check_as_opened("folder", None, [resume.facts(str(source))])
    os.utime(source, ns=(1, 1))
    with pytest.raises(ReadError, match=r"in\.ims: was changed while it was opened"):
        resume.check_as_opened(str(source), before, [resume.facts(str(source))])


def test_a_source_that_changed_meanwhile_is_refused(source: Path) -> None:
    before = [resume.facts(str(source))]
    os.utime(source, ns=(1, 1))
    with pytest.raises(ReadError, match=r"in\.ims: was changed while it was read"):
        resume.check_unchanged(before)
    source.unlink()
    with pytest.raises(ReadError, match=r"in\.ims: is gone"):
        resume.check_unchanged(before)
    with pytest.raises(ReadError, match=r"in\.ims: cannot be read"):
        resume.facts(str(source))
