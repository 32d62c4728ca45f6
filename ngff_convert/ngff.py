"""Plan + image -> the metadata of OME-Zarr (OME-NGFF 0.4 to 0.6) as JSON-ready dicts. No file is touched.

0.4 and 0.5 differ in their envelope only: 0.4 keeps its keys at the top of a group's attributes and its
version in the multiscales, 0.5 keeps both under ``ome``. 0.6 is 0.5 but for axes and transformations, which
`ngff_systems` puts into its form. What is unknown is left out: nothing is null, no number is NaN or infinite,
and an axis has a unit only where its step is known.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import cycle
from typing import TYPE_CHECKING, Any, TypeAlias

from ngff_convert.model import AXES
from ngff_convert.ngff_systems import with_systems
from ngff_convert.version import PROGRAM, __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.display import Window
    from ngff_convert.model import Box, Channel, Image
    from ngff_convert.write_plan import Level, WritePlan

Attributes: TypeAlias = dict[str, Any]

PALETTE = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
"""Colours for channels whose own is unknown, in this order and over again, but none that another has."""

LONE_COLOR = "FFFFFF"
"""Colour of an only channel whose own is unknown."""

MAX_ACTIVE = 6
"""Channels that are switched on at first; web viewers draw no more than six at once."""

DESCRIPTIONS = {
    "mean": "each voxel is the mean of those it covers in the level above, integers rounded half up",
    "nearest": "each voxel is the first of those it covers in the level above",
    "mode": "each voxel is the most frequent of those it covers in the level above, of several the smallest",
    "max": "each voxel is the largest of those it covers in the level above",
    "min": "each voxel is the smallest of those it covers in the level above",
    "median": "each voxel is the median of those it covers in the level above, integers rounded half up",
    "native": "levels of the source file, copied voxel by voxel",
    "referenced": "levels of the source file, which holds their chunks",
}
"""How the lower levels are made, in words; one for every method of a plan."""

_AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}

# -- an image ----------------------------------------------------------------------------------------------


def image_attributes(
    image: Image,
    plan: WritePlan,
    windows: Sequence[Window],
    *,
    number: int | None = None,
    crop: Box | None = None,
    chosen: Sequence[int] = (),
    label: Attributes | None = None,
) -> Attributes:
    """Return the attributes of the group that holds an image's levels as arrays ``0``, ``1``, ...

    Parameters
    ----------
    image
        As it is written: cropped and with every override applied.
    plan
        What was decided about it.
    windows
        One a channel.
    number, crop
        Which of the source's images it is, and what of it; for whoever compares the two again.
    chosen
        The numbers of all images of the source that the store is made of; also for them.
    label
        Of a label image its ``image-label``, which stands in the place of how it is displayed.
    """
    multiscales = {
        "name": _text(image.name),
        "axes": [_axis(axis, image) for axis in plan.axes],
        "datasets": [
            {"path": str(index), "coordinateTransformations": _transformations(level, plan.axes)}
            for index, level in enumerate(plan.levels)
        ],
        "type": plan.method,
        "metadata": _metadata(image, plan, number, crop, chosen),
    }
    if plan.ngff_version == "0.4":
        multiscales = {"version": "0.4", **multiscales}
    elif plan.ngff_version == "0.6":
        multiscales = with_systems(multiscales)
    shown = {"omero": _omero(image, plan, windows)} if label is None else {"image-label": label}
    return enveloped(plan.ngff_version, {"multiscales": [multiscales], **shown})


def _axis(name: str, image: Image) -> dict[str, str]:
    """Describe an axis; it has a unit only if its step is known, else 1 voxel would become 1 of that unit."""
    calibration = image.calibration
    steps = dict(zip("tzyx", (calibration.t_s, *calibration.zyx), strict=True))
    unit = "second" if name == "t" else calibration.unit
    axis = {"name": name, "type": _AXIS_TYPES[name]}
    return axis if unit is None or steps.get(name) is None else {**axis, "unit": unit}


def _transformations(level: Level, axes: str) -> list[dict[str, Any]]:
    """Describe where a level's voxels are: one scale, then a translation unless that is nowhere."""
    stored = [AXES.index(axis) for axis in axes]
    scale = {"type": "scale", "scale": [level.scale[axis] for axis in stored]}
    shift = [level.translation[axis] for axis in stored]
    return [scale, {"type": "translation", "translation": shift}] if any(shift) else [scale]


