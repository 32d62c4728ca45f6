"""Small OME-Zarr stores as another library writes them: an image with labels, a plate, a collection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (2, 3, 40, 32)
CHUNKS = (1, 3, 16, 16)
LEVELS = 3
AXES: list[dict[str, Any]] = [
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
XML = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    + "".join(
        f'<Image ID="Image:{i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYZCT" Type="uint16" SizeX="32" '
        'SizeY="40" SizeZ="3" SizeC="2" SizeT="1"><MetadataOnly/></Pixels></Image>'
        for i in range(2)
    )
    + "</OME>"
)


def pixels() -> NDArray[Any]:
    """Return pixels of which none is 0."""
    return np.arange(1, 1 + int(np.prod(SHAPE)), dtype="uint16").reshape(SHAPE)


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a file."""
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def edit_ome(group: Path, version: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a group says of OME-Zarr."""
    if version == "0.4":
        edit(group / ".zattrs", change)
    else:
        edit(group / "zarr.json", lambda document: change(document["attributes"]["ome"]))


def chunk(array: Path, version: str, *cell: int) -> Path:
    """Return where a chunk is stored."""
    return array.joinpath(*(() if version == "0.4" else ("c",)), *map(str, cell))


def _put(group: zarr.Group, version: str, attributes: dict[str, Any]) -> None:
    group.attrs.update(attributes if version == "0.4" else {"ome": {"version": version, **attributes}})


def _stated(version: str) -> dict[str, Any]:
    return {"version": version} if version in ("0.4", "0.5") else {}


def _write_image(
    group: zarr.Group,
    version: str,
    data: NDArray[Any],
    extra: dict[str, Any],
    sharded: bool = False,
    name: str = "test",
) -> None:
    axes = AXES[-data.ndim :]
    datasets = []
    for level in range(LEVELS):
        settings: dict[str, Any] = {"shape": data.shape, "dtype": data.dtype, "chunks": CHUNKS[-data.ndim :]}
        if version == "0.4":
            settings["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        else:
            settings["dimension_names"] = [axis["name"] for axis in axes]
            if sharded:
                settings["shards"] = (2, 3, 32, 32)[-data.ndim :]
        group.create_array(str(level), **settings)[...] = data
        scale = [1.0, 2.0, 0.5 * 2**level, 0.5 * 2**level][-data.ndim :]
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if level:
            shift = [0.0, 0.0, 0.25 * (2**level - 1), 0.25 * (2**level - 1)][-data.ndim :]
            transformations.append({"type": "translation", "translation": shift})
        if version == "0.6":
            whole = {"type": "sequence", "transformations": transformations} if level else transformations[0]
            ends = {"input": {"path": str(level)}, "output": {"name": "physical"}}
            transformations = [{**whole, **ends}]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
        data = data[..., ::2, ::2]
    multiscales: dict[str, Any] = {"name": name, "datasets": datasets}
    if version == "0.4":
        multiscales["version"] = version
    if version == "0.6":
        multiscales["coordinateSystems"] = [{"name": "physical", "axes": axes}]
    else:
        multiscales["axes"] = axes
    _put(group, version, {"multiscales": [multiscales], **extra})


def _omero() -> dict[str, Any]:
    window = {"min": 0, "max": 65535, "start": 10, "end": 5000}
    return {"channels": [{"color": color, "window": dict(window)} for color in ("00FF00", "ff00ff")]}


def _group(path: Path, version: str) -> zarr.Group:
    return zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)


def write_image(path: Path, version: str, *, sharded: bool = False) -> None:
    """Write an image of axes c, z, y, x with a label image of axes z, y, x, ``labels/cells``."""
    root = _group(path, version)
    _write_image(root, version, pixels(), {"omero": _omero()}, sharded)
    labels = root.create_group("labels")
    _put(labels, version, {"labels": ["cells"]})
    colors = [{"label-value": n, "rgba": [255, n, 0, 255]} for n in (1, 2)]
    label = {"image-label": {**_stated(version), "colors": colors, "source": {"image": "../../"}}}
    _write_image(labels.create_group("cells"), version, pixels()[0].astype("uint32"), label)


def write_plate(path: Path, version: str) -> None:
    """Write a plate with the wells A/1 and B/2, one field and two acquisitions each."""
    root = _group(path, version)
    plate = {
        **_stated(version),
        "name": "plate",
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "acquisitions": [{"id": 0}, {"id": 1}],
        "wells": [
            {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
            {"path": "B/2", "rowIndex": 1, "columnIndex": 1},
        ],
    }
    _put(root, version, {"plate": plate})
    for name in ("A/1", "B/2"):
        root.create_group(name[0])
        well = root.create_group(name)
        images = [{"path": str(n), "acquisition": n} for n in range(2)]
        _put(well, version, {"well": {**_stated(version), "images": images}})
        for n in range(2):
            _write_image(well.create_group(str(n)), version, pixels(), {"omero": _omero()}, name=str(n))


def write_collection(path: Path, version: str) -> None:
    """Write a collection of two images with OME-XML."""
    root = _group(path, version)
    _put(root, version, {"bioformats2raw.layout": 3})
    _put(root.create_group("OME"), version, {"series": ["0", "1"]})
    (path / "OME" / "METADATA.ome.xml").write_text(XML)
    for n in range(2):
        _write_image(root.create_group(str(n)), version, pixels(), {"omero": _omero()})


WRITERS = {"image": write_image, "plate": write_plate, "collection": write_collection}
