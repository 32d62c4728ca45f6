"""OME-NGFF 0.6: documents good and bad by the text of the specification, whole stores as others see them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from foreign_stores import WRITERS

from ngff_convert import Options, convert
from ngff_convert.cli import main
from ngff_convert.ngff_systems import placed, with_systems
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.validate import Validation, validate

Json = dict[str, Any]
PIXELS = coded_pixels((2, 2, 5, 70, 90))
NGFF_ZARR = find_spec("ngff_zarr")  # not imported: that takes seconds

# -- small documents -----------------------------------------------------------------------------------------

SPACE = [{"name": "y", "type": "space", "unit": "micrometer"}, {"name": "x", "type": "space"}]
ENDS = {"input": {"path": "0"}, "output": {"name": "physical"}}
SCALE = {"type": "scale", "scale": [2.0, 0.5]}
SHIFT = {"type": "translation", "translation": [10, -1.5]}
ON = {"input": {"name": "physical"}, "output": {"name": "world"}}


def image(*steps: Any, axes: Any = SPACE, **more: Any) -> Json:
    datasets = [{"path": "0", "coordinateTransformations": list(steps or ({**SCALE, **ENDS},))}]
    systems = [{"name": "physical", "axes": axes}]
    return {"multiscales": [{"name": "i", "coordinateSystems": systems, "datasets": datasets, **more}]}


def onward(step: Json, *, ends: Json = ON, axes: Any = SPACE) -> Json:
    """Return an image with a system more, and a transformation that leads there."""
    systems = [{"name": name, "axes": axes} for name in ("world", "physical")]
    return image(coordinateSystems=systems, coordinateTransformations=[{**step, **ends}])


def scene(*steps: Json, **more: Any) -> Json:
    systems = [{"name": "world", "axes": SPACE}, {"name": "other", "axes": SPACE}]
    return {"scene": {"coordinateSystems": systems, "coordinateTransformations": list(steps), **more}}


def on_from(step: Json, path: str = "") -> Json:
    return {
        **step,
        "input": {"name": "other", **({"path": path} if path else {})},
        "output": {"name": "world"},
    }


def axis(name: Any, kind: Any = "space", **more: Any) -> Json:
    return {"name": name, "type": kind, **more}


IDENTITY = {"type": "identity"}
AFFINE = {"type": "affine", "affine": [[1, 0, 5], [0, 1, 6]]}
PARTS = [
    {"transformation": {"type": "scale", "scale": [2]}, "inputAxes": [n], "outputAxes": [n]} for n in (0, 1)
]

VALID = {
    "scale": image(),
    "identity": image({**IDENTITY, **ENDS}),
    "sequence": image({"type": "sequence", "transformations": [SCALE, SHIFT], **ENDS}),
    "named": image({**SCALE, **ENDS, "name": "to micrometers"}),
    "own type of axis": image({**SCALE, **ENDS, "scale": [1, 1, 1]}, axes=[axis("angle", "angle"), *SPACE]),
    "array axes": image(axes=[axis("dim_0", "array"), axis("dim_1", "array")]),
    "fields of an axis": image(axes=[axis("y", longName="height", discrete=False), axis("x")]),
    "two systems": onward(IDENTITY),
    "on by an affine": onward(AFFINE),
    "on by an array": onward({"type": "affine", "path": "transformations/affine"}),
    "on by a rotation": onward({"type": "rotation", "rotation": [[0, -1], [1, 0]]}),
    "on by mapAxis": onward({"type": "mapAxis", "mapAxis": [1, 0]}),
    "on by projectAxis": onward({"type": "projectAxis", "droppedInputs": [0], "createdOutputs": [1]}),
    "on by a bijection": onward({"type": "bijection", "forward": SCALE, "inverse": IDENTITY}),
    "on by dimension": onward({"type": "byDimension", "transformations": PARTS}),
    "on by a field": onward({"type": "displacements", "path": "d", "interpolation": "linear"}),
    "on by coordinates": onward({"type": "coordinates", "path": "d"}),
    "on to a label": onward(IDENTITY, ends={**ON, "output": {"name": "physical", "path": "labels/cells"}}),
    "scene": scene(on_from(SCALE), on_from({"type": "sequence", "transformations": [SCALE, AFFINE]})),
}

INVALID: dict[str, tuple[str, Json]] = {
    "no systems": ("coordinate-systems", image(coordinateSystems=[])),
    "systems not a list": ("coordinate-systems", image(coordinateSystems={"name": "physical"})),
    "axes of 0.5": (
        "coordinate-systems",
        image(axes=SPACE) | {"multiscales": [{**image()["multiscales"][0], "axes": SPACE}]},
    ),
    "no name": ("coordinate-systems", image(coordinateSystems=[{"axes": SPACE}])),
    "empty name": ("coordinate-systems", image(coordinateSystems=[{"name": "", "axes": SPACE}])),
    "name twice": ("coordinate-systems", image(coordinateSystems=[{"name": "physical", "axes": SPACE}] * 2)),
    "no axes": ("axes", image(coordinateSystems=[{"name": "physical"}])),
    "empty axes": ("axes", image(axes=[])),
    "one axis": ("axes", image(axes=SPACE[:1])),
    "axis without a name": ("axes", image(axes=[{"type": "space"}, SPACE[1]])),
    "axis twice": ("axes", image(axes=[SPACE[0], SPACE[0]])),
    "one axis of space": ("axes", image(axes=[axis("c", "channel"), axis("x")])),
    "four axes of space": ("axes", image(axes=[axis(name) for name in "wzyx"])),
    "six axes": ("axes", image(axes=[axis(name) for name in "abcdef"])),
    "two times": ("axes", image(axes=[axis("t", "time"), axis("u", "time"), *SPACE])),
    "channel before time": ("axes", image(axes=[axis("c", "channel"), axis("t", "time"), *SPACE])),
    "space before channel": ("axes", image(axes=[*SPACE, axis("c", "channel")])),
    "discrete is no boolean": ("axes", image(axes=[axis("y", discrete="no"), axis("x")])),
    "array and space": ("axes", image(axes=[axis("dim_0", "array"), axis("x")])),
    "other system": (
        "axes",
        image(coordinateSystems=[{"name": "physical", "axes": SPACE}, {"name": "b", "axes": SPACE[:1]}]),
    ),
    "no transformation": (
        "transformations",
        image(
            coordinateSystems=[{"name": "physical", "axes": SPACE}],
            datasets=[{"path": "0", "coordinateTransformations": []}],
        ),
    ),
    "two transformations": ("transformations", image({**SCALE, **ENDS}, {**SHIFT, **ENDS})),
    "translation alone": ("transformations", image({**SHIFT, **ENDS})),
    "affine of a level": ("transformations", image({**AFFINE, **ENDS})),
    "two scales": ("transformations", image({"type": "sequence", "transformations": [SCALE, SCALE], **ENDS})),
    "three in a sequence": (
        "transformations",
        image({"type": "sequence", "transformations": [SCALE, SHIFT, SHIFT], **ENDS}),
    ),
    "one in a sequence": ("transformations", image({"type": "sequence", "transformations": [SCALE], **ENDS})),
    "no input": ("transformations", image({**SCALE, "output": ENDS["output"]})),
    "no output": ("transformations", image({**SCALE, "input": ENDS["input"]})),
    "ends are texts": ("transformations", image({**SCALE, "input": "0", "output": "physical"})),
    "input of another level": ("transformations", image({**SCALE, **ENDS, "input": {"path": "1"}})),
    "output that is not there": ("transformations", image({**SCALE, **ENDS, "output": {"name": "world"}})),
    "scale too short": ("transformations", image({**SCALE, **ENDS, "scale": [1.0]})),
    "scale of 0": ("transformations", image({**SCALE, **ENDS, "scale": [1.0, 0]})),
    "scale of words": ("transformations", image({**SCALE, **ENDS, "scale": ["1", "2"]})),
    "scale elsewhere": ("transformations", image({"type": "scale", "path": "scale", **ENDS})),
    "nothing onward": ("transformations", image(coordinateTransformations=[])),
    "onward to nowhere": ("transformations", onward(IDENTITY, ends={**ON, "output": {"name": "moon"}})),
    "onward without ends": ("transformations", onward(IDENTITY, ends={})),
    "onward by names": ("transformations", onward(IDENTITY, ends={"input": "physical", "output": "world"})),
    "unknown type": ("transformations", onward({"type": "warp"})),
    "no type": ("transformations", onward({"scale": [1, 1]})),
    "affine of words": ("transformations", onward({"type": "affine", "affine": [["1"]]})),
    "affine without numbers": ("transformations", onward({"type": "affine"})),
    "rows of two lengths": ("transformations", onward({"type": "affine", "affine": [[1, 0], [1]]})),
    "rotation not square": (
        "transformations",
        onward({"type": "rotation", "rotation": [[1, 0, 0], [0, 1, 0]]}),
    ),
    "mapAxis twice": ("transformations", onward({"type": "mapAxis", "mapAxis": [0, 0]})),
    "mapAxis of names": ("transformations", onward({"type": "mapAxis", "mapAxis": {"x": "y"}})),
    "mapAxis too high": ("transformations", onward({"type": "mapAxis", "mapAxis": [0, 5]})),
    "mapAxis of one": ("transformations", onward({"type": "mapAxis", "mapAxis": [0]})),
    "projectAxis of nothing": ("transformations", onward({"type": "projectAxis"})),
    "projectAxis of four": (
        "transformations",
        onward({"type": "projectAxis", "droppedInputs": [0, 1, 2, 3]}),
    ),
    "bijection of one": ("transformations", onward({"type": "bijection", "forward": SCALE})),
    "bijection of nothing": (
        "transformations",
        onward({"type": "bijection", "forward": {"type": "affine"}, "inverse": IDENTITY}),
    ),
    "parts without axes": (
        "transformations",
        onward({"type": "byDimension", "transformations": [{"transformation": SCALE}]}),
    ),
    "parts of names": (
        "transformations",
        onward({"type": "byDimension", "transformations": [{**PARTS[0], "inputAxes": ["y"]}]}),
    ),
    "parts twice": ("transformations", onward({"type": "byDimension", "transformations": [PARTS[0]] * 2})),
    "field without a path": ("transformations", onward({"type": "displacements"})),
    "field of no kind": (
        "transformations",
        onward({"type": "coordinates", "path": "d", "interpolation": "best"}),
    ),
    "scene without transformations": ("scene", {"scene": {}}),
    "scene of nothing": ("scene", scene()),
    "scene is no object": ("scene", {"scene": [1]}),
    "scene by names": ("scene", scene({**IDENTITY, "input": "other", "output": "world"})),
    "scene to nowhere": ("scene", scene({**on_from(IDENTITY), "output": {"name": "moon"}})),
    "scene with other keys": (
        "scene",
        scene({**IDENTITY, "input": {"name": "other", "id": 1}, "output": {"name": "world"}}),
    ),
    "bijection in a scene": ("scene", scene(on_from({"type": "bijection", "forward": SCALE}))),
}


def stored(folder: Path, ome: Json, dimensions: int = 2) -> Validation:
    """Validate a group of 0.6 with an array ``0``."""
    attributes = {"ome": {"version": "0.6", **ome}}
    folder.mkdir()
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (folder / "zarr.json").write_text(json.dumps(document))
    for path in ("0",):
        names = [f"dim_{n}" for n in range(dimensions)]
        shape = (4,) * dimensions
        zarr.create_array(folder / path, shape=shape, dtype="uint8", dimension_names=names)
    return validate(folder)


def schema_errors(ome: Json) -> list[str]:
    """Return what the JSON schemas of the specification say, where a package carries them."""
    if NGFF_ZARR is None or NGFF_ZARR.origin is None:
        pytest.skip("ngff-zarr carries the schemas, and is not installed")
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    folder = Path(NGFF_ZARR.origin).parent / "spec/0.6/schemas"
    schemas = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.schema")}
    known = [(s["$id"], referencing.Resource.from_contents(s)) for s in schemas.values()]
    registry = referencing.Registry().with_resources(known)
    names = {
        "multiscales": "strict_image",
        "image-label": "label",
        "plate": "plate",
        "well": "well",
        "series": "ome",
        "bioformats2raw.layout": "bf2raw",
        "scene": "scene",
    }
    said = []
    for key in names.keys() & ome.keys():
        validator = jsonschema.Draft202012Validator(schemas[names[key]], registry=registry)
        said += [error.message for error in validator.iter_errors({"ome": {"version": "0.6", **ome}})]
    return said


@pytest.mark.parametrize("name", VALID)
def test_no_error_is_found_in_a_good_document(name: str, tmp_path: Path) -> None:
    dimensions = (
        len(VALID[name]["multiscales"][0]["coordinateSystems"][0]["axes"]) if "scene" not in name else 2
    )
    result = stored(tmp_path / "store", VALID[name], dimensions)
    assert [f.message for f in result.errors] == []
    assert result.version == "0.6"
    assert {f.rule for f in result.findings} <= {"missing-chunks", "dimension-names", "axis-type"}


@pytest.mark.parametrize("name", INVALID)
def test_the_fault_of_a_bad_document_is_found(name: str, tmp_path: Path) -> None:
    rule, ome = INVALID[name]
    result = stored(tmp_path / "store", ome)
    assert rule in {finding.rule for finding in result.errors}


def test_the_schemas_take_the_good_documents() -> None:
    complete = copy.deepcopy(VALID)
    for ome in complete.values():
        for item in ome.get("multiscales", ()):
            item |= {"type": "mean", "metadata": {}}
    assert {name: errors for name, ome in complete.items() if (errors := schema_errors(ome))} == {}


def test_the_images_of_a_scene_are_validated(tmp_path: Path) -> None:
    WRITERS["image"](tmp_path / "tile", "0.6")
    group = tmp_path / "scene"
    link = {**SHIFT, "input": {"name": "physical", "path": "tile"}, "output": {"name": "world"}}
    (tmp_path / "tile").rename(tmp_path / "kept")
    result = stored(group, scene(link))
    assert [(f.path, f.rule) for f in result.errors] == [("tile", "node-missing")]
    (tmp_path / "kept").rename(group / "tile")
    result = validate(group, deep=True)
    assert result.findings == ()
    assert (result.images, result.labels, result.levels) == (1, 1, 6)


@pytest.mark.parametrize(
    ("path", "is_good"), [("0", True), ("a-1_b.2", True), ("..", False), ("__x", False), ("a b", False)]
)
def test_names_of_fields(path: str, is_good: bool, tmp_path: Path) -> None:
    result = stored(tmp_path / "store", {"well": {"images": [{"path": path}]}})
    refused = {finding.rule for finding in result.errors} & {"well-path", "path"}
    assert (not refused) == is_good


# -- from 0.5 ------------------------------------------------------------------------------------------------


def test_what_came_after_every_level_is_in_each() -> None:
    own = [{"type": "scale", "scale": [2.0, 4.0]}, {"type": "translation", "translation": [1.0, 0.0]}]
    all_levels = [{"type": "scale", "scale": [0.5, 1.0]}, {"type": "translation", "translation": [0.0, 3.0]}]
    document = {
        "axes": SPACE,
        "datasets": [{"path": "a", "coordinateTransformations": own, "note": 1}],
        "coordinateTransformations": all_levels,
        "version": "0.4",
        "extra": {"kept": True},
    }
    found = with_systems(document)
    assert found == {
        "coordinateSystems": [{"name": "physical", "axes": SPACE}],
        "datasets": [
            {
                "path": "a",
                "note": 1,
                "coordinateTransformations": [
                    {
                        "type": "sequence",
                        "transformations": [
                            {"type": "scale", "scale": [1.0, 4.0]},
                            {"type": "translation", "translation": [0.5, 3.0]},
                        ],
                        "input": {"path": "a"},
                        "output": {"name": "physical"},
                    }
                ],
            }
        ],
        "extra": {"kept": True},
    }
    assert own[0] == {"type": "scale", "scale": [2.0, 4.0]}, "what is given is not changed"


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([{"type": "affine"}], ValueError),
        ([{"type": "scale", "path": "array"}, SHIFT], ValueError),
        ([{"type": "scale", "scale": [1, 2, 3]}, SHIFT, SHIFT], ValueError),
        ([{"scale": [1, 2]}], KeyError),
    ],
)
def test_other_transformations_are_refused(steps: list[Json], error: type[Exception]) -> None:
    with pytest.raises(error):
        placed(steps, (), 2)


def test_a_sum_of_nothing_is_the_identity() -> None:
    assert placed([IDENTITY], (), 2) == [{"type": "scale", "scale": [1.0, 1.0]}]


# -- whole stores --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    settings: Json = {"levels": 2, "voxel_zyx": (0.5, 0.25, 0.2)}
    write_ims(folder / "in.ims", PIXELS, **settings)
    options = Options(ngff_version="0.6", chunks=(1, 1, 4, 32, 32), verify="full")
    convert(folder / "in.ims", folder / "out.ome.zarr", options)
    return folder / "out.ome.zarr"


def test_every_group_of_a_written_store_is_valid_by_the_schemas(written: Path, tmp_path: Path) -> None:
    write_ims(tmp_path / "in.ims", PIXELS)
    convert(tmp_path / "in.ims", tmp_path / "many", Options(ngff_version="0.6", layout="bioformats2raw"))
    seen = set()
    for path in (*written.rglob("zarr.json"), *(tmp_path / "many").rglob("zarr.json")):
        ome = (
            json.loads(path.read_text())["attributes"].get("ome")
            if "attributes" in path.read_text()
            else None
        )
        if ome:
            assert schema_errors(ome) == []
            seen |= ome.keys()
    assert {"multiscales", "series", "bioformats2raw.layout"} <= seen


def test_ngff_zarr_reads_what_was_written(written: Path) -> None:
    if NGFF_ZARR is None:
        pytest.skip("ngff-zarr is not installed")
    code = f"""
