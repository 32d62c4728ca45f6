"""Where the images of a scene of OME-NGFF 0.6 are, if nothing but scales and shifts lead into its space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers import ome_zarr_metadata as meaning
from ngff_convert.readers.zarr_nodes import list_of, object_of, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.readers.zarr_nodes import Json

_LEFT_OUT = "its place in the scene is left out"


def paths_in(scene: Any) -> list[str]:  # noqa: ANN401 - from foreign metadata
    """Return the paths of the images that a scene names, each once, in the order in which it does."""
    paths = [_path(link, end) for link in _links(scene) for end in ("input", "output")]
    return list(dict.fromkeys(filter(None, paths)))


def placed_in(
    scene: Any,  # noqa: ANN401 - from foreign metadata
    folder: str,
    multiscales: Json,
    axes: Sequence[meaning.Axis],
    own: meaning.Placed | None,
    warnings: list[str],
) -> meaning.Placed | None:
    """Return where the voxels of an image are in the space of a scene.

    Parameters
    ----------
    scene
        What the root says; may be anything.
    folder
        The image's group.
    multiscales, axes
        Of the image.
    own
        Where its voxels are in its own space, which is returned where the scene does not say more.
    warnings
        Gets a line if the scene says more than is handled.
    """
    links = [link for link in _links(scene) if folder in (_path(link, "input"), _path(link, "output"))]
    if not links:
        return own
    system = text_of(object_of(meaning.system_of(multiscales)).get("name"))
    found = [
        link
        for link in links
        if _path(link, "input") == folder
        and not _path(link, "output")
        and text_of(object_of(link.get("input")).get("name")) == system
    ]
    if len(found) != 1:
        warnings.append(f"{_LEFT_OUT}: it is not one transformation from its own space to that of the scene")
        return own
    if difference := _difference(scene, found[0], axes):
        warnings.append(f"{_LEFT_OUT}: {difference}")
        return own
    try:
        step = meaning.placed({}, {"coordinateTransformations": found}, len(axes), folder)
    except (ReadError, UnsupportedInput) as error:
        warnings.append(f"{_LEFT_OUT}: {error}")
        return own
    nowhere = meaning.Placed((1.0,) * len(axes), (0.0,) * len(axes))
    return meaning.after(own or nowhere, step or nowhere)


def _difference(scene: Any, link: Json, axes: Sequence[meaning.Axis]) -> str:  # noqa: ANN401
    """Return how the space of the scene differs from the image's; empty if it does not."""
    name = text_of(object_of(link.get("output")).get("name"))
    systems = map(object_of, list_of(object_of(scene).get("coordinateSystems")))
    system = next((one for one in systems if text_of(one.get("name")) == name), None)
    if system is None:
        return f"the scene has no coordinate system {name or 'without a name'}"
    stated = [object_of(axis) for axis in list_of(system.get("axes"))]
    if [text_of(axis.get("name")).lower() for axis in stated] != [axis.letter for axis in axes]:
        return "the axes of the scene are others, or in another order"
    units = [(text_of(axis.get("unit")), own.unit) for axis, own in zip(stated, axes, strict=True)]
    return "the units of the scene are others" if any(a and b and a != b for a, b in units) else ""


def _links(scene: Any) -> list[Json]:  # noqa: ANN401 - from foreign metadata
    return [object_of(link) for link in list_of(object_of(scene).get("coordinateTransformations"))]


def _path(link: Json, end: str) -> str:
    """Return the image that a link leads from or to; empty where that is the scene itself."""
    path = text_of(object_of(link.get(end)).get("path"))
    return "" if path == "." else path.removeprefix("./").strip("/")
