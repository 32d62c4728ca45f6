"""Every rule of a store: a fault of its own, made in a store without one, and what is found of it."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import tifffile
import zarr
from foreign_stores import LEVELS, WRITERS, XML, chunk, edit, edit_ome, write_image
from ome_tiffs import coded

from ngff_convert import convert
from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.options import Options
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.validate import RULES, Validation, validate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSIONS = ("0.4", "0.5")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    for kind, writer in WRITERS.items():
        for version in (*VERSIONS, "0.6", "0.9.dev1"):
            writer(folder / f"{kind}-{version}", version)
    return folder


def found(result: Validation) -> list[tuple[str, str, str]]:
    return [(finding.grade, finding.path, finding.rule) for finding in result.findings]


# -- stores without a fault --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [*VERSIONS, "0.6"])
@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("image", {"images": 1, "labels": 1, "levels": 6}),
        ("plate", {"images": 4, "plates": 1, "wells": 2, "levels": 12}),
        ("collection", {"images": 2, "levels": 6}),
    ],
)
def test_nothing_is_found_in_a_sound_store(
    sound: Path, kind: str, version: str, counts: dict[str, int]
) -> None:
    result = validate(sound / f"{kind}-{version}", deep=True, workers=2)
    assert result.findings == ()
    assert result.version == version
    none = dict.fromkeys(("images", "plates", "wells", "labels"), 0)
    assert {key: getattr(result, key) for key in (*none, "levels")} == none | counts
    assert result.chunks == result.stored == result.decoded > 0


@pytest.mark.parametrize("kind", WRITERS)
def test_of_a_version_whose_rules_are_not_known_the_structure_is_checked(
    sound: Path, tmp_path: Path, kind: str
) -> None:
    store = tmp_path / "store"
    shutil.copytree(sound / f"{kind}-0.9.dev1", store)
    assert found(validate(store, deep=True)) == [("warning", "", "version-unchecked")]
    array = next(store.rglob("*/zarr.json" if kind == "image" else "0/0/zarr.json")).parent
    shutil.rmtree(array)
    assert ("error", str(array.relative_to(store)), "node-missing") in found(validate(store))


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_an_old_version_is_read(sound: Path, tmp_path: Path, version: str) -> None:
    def age(ome: dict[str, Any]) -> None:
        ome["multiscales"][0]["version"] = version
        ome["multiscales"][0]["axes"] = ["c", "z", "y", "x"]
        for dataset in ome["multiscales"][0]["datasets"]:
            del dataset["coordinateTransformations"]

    store = tmp_path / "store"
    shutil.copytree(sound / "image-0.4", store)
    shutil.rmtree(store / "labels")
    edit_ome(store, "0.4", age)
    result = validate(store, deep=True)
    assert found(result) == [("warning", "", "version-unchecked")]
    assert result.version == version
    assert result.levels == LEVELS


@pytest.mark.parametrize(
    ("dtype", "shape", "settings"),
    [
        ("uint16", (1, 2, 20, 150, 140), {"ngff_version": "0.4"}),
        ("uint16", (1, 2, 20, 150, 140), {"ngff_version": "0.5"}),
        ("uint16", (2, 2, 20, 150, 140), {"ngff_version": "0.6"}),
        ("uint16", (1, 1, 20, 150, 140), {"ngff_version": "0.6", "shards": (1, 1, 16, 128, 128)}),
        ("int16", (1, 2, 30, 30, 30), {"ngff_version": "0.6", "layout": "bioformats2raw"}),
        ("uint16", (1, 1, 20, 150, 140), {"shards": (1, 1, 16, 128, 128), "chunks": (1, 1, 8, 32, 32)}),
        ("uint8", (3, 1, 5, 61, 57), {"chunks": (1, 1, 4, 16, 16)}),
        ("uint16", (1, 2, 20, 150, 140), {"pyramid": "native"}),
        ("uint32", (1, 1, 9, 70, 131), {"method": "mode", "ngff_version": "0.4"}),
        ("float32", (1, 3, 7, 129, 65), {"ome_xml": False, "output_axes": "tczyx"}),
        ("float64", (1, 1, 1, 99, 201), {"chunks": (1, 1, 1, 16, 16)}),
        ("int64", (1, 1, 30, 30, 30), {}),
        ("int16", (1, 2, 30, 30, 30), {"layout": "bioformats2raw"}),
        ("uint16", (4, 1, 9, 99, 70), {"crop": ((1, 2), (None, None), (2, 9), (3, 98), (5, 70))}),
    ],
)
def test_no_error_is_found_in_what_is_converted(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels(shape, dtype), levels=3, voxel_zyx=(0.5, 0.25, 0.25))
    settings = {"chunks": (1, 1, 8, 32, 32), **settings}
    convert(tmp_path / "in.ims", tmp_path / "out", Options(**settings))
    result = validate(tmp_path / "out", deep=True)
    assert result.findings == ()
    assert result.decoded == result.chunks


def test_chunks_without_pixels_are_no_error(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 1, 8, 256, 256))
    pixels[..., 64:, :] = 0
    pixels[0, 0, 3, 200, 201] = 1  # lost in the mean
    write_ims(tmp_path / "in.ims", pixels)
    convert(tmp_path / "in.ims", tmp_path / "out", Options(chunks=(1, 1, 8, 32, 32)))
    result = validate(tmp_path / "out", deep=True)
    assert result.stored < result.chunks
    assert {rule for _, _, rule in found(result)} == {"missing-chunks"}
    assert not result.errors
    assert result.warnings == result.findings


# -- faults ------------------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """A fault: in which store, of which versions; what is found of it, where; how it is made."""

    rule: str
    grade: str
    path: str
    make: Callable[[Path, str], object]
    kind: str = "image"
    versions: tuple[str, ...] = VERSIONS
    deep: bool = False


def ome(change: Callable[[dict[str, Any]], object], group: str = "") -> Callable[[Path, str], object]:
    return lambda store, version: edit_ome(store / group, version, change)


def multiscales(change: Callable[[dict[str, Any]], object], group: str = "") -> Callable[[Path, str], object]:
    return ome(lambda found: change(found["multiscales"][0]), group)


def level_one(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path, str], object]:
    return multiscales(lambda found: change(found["datasets"][1]["coordinateTransformations"]))


def document(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path, str], object]:
    def make(store: Path, version: str) -> None:
        node = store / name
        files = {"0.4": node / (".zarray" if (node / ".zarray").exists() else ".zgroup")}
        edit(files.get(version, node / "zarr.json"), change)

    return make


def other_array(name: str, **settings: Any) -> Callable[[Path, str], object]:
    """Replace an array by another one, made from the first one's pixels."""

    def make(store: Path, version: str) -> None:
        old = zarr.open_array(store / name, mode="r")
        data = np.asarray(old[...]).astype(settings.get("dtype", old.dtype))
        data = data[0] if settings.get("drop") else data[..., ::2] if settings.get("narrow") else data
        names = getattr(old.metadata, "dimension_names", ())[-data.ndim :] if version == "0.5" else None
        shutil.rmtree(store / name)
        separator = settings.get("separator", "/")
        encoding = {"name": "v2" if version == "0.4" else "default", "separator": separator}
        array = zarr.create_array(
            store / name,
            shape=data.shape,
            dtype=data.dtype,
            chunks=old.chunks[-data.ndim :],
            zarr_format=2 if version == "0.4" else 3,
            chunk_key_encoding=encoding,
            dimension_names=names,
        )
        array[...] = data

    return make