import json, numpy, ngff_zarr
images = ngff_zarr.from_ngff_zarr({str(written)!r}, validate=True).images
found = [[i.scale, i.translation, i.axes_units, list(i.dims), list(i.data.shape)] for i in images]
numpy.save({str(written.parent / "read.npy")!r}, images[0].data.compute())
print(json.dumps(found))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    first, second = json.loads(result.stdout)[:2]
    np.testing.assert_array_equal(np.load(written.parent / "read.npy"), PIXELS)
    assert first[3:] == [list("tczyx"), list(PIXELS.shape)]
    assert first[0] == {"t": 1.0, "c": 1.0, "z": 0.5, "y": 0.25, "x": 0.2}
    assert first[1] == pytest.approx({"t": 0.0, "c": 0.0, "z": 0.25, "y": 0.125, "x": 0.1})
    assert first[2] == {"t": None, "c": None} | dict.fromkeys("zyx", "micrometer")
    assert second[0] == pytest.approx({"t": 1.0, "c": 1.0, "z": 0.5, "y": 0.5, "x": 0.4})
    assert second[1] == pytest.approx({"t": 0.0, "c": 0.0, "z": 0.25, "y": 0.25, "x": 0.2})


def test_an_archive_and_an_array_job_write_it_too(written: Path, tmp_path: Path) -> None:
    source, options = str(written.parent / "in.ims"), ["--ngff-version", "0.6", "--chunks", "4,32,32"]
    assert main([source, str(tmp_path / "a.ozx"), *options]) == 0
    job = str(tmp_path / "job.json")
    assert main(["plan", source, str(tmp_path / "b.ome.zarr"), "-n", "2", "-o", job, *options]) == 0
    for number in (1, 2):
        assert main(["run", job, "--part", str(number)]) == 0
    assert main(["finish", job]) == 0
    for store in (tmp_path / "a.ozx", tmp_path / "b.ome.zarr"):
        result = validate(store, deep=True)
        assert (result.version, result.findings) == ("0.6", ())
        assert main(["verify", source, str(store)]) == 0
