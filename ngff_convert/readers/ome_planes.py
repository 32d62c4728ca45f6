"""Where each plane of an OME-TIFF is: TiffData elements -> file and IFD; no TIFF is touched."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from ngff_convert.errors import ReadError
from ngff_convert.readers.contract import MAX_NAMED
from ngff_convert.readers.tiff_pixels import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.readers.ome_xml import OmeImage

UNCOUNTED = 2**31
"""Number of IFDs that no file has, for one whose IFDs were not counted."""

FileKey = tuple[str | None, str | None]

_Number = TypeVar("_Number", np.int32, np.int64)


class TiffData(NamedTuple):
    """One TiffData element: planes that follow one another in one file.

    Attributes
    ----------
    ifd
        First IFD, from 0; None if not stated.
    plane_count
        How many planes; None if not stated.
    first_t, first_c, first_z
        The first plane; c counts planes, so one of three samples counts once.
    file_name, uuid
        The file that holds them; both None for the file that holds the element.
    """

    ifd: int | None
    plane_count: int | None
    first_t: int
    first_c: int
    first_z: int
    file_name: str | None
    uuid: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """Where the planes of an image are.

    Attributes
    ----------
    files
        (file name, UUID) of each file that TiffData elements name, in order of first use, also of those that
        are missing; (None, None) is the file that holds the OME-XML.
    file
        Index into `files` of each plane, int32 (t, c, z), where c counts logical channels; -1 at a gap.
    page
        IFD of each plane, int64 (t, c, z); `MISSING` at a gap, and for a plane of a missing file.
    warnings
        What was odd, one line each. Missing files, and planes that no element names, are not among them.
    """

    files: tuple[FileKey, ...]
    file: NDArray[np.int32]
    page: NDArray[np.int64]
    warnings: tuple[str, ...]


def place_planes(image: OmeImage, pages_of: Callable[[str | None, str | None], int | None]) -> Planes:
    """Find out where each plane is.

    Without any TiffData, planes are in the order of dimensions from IFD 0 of the file that holds the OME-XML.
    An element that states no IFD starts at IFD 0; one that states neither IFD nor PlaneCount takes every IFD
    of its file, one that states only the IFD takes that one.

    Parameters
    ----------
    image
        The image; its shape, order, samples and TiffData are used.
    pages_of
        Told (file name, UUID), returns how many IFDs the main chain of that file has, or None if it is
        missing. Asked once for each file; (None, None) is the file that holds the OME-XML. `UNCOUNTED`, or
        more, stands for a file that is there but was not counted: each IFD is taken to exist.

    Returns
    -------
    Planes
        A plane is a gap where no element names it, or its IFD does not exist.

    Raises
    ------
    ReadError
        The elements name each plane many times over, which no writer means.
    """
    sizes = {"T": image.shape[0], "C": len(image.samples), "Z": image.shape[2]}
    total = prod(sizes.values())
    elements = image.tiff_data or (TiffData(0, total, 0, 0, 0, None, None),)
    warnings: list[str] = []

    files: dict[FileKey, int] = {}
    file = np.array([files.setdefault((e.file_name, e.uuid), len(files)) for e in elements])
    counted = [pages_of(*key) for key in files]
    lost = np.array([n is None for n in counted])
    n_pages = np.array([UNCOUNTED if n is None else min(n, UNCOUNTED) for n in counted])

    start, outside = _starts(elements, image.order, sizes, warnings)
    ifd, count = _runs(elements, n_pages[file])
    kept = np.where(outside, 0, np.minimum(count, total - start))
    if cut := int((count - kept).sum()):
        warnings.append(f"TiffData name {_planes(cut)} beyond the image, which are left out")
    if kept.sum() > 16 * total + 10**6:
        raise ReadError(f"{kept.sum()} planes are named by TiffData for an image of {_planes(total)}")

    file_of, page_of = _last_named(start, file, ifd, kept, total, warnings)
    named = file_of >= 0
    page_of[named & lost[file_of]] = MISSING
    beyond = named & (n_pages[file_of] < UNCOUNTED) & (page_of >= n_pages[file_of])
    warnings += _beyond_in_words(list(files), n_pages, file_of[beyond], page_of[beyond])
    file_of[beyond], page_of[beyond] = -1, MISSING
    return Planes(
        files=tuple(files),
        file=_as_tcz(file_of, image.order, sizes),
        page=_as_tcz(page_of, image.order, sizes),
        warnings=tuple(warnings),
    )


def _starts(
    elements: Sequence[TiffData], order: str, sizes: dict[str, int], warnings: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the number of each element's first plane in the order of dimensions, and if it is outside."""
    start = np.zeros(len(elements), np.int64)
    outside = np.zeros(len(elements), np.bool_)
    step = 1
    for axis in order[2:]:
        size = sizes[axis]
        first = np.array([getattr(e, f"first_{axis.lower()}") for e in elements], np.int64)
        if first.min() == 1 and first.max() == size:
            # Some writers do, and every other reading would lose planes.
            warnings.append(f"TiffData count {axis} from 1; taken so")
            first -= 1
        outside |= first >= size
        start += step * np.minimum(first, size - 1)
        step *= size
    return start, outside


