"""An open OME-TIFF, or set of them: its images, put together from its OME-XML."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Channel, Image, SourceOme
from ngff_convert.readers.addresses import Address
from ngff_convert.readers.contract import MAX_NAMED, open_bytes, read_head
from ngff_convert.readers.gaps import gaps_in_words
from ngff_convert.readers.ome_metadata import channels
from ngff_convert.readers.ome_planes import UNCOUNTED, place_planes
from ngff_convert.readers.ome_xml import parse
from ngff_convert.readers.open_files import PooledSource
from ngff_convert.readers.orientation import upright
from ngff_convert.readers.tiff_axes import PageAxes, asked, grids, kept_sizes
from ngff_convert.readers.tiff_files import TiffFiles
from ngff_convert.readers.tiff_head import is_tiff
from ngff_convert.readers.tiff_metadata import Described
from ngff_convert.readers.tiff_pixels import MISSING, Pages, make_pixels, true_colors
from ngff_convert.readers.tiff_source import orientation, read_images, truncation
from ngff_convert.readers.tiff_stacks import Stack, native_levels
from ngff_convert.readers.wells import with_missing

if TYPE_CHECKING:
    from collections.abc import Iterable

    import tifffile

    from ngff_convert.plates import PlateField
    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.ome_planes import FileKey, Planes
    from ngff_convert.readers.ome_xml import OmeDocument, OmeImage
    from ngff_convert.readers.tiff_pixels import TiffPixels

COUNTED_FILES = 256
"""In a set of more files, their pages are not counted on opening; a page that is not there is found later."""


class OmeTiffSource(PooledSource[TiffFiles]):
    """An open OME-TIFF, with the other files of its set."""

    def __init__(self, path: str, reading: Reading) -> None:
        super().__init__(TiffFiles(), [path])
        with self.opening():
            self._read(path, reading)

    def _read(self, path: str, reading: Reading) -> None:
        try:
            holder, document = described_by(path, self._files)
        except ReadError as error:
            if not is_tiff(read_head(path)):
                raise
            self.warnings.append(f"the structure of the TIFF itself is used, not its OME-XML: {error}")
            self.images, self.paths = read_images(path, self._files, reading, self.warnings)
            self.missing += truncation(self.warnings)
        else:
            self._read_set(holder, document, reading)

    def _read_set(self, holder: str, document: OmeDocument, reading: Reading) -> None:
        members = Members(holder, document, self._files)
        self.warnings += document.warnings
        images: list[Image] = []
        refused: list[UnsupportedInput] = []
        left_out: list[str] = []
        not_there: list[PlateField] = []
        for index, described in enumerate(document.images):
            noted: list[str] = []
            ome = SourceOme(document.xml, index)
            try:
                images.append(_image(described, ome, members, self._files, reading, noted))
            except UnsupportedInput as error:
                refused.append(error)
                not_there += [described.plate_field] if described.plate_field else []
            except NoPagesError as error:
                left_out.append(str(error))
                not_there += [described.plate_field] if described.plate_field else []
            prefix = f"image {index}: " if len(document.images) > 1 else ""
            self.warnings += [prefix + line for line in noted]
        self.paths = members.used()
        if lost := members.lost():
            more = f" and {len(lost) - MAX_NAMED} more" if len(lost) > MAX_NAMED else ""
            named = ", ".join(lost[:MAX_NAMED])
            self.missing.append(
                f"{len(lost)} of {len(lost) + len(self.paths)} files of the set are missing: {named}{more}"
            )
        if not images:
            raise refused[0] if refused else ReadError("; ".join([left_out[0], *self.missing]))
        self.images = with_missing(images, not_there)
        self.warnings += [f"left out: {error}" for error in refused]
        self.missing += [f"left out: {line}" for line in left_out[:MAX_NAMED]]
        if len(left_out) > MAX_NAMED:
            self.missing.append(f"left out: {len(left_out) - MAX_NAMED} more images")
        self.missing += [f"{path} ends before all of its pages, as if truncated" for path in members.cut]


def described_by(path: str, files: TiffFiles) -> tuple[str, OmeDocument]:
    """Return the OME-XML that describes the pixels of a file, and which file holds it: this one, or another.

    Raises
    ------
    ReadError
        There is none, it is damaged, or the file that holds it is missing.
    """
    document = parse(xml_of(path, files), path)
    if document.binary_only is None:
        return path, document
    name = document.binary_only[0] or ""
    other = beside(path, name)
    if other is None:
        raise ReadError(f"{path}: is described by the OME-XML in {name}, which is missing; put it beside")
    holder = other
    described = parse(xml_of(holder, files), holder)
    if described.binary_only is not None:
        raise ReadError(f"{holder}: does not describe {path} either, but refers to another file")
    return holder, described


def xml_of(path: str, files: TiffFiles) -> str | bytes:
    """Return the OME-XML of a TIFF or companion file; empty where a TIFF has none."""
    head = read_head(path)
    if not is_tiff(head):
        if b"<" not in head[:64]:  # any file can be named, and some are too large to be read to find that out
            raise ReadError(f"{path}: is neither TIFF nor XML")
        with closing(open_bytes(path)) as file:
            return file.pread(file.size, 0)
    with files.using(path) as file:
        return file.page(0).description


def _last_part(name: str | None) -> str:
    return Path((name or "").replace("\\", "/")).name


def beside(path: str, name: str) -> str | None:
    """Return the file that OME-XML in `path` means by a name; None where there is none.

    Names are relative to the folder of the file that holds them. One that leads out of it, as those of
    another machine do, is looked up in that folder by its last part: nothing else is ever opened.
    """
    spelt = Path(name.replace("\\", "/"))
    inside = not spelt.is_absolute() and ".." not in spelt.parts
    for candidate in dict.fromkeys(([spelt.as_posix()] if inside else []) + [spelt.name]):
        if isinstance(path, Address):
            if (found := path.beside(candidate)) is not None:
                return found
            continue
        place = Path(path).parent / candidate
        try:
            if place.is_file():
                return str(place)
        except (OSError, ValueError):  # no name that this system can have
            continue
    return None


class Members:
    """The files of a set, found by what its OME-XML calls them."""

    def __init__(self, holder: str, document: OmeDocument, files: TiffFiles) -> None:
        self.holder = holder
        self._uuid = document.uuid
        self._files = files
        self._found: dict[tuple[str | None, str | None], str | None] = {}
        named = {(d.file_name, d.uuid) for image in document.images for d in image.tiff_data}
        names = {_last_part(name) for name, _ in named}
        self._alone = len({name for name, _ in named}) == 1 and is_tiff(read_head(holder))
        # A set whose files all state one UUID names this one; a file that was renamed is not named.
        self._renamed = Path(holder).name not in names and is_tiff(read_head(holder))
        self._n_pages: dict[str, int] = {}
        self.cut: list[str] = []

    def path(self, name: str | None, uuid: str | None) -> str | None:
        """Return the file of a name and UUID; None where it is missing.

        A file that was renamed is known by its UUID, or because it is the only one. The UUID comes first: of
        a file and its changed copy, which has another name, that one is meant that is opened.
        """
        key = (name, uuid)
        if key not in self._found:
            own = uuid is not None and uuid == self._uuid
            if (name is None and (own or uuid is None)) or (own and self._renamed):
                self._found[key] = self.holder
            else:
                place = None if name is None else beside(self.holder, name)
                self._found[key] = place or (self.holder if self._alone else None)
        return self._found[key]

    def pages_of(self, name: str | None, uuid: str | None) -> int | None:
        """Return how many pages a file has; None where it is missing."""
        path = self.path(name, uuid)
        if path is None:
            return None
        if path not in self._n_pages:
            if len(self._n_pages) >= COUNTED_FILES:
                return UNCOUNTED
            with self._files.using(path) as file:
                self._n_pages[path] = file.n_pages()
        return self._n_pages[path]

    def find_truncated(self, keys: Iterable[FileKey]) -> None:
        """Add to `cut` those of some files whose pages end before the file says that they do."""
        paths = {path for key in keys if (path := self.path(*key)) in self._n_pages}
        for path in sorted(paths.difference(self.cut)):
            with self._files.using(path) as file:
                if file.ends_early():
                    self.cut.append(path)

    def used(self) -> list[str]:
        """Return every file there is of the set, that with the OME-XML first."""
        return list(dict.fromkeys([self.holder, *(path for path in self._found.values() if path)]))

    def lost(self) -> list[str]:
        """Return the names of the files that are missing."""
        return [name or str(uuid) for (name, uuid), path in self._found.items() if path is None]


def _image(
    described: OmeImage,
    ome: SourceOme,
    members: Members,
    files: TiffFiles,
    reading: Reading,
    warnings: list[str],
) -> Image:
    described, planes, first = _placed(described, members, files)
    warnings += planes.warnings
    gaps = planes.page == MISSING
    if gaps.any():
        warnings.append(f"no page holds these planes, which read as 0: {gaps_in_words(gaps, 'tcz')}")
        members.find_truncated(planes.files)
    stack = _stack(described, planes)
    where = f"{members.holder}: image {ome.index}"
    axes = asked(stack.axes, reading, where)
    [grid] = grids(axes)
    paths = tuple(members.path(*key) or "" for key in planes.files)
    pixels = make_pixels(files, paths, stack.pages.at(grid))
    as_described = pixels.shape[:3] == described.shape[:3]
    _compare(described, pixels, warnings, sizes=5 if reading.axes is None else 2)
    image = Image(
        name=described.name,
        pixels=pixels,
        channels=true_colors(_channels(described, pixels), pixels),
        calibration=kept_sizes(described.calibration, stack.axes, axes, warnings),
        time_stamps=described.time_stamps if as_described else (),
        native_levels=native_levels(_lower(stack, files, paths), grid, files, paths, pixels, warnings),
        # Of axes that are other ones than it says, it would tell what is wrong.
        ome=ome if ome.xml and as_described else None,
        plate_field=described.plate_field,
    )
    return upright(image, orientation(first), warnings)


def _placed(
    described: OmeImage, members: Members, files: TiffFiles
) -> tuple[OmeImage, Planes, tifffile.TiffPage]:
    """Return the image with the samples that its pages have, where its planes are, and the first page."""
    planes = place_planes(described, members.pages_of)
    there = np.argwhere(planes.page != MISSING)
    if not there.size:
        raise NoPagesError(f"{members.holder}: none of the pages of {described.name or 'an image'} is there")
    at = tuple(there[0])
    path = members.path(*planes.files[planes.file[at]]) or ""
    with files.using(path) as file:
        first = file.page(int(planes.page[at]))
    n_c, samples = described.shape[1], max(1, first.samplesperpixel)
    if set(described.samples) == {samples} or n_c % samples:
        return described, planes, first
    counts = (samples,) * (n_c // samples)
    nameless = channels((), counts)
    known = [a if a != Channel() else b for a, b in zip(described.channels, nameless, strict=True)]
    described = replace(described, samples=counts, channels=tuple(known))
    return described, place_planes(described, members.pages_of), first


def _stack(described: OmeImage, planes: Planes) -> Stack:
    """Return the pages of an image in its DimensionOrder, in which they are counted."""
    slowest_first = described.order[:1:-1]
    axes = ["TCZ".index(letter) for letter in slowest_first]
    file, page = (array.transpose(axes) for array in (planes.file, planes.page))
    kept = [i for i, n in enumerate(page.shape) if n > 1]
    letters = "".join(slowest_first[i] for i in kept)
    return Stack(
        PageAxes(letters, tuple(page.shape[i] for i in kept)),
        Pages(np.maximum(file, 0).reshape(-1), page.reshape(-1).astype(np.int64)),
    )


def _lower(stack: Stack, files: TiffFiles, paths: tuple[str, ...]) -> list[Stack]:
    """Return the pages of lower levels: the sub-pages of those of level 0."""
    first = np.flatnonzero(stack.pages.page != MISSING)[0]
    with files.using(paths[stack.pages.file[first]]) as file:
        count = len(file.page(int(stack.pages.page[first])).subifds or ())
    return [replace(stack, pages=replace(stack.pages, sub=sub)) for sub in range(count)]


def _channels(described: OmeImage, pixels: TiffPixels) -> tuple[Channel, ...]:
    """Return the channels as described, or without description where there are others than are described."""
    count, samples = pixels.shape[1], pixels.samples
    if len(described.channels) == count:
        return described.channels
    return channels((), (samples,) * (count // samples))


def _compare(described: OmeImage, pixels: TiffPixels, warnings: list[str], *, sizes: int) -> None:
    """Say where the OME-XML contradicts the pages, which are believed; of sizes, so many of the last."""
    every = list(zip("tczyx", described.shape, pixels.shape, strict=True))[-sizes:]
    if wrong := [(f"{axis} {a}", f"{axis} {b}") for axis, a, b in every if a != b]:
        stated, found = map(", ".join, zip(*wrong, strict=True))
        warnings.append(f"OME-XML states {stated}, the pages have {found}, which is taken")
    if described.dtype not in (pixels.dtype.name, "bool"):
        warnings.append(
            f"OME-XML states {described.dtype} pixels, the pages have {pixels.dtype.name}, which are taken"
        )


class NoPagesError(ReadError):
    """None of the pages of an image is there."""


@dataclass(frozen=True, eq=False, slots=True)
class Alone:
    """The one image of a file of its own.

    Attributes
    ----------
    stack, lower
        Its pages, and those of its lower levels.
    described
        What the file says of it.
    orientation
        Value of the tag.
    """

    stack: Stack
    lower: tuple[Stack, ...]
    described: Described
    orientation: int


def alone_in(path: str, files: TiffFiles, warnings: list[str]) -> Alone | None:
    """Return the image of an OME-TIFF; None unless it has one, with all its planes in this file."""
    try:
        holder, document = described_by(path, files)
        members = Members(holder, document, files)
        image, planes, first = _placed(document.images[0], members, files)
    except ReadError as error:
        warnings.append(f"the structure of the TIFF itself is used, not its OME-XML: {error}")
        return None
    if members.used() != [path] or members.lost() or len(document.images) > 1:
        return None
    stack = _stack(image, planes)
    described = Described(image.name, image.channels, image.calibration, image.time_stamps, {})
    return Alone(stack, tuple(_lower(stack, files, (path,))), described, orientation(first))


def set_of(path: str) -> set[str]:
    """Return the files of the set that an OME-TIFF belongs to; empty where that cannot be told."""
    with closing(TiffFiles()) as files:
        try:
            holder, document = described_by(path, files)
        except ReadError:
            return set()
        members = Members(holder, document, files)
        for image in document.images:
            for data in image.tiff_data:
                members.path(data.file_name, data.uuid)
        return set(members.used())
