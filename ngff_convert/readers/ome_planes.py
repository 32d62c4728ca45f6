"""Where each plane of an OME-TIFF is: TiffData elements -> file and IFD; no TIFF is touched."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from ngff_convert.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.readers.ome_xml import OmeImage

MAX_NAMED = 10
"""Gaps or files that a line names before it only counts."""

UNCOUNTED = 2**31
"""Number of IFDs that no file has."""

_MISSING = -1

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
        IFD of each plane, int64 (t, c, z); -1 at a gap, and for a plane of a missing file.
    missing
        Indices into `files` of those that are missing.
    warnings
        What was odd, one line each. Missing files, and planes that no element names, are not among them.
    """

    files: tuple[FileKey, ...]
    file: NDArray[np.int32]
    page: NDArray[np.int64]
    missing: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def missing_files(self) -> tuple[str, ...]:
        """Names of the files that are missing; the UUID of one without a name."""
        names = (
            name or uuid or "the file with the OME-XML"
            for name, uuid in map(self.files.__getitem__, self.missing)
        )
        return tuple(dict.fromkeys(names))


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
    n_t, n_z = image.shape[0], image.shape[2]
    sizes = {"T": n_t, "C": len(image.samples), "Z": n_z}
    total = n_t * len(image.samples) * n_z
    elements = image.tiff_data or (TiffData(0, total, 0, 0, 0, None, None),)
    warnings: list[str] = []

    files: dict[FileKey, int] = {}
    file = np.array([files.setdefault((e.file_name, e.uuid), len(files)) for e in elements])
    n_pages = np.array([_MISSING if n is None else min(n, UNCOUNTED) for n in (pages_of(*f) for f in files)])
    # How many planes an element takes that states neither IFD nor PlaneCount: one, where nobody counted.
    default = np.where((n_pages == _MISSING) | (n_pages == UNCOUNTED), 1, n_pages)
    ifd = np.array([-1 if e.ifd is None else e.ifd for e in elements])
    count = np.array([-1 if e.plane_count is None else e.plane_count for e in elements])
    count = np.where(count >= 0, count, np.where(ifd >= 0, 1, default[file]))
    ifd = np.maximum(ifd, 0)

    start, outside = _starts(elements, image.order, sizes, warnings)
    kept = np.where(outside, 0, np.minimum(count, total - start))
    if cut := int((count - kept).sum()):
        warnings.append(f"TiffData name {_planes(cut)} beyond the image, which are left out")
    if kept.sum() > 16 * total + 10**6:
        raise ReadError(f"{kept.sum()} planes are named by TiffData for an image of {_planes(total)}")

    # One entry a plane that an element names; the last entry of a plane counts.
    element = np.repeat(np.arange(len(elements)), kept)
    within = np.arange(len(element)) - np.repeat(np.cumsum(kept) - kept, kept)
    plane, page, file = start[element] + within, ifd[element] + within, file[element]
    winner = np.full(total, -1)
    np.maximum.at(winner, plane, np.arange(len(plane)))
    other = (file != file[winner[plane]]) | (page != page[winner[plane]])
    if other.any():
        twice = len(np.unique(plane[other]))
        warnings.append(f"TiffData place {_planes(twice)} more than once: the last place counts")

    named = winner >= 0
    file_of = np.full(total, -1, np.int32)
    page_of = np.full(total, -1, np.int64)
    file_of[named], page_of[named] = file[winner[named]], page[winner[named]]
    pages = np.where(named, n_pages[file_of], UNCOUNTED)
    page_of[pages == _MISSING] = -1
    beyond = (pages != _MISSING) & (pages < UNCOUNTED) & (page_of >= pages)
    warnings += _beyond_in_words(list(files), n_pages, file_of[beyond], page_of[beyond])
    file_of[beyond] = page_of[beyond] = -1
    return Planes(
        files=tuple(files),
        file=_as_tcz(file_of, image.order, sizes),
        page=_as_tcz(page_of, image.order, sizes),
        missing=tuple(np.flatnonzero(n_pages == _MISSING).tolist()),
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


def gaps_in_words(mask: NDArray[np.bool_], axes: Sequence[str] = "tcz") -> str:
    """Name the planes where a mask is true, compactly; an axis that is whole is not named.

    Parameters
    ----------
    mask
        True at a gap, one axis for each of `axes`.
    axes
        What to call each axis.

    Returns
    -------
    str
        At most `MAX_NAMED` items with a semicolon between; empty if there is no gap.

    Examples
    --------
    >>> mask = np.zeros((9, 2, 6), bool)
    >>> mask[3, 1, :5] = mask[6:8] = True
    >>> gaps_in_words(mask)
    't 3, c 1, z 0-4; t 6-7'
    """
    items = [", ".join(words) or "all" for words in _blocks(mask, axes)]
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return "; ".join(items[:MAX_NAMED]) + more


def _blocks(mask: NDArray[np.bool_], axes: Sequence[str]) -> Iterator[list[str]]:
    """Yield blocks that make up the mask: runs of equal rows, and the blocks within a row."""
    rows = mask.reshape(len(mask), -1)
    changes = np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1
    for start, stop in pairwise([0, *changes.tolist(), len(mask)]):
        if not rows[start].any():
            continue
        span = f"{axes[0]} {start}" + (f"-{stop - 1}" if stop > start + 1 else "")
        own = [span] if stop - start < len(mask) else []
        if mask.ndim == 1:
            yield own
        else:
            for words in _blocks(mask[start], axes[1:]):
                yield own + words
