"""The commands on label images of a store that is there: ``labels add``, ``list`` and ``remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import cloup

from ngff_convert.cli_options import (
    CHUNKING,
    INPUT,
    LABELS_ADDED,
    LOG_FORMAT,
    OVERWRITE,
    REPORT,
    RUN,
    SPANS,
    STORAGE_OPTIONS,
    options_from,
)
from ngff_convert.cli_output import not_whole, outcome, print_json, print_lines
from ngff_convert.words import PAIR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ngff_convert.model import Image, Legend

_STORE = cloup.argument("store", metavar="OUT", help="An OME-Zarr: its folder, or its address in a bucket.")
_IMAGE = cloup.option(
    "--image",
    metavar="PATH",
    default="",
    help="The image in OUT: 1 of a collection, A/1/0 of a plate.  [default: the only one]",
)


@cloup.group("labels")
def labels_command() -> None:
    """Add label images to an OME-Zarr, list or remove them."""


@labels_command.command("add")
@_STORE
@cloup.argument(
    "given",
    metavar="NAME=FILE",
    type=PAIR,
    nargs=-1,
    required=True,
    help="A label image: its name, and a file; FILE#1: an image of it, FILE#masks: the masks in its OME-XML.",
)
@cloup.option_group("Labels", _IMAGE, *LABELS_ADDED)
@INPUT
@SPANS
@cloup.option_group("Output", *CHUNKING, OVERWRITE)
@RUN
@cloup.option_group(
    "Display",
    LOG_FORMAT,
    REPORT,
    cloup.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
)
def add_command(
    store: str,
    given: tuple[tuple[str, str], ...],
    image: str,
    log_format: str,
    report_file: str | None,
    quiet: bool,
    **words: object,
) -> None:
    """Add label images to an image of OUT.

    OUT is a valid store at any moment: a label image is one of it when its pixels and metadata are all there.
    A run that was interrupted is gone on with by the same command.
    """
    from ngff_convert.labels_store import add
    from ngff_convert.machine import tune_process

    options = options_from({**words, "labels": given})
    tables = dict(options.label_properties)
    tune_process()
    for name, source in options.labels:
        with outcome(source, store, log_format, report_file, quiet=quiet, verbose=False) as observe:
            report = add(store, name, source, options, observe, image=image, properties=tables.get(name))
            not_whole(source, store, report.filled)


@labels_command.command("list")
@_STORE
@cloup.option("--json", "as_json", is_flag=True, help="Print JSON.")
@cloup.option_group("Running", STORAGE_OPTIONS)
def list_command(store: str, as_json: bool, storage_options: tuple[tuple[str, str], ...]) -> None:
    """List the label images of OUT, with what is said of their values."""
    from ngff_convert.label_sources import opened_as
    from ngff_convert.options import Options

    with opened_as(store, "ome-zarr", Options(storage_options=storage_options or ())) as opened:
        images = list(opened.images)
        warnings = list(opened.warnings)
    if as_json:
        print_json({"store": store, "warnings": warnings, "images": list(map(_json, images))})
        return
    print_lines(f"note: {line}" for line in warnings)
    print_lines(_lines(images))


def _json(image: Image) -> dict[str, Any]:
    return {
        "name": image.name,
        "labels": [
            {
                "name": label.name,
                "dtype": label.pixels.dtype.name,
                "shape": dict(zip("tczyx", label.pixels.shape, strict=True)),
                "colors": _n_colors(label.legend),
                "properties": _n_properties(label.legend),
            }
            for label in image.labels
        ],
    }


def _lines(images: Sequence[Image]) -> Iterator[str]:
    from ngff_convert.describe import counted, shape

    for number, image in enumerate(images):
        prefix = f"image {number} {image.name}: " if len(images) > 1 else ""
        for label in image.labels:
            legend = label.legend
            yield (
                f"{prefix}{label.name}  {shape(label.pixels.shape)}, {label.pixels.dtype.name}, "
                f"{counted(_n_colors(legend), 'value')} with a colour, "
                f"{_n_properties(legend)} with properties"
            )
    if not any(image.labels for image in images):
        yield "no label images"


def _n_colors(legend: Legend) -> int:
    """Return how many objects have a colour; 0 is no object."""
    return sum(value != 0 for value in legend.colors)


def _n_properties(legend: Legend) -> int:
    """Return of how many values something is said; where others have colours there may be empty entries."""
    return sum(bool(said) for said in legend.properties.values())


@labels_command.command("remove")
@_STORE
@cloup.argument("name", metavar="NAME", help="The label image.")
@_IMAGE
@cloup.option_group("Running", STORAGE_OPTIONS)
def remove_command(store: str, name: str, image: str, storage_options: tuple[tuple[str, str], ...]) -> None:
    """Remove a label image from OUT: first its name from the list, then its files."""
    from ngff_convert.labels_store import remove
    from ngff_convert.options import Options

    remove(store, name, Options(storage_options=storage_options or ()), image=image)
    click.echo(f"{store}: label image {name} is removed")