def _runs(
    elements: Sequence[TiffData], n_pages: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first IFD of each element and how many it takes, given how many IFDs its file has."""
    ifd = np.array([-1 if e.ifd is None else e.ifd for e in elements], np.int64)
    count = np.array([-1 if e.plane_count is None else e.plane_count for e in elements], np.int64)
    # One that states neither takes every IFD, or one where nobody counted.
    unstated = np.where((ifd >= 0) | (n_pages == UNCOUNTED), 1, n_pages)
    return np.maximum(ifd, 0), np.where(count >= 0, count, unstated)


def _last_named(
    start: NDArray[np.int64],
    file: NDArray[np.int64],
    ifd: NDArray[np.int64],
    count: NDArray[np.int64],
    total: int,
    warnings: list[str],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the file and the IFD of each plane, from the last element that names it; -1 where none does."""
    element = np.repeat(np.arange(len(count)), count)  # one entry a plane that an element names
    within = np.arange(len(element)) - np.repeat(np.cumsum(count) - count, count)
    plane, page, file = start[element] + within, ifd[element] + within, file[element]
    winner = np.full(total, -1)
    np.maximum.at(winner, plane, np.arange(len(plane)))
    other = (file != file[winner[plane]]) | (page != page[winner[plane]])
    if other.any():
        twice = len(np.unique(plane[other]))
        warnings.append(f"TiffData place {_planes(twice)} more than once: the last place counts")
    named = winner >= 0
    file_of, page_of = np.full(total, -1, np.int32), np.full(total, MISSING, np.int64)
    file_of[named], page_of[named] = file[winner[named]], page[winner[named]]
    return file_of, page_of


def _as_tcz(flat: NDArray[_Number], order: str, sizes: dict[str, int]) -> NDArray[_Number]:
    slowest_first = order[:1:-1]
    array = flat.reshape([sizes[axis] for axis in slowest_first])
    return np.ascontiguousarray(array.transpose([slowest_first.index(axis) for axis in "TCZ"]))


def _beyond_in_words(
    files: Sequence[FileKey], n_pages: NDArray[np.int64], file: NDArray[np.int32], page: NDArray[np.int64]
) -> Iterator[str]:
    """Name the files whose IFDs end before planes that should be in them."""
    found = np.unique(file)
    for index in found[:MAX_NAMED]:
        name, uuid = files[index]
        here = page[file == index]
        yield (
            f"{name or uuid or 'the file'} has {n_pages[index]} IFDs, but {_planes(len(here))} "
            f"should be in IFD {here.min()} to {here.max()} of it: missing"
        )
    if len(found) > MAX_NAMED:
        yield f"{len(found) - MAX_NAMED} more files have fewer IFDs than OME-XML places in them"


def _planes(n: int) -> str:
    return f"{n} plane{'s' if n != 1 else ''}"
