from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import foreign_stores
import numpy as np
import pytest
import zarr
from data_folder import data_file, data_names
from stores import attributes
from stores import levels as stored_levels

import ngff_convert
from ngff_convert import Codec, Options, convert
from ngff_convert.cli import main
from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Calibration, Channel
from ngff_convert.readers import registry
from ngff_convert.readers.ome_zarr import OmeZarrReader
from ngff_convert.testing import check_reader, coded_pixels, write_ims

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ngff_convert.model import Image

SHAPE = (2, 3, 10, 70, 90)
Json = dict[str, Any]


def write_store(
    path: Path,
    multiscales: Json,
    data: NDArray[Any] | None = None,
    *,
    zarr_format: int = 2,
    others: Json | None = None,
    **settings: Any,
) -> NDArray[Any]:
    """Write one image of one level, ``0``; metadata as they are given."""
    data = coded_pixels((3, 20, 30)) if data is None else data
    group = zarr.create_group(path, zarr_format=zarr_format)  # type: ignore[arg-type]
    settings = {"chunks": tuple(max(1, n // 2) for n in data.shape), **settings}
    group.create_array("0", shape=data.shape, dtype=data.dtype, **settings)[...] = data
    ome = {"multiscales": [{"datasets": [{"path": "0"}], **multiscales}], **(others or {})}
    group.attrs.update(ome if zarr_format == 2 else {"ome": {"version": multiscales.get("version"), **ome}})
    return data


def opened(path: Path | str, number: int = 0) -> Image:
    with ngff_convert.open(str(path)) as source:
        return source.images[number]


def read(path: Path | str, number: int = 0) -> NDArray[Any]:
    with ngff_convert.open(str(path)) as source:
        return source.images[number].pixels[:]


def axes(letters: str, **units: str) -> list[Json]:
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": letter, "type": kinds.get(letter, "space")} for letter in letters]
    return [{**axis, "unit": units[axis["name"]]} if axis["name"] in units else axis for axis in named]


def at(scale: list[float], *translations: list[float]) -> list[Json]:
    shifts = [{"type": "translation", "translation": numbers} for numbers in translations]
    return [{"type": "scale", "scale": scale}, *shifts]


# -- there and back ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("ims") / "in.ims"
    channels = (Channel("DAPI", "0000FF", window=(3, 4000)), Channel(name="GFP"), Channel("", "FF8000"))
    write_ims(
        path,
        coded_pixels(SHAPE),
        chunks=(8, 32, 32),
        voxel_zyx=(2.0, 0.65, 0.325),
        corner_zyx=(1.0, 10.1, -3.3),
        channels=channels,
        name="my cells",
    )
    return path


def described(store: Path, version: str) -> Json:
    """Return what must be the same in every store of one image."""
    found = attributes(store, version)
    [multiscales] = found["multiscales"]
    return {
        "name": multiscales["name"],
        "axes": multiscales["axes"],
        "levels": multiscales["datasets"],
        "channels": found["omero"]["channels"],
    }


def test_from_version_to_version_and_back(ims: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, Options]] = [
        ("a.ome.zarr", Options(ngff_version="0.4")),
        ("b.ome.zarr", Options()),
        ("c.ome.zarr", Options(chunks=(4, 16, 16), shards=(8, 32, 32), levels=3)),
        ("d.ozx", Options(codec=Codec("zstd"))),
        ("e.ome.zarr", Options(ngff_version="0.4", codec=Codec("zlib"), chunks=(3, 50, 60))),
        ("f.ome.zarr", Options(ngff_version="0.4", pyramid="native")),
    ]
    source = ims
    for name, options in steps:
        convert(source, tmp_path / name, options)
        source = tmp_path / name
        np.testing.assert_array_equal(read(source), coded_pixels(SHAPE))
    first = described(tmp_path / "a.ome.zarr", "0.4")
    assert [c["label"] for c in first["channels"]] == ["DAPI", "GFP", "Channel 2"]
    for name, version in (("b", "0.5"), ("c", "0.5"), ("e", "0.4"), ("f", "0.4")):
        own = described(tmp_path / f"{name}.ome.zarr", version)
        count = min(len(own["levels"]), len(first["levels"]))
        own["levels"], wanted = own["levels"][:count], {**first, "levels": first["levels"][:count]}
        assert own == wanted, name
    for a, b in zip(
        stored_levels(tmp_path / "e.ome.zarr", "0.4"),
        stored_levels(tmp_path / "f.ome.zarr", "0.4"),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_contract_is_kept(ims: Path, tmp_path: Path, version: str) -> None:
    out = tmp_path / "a.ome.zarr"
    convert(ims, out, Options(ngff_version=version, chunks=(3, 32, 32)))
    check_reader(OmeZarrReader(), str(out))


def test_the_contract_is_kept_by_shards_and_archives(ims: Path, tmp_path: Path) -> None:
    convert(ims, tmp_path / "a.ozx", Options(chunks=(3, 16, 32), shards=(6, 64, 32)))
    check_reader(OmeZarrReader(), str(tmp_path / "a.ozx"))
    pixels = opened(tmp_path / "a.ozx").pixels
    assert pixels.chunks == (1, 1, 3, 16, 32)
    assert pixels.library == "imagecodecs"
    assert pixels.compression.endswith("in shards")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_zips_of_other_programs(tmp_path: Path, version: str) -> None:
    foreign_stores.write_image(tmp_path / "a", version)
    shutil.make_archive(str(tmp_path / "a.ome.zarr"), "zip", tmp_path / "a")
    check_reader(OmeZarrReader(), str(tmp_path / "a.ome.zarr.zip"))
    convert(tmp_path / "a.ome.zarr.zip", tmp_path / "out.ome.zarr", Options(verify="full"))
    np.testing.assert_array_equal(read(tmp_path / "out.ome.zarr"), foreign_stores.pixels()[None])
    damaged = bytearray((tmp_path / "a.ome.zarr.zip").read_bytes())
    damaged[len(damaged) // 2 :] = b""
    (tmp_path / "b.zarr.zip").write_bytes(damaged)
    with pytest.raises(ReadError, match=r"b\.zarr\.zip: cannot be read as a zip archive"):
        opened(tmp_path / "b.zarr.zip")


def test_a_batch_of_stores_and_one_in_parts(
    ims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        convert(ims, f"{name}.ome.zarr", Options(ngff_version="0.4"))
    assert main(["batch", "**/*.ome.zarr", "out", "--quiet"]) == 0
    assert main(["batch", "*.ome.zarr/", "out", "--quiet"]) == 0
    assert sorted(path.name for path in Path("out").glob("*.zarr")) == ["a.ome.zarr", "b.ome.zarr"]
    np.testing.assert_array_equal(read("out/b.ome.zarr"), coded_pixels(SHAPE))
    assert main(["plan", "a.ome.zarr", "parts.ome.zarr", "-n", "2", "-o", "job.json"]) == 0
    assert main(["run", "job.json", "--part", "2"]) == 0
    assert main(["run", "job.json", "--part", "1"]) == 0
    assert main(["finish", "job.json"]) == 0
    np.testing.assert_array_equal(read("parts.ome.zarr"), coded_pixels(SHAPE))


def test_a_part_of_it_and_another_type(ims: Path, tmp_path: Path) -> None:
    convert(ims, tmp_path / "a.ome.zarr")
    convert(
        tmp_path / "a.ome.zarr",
        tmp_path / "b.ome.zarr",
        Options(crop=((1, 2), (0, 2), (4, 8), (10, 60), (None, None)), dtype="float32", verify="full"),
    )
    image = opened(tmp_path / "b.ome.zarr")
    np.testing.assert_array_equal(read(tmp_path / "b.ome.zarr"), coded_pixels(SHAPE)[1:2, 0:2, 4:8, 10:60])
    before = opened(tmp_path / "a.ome.zarr").calibration
    assert image.calibration.zyx == before.zyx
    assert image.calibration.origin_zyx == (10.0, 16.925, -3.1375)


def test_label_images_stay_labels(tmp_path: Path) -> None:
    foreign_stores.write_image(tmp_path / "a.ome.zarr", "0.5")
    label = tmp_path / "a.ome.zarr" / "labels" / "cells"
    assert opened(label).is_label
    assert not opened(tmp_path / "a.ome.zarr").is_label
    convert(label, tmp_path / "cells.ome.zarr")
    found = stored_levels(tmp_path / "cells.ome.zarr", "0.5")
    np.testing.assert_array_equal(found[0][0], foreign_stores.pixels()[0])
    assert opened(tmp_path / "cells.ome.zarr").pixels.dtype == np.uint32


# -- which stores and images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
@pytest.mark.parametrize("sharded", [False, True])
def test_stores_of_other_programs(tmp_path: Path, version: str, sharded: bool) -> None:
    if sharded and version == "0.4":
        pytest.skip("0.4 has no shards")
    path = tmp_path / "a.ome.zarr"
    foreign_stores.write_image(path, version, sharded=sharded)
    assert registry.pick(str(path)).name == "ome-zarr"
    image = opened(path)
    np.testing.assert_array_equal(read(path), foreign_stores.pixels()[None])
    assert image.calibration == Calibration((2.0, 0.5, 0.5), "micrometer")
    assert [(n.factor, n.shift) for n in image.native_levels] == [
        ((1.0, 2.0, 2.0), (0.0, 0.5, 0.5)),
        ((1.0, 4.0, 4.0), (0.0, 1.5, 1.5)),
    ]
    assert [(c.color, c.window) for c in image.channels] == [("00FF00", (10, 5000)), ("FF00FF", (10, 5000))]
    with ngff_convert.open(path) as source:
        assert len(source.images) == 1
        assert not source.warnings


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_field_of_a_plate_is_an_image(tmp_path: Path, version: str) -> None:
    path = tmp_path / "plate.ome.zarr"
    foreign_stores.write_plate(path, version)
    with ngff_convert.open(path) as source:
        assert [image.name for image in source.images] == [
            "A01 field 0",
            "A01 field 1",
            "B02 field 0",
            "B02 field 1",
        ]
        assert source.images[2].pixels.path == "B/2/0/0"  # type: ignore[attr-defined]
    assert opened(path / "B" / "2", 1).name == "field 1"
    convert(path, tmp_path / "a.ome.zarr", Options(images=(3,)))
    assert attributes(tmp_path / "a.ome.zarr", "0.5")["multiscales"][0]["name"] == "B02 field 1"
    convert(path / "B" / "2" / "0", tmp_path / "b.ome.zarr", Options(ngff_version="0.4"))
    np.testing.assert_array_equal(read(tmp_path / "b.ome.zarr"), foreign_stores.pixels()[None])


def test_the_wells_of_a_plate_are_in_order(tmp_path: Path) -> None:
    path = tmp_path / "plate.ome.zarr"
    foreign_stores.write_plate(path, "0.5")
    foreign_stores.edit_ome(path, "0.5", lambda ome: ome["plate"]["wells"].reverse())
    with ngff_convert.open(path) as source:
        assert [image.name[:3] for image in source.images] == ["A01", "A01", "B02", "B02"]


def test_of_a_plate_only_what_is_asked_for_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "plate.ome.zarr"
    foreign_stores.write_plate(path, "0.5")
    (path / "A" / "1" / "0" / "zarr.json").write_text("damaged")
    assert opened(path, 1).name == "A01 field 1"
    with pytest.raises(ReadError, match=r"A/1/0/zarr\.json: is no JSON"):
        opened(path, 0)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_collections(tmp_path: Path, version: str) -> None:
    path = tmp_path / "two.ome.zarr"
    foreign_stores.write_collection(path, version)
    foreign_stores.edit_ome(path / "OME", version, lambda ome: ome["series"].reverse())
    with ngff_convert.open(path) as source:
        places = [image.pixels.path for image in source.images]  # type: ignore[attr-defined]
        assert places == ["1/0", "0/0"]
        assert [image.ome.index for image in source.images if image.ome] == [0, 1]
    (path / "OME" / ("zarr.json" if version == "0.5" else ".zgroup")).unlink()
    (path / "OME" / ".zattrs").unlink(missing_ok=True)
    with ngff_convert.open(path) as source:
        assert [image.pixels.path for image in source.images] == ["0/0", "1/0"]  # type: ignore[attr-defined]


def test_the_ome_xml_is_carried_on(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.zarr"
    foreign_stores.write_collection(path, "0.5")
    xml = foreign_stores.XML.replace('ID="Image:1"', 'ID="Image:1" Name="second"').replace(
        "<MetadataOnly/>",
        '<Channel ID="Channel:{0}" Name="DAPI" EmissionWavelength="461"/><Channel ID="Channel:1{0}"/>'
        "<MetadataOnly/>",
    )
    xml = xml.replace("SizeC=", 'PhysicalSizeX="0.1" SizeC=')
    (path / "OME" / "METADATA.ome.xml").write_text(xml)
    image = opened(path, 1)
    assert image.ome is not None
    assert image.ome.index == 1
    assert image.channels[0] == Channel("DAPI", "00FF00", 461.0, None, (10, 5000))
    assert image.calibration.zyx == (2.0, 0.5, 0.5)  # the multiscales win
    convert(path, tmp_path / "out.ome.zarr", Options(images=(1,)))
    written = (tmp_path / "out.ome.zarr" / "OME" / "METADATA.ome.xml").read_text()
    assert "461" in written


def test_what_early_versions_leave_to_the_ome_xml(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    data = coded_pixels((1, 1, 3, 20, 30))
    write_store(tmp_path / "a.zarr" / "0", {"version": "0.2", "name": "0"}, data)
    root.create_group("OME").attrs["series"] = ["0"]
    (tmp_path / "a.zarr" / "OME" / "METADATA.ome.xml").write_text(
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name="embryo">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="20" SizeZ="3" SizeC="1"'
        ' SizeT="1" PhysicalSizeX="0.1" PhysicalSizeY="0.2" PhysicalSizeZ="0.5">'
        '<Channel ID="Channel:0" Name="DAPI" EmissionWavelength="461"/><MetadataOnly/></Pixels></Image></OME>'
    )
    image = opened(tmp_path / "a.zarr")
    assert image.name == "embryo"
    assert image.calibration == Calibration((0.5, 0.2, 0.1), "micrometer")
    assert image.channels[0].name == "DAPI"
    assert image.channels[0].emission_nm == 461


def test_ome_xml_of_other_sizes_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.zarr"
    foreign_stores.write_collection(path, "0.5")
    (path / "OME" / "METADATA.ome.xml").write_text(foreign_stores.XML.replace('SizeZ="3"', 'SizeZ="4"', 1))
    with ngff_convert.open(path) as source:
        assert [image.ome is None for image in source.images] == [True, False]
        assert source.warnings[-1].startswith("test: the OME-XML says 1 x 2 x 4 x 40 x 32 (t, c, z, y, x)")
    (path / "OME" / "METADATA.ome.xml").write_text("<OME")
    with ngff_convert.open(path) as source:
        assert [image.ome for image in source.images] == [None, None]
        assert "the OME-XML is left out" in source.warnings[0]


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    foreign_stores.write_image(path, "0.5")
    for place, words in (
        (path / "0", "is a Zarr array, not an image"),
        (path / "labels", 'a group of label images; give one of them: "cells"'),
    ):
        with pytest.raises(UnsupportedInput, match=words):
            ngff_convert.open(place)
    zarr.create_group(tmp_path / "empty.zarr")
    with pytest.raises(UnsupportedInput, match="without multiscales"):
        ngff_convert.open(tmp_path / "empty.zarr")


def test_a_folder_that_is_zarr_is_no_series_of_files(tmp_path: Path) -> None:
    write_store(tmp_path / "store", {"version": "0.4", "axes": axes("zyx")})
    (tmp_path / "store" / "thumbnail.tif").write_bytes(b"II*\0")
    assert registry.pick(str(tmp_path / "store")).name == "ome-zarr"


# -- versions and axes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.1", "0.2", ""])
def test_early_versions_have_five_axes(tmp_path: Path, version: str) -> None:
    data = coded_pixels((2, 2, 3, 20, 30))
    keys = {"name": "v2", "separator": "." if version == "0.1" else "/"}
    write_store(tmp_path / "a.zarr", {"version": version} if version else {}, data, chunk_key_encoding=keys)
    image = opened(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), data)
    assert image.calibration == Calibration()
    write_store(tmp_path / "b.zarr", {"version": version} if version else {})
    with pytest.raises(ReadError, match=r"3 dimensions, but 5 axes \(tczyx\)"):
        opened(tmp_path / "b.zarr")


def test_axes_by_name_alone(tmp_path: Path) -> None:
    data = write_store(tmp_path / "a.zarr", {"version": "0.3", "axes": ["c", "y", "x"]})
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), data[None, :, None])


@pytest.mark.parametrize("letters", ["yx", "xyz", "zyxc", "xczyt", "cyx", "ytx", "tczyx"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_axes_in_any_order(tmp_path: Path, letters: str, zarr_format: int) -> None:
    sizes = dict(zip("tczyx", (2, 3, 4, 14, 18), strict=True))
    data = coded_pixels([sizes[letter] for letter in letters])
    version = {2: "0.4", 3: "0.5"}[zarr_format]
    steps = dict(zip("tczyx", (3.0, 1.0, 5.0, 0.5, 0.25), strict=True))
    units = {letter: "second" if letter == "t" else "micrometer" for letter in letters if letter != "c"}
    stated = {
        "version": version,
        "axes": axes(letters, **units),
        "coordinateTransformations": at([steps[letter] for letter in letters]),
    }
    write_store(tmp_path / "a.zarr", stated, data, zarr_format=zarr_format)
    expected = np.einsum(f"{letters}->{''.join(sorted(letters, key='tczyx'.index))}", data)
    expected = expected.reshape([sizes[axis] if axis in letters else 1 for axis in "tczyx"])
    image = opened(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), expected)
    assert image.calibration.zyx == (5.0 if "z" in letters else None, 0.5, 0.25)
    assert image.calibration.t_s == (3.0 if "t" in letters else None)
    assert image.pixels.chunks == tuple(max(1, sizes[a] // 2) if a in letters else 1 for a in "tczyx")
    check_reader(OmeZarrReader(), str(tmp_path / "a.zarr"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axes": [{"name": "angle", "type": "custom"}, *axes("yx")]}, 'axis "angle" of type custom'),
        ({"axes": axes("czx")}, "its axes are c, z, x"),
        ({"axes": axes("zyy")}, "its axes are z, y, y"),
        ({"version": "0.9", "axes": axes("zyx")}, r'OME-NGFF "0\.9"; 0\.1 to 0\.6 are known'),
        ({"coordinateTransformations": [{"type": "affine"}]}, 'transformation "affine" is not handled'),
        ({"coordinateTransformations": [{"type": "scale", "path": "s"}]}, "in an array of its own"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(tmp_path: Path, change: Json, words: str) -> None:
    write_store(tmp_path / "a.zarr", {"version": "0.4", "axes": axes("zyx"), **change})
    with pytest.raises(UnsupportedInput, match=words):
        opened(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "change",
    [
        {"coordinateTransformations": at([1.0, 2.0])},
        {"coordinateTransformations": at([1.0, 0.0, 1.0])},
        {"coordinateTransformations": at([1.0, -1.0, 1.0])},
        {"coordinateTransformations": at([1.0, 1.0, float("nan")])},
        {"coordinateTransformations": [{"type": "translation", "translation": "far"}]},
        {"axes": axes("zyx"), "datasets": []},
        {"axes": axes("zyx"), "datasets": [{"path": "../a.zarr/0"}]},
        {"axes": axes("zyx"), "datasets": [{"path": 7}]},
        {"axes": axes("cyx"), "datasets": [{"path": "nowhere"}]},
    ],
)
def test_metadata_that_cannot_be_meant(tmp_path: Path, change: Json) -> None:
    write_store(tmp_path / "a.zarr", {"version": "0.4", "axes": axes("zyx"), **change})
    with pytest.raises(ReadError, match=r"a\.zarr"):
        opened(tmp_path / "a.zarr")


# -- what the attributes mean --------------------------------------------------------------------------------


def calibration(tmp_path: Path, stated: Json) -> tuple[Calibration, list[str]]:
    write_store(tmp_path / "a.zarr", {"version": "0.4", **stated}, coded_pixels((2, 4, 20, 30)))
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        return source.images[0].calibration, list(source.warnings)


def of_level(*transformations: Json) -> Json:
    return {"datasets": [{"path": "0", "coordinateTransformations": list(transformations)}]}


def test_what_is_said_of_all_levels_is_applied_after_the_level(tmp_path: Path) -> None:
    stated = {
        "axes": axes("tzyx", t="millisecond", z="um", y="\u00b5m", x="Micron"),
        **of_level(*at([1.0, 2.0, 0.1, 0.1], [0.0, 1.0, 0.3, 0.0])),
        "coordinateTransformations": at([250.0, 1.0, 3.0, 1.0], [500.0, 0.0, 0.5, 7.0]),
    }
    found, warnings = calibration(tmp_path, stated)
    assert found == Calibration((2.0, 0.3, 0.1), "micrometer", 0.25, (1.0, 1.4, 7.0), 0.5)
    assert not warnings


def test_units_that_differ_become_one(tmp_path: Path) -> None:
    stated = {
        "axes": axes("tzyx", t="minute", z="nanometer", y="micrometer", x="micrometer"),
        **of_level(*at([2.0, 300.0, 0.1, 0.1], [0.0, 50.0, 1.0, 1.0])),
    }
    found, warnings = calibration(tmp_path, stated)
    assert found == Calibration((0.3, 0.1, 0.1), "micrometer", 120.0, (0.05, 1.0, 1.0))
    assert not warnings


def test_units_that_are_none(tmp_path: Path) -> None:
    stated = {
        "axes": axes("tzyx", t="frame", z="pixel", y="micrometer", x="micrometer"),
        **of_level(*at([1.0, 3.0, 0.1, 0.1])),
    }
    found, warnings = calibration(tmp_path, stated)
    assert found == Calibration((3.0, 0.1, 0.1), "micrometer")
    assert warnings == [
        'axis z is in "pixel", which is no unit of length',
        "axis z has no unit that is known: taken to be in micrometer, as another one",
        'axis t is in "frame", which is no unit of time: its step 1 is unknown',
    ]


def test_sizes_of_1_without_a_unit_are_unknown(tmp_path: Path) -> None:
    found, _ = calibration(tmp_path, {"axes": axes("tzyx"), **of_level(*at([1.0, 1.0, 1.0, 1.0]))})
    assert found == Calibration()


def test_sizes_without_a_unit_are_kept(tmp_path: Path) -> None:
    found, _ = calibration(tmp_path, {"axes": axes("tzyx"), **of_level(*at([1.0, 1.0, 0.5, 0.5]))})
    assert found == Calibration((1.0, 0.5, 0.5))


def test_axes_of_0_6(tmp_path: Path) -> None:
    inner = at([2.0, 0.1, 0.2], [5.0, 6.0, 7.0])
    own = {
        "type": "sequence",
        "input": {"path": "0"},
        "output": {"name": "physical"},
        "transformations": inner,
    }
    stated = {
        "version": "0.6",
        "datasets": [{"path": "0", "coordinateTransformations": [own]}],
        "coordinateSystems": [
            {"name": "physical", "axes": axes("zyx", z="micrometer", y="micrometer", x="micrometer")},
            {"name": "world", "axes": axes("xyz")},
        ],
        "coordinateTransformations": [
            {"type": "affine", "input": {"name": "physical"}, "output": {"name": "world"}}
        ],
    }
    write_store(tmp_path / "a.zarr", stated, zarr_format=3)
    found = opened(tmp_path / "a.zarr").calibration
    assert found == Calibration((2.0, 0.1, 0.2), "micrometer", None, (5.0, 6.0, 7.0))


WORLD = {"name": "world", "axes": axes("zyx", z="micrometer", y="micrometer", x="micrometer")}
AT = {"type": "translation", "translation": [0, 100, -50]}
TWICE = {"type": "scale", "scale": [1, 2, 2]}


def write_scene(path: Path, *links: dict[str, Any], world: dict[str, Any] = WORLD, **more: Any) -> None:
    """Write a scene of the images ``a`` and ``b``, whose first voxel is at 5, 6, 7 in their own space."""
    zarr.create_group(path, zarr_format=3).attrs["ome"] = {
        "version": "0.6",
        "scene": {"coordinateSystems": [world], "coordinateTransformations": list(links)},
        **more,
    }
    for name in ("a", "b"):
        inner = at([2.0, 0.1, 0.2], [5.0, 6.0, 7.0])
        own = {
            "type": "sequence",
            "transformations": inner,
            "input": {"path": "0"},
            "output": {"name": "physical"},
        }
        stated = {
            "datasets": [{"path": "0", "coordinateTransformations": [own]}],
            "coordinateSystems": [{**WORLD, "name": "physical"}],
        }
        write_store(path / name, {"version": "0.6", **stated}, zarr_format=3)


def into_world(step: dict[str, Any], path: str = "a", name: str = "physical") -> dict[str, Any]:
    return {**step, "input": {"path": path, "name": name}, "output": {"name": "world"}}


@pytest.mark.parametrize(
    ("step", "voxel", "origin"),
    [
        (AT, (2.0, 0.1, 0.2), (5.0, 106.0, -43.0)),
        (TWICE, (2.0, 0.2, 0.4), (5.0, 12.0, 14.0)),
        ({"type": "sequence", "transformations": [TWICE, AT]}, (2.0, 0.2, 0.4), (5.0, 112.0, -36.0)),
        ({"type": "identity"}, (2.0, 0.1, 0.2), (5.0, 6.0, 7.0)),
    ],
)
def test_the_images_of_a_scene_are_where_it_has_them(
    tmp_path: Path, step: dict[str, Any], voxel: Any, origin: Any
) -> None:
    write_scene(tmp_path / "s.zarr", into_world({"type": "identity"}, "b"), into_world(step, "./a"))
    with ngff_convert.open(tmp_path / "s.zarr") as source:
        found = [image.calibration for image in source.images]
        assert list(source.warnings) == []
    assert found == [
        Calibration((2.0, 0.1, 0.2), "micrometer", None, (5.0, 6.0, 7.0)),
        Calibration(voxel, "micrometer", None, origin),
    ]


@pytest.mark.parametrize(
    ("links", "world", "reason"),
    [
        (
            [into_world({"type": "rotation", "rotation": []})],
            WORLD,
            'transformation "rotation" is not handled',
        ),
        ([into_world(AT, name="other")], WORLD, "not one transformation from its own space"),
        ([into_world(AT), into_world(TWICE)], WORLD, "not one transformation from its own space"),
        ([into_world({"type": "scale", "scale": [1]})], WORLD, "is not 3 numbers"),
        ([into_world(AT)], {"name": "moon", "axes": WORLD["axes"]}, "no coordinate system world"),
        ([into_world(AT)], {"name": "world", "axes": axes("xyz")}, "axes of the scene are others"),
        (
            [into_world(AT)],
            {"name": "world", "axes": axes("zyx", z="meter")},
            "units of the scene are others",
        ),
        ([{**AT, "input": {"name": "world"}, "output": {"name": "physical", "path": "a"}}], WORLD, "not one"),
    ],
)
def test_what_a_scene_says_beyond_scale_and_shift_is_left_out(
    tmp_path: Path, links: list[dict[str, Any]], world: dict[str, Any], reason: str
) -> None:
    write_scene(tmp_path / "s.zarr", *links, world=world)
    with ngff_convert.open(tmp_path / "s.zarr") as source:
        assert source.images[0].calibration.origin_zyx == (5.0, 6.0, 7.0)
        (warning,) = source.warnings
    assert "its place in the scene is left out" in warning
    assert reason in warning


def test_a_scene_of_a_collection_places_its_images(tmp_path: Path) -> None:
    more: dict[str, Any] = {"bioformats2raw.layout": 3}
    write_scene(tmp_path / "s.zarr", into_world(AT, "b"), **more)
    ome_group = zarr.create_group(tmp_path / "s.zarr/OME", zarr_format=3)
    ome_group.attrs["ome"] = {"version": "0.6", "series": ["a", "b"]}
    with ngff_convert.open(tmp_path / "s.zarr") as source:
        origins = [image.calibration.origin_zyx for image in source.images]
        assert list(source.warnings) == []
    assert origins == [(5.0, 6.0, 7.0), (5.0, 106.0, -43.0)]


def test_a_scene_leads_nowhere_else(tmp_path: Path) -> None:
    write_scene(tmp_path / "s.zarr", into_world(AT, "../other"))
    with pytest.raises(ReadError, match="does not lead down"):
        ngff_convert.open(tmp_path / "s.zarr")


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ({"label": " GFP ", "color": "#00ff00"}, Channel("GFP", "00FF00")),
        ({"color": "00FF00FF", "window": {"start": 5, "end": 5}}, Channel(None, "00FF00")),
        ({"color": "green", "window": {"start": "a", "end": 9}}, Channel()),
        ({"color": 255, "label": None, "window": {"start": 1.5, "end": 9}}, Channel(window=(1.5, 9))),
        ("GFP", Channel()),
    ],
)
def test_channels(tmp_path: Path, channel: Any, expected: Channel) -> None:
    omero = {"omero": {"name": "seen", "channels": [channel]}}
    write_store(tmp_path / "a.zarr", {"version": "0.4", "axes": axes("zyx"), "name": "/"}, others=omero)
    image = opened(tmp_path / "a.zarr")
    assert image.channels == (expected,)
    assert image.name == "seen"


def test_channels_of_another_number_are_left_out(tmp_path: Path) -> None:
    omero = {"omero": {"channels": [{"label": "a"}, {"label": "b"}]}}
    write_store(tmp_path / "a.zarr", {"version": "0.4", "axes": axes("zyx")}, others=omero)
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        assert source.images[0].channels == (Channel(),)
        assert list(source.warnings) == ["omero describes 2 channels, but there are 1: it is left out"]


def test_other_attributes_are_kept_as_text(tmp_path: Path) -> None:
    others = {"_creator": {"name": "x", "version": 1}, "note": "n" * 20_000}
    write_store(tmp_path / "a.zarr", {"version": "0.4", "axes": axes("zyx")}, others=others)
    found = opened(tmp_path / "a.zarr").original_metadata
    assert found["attributes"]["_creator"] == '{"name": "x", "version": 1}'
    assert len(found["attributes"]["note"]) == 10_000


def test_lower_levels_that_are_not_complete_are_left_out(tmp_path: Path) -> None:
    foreign_stores.write_image(tmp_path / "a.zarr", "0.4")
    (tmp_path / "a.zarr" / "2" / ".zarray").unlink()
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        assert source.images[0].native_levels == ()
        assert "lower levels are not complete" in source.warnings[0]


# -- real stores ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Found an empty list of filters")
@pytest.mark.parametrize("name", data_names("other/omezarr0*/*.zarr"))
def test_real_stores(name: str, tmp_path: Path) -> None:
    path = data_file(name)
    check_reader(OmeZarrReader(), str(path))
    convert(path, tmp_path / "out.ome.zarr", Options(verify="full"))
    with ngff_convert.open(path) as source, ngff_convert.open(tmp_path / "out.ome.zarr") as written:
        assert len(source.images) == len(written.images)
        for own, image in zip(source.images, written.images, strict=True):
            np.testing.assert_array_equal(own.pixels[:], image.pixels[:])
            assert own.calibration == image.calibration
            array = zarr.open_array(path / own.pixels.path, mode="r")  # type: ignore[attr-defined]
            np.testing.assert_array_equal(np.asarray(array[...]).ravel(), own.pixels[:].ravel())


# -- what the documentation shows ----------------------------------------------------------------------------


def test_the_commands_of_the_readme(ims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(ims, tmp_path / "in.ome.zarr", Options(levels=2))
    foreign_stores.write_plate(tmp_path / "plate.ome.zarr", "0.4")
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    commands = text.partition("\n### OME-Zarr again\n")[2].partition("```\n")[2].partition("```")[0]
    assert commands.count("ngff-convert ") == 7
    for line in commands.splitlines():
        assert main(line.partition("  #")[0].split()[1:]) == 0, line
    plate = attributes(tmp_path / "fields.ome.zarr", "0.5")["plate"]
    assert [well["path"] for well in plate["wells"]] == ["A/1", "B/2"]
    assert [opened("fields.ome.zarr", n).name for n in range(2)] == ["A01 field 1", "B02 field 1"]
