"""One store for each image of a source: where each goes, and making one after the other.

Each store appears when it is whole, like any other. Until all of them are there, records beside them, which
are those of a batch, tell which are done, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ngff_convert import batch_record, events, layout
from ngff_convert.convert import convert, name_of, open_with, refuse_missing
from ngff_convert.errors import OptionError, TargetError
from ngff_convert.options import SHARES, Options
from ngff_convert.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.batch_record import Record
    from ngff_convert.events import Event, Observer
    from ngff_convert.model import Image
    from ngff_convert.targets import Place
    from ngff_convert.write_plan import Report

LONGEST_NAME = 100
"""Characters of an image's name that go into that of its store."""


@dataclass(frozen=True, slots=True)
class Store:
    """One of the stores that are made of a source.

    Attributes
    ----------
    target
        Where it is.
    options
        What `convert` makes it with: of one image, at its root.
    """

    target: str
    options: Options


@dataclass(frozen=True, slots=True)
class Made:
    """A store that is whole.

    Attributes
    ----------
    target
        Where it is.
    report
        What was done; None where an earlier run had made it.
    filled
        What of the input is 0 in it, one line each.
    """

    target: str
    report: Report | None
    filled: tuple[str, ...]


def convert_each(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: Options | None = None,
    observer: Observer = events.ignore,
) -> tuple[Made, ...]:
    """Convert each image of a microscopy file to an OME-Zarr of its own.

    Parameters
    ----------
    source
        The input file.
    target
        Says what the outputs are called: of ``out.ome.zarr`` and an image ``cells`` becomes
        ``out_cells.ome.zarr``.
    options
        As of `convert`; `layout` is ``"separate"`` whatever it says.
    observer
        Is called with each event, in this thread; of each store there is a `Finished`.

    Returns
    -------
    tuple
        All stores, in the order of the images.

    Raises
    ------
    ConversionError
        What `convert` raises; stores that are whole by then are kept, and the same call goes on.
    """
    path, options = os.fspath(source), options or Options()
    with open_with(path, options) as opened:
        refuse_missing(path, opened, options)
        stores = planned(opened.images, options, os.fspath(target), name_of(path))
    # First of all, so that what is in the way is told before anything is done.
    done = {store: _done(path, store) for store in stores}
    made = []
    for store in stores:
        record = done[store]
        if record is not None:
            observer(events.Note(f"{store.target}: an earlier run has made it"))
            made.append(Made(store.target, None, tuple(record["filled"])))
        else:
            report = _converted(path, store, observer)
            made.append(Made(store.target, report, report.filled))
    for store in stores:
        batch_record.forget(store.target, store.options)
    return tuple(made)


def _done(path: str, store: Store) -> Record | None:
    """Return the record of a store that an earlier run has made; what that had still to remove goes."""
    place = target_of(store.target, store.options)
    if batch_record.is_remote(store.target):  # there, what is not removed yet looks like an unfinished store
        _tidy(place, path)
    record = batch_record.finished(path, store.target, store.options)
    if record is not None:
        _tidy(place, path)
    return record


def _tidy(place: Place, path: str) -> None:
    with suppress(TargetError):  # that it is there
        place.check(path)


def _converted(path: str, store: Store, observer: Observer) -> Report:
    def watch(event: Event) -> None:
        if isinstance(event, events.Finished):  # the output has its name
            facts: Record = {
                "filled": list(event.report.filled),
                "verified": SHARES[store.options.verify],
                "stored_bytes": event.report.stored_bytes.get(""),
            }
            made_of = batch_record.made_of(path, store.options)
            batch_record.keep(store.target, store.options, {**made_of, **facts})
        observer(event)

    return convert(path, store.target, store.options, watch)


# -- names -------------------------------------------------------------------------------------------------


def planned(images: Sequence[Image], options: Options, target: str, name: str) -> tuple[Store, ...]:
    """Return the stores that are to be made.

    Parameters
    ----------
    images
        All of the source.
    options
        What is chosen of them, and how each is written.
    target
        What the outputs are called, but for the images' names.
    name
        What an image is called that has no name of its own, with a number.

    Raises
    ------
    OptionError
        There is no such image, or the same is asked for twice.
    """
    wanted = layout.chosen(images, options)
    numbers = [number for number, _ in wanted]
    if twice := [number for number, times in Counter(numbers).items() if times > 1]:
        raise OptionError(f"--images names {twice[0]} twice, but --layout separate makes one store of each")
    names = names_of(images)
    return tuple(
        Store(
            _with_name(target, names[number]),
            replace(
                options,
                layout="single",
                images=(number,),
                wells=None,
                fields=None,
                name=options.name or (None if image.name else f"{name} {number}"),
            ),
        )
        for number, image in wanted
    )


def names_of(images: Sequence[Image]) -> list[str]:
    """Return for each image a name that files and URLs can have, and that no other one has, in any case.

    An image without a name has its place in the plate, or its number; one that shares its name has its number
    besides. The names do not depend on which images are chosen.
    """
    plain = [safe(image.name) or _place(image) for image in images]
    counts = Counter(name.lower() for name in plain)
    names = [
        "_".join(filter(None, (name, str(number) if counts[name.lower()] > 1 or not name else "")))
        for number, name in enumerate(plain)
    ]
    if len({name.lower() for name in names}) < len(names):  # such as a, a and a_1
        names = ["_".join(filter(None, (str(number), name))) for number, name in enumerate(plain)]
    return names


def safe(name: str) -> str:
    """Return a name with those characters alone that need no care in files, shells and URLs.

    Examples
    --------
    >>> safe("Zellen #3 (grün)/µ"), safe("../.."), safe("細胞")
    ('Zellen_3_grun_u', '', '')
    """
    letters = unicodedata.normalize("NFKD", name.replace("µ", "u").replace("μ", "u"))
    ascii_only = letters.encode("ascii", "ignore").decode()
    return re.sub("[^A-Za-z0-9.-]+", "_", ascii_only)[:LONGEST_NAME].strip("._-")


def _place(image: Image) -> str:
    field = image.plate_field
    return "" if field is None else f"{field.row}{field.column}_{field.field}"


def _with_name(target: str, name: str) -> str:
    """Return the name of an output with that of an image in it.

    Examples
    --------
    >>> _with_name("a/out.ome.zarr", "cells"), _with_name("s3://b/x.ZARR/", "1"), _with_name("o.ozx", "1")
    ('a/out_cells.ome.zarr', 's3://b/x_1.ZARR', 'o_1.ozx')
    """
    folder, slash, last = target.rstrip("/").rpartition("/")
    found = re.search(r"(\.ome)?\.(zarr|ozx)$", last, re.IGNORECASE)
    at = found.start() if found else len(last)
    return f"{folder}{slash}{last[:at]}_{name}{last[at:]}"
