"""Where in a store its images are: one, those of a collection, or the fields of a plate. Labels are none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers import ome_zarr_scene as scene
from ngff_convert.readers.ome_zarr_plates import Field, plate_fields
from ngff_convert.readers.zarr_nodes import below, list_of, object_of, shown, text_of
from ngff_convert.storage import at

if TYPE_CHECKING:
    from ngff_convert.plates import PlateField
    from ngff_convert.readers.zarr_nodes import Group, Json, Nodes

MAX_IMAGES = 100_000

THREADS = 16
"""Wells whose metadata are read at once: on a server, each is a request."""

_HINT = "give an image, a plate or a collection of OME-Zarr"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image is.

    Attributes
    ----------
    folder
        Its group, from the root of the store.
    number
        Which of the multiscales of that group.
    name
        What it is called where it has no name of its own.
    plate_field
        Where in a plate it is, where it is known of which.
    """

    folder: str
    number: int = 0
    name: str = ""
    plate_field: PlateField | None = None


def images_in(nodes: Nodes, root: Group, noted: list[str]) -> list[Place]:
    """Return where every image of a store is.

    Parameters
    ----------
    nodes, root
        The store and its root group.
    noted
        Gets a line where the metadata of a plate are odd.

    Raises
    ------
    ReadError
        A group that lists others is damaged, or lists none.
    UnsupportedInput
        There is no image of OME-Zarr.
    """
    where, ome = nodes.storage.name, root.ome
    if "plate" in ome:
        found = _of_plate(nodes, object_of(ome["plate"]), noted)
    elif "well" in ome:
        found = [place for place, _ in _of_well(nodes, root, "")]
    elif "multiscales" in ome:
        found = [Place("", number) for number in range(len(list_of(ome["multiscales"])))]
    elif "bioformats2raw.layout" in ome:
        found = [Place(folder) for folder in series(nodes)]
    elif "labels" in ome:
        names = ", ".join(map(text_of, list_of(ome["labels"])))
        raise UnsupportedInput(f"{where}: is a group of label images; give one of them: {shown(names)}")
    elif "scene" in ome:
        found = [Place(below(nodes.storage, "", path)) for path in scene.paths_in(ome["scene"])]
    else:
        raise UnsupportedInput(f"{where}: is a Zarr group without multiscales, plate or well; {_HINT}")
    if not 0 < len(found) <= MAX_IMAGES:
        raise ReadError(f"{where}: lists {len(found)} images; is the store whole?")
    return found


def series(nodes: Nodes) -> list[str]:
    """Return the groups of a collection's images: as ``OME`` lists them, else those numbered from 0."""
    listed = listed_series(nodes)
    if listed:
        return listed
    found: list[str] = []
    while nodes.is_there(str(len(found))) and len(found) < MAX_IMAGES:
        found.append(str(len(found)))
    return found


def listed_series(nodes: Nodes) -> list[str]:
    """Return the images that the group ``OME`` lists, in the order of its OME-XML; none without a list."""
    group = nodes.group("OME") if nodes.is_there("OME") else None
    paths = [below(nodes.storage, "", path) for path in list_of(group.ome.get("series") if group else None)]
    if len(set(paths)) != len(paths):
        raise ReadError(f"{at(nodes.storage, 'OME')}: series lists an image twice; copy it again")
    return paths


def _of_plate(nodes: Nodes, plate: Json, noted: list[str]) -> list[Place]:
    """Return the fields of a plate, well by well as they lie in it, row by row."""
    wells = [object_of(well) for well in list_of(plate.get("wells"))]
    places = [(well.get("rowIndex"), well.get("columnIndex")) for well in wells]
    if all(isinstance(number, int) for place in places for number in place):  # 0.1 to 0.3 have none
        wells = [well for _, well in sorted(zip(places, wells, strict=True), key=lambda pair: pair[0])]
    paths = [below(nodes.storage, "", well.get("path")) for well in wells]
    if len(set(paths)) != len(paths):
        raise ReadError(f"{nodes.storage.name}: its plate lists a well twice; copy it again")

    def fields(path: str) -> list[tuple[Place, Field]]:
        well = nodes.group(path)
        if well is None or "well" not in well.ome:
            raise ReadError(
                f"{at(nodes.storage, path)}: is listed as a well, and is none; is the store whole?"
            )
        return _of_well(nodes, well, f"{well_name(path)} ")

    if nodes.storage.is_local:
        found = [field for path in paths for field in fields(path)]
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            found = [field for some in pool.map(fields, paths) for field in some]
    where = plate_fields(plate, [field for _, field in found], noted)
    return [replace(place, plate_field=field) for (place, _), field in zip(found, where, strict=True)]


def well_name(path: str) -> str:
    """Return what a well is called by its path.

    Examples
    --------
    >>> well_name("B/2"), well_name("AA/10"), well_name("row/left")
    ('B02', 'AA10', 'row left')
    """
    row, _, column = path.rpartition("/")
    return f"{row}{int(column):02}" if column.isdecimal() and column.isascii() else f"{row} {column}".strip()


def _of_well(nodes: Nodes, well: Group, name: str) -> list[tuple[Place, Field]]:
    found = []
    for image in map(object_of, list_of(object_of(well.ome["well"]).get("images"))):
        path: Any = image.get("path")
        place = Place(below(nodes.storage, well.path, path), 0, f"{name}field {path}")
        found.append((place, Field(well.path, path.strip("/"), image.get("acquisition"))))
    return found