def remove(name: str) -> Callable[[Path, str], object]:
    return lambda store, version: shutil.rmtree(store / name)


def file_in(name: str, content: bytes = b"x") -> Callable[[Path, str], object]:
    def make(store: Path, version: str) -> None:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(content)

    return make


def chunk_of(name: str, content: bytes | None) -> Callable[[Path, str], object]:
    def make(store: Path, version: str) -> None:
        file = chunk(store / name, version, *((0, 0, 1, 1) if "labels" not in name else (0, 1, 1)))
        file.unlink()
        if content is not None:
            file.write_bytes(content)

    return make


def stray(*parts: str) -> Callable[[Path, str], object]:
    return lambda store, version: file_in("/".join(("0", *(("c",) * (version != "0.4")), *parts)))(
        store, version
    )


def channel(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, str], object]:
    return ome(lambda found: change(found["omero"]["channels"][0]))


def consolidated(store: Path, version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata are not in the specification of Zarr v3
        zarr.consolidate_metadata(store)
    edit_ome(store / "labels", version, lambda found: found.update(labels=["cells", "cells"]))


def other_envelope(store: Path, version: str) -> None:
    if version == "0.4":
        attributes = json.loads((store / ".zattrs").read_text())
        (store / ".zattrs").write_text(json.dumps({"ome": attributes}))
    else:
        edit(store / "zarr.json", lambda found: found.update(attributes=found["attributes"]["ome"]))


def versions_apart(store: Path, version: str) -> None:
    if version == "0.4":
        multiscales(lambda found: found.update(version="0.3"), "labels/cells")(store, version)
    else:
        ome(lambda found: found.update(version="0.4"), "labels/cells")(store, version)


def no_version(store: Path, version: str) -> None:
    if version == "0.4":
        multiscales(lambda found: found.pop("version"))(store, version)
    else:
        ome(lambda found: found.pop("version"))(store, version)


def both_formats(store: Path, version: str) -> None:
    for name in (".zgroup", "zarr.json"):
        if not (store / name).exists():
            shutil.copy(store / ("zarr.json" if name == ".zgroup" else ".zattrs"), store / name)
    if version == "0.4":
        attributes = json.loads((store / ".zattrs").read_text())
        text = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {"ome": {**attributes, "version": "0.5"}},
        }
        (store / "zarr.json").write_text(json.dumps(text))


