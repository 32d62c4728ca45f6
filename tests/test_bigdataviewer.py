"""Files of BigDataViewer: HDF5 beside an XML."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from data_folder import data_file
from stores import levels

import ngff_convert
from ngff_convert.cli import main
from ngff_convert.errors import OptionError, ReadError, UnsupportedInput
from ngff_convert.model import Calibration
from ngff_convert.readers import registry
from ngff_convert.readers.bigdataviewer import BigDataViewerReader
from ngff_convert.testing import check_reader, coded_pixels
from ngff_convert.virtual import Whereabouts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IDENTITY = "1 0 0 0 0 1 0 0 0 0 1 0"
XML = """<?xml version="1.0" encoding="UTF-8"?>
<SpimData version="0.2"><BasePath type="relative">.</BasePath><SequenceDescription>
<ImageLoader format="{loader}"><hdf5 type="relative">{file}</hdf5></ImageLoader>
<ViewSetups><ViewSetup><id>0</id><name>eye</name><size>41 37 9</size>
<voxelSize><unit>{unit}</unit><size>0.5 0.5 2.0</size></voxelSize></ViewSetup></ViewSetups>
<Timepoints type="range"><first>3</first><last>5</last></Timepoints>
<MissingViews><MissingView timepoint="4" setup="0"/></MissingViews></SequenceDescription>
<ViewRegistrations>{views}</ViewRegistrations></SpimData>"""


def view(t: int, *affines: str) -> str:
    transforms = "".join(
        f'<ViewTransform type="affine"><affine>{affine}</affine></ViewTransform>' for affine in affines
    )
    return f'<ViewRegistration timepoint="{t}" setup="0">{transforms}</ViewRegistration>'


PLACED = view(3, "1 0 0 80 0 1 0 -5 0 0 1 2", "1 0 0 0 0 1 0 0 0 0 4 0")


def write(folder: Path, **said: str) -> NDArray[Any]:
    """Write three time points, of which the second is missing, and return what they are."""
    said = {"loader": "bdv.hdf5", "file": "in.h5", "unit": "um", "views": PLACED} | said
    (folder / "in.xml").write_text(XML.format(**said))
    pixels = coded_pixels((3, 1, 9, 37, 41)) + np.uint16(40000)
    pixels[1] = 0
    with h5py.File(folder / "in.h5", "w") as file:
        file["s00/resolutions"] = np.array([[1.0, 1, 1], [2, 2, 1]])
        for t in (3, 5):
            for n, step in enumerate((1, 2)):
                cells = pixels[t - 3, 0, :, ::step, ::step].view(np.int16)
                group = file.create_group(f"t{t:05}/s00/{n}")
                group.create_dataset("cells", data=cells, chunks=(4, 16, 16), compression="gzip")
    return pixels


@pytest.mark.parametrize("name", ["in.xml", "in.h5"])
def test_a_setup_is_an_image(name: str, tmp_path: Path) -> None:
    pixels = write(tmp_path)
    path = str(tmp_path / name)
    assert registry.pick(path).name == "bigdataviewer"
    with ngff_convert.open(path) as source:
        [image] = source.images
        assert image.name == "eye"
        assert image.pixels.dtype == np.uint16
        np.testing.assert_array_equal(image.pixels[...], pixels)
        [lower] = image.native_levels
        assert (lower.factor, lower.shift) == ((1.0, 2.0, 2.0), (0.0, 0.5, 0.5))
        np.testing.assert_array_equal(lower.pixels[...], pixels[..., ::2, ::2])
        assert image.calibration == Calibration((2.0, 0.5, 0.5), "micrometer", None, (1.0, -2.5, 40.0))
        assert source.warnings == ["eye: never taken, read as 0: time point 4"]
        assert sorted(source.paths) == [str(tmp_path / "in.h5"), str(tmp_path / "in.xml")]
    check_reader(BigDataViewerReader(), path)


def test_it_is_converted_verified_and_referred_to(tmp_path: Path) -> None:
    pixels = write(tmp_path)
    source, target = str(tmp_path / "in.xml"), str(tmp_path / "out")
    words = ["convert", source, target, "--verify", "full", "--pyramid", "native", "-q"]
    assert main(words) == 0
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[1], pixels[..., ::2, ::2])
    assert main(["virtual", source, str(tmp_path / "out.json")]) == 0
    import zarr

    group: Any = zarr.open_group(
        "reference://", storage_options={"fo": str(tmp_path / "out.json")}, mode="r", zarr_format=2
    )
    np.testing.assert_array_equal(group["0"][...], pixels)
    np.testing.assert_array_equal(group["1"][...], pixels[..., ::2, ::2])


@pytest.mark.parametrize(
    ("views", "said"),
    [
        (view(3, "0 1 0 0 1 0 0 0 0 0 1 0"), "more than a size and a place"),
        (view(3, "1 0 0 0 0 1 0 0 0 0 7 0"), "other sizes than its voxels"),
        (PLACED + view(5, IDENTITY), "another at each time point"),
    ],
)
def test_places_that_cannot_be_taken_over_are_said(views: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, views=views)
    with ngff_convert.open(str(tmp_path / "in.xml")) as source:
        assert source.images[0].calibration == Calibration((2.0, 0.5, 0.5), "micrometer")
        assert said in source.warnings[0]


def test_references_that_are_opened_by_the_xml_name_the_pixels_below_a_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a b").mkdir()
    pixels = write(tmp_path, file="a b/in.h5")
    (tmp_path / "in.h5").rename(tmp_path / "a b" / "in.h5")
    words = [
        "virtual",
        "-q",
        str(tmp_path / "in.xml"),
        str(tmp_path / "out.json"),
        "--overwrite",
        "--target-url",
    ]

    def templates() -> list[str]:
        return list(json.loads((tmp_path / "out.json").read_text())["templates"].values())

    assert main([*words, "https://host/x/in.xml"]) == 2
    assert "give the URL of the folder that they are in, with / at its end" in capsys.readouterr().err
    assert main([*words, "https://host/x/"]) == 0
    assert templates() == ["https://host/x/a%20b/in.h5"]
    assert main([*words, f"file://{tmp_path}/"]) == 0
    assert templates() == [f"file://{tmp_path}/a b/in.h5"]
    group = zarr.open_group("reference://", storage_options={"fo": str(tmp_path / "out.json")}, mode="r")
    array: Any = group["0"]
    np.testing.assert_array_equal(array[...].view("u2"), pixels)


def test_what_is_not_within_the_folder_of_a_url_is_refused() -> None:
    named = Whereabouts("https://here/a/in.xml", "s3://bucket/x y/")
    assert named("https://here/a/b c.h5") == "s3://bucket/x y/b c.h5"
    with pytest.raises(OptionError, match="is not within the folder of"):
        named("https://here/b/in.h5")


def test_without_its_xml(tmp_path: Path) -> None:
    pixels = write(tmp_path)
    (tmp_path / "in.xml").unlink()
    with ngff_convert.open(str(tmp_path / "in.h5")) as source:
        assert source.images[0].calibration == Calibration()
        assert "no XML" in source.warnings[0]
        np.testing.assert_array_equal(source.images[0].pixels[...], pixels[::2])


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ({"loader": "bdv.n5"}, UnsupportedInput, "image loader bdv.n5; only bdv.hdf5 is read"),
        ({"file": "gone.h5"}, ReadError, "names the file gone.h5, but there is no"),
        ({"file": "../../etc/passwd"}, ReadError, "there is no .*/passwd"),
        ({"views": view(3, "1 2")}, ReadError, "is damaged"),
        ({"views": "<"}, ReadError, "the XML cannot be read"),
    ],
)
def test_what_is_wrong_is_named(
    said: dict[str, str], error: type[Exception], words: str, tmp_path: Path
) -> None:
    write(tmp_path, **said)
    with pytest.raises(error, match=words):
        ngff_convert.open(str(tmp_path / "in.xml"))


def test_a_view_that_nobody_calls_missing(tmp_path: Path) -> None:
    write(tmp_path)
    with h5py.File(tmp_path / "in.h5", "r+") as file:
        del file["t00005/s00/1"]
    with pytest.raises(ReadError, match="has no t00005/s00/1/cells"):
        ngff_convert.open(str(tmp_path / "in.xml"))


# -- real files --------------------------------------------------------------------------------------------


def test_views_of_npy2bdv() -> None:
    path = data_file("bdv/npy2bdv_views/views.xml")
    truth = json.loads(path.with_name("views.truth.json").read_text())
    with ngff_convert.open(str(path)) as source:
        assert len(source.images) == 4
        for number, image in enumerate(source.images):
            for t in range(2):
                key = f"t{t} channel{number // 2} tile{number % 2}"
                if key in truth["missing_views"]:
                    assert not image.pixels[t].any()
                    continue
                digest = hashlib.sha256(image.pixels[t, 0].tobytes()).hexdigest()
                assert digest == truth["views_sha256"][key]
        assert source.images[1].calibration.zyx == (1.2, 0.35, 0.35)
        assert source.images[1].calibration.origin_zyx == pytest.approx((0.7, -1.75, 28.0))
        assert len(source.images[0].native_levels) == 2


def test_files_of_npy2bdv_and_pybdv_beside_their_tiffs() -> None:
    path = data_file("bdv/npy2bdv-kidney/kidney.xml")
    stack = tifffile.imread(next(path.parent.glob("*.tif")))
    with ngff_convert.open(str(path)) as source:
        for c, image in enumerate(source.images):
            np.testing.assert_array_equal(image.pixels[0, 0], stack[:, c])
    path = data_file("bdv/pybdv-example/example.xml")
    with ngff_convert.open(str(path)) as source:
        [image] = source.images
        np.testing.assert_array_equal(image.pixels[0, 0], tifffile.imread(path.with_name("example.tif")))
        assert image.calibration == Calibration()


def test_others_are_refused_or_read_without_their_xml(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput, match=r"spimreconstruction\.openersimageloader"):
        ngff_convert.open(str(data_file("bdv/xml-only/omero-bdv.xml")))
    with pytest.raises(UnsupportedInput, match=r"bdv\.n5"):
        ngff_convert.open(str(data_file("bdv/pybdv_n5/data.xml")))
    shutil.copy(data_file("hdf5/mri-stack.h5"), tmp_path / "mri.h5")
    with ngff_convert.open(str(tmp_path / "mri.h5")) as source, h5py.File(tmp_path / "mri.h5") as file:
        [image] = source.images
        cells = file["t00000/s00/0/cells"][...]
        np.testing.assert_array_equal(image.pixels[0, 0], cells.view(np.uint16))
