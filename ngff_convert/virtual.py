"""References that make a source itself an OME-Zarr 0.4: nothing is copied, chunks stay where they are."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ngff_convert import display, layout, overrides, plan, reference_files, store
from ngff_convert.convert import name_of, open_with, refuse_missing
from ngff_convert.errors import OptionError, UnsupportedInput
from ngff_convert.model import AXES
from ngff_convert.readers.contract import is_remote
from ngff_convert.references import refer_to
from ngff_convert.write_plan import Codec, Decided, WritePlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Image
    from ngff_convert.options import Options
    from ngff_convert.reference_files import JsonReferences, ParquetReferences
    from ngff_convert.references import References


@dataclass(frozen=True, slots=True)
class Referred:
    """What was written.

    Attributes
    ----------
    target
        The references.
    images, levels, chunks
        How many there are.
    size
        Bytes of the references.
    warnings
        What was odd about the source.
    missing
        What of it is not there, and reads as the fill value.
    """

    target: str
    images: int
    levels: int
    chunks: int
    size: int
    warnings: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """How references name the source's files.

    Attributes
    ----------
    source
        The source's own path.
    url
        Where readers find that, or, with ``/`` at its end, the folder that it is in; None is where it is now.
    folder
        Of the references, to which paths are then relative; None makes them absolute.
    """

    source: str
    url: str | None = None
    folder: Path | None = None

    def __call__(self, path: str) -> str:
        """Return what readers find a file by.

        Raises
        ------
        OptionError
            There is no such name that could be written down.
        """
        name = self._found(path) if self.url is None else self._below(self.url, path)
        if "{{" in name or not _is_text(name):
            raise OptionError(f"{path}: references cannot have such a name in them; rename it, or its folder")
        return name

    def _below(self, url: str, path: str) -> str:
        """Return what a file is called on the server that a URL is of."""
        if not url.endswith("/"):
            if path == self.source:
                return url
            raise OptionError(
                f"{self.source}: has pixels in other files, such as {path}, which one --target-url does not "
                "name; give the URL of the folder that they are in, with / at its end"
            )
        inside = os.path.relpath(str(path), os.path.dirname(str(self.source)) or ".")  # noqa: PTH120 - or a URL
        if inside.startswith("../"):
            raise OptionError(
                f"{path}: has pixels, and is not within the folder of {self.source}, which --target-url is "
                "the URL of; leave that out"
            )
        return url + (quote(inside) if url.lower().startswith(("http://", "https://")) else inside)

    def _found(self, path: str) -> str:
        if is_remote(path):
            if str(path) != getattr(path, "url", path):
                raise OptionError(
                    f"{path}: its URL has a secret in it, which is not written into references: give "
                    "--target-url"
                )
            return str(path)
        if self.folder is not None:
            return os.path.relpath(path, self.folder)
        return f"file://{os.path.abspath(path)}"  # noqa: PTH100 - links are not followed


def write_references(
    source: str,
    target: str | os.PathLike[str],
    options: Options,
    *,
    target_url: str | None = None,
    relative: bool = False,
    record_size: int = reference_files.RECORD_SIZE,
) -> Referred:
    """Write references that make a source an OME-Zarr 0.4, at a cost of its number of chunks alone.

    Parameters
    ----------
    source
        The input file.
    target
        ``NAME.json``, or ``NAME.parquet`` for many chunks.
    options
        Which images, and what is to be said about them; nothing of it may change pixels.
    target_url
        Where readers will find the source, or, with ``/`` at its end, its folder; None is where it is now.
    relative
        Whether the source is named relative to the references; else absolutely.
    record_size
        Chunks in a table, for Parquet.

    Raises
    ------
    UnsupportedInput
        Chunks are stored in a way that Zarr v2 does not know; it is named.
    ReadError
        The source cannot be read, or is not all there and not to be filled.
    OptionError
        An option does not fit.
    TargetError
        The output is there already.
    WriteError
        It cannot be written.
    """
    _check(target, target_url, relative=relative)
    place = Path(target)
    with open_with(source, options) as opened:
        refuse_missing(source, opened, options)
        folder = place.absolute().parent if relative else None
        where = Whereabouts(opened.paths[0], target_url, folder)
        decided = _decided(opened.images, options, name_of(source))
        with reference_files.written(
            place, where, overwrite=options.overwrite, record_size=record_size
        ) as out:
            chunks = _write(source, decided, out)
        return Referred(
            target=str(target),
            images=len(decided),
            levels=sum(len(item.plan.levels) for item in decided),
            chunks=chunks,
            size=reference_files.size_of(place),
            warnings=(*opened.warnings, *_to_readers(decided, place)),
            missing=tuple(opened.missing),
        )


def _check(target: str | os.PathLike[str], target_url: str | None, *, relative: bool) -> None:
    if "://" in os.fspath(target):
        raise OptionError(f"{os.fspath(target)}: references are written to a disk; copy them there then")
    if target_url is not None and relative:
        raise OptionError("--target-url and --relative both say where the source is: give one of them")


def _to_readers(decided: Sequence[Decided], target: Path) -> list[str]:
    """Return what readers have to know: fsspec takes groups in tables for arrays, unless it need not look."""
    if len(decided) == 1 or target.suffix.lower() == reference_files.JSON_SUFFIX:
        return []
    return [
        f"{target}: tables of several images: readers have to tell fsspec the remote_protocol, such as file "
        "or https"
    ]


def _decided(images: Sequence[Image], options: Options, name: str) -> list[Decided]:
    return [
        Decided(item.image, _plan(item.image), item.folder, item.number, overrides.crop_of(item.image))
        for item in layout.placed(images, options, name)
    ]


def _plan(image: Image) -> WritePlan:
    """Return what the metadata need of a plan, though nothing is written."""
    return WritePlan(
        levels=plan.native_levels(image, image.pixels.chunks),
        passes=(),
        dtype=image.pixels.dtype.name,
        codec=Codec("none"),
        ngff_version="0.4",
        axes=AXES,
        method="referenced",
        workers=1,
        budget_bytes=0,
    )


def _write(source: str, decided: Sequence[Decided], out: JsonReferences | ParquetReferences) -> int:
    """Write metadata and references of all images; returns how many chunks there are."""
    windows = [display.windows(item.image, item.plan, display.SourceLevels(item.image)) for item in decided]
    for path, content in store.documents(decided, windows, None).items():
        out.document(path, json.loads(content))
    return sum(_refer(source, item, out) for item in decided)


def _refer(source: str, item: Decided, out: References) -> int:
    """Write the references to all levels of an image; returns how many chunks there are."""
    try:
        return sum(
            refer_to(pixels, f"{item.folder}/{number}".lstrip("/"), out)
            for number, pixels in enumerate(item.image.levels)
        )
    except NotImplementedError as error:
        what = f"{source}: image {item.number} cannot be referred to"
        raise UnsupportedInput(
            f"{what}: {error}, or rows and columns are turned: convert it instead"
        ) from error


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