def well(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, str], object]:
    return ome(lambda found: change(found["well"]["images"][0]), "A/1")


def xml(text: str) -> Callable[[Path, str], object]:
    return file_in("OME/METADATA.ome.xml", text.encode())


def plate(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, str], object]:
    return ome(lambda found: change(found["plate"]))


def chunk_shape(shape: list[int], *codecs: dict[str, Any]) -> Callable[[Path, str], object]:
    def change(found: dict[str, Any]) -> None:
        found["chunk_grid"]["configuration"]["chunk_shape"] = shape
        found["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}, *codecs]

    return document("1", change)


BLOSC = {
    "name": "blosc",
    "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 2, "blocksize": 0},
}
SPAN = [{"type": "scale", "scale": [1, 2, 1, 1]}]
FAULTS = [
    # files and groups
    Fault("json", "error", "labels/.zattrs", file_in("labels/.zattrs", b"{,"), versions=("0.4",)),
    Fault("json", "error", "1/zarr.json", file_in("1/zarr.json", b'{"a": "\xff'), versions=("0.5",)),
    Fault("json", "error", "1/zarr.json", file_in("1/zarr.json", b"[1]"), versions=("0.5",)),
    Fault(
        "json", "error", "1/.zarray", document("1", lambda d: d.update(fill_value=np.nan)), versions=("0.4",)
    ),
    Fault("json", "error", "1/zarr.json", document("1", lambda d: d.update(a=-np.inf)), versions=("0.5",)),
    Fault("group-file", "error", "labels", lambda s, v: (s / "labels/.zgroup").unlink(), versions=("0.4",)),
    Fault("group-file", "error", "labels", document("labels", lambda d: d.update(zarr_format=7))),
    Fault("group-file", "error", "A", lambda s, v: (s / "A/.zgroup").unlink(), "plate", ("0.4",)),
    Fault("group-file", "error", "A", lambda s, v: (s / "A/zarr.json").unlink(), "plate", ("0.5",)),
    Fault("group-file", "error", "OME", lambda s, v: (s / "OME/zarr.json").unlink(), "collection", ("0.5",)),
    Fault("node-missing", "error", "2", remove("2")),
    Fault("node-missing", "error", "labels/cells", remove("labels/cells")),
    Fault("node-missing", "error", "B/2", remove("B"), "plate"),
    Fault("node-missing", "error", "A/1/1", remove("A/1/1"), "plate"),
    Fault("node-missing", "error", "1", remove("1"), "collection"),
    Fault("node-kind", "error", "labels", multiscales(lambda m: m["datasets"][2].update(path="labels"))),
    Fault("node-kind", "error", "A/1", ome(lambda o: o.pop("well"), "A/1"), "plate"),
    Fault("node-kind", "error", "A/1/0", ome(lambda o: o.pop("multiscales"), "A/1/0"), "plate"),
    Fault("path", "error", "", multiscales(lambda m: m["datasets"][2].update(path="../out"))),
    Fault("path", "error", "", multiscales(lambda m: m["datasets"][2].update(path="/etc"))),
    Fault("path", "error", "labels", ome(lambda o: o.update(labels=["../../x"]), "labels")),
    Fault("path", "error", "", plate(lambda p: p["wells"][0].update(path="../A")), "plate"),
    Fault("path", "error", "A/1", well(lambda i: i.update(path="..")), "plate"),
    Fault("path", "error", "", ome(lambda o: o.update(series=["0", "../1"]), "OME"), "collection"),
    Fault("two-formats", "warning", "", both_formats),
    Fault("consolidated", "warning", "labels/.zattrs", consolidated, versions=("0.4",)),
    Fault("consolidated", "warning", "labels/zarr.json", consolidated, versions=("0.5",)),
    # versions
    Fault("version-missing", "warning", "", no_version, versions=("0.4",)),
    Fault("version-missing", "warning", "", plate(lambda p: p.pop("version")), "plate", ("0.4",)),
    Fault("version-missing", "error", "", no_version, versions=("0.5",)),
    Fault("version", "error", "", multiscales(lambda m: m.update(version="4")), versions=("0.4",)),
    Fault("version", "error", "", ome(lambda o: o.update(version="0.55")), versions=("0.5",)),
    Fault("version-mixed", "error", "labels/cells", versions_apart),
    Fault("version-format", "error", "", other_envelope),
    Fault("version-format", "error", "", multiscales(lambda m: m.update(version="0.5")), versions=("0.4",)),
    Fault("version-unchecked", "warning", "", ome(lambda o: o.update(version="0.9.dev1")), versions=("0.5",)),
    Fault("version-missing", "error", "", ome(lambda o: o.pop("version")), "plate", ("0.5",)),
    Fault("version-missing", "error", "A/1", ome(lambda o: o.pop("version"), "A/1"), "plate", ("0.5",)),
    Fault(
        "version-missing",
        "error",
        "labels/cells",
        ome(lambda o: o.pop("version"), "labels/cells"),
        "image",
        ("0.5",),
    ),
    Fault(
        "version-missing", "warning", "labels", ome(lambda o: o.pop("version"), "labels"), "image", ("0.5",)
    ),
    # models
    Fault("multiscales", "error", "", ome(lambda o: o.update(multiscales=[]))),
    Fault("multiscales", "error", "", multiscales(lambda m: m.update(name=3))),
    Fault("multiscales", "error", "", ome(lambda o: o.pop("multiscales"))),
    Fault("axes", "error", "", multiscales(lambda m: m["axes"].reverse())),
    Fault("axes", "error", "", multiscales(lambda m: m["axes"][2].update(name="x"))),
    Fault("axes", "error", "", multiscales(lambda m: m.pop("axes"))),
    Fault("datasets", "error", "", multiscales(lambda m: m["datasets"][0].pop("path"))),
    Fault("datasets", "error", "", multiscales(lambda m: m.pop("datasets"))),
    Fault("transformations", "error", "", level_one(lambda t: t[0]["scale"].pop())),
    Fault("transformations", "error", "", level_one(lambda t: t[1]["translation"].pop())),
    Fault("transformations", "error", "", level_one(lambda t: t.append(dict(t[0])))),
    Fault("transformations", "error", "", level_one(lambda t: t.append(dict(t[1])))),
    Fault("transformations", "error", "", level_one(lambda t: t.reverse())),
    Fault("transformations", "error", "", level_one(lambda t: t[0].pop("type"))),
    Fault("null", "error", "", multiscales(lambda m: m.update(name=None))),
    Fault("null", "error", "", channel(lambda c: c.update(label=None))),
    Fault("null", "error", "", plate(lambda p: p.update(field_count=None)), "plate"),
    Fault("transformations", "error", "", level_one(lambda t: t.clear())),
    Fault("transformations", "error", "", level_one(lambda t: t[0].update(type="affine"))),
    Fault("omero", "error", "", channel(lambda c: c["window"].pop("end"))),
    Fault("omero", "error", "", channel(lambda c: c.pop("color"))),
    Fault("labels", "error", "labels", ome(lambda o: o.update(labels=[]), "labels")),
    Fault("labels", "error", "labels", ome(lambda o: o.pop("labels"), "labels")),
    Fault(
        "image-label",
        "error",
        "labels/cells",
        ome(lambda o: o["image-label"].update(colors=[]), "labels/cells"),
    ),
    Fault("plate", "error", "", plate(lambda p: p["rows"].append(p["rows"][0])), "plate"),
    Fault("plate", "error", "", plate(lambda p: p["wells"][1].update(rowIndex=9)), "plate"),
    Fault("plate", "error", "", plate(lambda p: p["columns"][0].update(name="a b")), "plate"),
    Fault("well", "error", "A/1", ome(lambda o: o["well"].update(images=[]), "A/1"), "plate"),
    Fault("collection", "error", "", ome(lambda o: o.update({"bioformats2raw.layout": 2})), "collection"),
    Fault("collection", "error", "OME", ome(lambda o: o.update(series=[]), "OME"), "collection"),
    Fault("collection", "error", "", lambda s, v: [remove(n)(s, v) for n in ("0", "1", "OME")], "collection"),
    Fault("series", "error", "OME", ome(lambda o: o.update(series=["0", "1", "0"]), "OME"), "collection"),
    Fault("image-unlisted", "warning", "1", ome(lambda o: o.update(series=["0"]), "OME"), "collection"),
    Fault("image-unlisted", "error", "1", lambda s, v: [remove(n)(s, v) for n in ("0", "OME")], "collection"),
    Fault(
        "image-unlisted",
        "error",
        "10",
        lambda s, v: [(s / "1").rename(s / "10"), remove("OME")(s, v)],
        "collection",
    ),
    # what the models leave out
    Fault("axis-type", "warning", "", multiscales(lambda m: m["axes"][0].pop("type"))),
    Fault("axis-unit", "warning", "", multiscales(lambda m: m["axes"][1].update(unit="um"))),
    Fault("axis-unit", "error", "", multiscales(lambda m: m["axes"][1].update(unit=None))),
    Fault("axis-order", "warning", "", multiscales(lambda m: m["axes"].append(m["axes"].pop(1)))),
    Fault("scale-value", "error", "", level_one(lambda t: t[0].update(scale=[1, 2, 0, 1]))),
    Fault("scale-value", "error", "", level_one(lambda t: t[0].update(scale=[1, 2, -1, 1]))),
    Fault("scale-value", "error", "", level_one(lambda t: t[1].update(translation=[0, 0, 0, 10**400]))),
    Fault("scale-shape", "error", "1", level_one(lambda t: t[0].update(scale=[1, 2, 0.5, 1]))),
    Fault("scale-shape", "error", "1", level_one(lambda t: t[0].update(scale=[1, 2, 1, 1.2]))),
    Fault("scale-shape", "error", "1", other_array("1", narrow=True)),
    Fault("level-order", "error", "1", multiscales(lambda m: m["datasets"].reverse())),
    Fault("level-order", "error", "1", level_one(lambda t: t[0].update(scale=[1, 2, 0.4, 1]))),
    Fault("level-dtype", "error", "1", other_array("1", dtype="float32")),
    Fault("level-ndim", "error", "1", other_array("1", drop=True)),
    Fault("omero-channels", "error", "", ome(lambda o: o["omero"]["channels"].pop())),
    Fault("omero-color", "error", "", channel(lambda c: c.update(color="#00FF00"))),
    Fault("omero-color", "error", "", channel(lambda c: c.update(color="0F0"))),
    Fault("omero-window", "warning", "", channel(lambda c: c["window"].update(start=6000))),
    Fault("label-dtype", "error", "labels/cells/0", other_array("labels/cells/0", dtype="float32")),
    Fault(
        "label-levels", "error", "labels/cells", multiscales(lambda m: m["datasets"].pop(), "labels/cells")
    ),
    Fault("label-shape", "error", "labels/cells", other_array("labels/cells/0", narrow=True)),
    Fault(
        "label-colors",
        "error",
        "labels/cells",
        ome(lambda o: o["image-label"]["colors"][1].update({"label-value": 1}), "labels/cells"),
    ),
    Fault(
        "label-colors",
        "error",
        "labels/cells",
        ome(lambda o: o["image-label"]["colors"][1].update({"label-value": 1.5}), "labels/cells"),
    ),
    Fault(
        "label-value",
        "warning",
        "labels/cells",
        ome(lambda o: o["image-label"]["colors"][1].update({"label-value": -1}), "labels/cells"),
    ),
    Fault(
        "label-value",
        "warning",
        "labels/cells",
        ome(lambda o: o["image-label"].update(properties=[{"label-value": 2**32}]), "labels/cells"),
    ),
    Fault(
        "label-unlisted",
        "warning",
        "labels/b",
        lambda s, v: shutil.copytree(s / "labels/cells", s / "labels/b"),
    ),
    Fault(
        "image-label-missing", "warning", "labels/cells", ome(lambda o: o.pop("image-label"), "labels/cells")
    ),
    Fault("plate-well", "error", "", plate(lambda p: p["wells"][1].update(rowIndex=0)), "plate"),
    Fault("plate-acquisitions", "error", "", plate(lambda p: p["acquisitions"][1].update(id=0)), "plate"),
    Fault("well-acquisition", "error", "A/1", well(lambda i: i.pop("acquisition")), "plate"),
    Fault("well-acquisition", "error", "A/1", well(lambda i: i.update(acquisition=5)), "plate"),
    Fault("well-path", "error", "A/1", well(lambda i: i.update(path="0_a")), "plate"),
    Fault("ome-xml", "warning", "OME/METADATA.ome.xml", remove("OME"), "collection"),
    Fault("ome-xml", "error", "OME/METADATA.ome.xml", xml("<OME"), "collection"),
    Fault("ome-xml", "error", "OME/METADATA.ome.xml", xml(XML.replace('SizeX="32"', "")), "collection"),
    Fault(
        "ome-xml-images",
        "error",
        "OME/METADATA.ome.xml",
        xml(XML.partition("<Image")[0] + "</OME>"),
        "collection",
    ),
    Fault("ome-xml-images", "warning", "OME/METADATA.ome.xml", xml(XML)),
    # arrays
    Fault("array-metadata", "error", "1", document("1", lambda d: d.update(shape=[2, 3]))),
    Fault("array-metadata", "error", "1", document("1", lambda d: d.update(shape=[2, 3, 20, "16"]))),
    Fault("array-metadata", "error", "1", document("1", lambda d: d.update(dtype="u2x")), versions=("0.4",)),
    Fault("array-metadata", "error", "1", document("1", lambda d: d.pop("chunk_grid")), versions=("0.5",)),
    Fault("array-metadata", "error", "1", document("1", lambda d: d.pop("fill_value"))),
    Fault(
        "array-unchecked",
        "warning",
        "1",
        document("1", lambda d: d.update(compressor={"id": "lzma"})),
        versions=("0.4",),
    ),
    Fault(
        "array-unchecked",
        "warning",
        "1",
        document("1", lambda d: d["codecs"].append({"name": "numcodecs.lzma"})),
        versions=("0.5",),
        deep=True,
    ),
    Fault(
        "dimension-names", "error", "1", document("1", lambda d: d.pop("dimension_names")), versions=("0.5",)
    ),
    Fault(
        "dimension-names",
        "error",
        "1",
        document("1", lambda d: d["dimension_names"].reverse()),
        versions=("0.5",),
    ),
    Fault("separator", "error", "1", other_array("1", separator="."), versions=("0.4",)),
    Fault(
        "chunk-size",
        "error",
        "1",
        document("1", lambda d: d.update(chunks=[1, 2**20, 2**20, 1])),
        versions=("0.4",),
    ),
    Fault("chunk-size", "warning", "1", chunk_shape([1, 2**20, 2**20, 1]), versions=("0.5",)),
    Fault("array-unchecked", "warning", "1", chunk_shape([1, 2**20, 2**20, 1]), versions=("0.5",)),
    Fault("chunk-size", "error", "1", chunk_shape([1, 2**20, 2**20, 1], BLOSC), versions=("0.5",)),
    Fault("chunk-size", "error", "1", chunk_shape([1, 1, 2**30, 1], BLOSC), versions=("0.5",)),
    # chunks
    Fault("stray-file", "warning", "0/0/1", stray("0", "1", "0", "0"), versions=("0.4",)),
    Fault("stray-file", "warning", "0/c/0/0/0/0.tmp", stray("0", "0", "0", "0.tmp"), versions=("0.5",)),
    Fault("stray-file", "warning", "0/c/0/0/0/2", stray("0", "0", "0", "2"), versions=("0.5",)),
    Fault("stray-file", "warning", "0/c/0/0/0/00", stray("0", "0", "0", "00"), versions=("0.5",)),
    Fault("stray-file", "warning", "0/.0.partial", file_in("0/.0.partial")),
    Fault("stray-file", "warning", "0/0.0.0.0", file_in("0/0.0.0.0")),
    Fault("missing-chunks", "warning", "0", chunk_of("0", None)),
    Fault("missing-chunks", "warning", "labels/cells/1", remove("labels/cells/1/0"), versions=("0.4",)),
    Fault("empty-chunk", "error", "0/0/0/1/1", chunk_of("0", b""), versions=("0.4",)),
    Fault("empty-chunk", "error", "0/c/0/0/1/1", chunk_of("0", b""), versions=("0.5",)),
    Fault("chunk-decode", "error", "0/0/0/1/1", chunk_of("0", b"rubbish"), versions=("0.4",), deep=True),
    Fault("chunk-decode", "error", "0/c/0/0/1/1", chunk_of("0", b"rubbish"), versions=("0.5",), deep=True),
    Fault("hole", "error", "0", chunk_of("0", None), deep=True),
    Fault("hole", "error", "2", lambda s, v: chunk(s / "2", v, 1, 0, 0, 0).unlink(), deep=True),
]
CASES = [
    pytest.param(fault, version, id=f"{fault.rule}-{number}-{version}")
    for number, fault in enumerate(FAULTS)
    for version in fault.versions
]


@pytest.mark.parametrize(("fault", "version"), CASES)
def test_a_fault_is_found(sound: Path, tmp_path: Path, fault: Fault, version: str) -> None:
    store = tmp_path / "store"
    shutil.copytree(sound / f"{fault.kind}-{version}", store)
    fault.make(store, version)
    result = validate(store, deep=fault.deep, workers=2)
    assert (fault.grade, fault.path, fault.rule) in found(result)
    assert all("\n" not in finding.message and finding.message for finding in result.findings)


def test_every_rule_has_a_fault() -> None:
    elsewhere = {"link", "chunk-size", "hole-unchecked"}  # tests/test_validate_hostile.py
    elsewhere |= {rule for rule in RULES if rule.startswith("archive-")}  # tests/test_stored_elsewhere.py
    elsewhere |= {"chunks-unlisted"}
    elsewhere |= {"coordinate-systems", "scene"}  # tests/test_ngff_06.py
    elsewhere |= {"plate-fields", "plate-unlisted"}  # tests/test_layout.py
    assert {fault.rule for fault in FAULTS} | elsewhere == set(RULES)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sound_store_with_consolidated_metadata(sound: Path, tmp_path: Path, version: str) -> None:
    shutil.copytree(sound / f"image-{version}", tmp_path / "store")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(tmp_path / "store")
    assert validate(tmp_path / "store").findings == ()


def test_several_images_that_are_converted(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "in.ome.tif", ome=True) as tif:
        for block in (coded(2, 1, 3), coded(1, 2, 1, 20, 30, "uint8"), coded(1, 1, 1, 7, 5, "float32")):
            tif.write(block, metadata={"axes": "TCZYX", "Name": "a"})
    for version in VERSIONS:
        convert(tmp_path / "in.ome.tif", tmp_path / version, Options(ngff_version=version))
        result = validate(tmp_path / version, deep=True)
        assert result.findings == ()
        assert result.images == 3


def test_a_list_of_labels_without_a_version_is_no_error(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound / "image-0.5", tmp_path / "store")
    edit_ome(tmp_path / "store/labels", "0.5", lambda found: found.pop("version"))
    assert found(validate(tmp_path / "store", deep=True)) == [("warning", "labels", "version-missing")]


def test_an_image_after_a_gap_is_not_passed_over(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound / "collection-0.4", tmp_path / "store")
    (tmp_path / "store/1").rename(tmp_path / "store/2")
    shutil.rmtree(tmp_path / "store/OME")
    (finding,) = validate(tmp_path / "store").errors
    assert (finding.path, finding.rule) == ("2", "image-unlisted")
    assert finding.message.endswith("there is no 1/ before it")


@pytest.mark.parametrize(
    ("kind", "folder", "rule"), [("image", "labels", "label-unlisted"), ("collection", "", "image-unlisted")]
)
def test_a_folder_that_cannot_be_listed(
    sound: Path, monkeypatch: pytest.MonkeyPatch, kind: str, folder: str, rule: str
) -> None:
    store, scandir = sound / f"{kind}-0.5", os.scandir

    def refused(path: str) -> Any:
        if os.path.realpath(path) == os.path.realpath(store / folder):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    (finding,) = validate(store).findings
    assert (finding.grade, finding.path, finding.rule) == ("warning", folder, rule)
    assert finding.message.startswith("cannot be listed: Permission denied")


# -- shards ------------------------------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write_image(tmp_path / "store", "0.5", sharded=True)
    assert validate(tmp_path / "store", deep=True).findings == ()
    return tmp_path / "store"


def break_inner(shard: Path, number: int) -> None:
    """Overwrite the first bytes of one of the eight chunks of a shard."""
    content = bytearray(shard.read_bytes())
    offset = int.from_bytes(content[-4 - 16 * (8 - number) :][:8], "little")
    content[offset : offset + 4] = b"nope"
    shard.write_bytes(content)


def test_a_chunk_within_a_shard_that_cannot_be_decoded(sharded: Path) -> None:
    break_inner(chunk(sharded / "0", "0.5", 0, 0, 0, 0), 0)
    assert validate(sharded).findings == ()
    (finding,) = validate(sharded, deep=True).findings
    assert (finding.grade, finding.path, finding.rule) == ("error", "0/c/0/0/0/0", "chunk-decode")
    assert finding.message.startswith("chunk [0, 0, 0, 0] of 0: ")


@pytest.mark.parametrize("left", [50, -1])
def test_a_shard_that_is_cut_short(sharded: Path, left: int) -> None:
    shard = chunk(sharded / "0", "0.5", 0, 0, 1, 0)
    shard.write_bytes(shard.read_bytes()[:left])
    assert found(validate(sharded, deep=True)) == [("error", "0/c/0/0/1/0", "chunk-decode")]


def test_a_shard_is_decoded_in_pieces_of_whole_chunks(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngff_convert.validation.decoding.PIECE_BYTES", 2000)
    assert validate(sharded, deep=True).findings == ()
    break_inner(chunk(sharded / "0", "0.5", 0, 0, 0, 0), 7)
    assert found(validate(sharded, deep=True)) == [("error", "0/c/0/0/0/0", "chunk-decode")]


# -- the result --------------------------------------------------------------------------------------------


def test_the_result_as_json(sound: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(sound / "image-0.5", store)
    good = validate(store).to_json()
    assert json.loads(json.dumps(good)) == good
    assert good["valid"] is True
    multiscales(lambda m: m["axes"][1].update(unit="um"))(store, "0.5")
    assert validate(store).to_json()["valid"] is True
    shutil.rmtree(store / "2")
    bad = validate(store).to_json()
    assert bad["valid"] is False
    missing = "is named in the metadata, but there is no such group or array"
    assert {"grade": "error", "path": "2", "rule": "node-missing", "message": missing} in bad["findings"]


@pytest.mark.parametrize("part", ["labels", "labels/cells", "1"])
def test_a_part_of_a_store_is_a_store(sound: Path, part: str) -> None:
    for version in VERSIONS:
        kind = "collection" if part == "1" else "image"
        assert validate(sound / f"{kind}-{version}" / part, deep=True).findings == ()


def test_a_well_is_a_store(sound: Path) -> None:
    result = validate(sound / "plate-0.5" / "A/1")
    assert result.findings == ()
    assert (result.plates, result.wells, result.images) == (0, 1, 2)


def test_a_path_with_a_link_to_the_store(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(sound / "image-0.5")
    assert validate(tmp_path / "link", deep=True).findings == ()


# -- what is no OME-Zarr -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nothing", ReadError, "nothing: cannot be read: No such file or directory"),
        ("nul\0", ReadError, "cannot be read: embedded null"),
        ("file", ReadError, "file: cannot be read: Not a directory"),
        ("loop", ReadError, "loop: cannot be read: Too many levels of symbolic links"),
        ("folder", UnsupportedInput, "folder: is no Zarr: it has neither zarr.json nor .zgroup"),
        ("group", UnsupportedInput, "group: is a Zarr group, but not an OME-Zarr"),
        ("array", UnsupportedInput, "array: is a Zarr array, not an OME-Zarr"),
    ],
)
def test_what_is_no_ome_zarr(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    zarr.create_group(tmp_path / "group")
    zarr.create_array(tmp_path / "array", shape=(2, 2), dtype="uint8")
    with pytest.raises(error, match=message) as caught:
        validate(tmp_path / name)
    assert "\n" not in str(caught.value)