def _metadata(
    image: Image, plan: WritePlan, number: int | None, crop: Box | None, chosen: Sequence[int]
) -> dict[str, Any]:
    """Say how the levels were made and of what, and when the time points were taken."""
    factors = [[level.factor[AXES.index(axis)] for axis in plan.axes] for level in plan.levels]
    origin: dict[str, Any] = {} if number is None else {"image": number}
    if chosen:
        origin["images"] = list(chosen)
    if crop is not None:
        origin["crop"] = [list(span) for span in zip(crop.start, crop.stop, strict=True)]
    copied = [number for number, level in enumerate(plan.levels) if level.copied]
    if copied:
        origin["copied"] = copied
    metadata: dict[str, Any] = {
        "description": DESCRIPTIONS[plan.method],
        "method": PROGRAM,
        "version": __version__,
        "kwargs": {"method": plan.method, "factors": factors, **origin},
    }
    if len(image.time_stamps) > 1:  # also where a constant step is stated: it hides the jitter
        metadata["time_stamps"] = [stamp.isoformat() for stamp in image.time_stamps]
    return metadata


def _omero(image: Image, plan: WritePlan, windows: Sequence[Window]) -> dict[str, Any]:
    """Say how the image is displayed, in the words that OMERO coined and every viewer reads."""
    colors = _colors(image.channels)
    return {
        "name": _text(image.name),
        "channels": [
            {
                "label": _text(channel.name or f"Channel {index}"),
                "color": color,
                "window": asdict(window),
                "active": index < MAX_ACTIVE,
                "coefficient": 1,
                "family": "linear",
                "inverted": False,
            }
            for index, (channel, color, window) in enumerate(
                zip(image.channels, colors, windows, strict=True)
            )
        ],
        "rdefs": {
            "defaultT": 0,
            # The middle plane, but one that every level has: vizarr asks each level for this very number
            # and shows nothing where there is none (viv's issue 901).
            "defaultZ": min(plan.levels[0].shape[2] // 2, plan.levels[-1].shape[2] - 1),
            "model": "greyscale" if colors == [LONE_COLOR] else "color",
        },
    }


def _colors(channels: Sequence[Channel]) -> list[str]:
    """Return a colour for each channel: its own, or one that no other channel has while those last."""
    if len(channels) == 1:
        return [channels[0].color or LONE_COLOR]
    taken = {channel.color for channel in channels}
    free = cycle([color for color in PALETTE if color not in taken] or PALETTE)
    return [channel.color or next(free) for channel in channels]


def _text(text: str) -> str:
    """Replace what UTF-8 has no bytes for: half a surrogate pair, as in a file name that is not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


# -- groups ------------------------------------------------------------------------------------------------


def collection_attributes(version: str) -> Attributes:
    """Return the attributes of a root whose images are the groups ``0``, ``1``, ...

    Examples
    --------
    >>> collection_attributes("0.4")
    {'bioformats2raw.layout': 3}
    """
    return enveloped(version, {"bioformats2raw.layout": 3})


def ome_group_attributes(version: str, series: Sequence[str]) -> Attributes:
    """Return the attributes of the group ``OME``, which holds ``METADATA.ome.xml``.

    Parameters
    ----------
    version
        Of OME-NGFF.
    series
        Paths of the images from the root, in the order in which the XML describes them; none where one image
        is the root itself, which no path names: the group is then a plain one.

    Examples
    --------
    >>> ome_group_attributes("0.5", ["0", "1"])
    {'ome': {'version': '0.5', 'series': ['0', '1']}}
    """
    return enveloped(version, {"series": list(series)}) if series else {}


def labels_attributes(version: str, names: Sequence[str]) -> Attributes:
    """Return the attributes of the group ``labels``, which lists the label images in it.

    Examples
    --------
    >>> labels_attributes("0.5", ["nuclei"])
    {'ome': {'version': '0.5', 'labels': ['nuclei']}}
    """
    return enveloped(version, {"labels": list(names)})


def group_documents(version: str, attributes: Attributes) -> dict[str, Attributes]:
    """Return the files that make a Zarr group: name -> JSON. Zarr v2 for OME-NGFF 0.4, v3 for later ones.

    Examples
    --------
    >>> group_documents("0.5", {})
    {'zarr.json': {'zarr_format': 3, 'node_type': 'group', 'attributes': {}}}
    >>> group_documents("0.4", {})
    {'.zgroup': {'zarr_format': 2}, '.zattrs': {}}
    """
    if version == "0.4":
        return {".zgroup": {"zarr_format": 2}, ".zattrs": attributes}
    return {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": attributes}}


def enveloped(version: str, keys: Attributes) -> Attributes:
    """Return the attributes of a group for its keys: at the top in 0.4, below ``ome`` later."""
    return keys if version == "0.4" else {"ome": {"version": version, **keys}}
