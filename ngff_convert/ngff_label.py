"""What a label image says of itself and of its image, as OME-NGFF has it. No file is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ngff_convert import label_colors, ngff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Legend
    from ngff_convert.ngff import Attributes
    from ngff_convert.write_plan import Decided

IMAGE = "../../"
"""From a label image to its image."""

VERSIONED = ("0.4", "0.5")
"""Versions in which `image-label` states its version."""


def attributes(item: Decided) -> Attributes:
    """Return the attributes of the group that holds a label image's levels."""
    version = item.plan.ngff_version
    label = image_label(version, item.image.legend)
    return ngff.image_attributes(item.image, item.plan, (), number=item.number, crop=item.crop, label=label)


def image_label(version: str, legend: Legend) -> Attributes:
    """Return the ``image-label`` of a label image.

    Where some values have a colour and some have properties, all of them have an entry in both: to
    ome-zarr-models, and to ngio that uses it, anything else is a damaged store.

    Examples
    --------
    >>> from ngff_convert.model import Legend
    >>> image_label("0.4", Legend({1: (255, 0, 0, 255)}))["colors"]
    [{'label-value': 1, 'rgba': [255, 0, 0, 255]}]
    """
    said: Attributes = {"version": version} if version in VERSIONED else {}
    values = sorted({*legend.colors, *legend.properties})
    if legend.colors:  # neither may be empty
        colors = {**label_colors.colors(values), **legend.colors}
        said["colors"] = [{"label-value": value, "rgba": list(colors[value])} for value in values]
    if legend.properties:
        own = legend.properties
        entries = values if legend.colors else sorted(own)
        said["properties"] = [{"label-value": value, **_others(own.get(value, {}))} for value in entries]
    return {**said, "source": {"image": IMAGE}}


def _others(properties: Any) -> dict[str, Any]:  # noqa: ANN401 - of any kind
    return {key: value for key, value in properties.items() if key != "label-value"}


def listed(decided: Sequence[Decided]) -> dict[str, list[str]]:
    """Return the groups ``labels`` of a store that is written, and what each lists; none for a lone one."""
    found: dict[str, list[str]] = {}
    for item in decided:
        if item.label_of is not None and item.folder:
            group = f"{item.label_of}/labels".lstrip("/")
            found.setdefault(group, []).append(item.folder.removeprefix(f"{group}/"))
    return found
