"""Label images that are written with their image: pixels, metadata, and everything that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import foreign_stores
import numpy as np
import ome_tiffs
import pytest
import tifffile
import yaozarrs
import zarr
from label_files import CHUNKS, mask, objects, region, write_image, write_labels
from stores import attributes
from stores import levels as stored_levels

import ngff_convert
from ngff_convert import Codec, Options, array_job, convert, label_colors, machine
from ngff_convert.cli import main
from ngff_convert.downsample import shrink
from ngff_convert.errors import OptionError, ReadError, UnsupportedInput, VerificationError
from ngff_convert.events import Event, Note, RegionDone
from ngff_convert.label_colors import colors
from ngff_convert.labels import steps_of as factors_of
from ngff_convert.readers.ome_masks_reader import OmeMasksReader
from ngff_convert.testing import coded_pixels
from ngff_convert.validate import validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from numpy.typing import NDArray

KNOWN_TO_OTHERS = ("0.4", "0.5")
VERSIONS = (*KNOWN_TO_OTHERS, "0.6")


@pytest.fixture
def ims(tmp_path: Path) -> Path:
    return write_image(tmp_path / "in.ims")


@pytest.fixture
def seg(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "seg.tif", objects())


def with_labels(path: Path, name: str = "nuclei", **others: Any) -> Options:
    return Options(**{**CHUNKS, "labels": ((name, str(path)),), **others})


def image_label(store: Path, name: str = "nuclei", version: str = "0.5") -> dict[str, Any]:
    found: dict[str, Any] = attributes(store / "labels" / name, version)["image-label"]
    return found


def pixels(store: Path, version: str = "0.5") -> list[NDArray[Any]]:
    return [np.asarray(level) for level in stored_levels(store, version)]


def made(source: Path, target: Path, options: Options) -> Path:
    """Convert, and hold the store against everything that reads label images."""
    convert(source, target, options)
    validation = validate(target, deep=True)
    assert not validation.errors
    assert not [one for one in validation.warnings if one.rule.startswith("label")]
    if options.ngff_version != "0.6":  # which they do not know
        yaozarrs.validate_zarr_store(str(target))
    return target


def axes_of(multiscales: dict[str, Any]) -> list[dict[str, str]]:
    """Return the axes, which 0.6 has in a coordinate system."""
    systems = multiscales.get("coordinateSystems")
    found: list[dict[str, str]] = systems[0]["axes"] if systems else multiscales["axes"]
    return found


def steps_of(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """Return scale and translation, which 0.6 has in a sequence."""
    (step, *others) = dataset["coordinateTransformations"]
    return step["transformations"] if step["type"] == "sequence" else [step, *others]


# -- what is written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", ["mode", "nearest"])
def test_a_label_image_lies_on_the_voxels_of_its_image(
    ims: Path, seg: Path, tmp_path: Path, version: str, method: str
) -> None:
    options = with_labels(seg, ngff_version=version, label_method=method, verify="full")
    store = made(ims, tmp_path / "out.ome.zarr", options)
    of, own = (attributes(place, version)["multiscales"][0] for place in (store, store / "labels/nuclei"))
    assert [axis["name"] for axis in axes_of(own)] == ["z", "y", "x"]
    assert axes_of(own) == axes_of(of)[-3:]
    assert [d["path"] for d in own["datasets"]] == [d["path"] for d in of["datasets"]]
    for d, e in zip(own["datasets"], of["datasets"], strict=True):
        scale, *shift = steps_of(d)
        of_scale, *of_shift = steps_of(e)
        assert scale["scale"] == of_scale["scale"][-3:]
        if method == "mode":
            assert [one["translation"] for one in shift] == [one["translation"][-3:] for one in of_shift]
    expected = objects()[np.newaxis, np.newaxis]
    factors = own["metadata"]["kwargs"]["factors"]
    assert len(factors) == 3
    for k, level in enumerate(pixels(store / "labels/nuclei", version)):
        if k:
            step = [b // a for a, b in zip(factors[k - 1], factors[k], strict=True)]
            expected = shrink(expected, (1, 1, *step), method)
        np.testing.assert_array_equal(level, expected[0, 0])
        assert level.dtype == np.uint16


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_said_of_values(ims: Path, seg: Path, tmp_path: Path, version: str) -> None:
    (tmp_path / "t.csv").write_text("label,area,kind\n1,12,a\n212,0.5,b\n")
    options = with_labels(seg, ngff_version=version, label_properties=(("nuclei", str(tmp_path / "t.csv")),))
    store = made(ims, tmp_path / "out.ome.zarr", options)
    found = image_label(store, version=version)
    values = np.unique(objects()).tolist()
    assert found.get("version") == (None if version == "0.6" else version)
    assert found["source"] == {"image": "../../"}
    assert found["colors"] == [
        {"label-value": value, "rgba": list(color)} for value, color in colors(values).items()
    ]
    said = {1: {"area": 12, "kind": "a"}, 212: {"area": 0.5, "kind": "b"}}
    assert found["properties"] == [{"label-value": value, **said.get(value, {})} for value in values]
    assert attributes(store / "labels", version)["labels"] == ["nuclei"]
    text = (store / "OME/METADATA.ome.xml").read_text()
    assert text.count("<Image ") == 1
    assert "nuclei" not in text


@pytest.mark.parametrize("version", KNOWN_TO_OTHERS)
def test_ome_zarr_models_read_it(ims: Path, seg: Path, tmp_path: Path, version: str) -> None:
    import ome_zarr_models.v04
    import ome_zarr_models.v05

    (tmp_path / "t.csv").write_text("label,area\n1,12\n9999,1\n")
    options = with_labels(seg, ngff_version=version, label_properties=(("nuclei", str(tmp_path / "t.csv")),))
    store = made(ims, tmp_path / "out.ome.zarr", options)
    module = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    image = module.Image.from_zarr(zarr.open_group(store, mode="r"))
    labels = image.labels
    assert labels is not None
    found = module.ImageLabel.from_zarr(zarr.open_group(store / "labels/nuclei", mode="r"))
    assert "nuclei" in str(labels.attributes)
    assert found is not None


def test_more_values_than_get_a_colour(
    ims: Path, seg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_colors, "MAX_COLORS", 20)
    events: list[Event] = []
    convert(ims, tmp_path / "out", with_labels(seg), events.append)
    assert "colors" not in image_label(tmp_path / "out")
    assert [e.message for e in events if isinstance(e, Note) and "20 values" in e.message]
    assert not validate(tmp_path / "out").errors


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint32", "uint64"])
def test_types_of_labels(ims: Path, tmp_path: Path, dtype: str) -> None:
    own = objects() > 0 if dtype == "bool" else objects(step=-1 if dtype == "int16" else 1).astype(dtype)
    seg = write_labels(tmp_path / "seg.tif", own)
    store = made(ims, tmp_path / "out.ome.zarr", with_labels(seg, verify="full"))
    found = pixels(store / "labels/nuclei")[0]
    assert found.dtype == ("uint8" if dtype == "bool" else dtype)
    np.testing.assert_array_equal(found, own)
    values = [entry["label-value"] for entry in image_label(store)["colors"]]
    assert values == sorted(set(own.ravel().astype(found.dtype).tolist()))


def test_labels_in_time(ims: Path, tmp_path: Path) -> None:
    own = np.stack([objects(), objects(step=3)])
    seg = write_labels(tmp_path / "seg.tif", own, "TZYX")
    store = made(ims, tmp_path / "out.ome.zarr", with_labels(seg, verify="full"))
    np.testing.assert_array_equal(pixels(store / "labels/nuclei")[0], own)
    axes = [a["name"] for a in attributes(store / "labels/nuclei", "0.5")["multiscales"][0]["axes"]]
    assert axes == ["t", "z", "y", "x"]


def test_labels_as_ilastik_exports_them(ims: Path, tmp_path: Path) -> None:
    """With all five axes, of which c is 1; in TIFF it writes them as a hyperstack of ImageJ."""
    own = np.stack([objects(), objects(step=2)])
    seg = tmp_path / "in_Object Identities.tiff"
    tifffile.imwrite(seg, own[:, :, np.newaxis], imagej=True, metadata={"axes": "TZCYX"})
    store = made(ims, tmp_path / "out.ome.zarr", with_labels(seg))
    np.testing.assert_array_equal(pixels(store / "labels/nuclei")[0], own)


def test_the_crop_is_that_of_the_image(ims: Path, seg: Path, tmp_path: Path) -> None:
    crop = ((1, 2), (0, 1), (2, 7), (10, 60), (None, 81))
    expected = objects()[2:7, 10:60, :81]
    store = made(ims, tmp_path / "a.ome.zarr", with_labels(seg, crop=crop, verify="full"))
    np.testing.assert_array_equal(pixels(store / "labels/nuclei")[0], expected)
    of = attributes(store, "0.5")["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    own = attributes(store / "labels/nuclei", "0.5")["multiscales"][0]["datasets"][0]
    assert own["coordinateTransformations"][1]["translation"] == of[1]["translation"][-3:]
    cropped = write_labels(tmp_path / "cropped.tif", expected)
    store = made(ims, tmp_path / "b.ome.zarr", with_labels(cropped, crop=crop))
    np.testing.assert_array_equal(pixels(store / "labels/nuclei")[0], expected)


def test_native_levels_of_the_image_have_label_images_of_their_factors(tmp_path: Path) -> None:
    image = coded_pixels((33, 64, 80), "uint16")
    with tifffile.TiffWriter(tmp_path / "in.ome.tif", bigtiff=True) as tif:
        tif.write(image[0], subifds=2, tile=(32, 32), metadata={"axes": "YX"})
        tif.write(image[0, ::2, ::2], tile=(32, 32), subfiletype=1)
        tif.write(image[0, ::4, ::4], tile=(32, 32), subfiletype=1)
    own = objects((1, 64, 80))[0]
    seg = write_labels(tmp_path / "seg.tif", own, "YX")
    options = with_labels(seg, pyramid="native", levels=None, label_method="nearest")
    store = made(tmp_path / "in.ome.tif", tmp_path / "out.ome.zarr", options)
    for k, level in enumerate(pixels(store / "labels/nuclei")):
        np.testing.assert_array_equal(level[0], own[:: 2**k, :: 2**k])
    assert k == 2


def test_beside_copied_chunks_labels_are_made(ims: Path, tmp_path: Path) -> None:
    own = objects() > 0
    seg = write_labels(tmp_path / "seg.tif", own)
    options = Options(
        labels=(("nuclei", str(seg)),), codec=Codec("source"), ngff_version="0.4", verify="full"
    )
    store = made(ims, tmp_path / "out.ome.zarr", options)
    np.testing.assert_array_equal(pixels(store / "labels/nuclei", "0.4")[0], own)


def test_spacing_is_the_images_where_it_is_not_known_or_the_same(ims: Path, tmp_path: Path) -> None:
    seg = tmp_path / "seg.ome.tif"
    tifffile.imwrite(
        seg,
        objects(),
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 1.005,
            "PhysicalSizeY": 1.0,
            "PhysicalSizeZ": 1000,
            "PhysicalSizeZUnit": "nm",
        },
    )
    made(ims, tmp_path / "out.ome.zarr", with_labels(seg))
    options = with_labels(seg, spacing=(1, 0.1, 0.1), unit="micrometer")  # an image that was wrong itself
    store = made(ims, tmp_path / "b.ome.zarr", options)
    own = attributes(store / "labels/nuclei", "0.5")["multiscales"][0]["datasets"][0]
    assert own["coordinateTransformations"][0]["scale"] == [1, 0.1, 0.1]


# -- what does not fit -------------------------------------------------------------------------------------


def refused(ims: Path, options: Options, match: str, error: type[Exception] = OptionError) -> None:
    target = ims.parent / "refused.ome.zarr"
    with pytest.raises(error, match=match):
        convert(ims, target, options)
    assert not target.exists()
    assert not target.with_name("refused.ome.zarr.partial").exists()


def test_floats_are_no_labels(ims: Path, tmp_path: Path) -> None:
    seg = write_labels(tmp_path / "seg.tif", objects(dtype="float32"))
    refused(ims, with_labels(seg), r"--labels nuclei: is of type float32, but labels are whole numbers; save")


def test_another_size(ims: Path, tmp_path: Path) -> None:
    seg = write_labels(tmp_path / "seg.tif", objects()[:, :, 1:])
    match = r"is of 1 x 9 x 70 x 89 \(t z y x\) voxels, its image of 2 x 9 x 70 x 90 \(t z y x\): "
    refused(ims, with_labels(seg), match)
    refused(ims, with_labels(seg, crop=((None, None),) * 4 + ((0, 50),)), r"of which 2 x 9 x 70 x 50")
    three = write_labels(tmp_path / "three.tif", np.stack([objects()] * 3), "TZYX")
    refused(ims, with_labels(three), r"is of 3 x 9 x 70 x 90")


def test_several_channels(ims: Path, tmp_path: Path) -> None:
    seg = write_labels(tmp_path / "seg.tif", np.stack([objects()] * 2, axis=1), "ZCYX")
    refused(
        ims, with_labels(seg), r"has 2 channels; a label image has one: if its pages .* --axes TZ --shape 2,9"
    )
    seg = write_labels(tmp_path / "three.tif", np.stack([objects()] * 3, axis=1), "ZCYX")
    refused(ims, with_labels(seg), r"has 3 channels; a label image has one: save each")


def test_another_spacing(ims: Path, tmp_path: Path) -> None:
    seg = tmp_path / "seg.ome.tif"
    tifffile.imwrite(
        seg,
        objects(),
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65, "PhysicalSizeZ": 2},
    )
    match = r"its voxels are 2 x 0.65 x 0.65 .m \(z y x\), those of its image 1 x 1 x 1 .m: is it of another"
    refused(ims, with_labels(seg), match)


def test_files_that_are_none(ims: Path, tmp_path: Path) -> None:
    refused(ims, with_labels(tmp_path / "none.tif"), "No such file", ReadError)
    (tmp_path / "text.tif").write_text("no image at all")
    refused(ims, with_labels(tmp_path / "text.tif"), "no reader recognises", UnsupportedInput)
    refused(ims, with_labels(Path(f"{write_labels(tmp_path / 'seg.tif', objects())}#1")), "has images 0 to 0")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"labels": (("../x", "a"),)}, "is called by letters"),
        ({"labels": (("", "a"),)}, "is called by letters"),
        ({"labels": (("a", ""),)}, "--labels a=FILE"),
        ({"labels": (("a", "b"), ("a", "c"))}, "a is there twice"),
        ({"label_properties": (("a", "b"),)}, "there is no --labels a=FILE"),
        ({"label_method": "mean"}, "not one of nearest, mode"),
    ],
)
def test_options_that_cannot_be_meant(given: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Options(**given)


def test_properties_of_values_that_cannot_be(ims: Path, seg: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("label,area\n65536,3\n")
    options = with_labels(seg, label_properties=(("nuclei", str(table)),))
    refused(
        ims,
        options,
        r"table.csv: line 2, column label: '65536' is no value that .* can have, 0 to 65535; is the table",
    )


def test_properties_of_a_store_of_values_that_cannot_be(tmp_path: Path) -> None:
    foreign_stores.write_image(tmp_path / "in.ome.zarr", "0.5")
    entry = {"label-value": 10**300, "area": 3}
    foreign_stores.edit_ome(
        tmp_path / "in.ome.zarr/labels/cells", "0.5", lambda o: o["image-label"].update(properties=[entry])
    )
    match = (
        r"are of the value 10{56}\.\.\., which uint32 cannot hold; .*or leave the input's out: --no-labels"
    )
    with pytest.raises(OptionError, match=match):
        convert(tmp_path / "in.ome.zarr", tmp_path / "out.ome.zarr")


def test_one_label_image_for_several_images(tmp_path: Path, seg: Path) -> None:
    image = ome_tiffs.coded(z=9, y=70, x=90)
    xml = ome_tiffs.document(
        *(ome_tiffs.image(image, ome_tiffs.data(IFD=9 * n, PlaneCount=9), number=n) for n in range(2))
    )
    source = ome_tiffs.write(tmp_path / "two.ome.tif", ome_tiffs.pages_of(image) * 2, xml)
    refused(source, with_labels(seg), r"seg.tif is one image, but 2 are to be written.*labels add OUT")
    store = made(source, tmp_path / "one.ome.zarr", with_labels(seg, images=(1,)))
    np.testing.assert_array_equal(pixels(store / "labels/nuclei")[0], objects())
    both = ome_tiffs.write(
        tmp_path / "labels.ome.tif", [*objects(), *objects(step=5)], xml.replace("two", "labels")
    )
    store = made(source, tmp_path / "out.ome.zarr", with_labels(both, verify="full"))
    for number, step in ((0, 1), (1, 5)):
        np.testing.assert_array_equal(pixels(store / f"{number}/labels/nuclei")[0], objects(step=step))
    single = with_labels(Path(f"{both}#1"), images=(0,))
    store = made(source, tmp_path / "b.ome.zarr", single)
    np.testing.assert_array_equal(pixels(store / "labels/nuclei")[0], objects(step=5))


# -- interrupted, in parts, on a cluster -------------------------------------------------------------------


def stop_in_labels(event: Event) -> None:
    if isinstance(event, RegionDone) and event.image == 1:
        raise KeyboardInterrupt


SMALL: dict[str, Any] = {"memory": 10 * 2**20, "workers": 1}


def test_an_interrupted_conversion_goes_on_within_its_labels(ims: Path, seg: Path, tmp_path: Path) -> None:
    options = with_labels(seg, **SMALL)
    whole = made(ims, tmp_path / "whole.ome.zarr", options)
    with pytest.raises(KeyboardInterrupt):
        convert(ims, tmp_path / "out.ome.zarr", options, stop_in_labels)
    read: list[tuple[int, int]] = []

    def watch(event: Event) -> None:
        if isinstance(event, RegionDone):
            read.append((event.image, event.region))

    convert(ims, tmp_path / "out.ome.zarr", options, watch)
    assert 0 not in {image for image, _ in read}
    assert image_label(tmp_path / "out.ome.zarr") == image_label(whole)
    for a, b in zip(
        pixels(whole / "labels/nuclei"), pixels(tmp_path / "out.ome.zarr/labels/nuclei"), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_labels_that_changed_meanwhile_are_not_gone_on_with(ims: Path, seg: Path, tmp_path: Path) -> None:
    options = with_labels(seg, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        convert(ims, tmp_path / "out", options, stop_in_labels)
    write_labels(seg, objects(step=2))
    with pytest.raises(ngff_convert.errors.TargetError, match=r"seg\.tif"):
        convert(ims, tmp_path / "out", options)


def test_in_parts(ims: Path, seg: Path, tmp_path: Path) -> None:
    options = with_labels(seg, **SMALL)
    whole = made(ims, tmp_path / "whole.ome.zarr", options)
    job = array_job.plan(ims, tmp_path / "out.ome.zarr", 3, options, lambda _: None)
    for part in (3, 1, 2):
        array_job.run(job, part, machine.resources(), lambda _: None)
    array_job.finish(job, Options(), lambda _: None)
    assert not validate(tmp_path / "out.ome.zarr", deep=True).errors
    assert image_label(tmp_path / "out.ome.zarr") == image_label(whole)
    np.testing.assert_array_equal(pixels(tmp_path / "out.ome.zarr/labels/nuclei")[0], objects())


def test_into_an_archive(ims: Path, seg: Path, tmp_path: Path) -> None:
    convert(ims, tmp_path / "out.ozx", with_labels(seg))
    validation = validate(tmp_path / "out.ozx", deep=True)
    assert not validation.errors
    assert validation.labels == 1


# -- compared ----------------------------------------------------------------------------------------------


def test_verify_compares_labels_with_their_source(ims: Path, seg: Path, tmp_path: Path) -> None:
    store = made(
        ims,
        tmp_path / "out.ome.zarr",
        with_labels(seg, crop=((None, None),) * 2 + ((2, 8),) * 1 + ((None, None),) * 2),
    )
    given = Options(labels=(("nuclei", str(seg)),))
    found = verify(ims, store, given)
    assert found.passed
    assert found.complete
    assert [image.folder for image in found.images] == ["", "labels/nuclei"]
    without = verify(ims, store)
    assert without.passed
    assert not without.complete
    assert without.labels_not_compared == ("labels/nuclei",)
    array = zarr.open_array(store / "labels/nuclei/0", mode="r+")
    array[2, 3, 4] = 60_000
    assert not verify(ims, store, given).passed


def test_a_difference_makes_no_output(
    ims: Path, seg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ngff_convert.readers import tiff_pixels

    own = tiff_pixels.TiffPixels.read_by_library

    def wrong(self: Any, box: Any) -> Any:
        block = own(self, box)
        block[..., 0, 0] += 1
        return block

    monkeypatch.setattr(tiff_pixels.TiffPixels, "read_by_library", wrong)
    with pytest.raises(VerificationError, match="differ"):
        convert(ims, tmp_path / "out", with_labels(seg, verify="full"))
    assert not (tmp_path / "out").exists()


# -- the labels of an OME-Zarr -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_label_images_of_an_ome_zarr_are_carried_along(
    ims: Path, seg: Path, tmp_path: Path, version: str
) -> None:
    (tmp_path / "t.csv").write_text("label,area\n1,12\n")
    first = made(
        ims,
        tmp_path / "in.ome.zarr",
        with_labels(seg, ngff_version=version, label_properties=(("nuclei", str(tmp_path / "t.csv")),)),
    )
    other = {"0.4": "0.5", "0.5": "0.6", "0.6": "0.4"}[version]
    crop = ((None, None), (None, None), (1, 8), (None, None), (None, None))
    options = Options(**CHUNKS, ngff_version=other, crop=crop, label_method="nearest", verify="full")
    store = made(first, tmp_path / "out.ome.zarr", options)
    np.testing.assert_array_equal(pixels(store / "labels/nuclei", other)[0], objects()[1:8])
    found, before = image_label(store, version=other), image_label(first, version=version)
    assert {**found, "version": ""} == {**before, "version": ""}
    assert verify(first, store).complete
    convert(first, tmp_path / "without.ome.zarr", Options(own_labels=False))
    assert not (tmp_path / "without.ome.zarr/labels").exists()
    again = write_labels(tmp_path / "again.tif", objects(step=2))
    store = made(first, tmp_path / "again.ome.zarr", with_labels(again))
    np.testing.assert_array_equal(pixels(store / "labels/nuclei")[0], objects(step=2))


def test_a_label_image_that_cannot_be_read_is_left_out_and_told(ims: Path, seg: Path, tmp_path: Path) -> None:
    first = made(ims, tmp_path / "in.ome.zarr", with_labels(seg))
    listed = json.loads((first / "labels/zarr.json").read_text())
    listed["attributes"]["ome"]["labels"] += ["lost", "../../x"]
    (first / "labels/zarr.json").write_text(json.dumps(listed))
    with ngff_convert.open(first) as source:
        assert [label.name for label in source.images[0].labels] == ["nuclei"]
        assert len([line for line in source.warnings if "is left out" in line]) == 2


def test_a_label_image_of_the_input_that_does_not_fit_may_be_left_out(
    ims: Path, seg: Path, tmp_path: Path
) -> None:
    first = made(ims, tmp_path / "in.ome.zarr", with_labels(seg))
    path = first / "labels/nuclei/zarr.json"
    document = json.loads(path.read_text())
    for dataset in document["attributes"]["ome"]["multiscales"][0]["datasets"]:
        dataset["coordinateTransformations"] = [{"type": "scale", "scale": [5, 5, 5]}]
    path.write_text(json.dumps(document))
    refused(first, Options(), r"^label image nuclei: its voxels are 5 x 5 x 5 .*: --no-labels$")
    convert(first, tmp_path / "out.ome.zarr", Options(own_labels=False))
    assert not (tmp_path / "out.ome.zarr/labels").exists()


def test_what_is_odd_about_any_file_is_told(ims: Path, seg: Path, tmp_path: Path) -> None:
    first = made(ims, tmp_path / "in.ome.zarr", with_labels(seg))
    path = first / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["ome"]["multiscales"][0]["axes"][-1]["unit"] = "parrot"
    path.write_text(json.dumps(document))
    events: list[Event] = []
    convert(first, tmp_path / "out.ome.zarr", with_labels(seg, "cells"), events.append)
    assert [e.message for e in events if isinstance(e, Note) and "parrot" in e.message]


def test_a_label_image_of_a_store_is_a_source(ims: Path, seg: Path, tmp_path: Path) -> None:
    first = made(ims, tmp_path / "in.ome.zarr", with_labels(seg))
    store = made(ims, tmp_path / "out.ome.zarr", with_labels(first / "labels/nuclei", "cells"))
    np.testing.assert_array_equal(pixels(store / "labels/cells")[0], objects())
    assert image_label(store, "cells")["colors"] == image_label(first)["colors"]


# -- masks in OME-XML --------------------------------------------------------------------------------------


def with_masks(path: Path, regions: str, refer: str = "", **shape: int) -> Path:
    t, z = shape.get("t", 2), shape.get("z", 3)
    image = ome_tiffs.coded(t=t, z=z, y=20, x=30)
    xml = ome_tiffs.document(ome_tiffs.image(image).replace("</Pixels>", f"</Pixels>{refer}"), after=regions)
    return ome_tiffs.write(path, ome_tiffs.pages_of(image), xml)


BITS = np.arange(35).reshape(5, 7) % 3 == 0


@pytest.mark.parametrize("compression", ["zlib", "none"])
def test_masks_are_a_label_image(tmp_path: Path, compression: str) -> None:
    regions = region(
        7, mask(BITS, 2, 3, compression, Z=1), mask(BITS, 10, 20, compression, Z=2, T=1), name="first"
    ) + region(9, mask(BITS, 17, 27, compression))
    source = with_masks(tmp_path / "in.ome.tif", regions)
    expected = np.zeros((2, 3, 20, 30), "uint8")
    expected[:, 1, 2:7, 3:10][:, BITS] = 1
    expected[1, 2, 10:15, 20:27][BITS] = 1
    expected[:, :, 17:, 27:][:, :, BITS[:3, :3]] = 2  # cut off at the edge
    options = Options(labels=(("rois", f"{source}#masks"),), levels=2)
    store = made(source, tmp_path / "out.ome.zarr", options)
    np.testing.assert_array_equal(pixels(store / "labels/rois")[0], expected)
    found = image_label(store, "rois")
    assert found["properties"] == [
        {"label-value": 0},
        {"label-value": 1, "id": "ROI:7", "name": "first"},
        {"label-value": 2, "id": "ROI:9"},
    ]
    with OmeMasksReader().open(str(source)) as opened:
        label = opened.images[0].pixels
        np.testing.assert_array_equal(label[1, 0, 1:, 4:12, 5:9], expected[1, 1:, 4:12, 5:9])


def test_masks_of_the_image_that_refers_to_them(tmp_path: Path) -> None:
    regions = region(1, mask(BITS, 0, 0)) + region(2, mask(BITS, 5, 5))
    source = with_masks(tmp_path / "in.ome.tif", regions, '<ROIRef ID="ROI:2"/>', t=1, z=1)
    with OmeMasksReader().open(str(source)) as opened:
        expected = np.zeros((20, 30), "uint8")
        expected[5:10, 5:12][BITS] = 1
        np.testing.assert_array_equal(opened.images[0].pixels[0, 0, 0], expected)
        assert opened.images[0].legend.properties == {1: {"id": "ROI:2"}}


@pytest.mark.parametrize(
    ("regions", "error", "says"),
    [
        ("", UnsupportedInput, "there are no masks"),
        (
            '<ROI ID="ROI:1"><Union><Point ID="Shape:1" X="1" Y="1"/></Union></ROI>',
            UnsupportedInput,
            "no masks",
        ),
        (
            region(1, mask(BITS, 0, 0).replace('Width="7"', 'Width="70"')),
            ReadError,
            "of 70 x 5 voxels has 5 by",
        ),
        (region(1, mask(BITS, 0, 0).replace('Width="7"', 'Width="0"')), ReadError, "of 0 x 5 voxels"),
        (region(1, mask(BITS, 0, 0).replace(' X="0"', "")), ReadError, "no place, size or BinData"),
        (region(1, mask(BITS, 0, 0).replace("zlib", "bzip2")), ReadError, "cannot be decoded"),
        (region(1, mask(BITS, 0, 0).replace("zlib", "lzw")), UnsupportedInput, "compressed by 'lzw'"),
        (
            region(1, "<Mask X='0' Y='0' Width='2' Height='2'><BinData>*</BinData></Mask>"),
            ReadError,
            "decoded",
        ),
    ],
)
def test_masks_that_are_none(tmp_path: Path, regions: str, error: type[Exception], says: str) -> None:
    source = with_masks(tmp_path / "in.ome.tif", regions)
    with pytest.raises(error, match=says):
        OmeMasksReader().open(str(source))


# -- the command line --------------------------------------------------------------------------------------


def test_a_dry_run_and_inspect_show_them(
    ims: Path, seg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(ims), str(tmp_path / "out"), "--dry-run", "--labels", f"nuclei={seg}"]) == 0
    assert "labels nuclei" in capsys.readouterr().out
    store = made(ims, tmp_path / "out.ome.zarr", with_labels(seg))
    assert main(["inspect", str(store)]) == 0
    assert "labels       nuclei, uint16" in capsys.readouterr().out
    assert main([str(ims), str(tmp_path / "x"), "--labels", f"a={seg}", "--labels", "nuclei"]) == 2


# -- levels of other programs ------------------------------------------------------------------------------


def test_factors_of_levels_that_are_rounded_down() -> None:
    sizes = [(9, 71, 91), (9, 35, 45), (9, 17, 22), (9, 8, 11)]
    levels = [(tuple(a / b for a, b in zip(sizes[0], size, strict=True)), size) for size in sizes]
    assert factors_of(levels, "") == ((1, 2, 2),) * 3
    with pytest.raises(OptionError, match=r"is 1 x 2.5 x 2.5 times \(z y x\) smaller .*--pyramid build"):
        factors_of([((1, 1, 1), (9, 100, 100)), ((1, 2.5, 2.5), (9, 40, 40))], "--labels a")
