"""Many TIFF files that are one image, or a plate: a folder, a pattern of file names, or a list of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert.errors import OptionError, ReadError, UnsupportedInput
from ngff_convert.readers.contract import MAX_NAMED, NO_WISHES, addressed, is_remote, read_head
from ngff_convert.readers.file_patterns import candidates, name_of, natural, parse
from ngff_convert.readers.file_vendors import MOST_DEEP, is_inner
from ngff_convert.readers.ome_tiff import COMPANION, OmeTiffReader
from ngff_convert.readers.ome_zarr import holds_zarr
from ngff_convert.readers.tiff import TiffReader
from ngff_convert.readers.tiff_head import holds_ome_xml

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reading, Source
    from ngff_convert.readers.file_patterns import Pattern

SUFFIXES = (*TiffReader.suffixes, COMPANION)


class FileSeriesReader:
    """Reads files that together are one image, or a plate; what is where their names tell, or their order."""

    name = "files"
    description = "Many TIFF files: a folder, a pattern such as 't{t}_c{c}_z{z}.tif', a list"
    suffixes: tuple[str, ...] = ()
    settings = frozenset({"axes", "shape", "files_from"})

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether it is a folder with TIFF files, or a path with a brace or star that is no file."""
        if head:
            return False
        try:
            if holds_zarr(path):  # which may have files of any name besides
                return False
            if os.path.isdir(path):  # noqa: PTH112
                with os.scandir(path) as entries:
                    return any(_is_tiff_name(entry.name) or is_inner(entry.name) for entry in entries)
            return not {"{", "*"}.isdisjoint(path) and not os.path.lexists(path)
        except (OSError, ValueError):  # whoever opens it will say so
            return False

    def open(self, path: str, reading: Reading = NO_WISHES) -> Source:
        """Open the files that a folder holds, that match a pattern, or that a list names.

        A folder with one companion file, with one TIFF alone, or with the files of one OME-TIFF set is what
        those are.

        Raises
        ------
        ReadError
            There is no such file, or one is damaged or no regular file.
        UnsupportedInput
            A file is no TIFF, or has pixels of a type or compression that nothing here decodes.
        OptionError
            The names, or the axes that the user states, do not tell which file is where.
        """
        from ngff_convert.readers.file_names import arrange
        from ngff_convert.readers.file_series_source import FileSeriesSource, by_names, by_order
        from ngff_convert.readers.file_vendors import plate_name, vendor_of

        if is_remote(addressed(path)):
            raise UnsupportedInput(f"{path}: is one file on a server; leave --reader {self.name} out")
        place = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
        is_list = place == os.path.abspath(reading.files_from or "/")  # noqa: PTH100
        is_folder = os.path.isdir(place)  # noqa: PTH112 - that never raises, whatever the name
        pattern = None if is_list or is_folder else parse(path)
        if reading.files_from is not None:
            if is_folder and not is_list:
                raise OptionError(
                    f"--files-from: leave the folder {path} out, or give a pattern of names in its place"
                )
            names = _listed(reading.files_from)
        elif pattern is not None:
            names = candidates(pattern)
        else:
            names = _in_folder(path)
        by_hand = pattern is None and reading.axes is not None
        name = name_of(pattern) if pattern else Path(place).stem if is_list else Path(place).name
        if pattern is None and not by_hand and (pattern := vendor_of(names)) is not None:
            folder = Path(place).parent if is_inner(Path(place).name) else Path(place)
            name = plate_name(names, pattern) or (name if is_list else folder.name)
        elif is_folder and not is_list:
            names = _own(names, path)
        described = is_folder and not is_list and (pattern is None or len(names) > 1)
        if described and (alone := _stands_for_all(names)) is not None:
            reader = OmeTiffReader() if _is_ome(alone) else TiffReader()
            return reader.open(alone, reading)
        if pattern is not None and pattern.wells:
            return _plate(names, pattern, name, reading)
        grid = by_order(names) if by_hand else by_names(arrange(names, pattern))
        return FileSeriesSource(name, grid, reading)


def _plate(names: list[str], pattern: Pattern, name: str, reading: Reading) -> Source:
    from ngff_convert.readers.file_plate_source import FilePlateSource
    from ngff_convert.readers.file_plates import arrange_plate
    from ngff_convert.readers.operetta import index_beside

    noted: list[str] = []
    index = index_beside(names[0], noted) if names else None
    if index is None:
        plate = arrange_plate(names, pattern, name)
    else:
        plate = arrange_plate(names, pattern, index.plate or name, index.size)
    source = FilePlateSource(plate, reading, index)
    source.warnings += noted
    return source


def _is_tiff_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _is_ome(path: str) -> bool:
    return path.lower().endswith(COMPANION) or holds_ome_xml(path, read_head(path))


def _in_folder(path: str, depth: int = MOST_DEEP) -> list[str]:
    """Return the TIFF and companion files of a folder, and of those within it that instruments make."""
    try:
        with os.scandir(path) as entries:
            every = list(entries)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
    names = [entry.path for entry in every if _is_tiff_name(entry.name) and _is_file(entry)]
    inner = [entry.path for entry in every if depth and is_inner(entry.name) and _is_folder(entry.path)]
    return natural(names) + [name for folder in inner for name in _in_folder(folder, depth - 1)]


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - that never raises, unlike an entry


def _own(names: list[str], folder: str) -> list[str]:
    """Return those names that are in a folder itself."""
    own = [name for name in names if Path(name).parent == Path(folder)]
    if not own:
        raise UnsupportedInput(f"{folder}: has no TIFF files in it; give a folder that has, or a pattern")
    return own


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _listed(path: str) -> list[str]:
    """Return the files that a list names, which is a text file with one path a line."""
    read_head(path)  # refuses what is no file
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{path}: cannot be read as a list of files, one path a line: {error}") from error
    folder = Path(path).parent
    if remote := [line.strip() for line in lines if is_remote(addressed(line.strip()))]:
        raise UnsupportedInput(
            f"{path}: lists {remote[0]}, which is on a server; download the files it lists"
        )
    names = [str(folder / line.strip()) for line in lines if line.strip()]
    if not names:
        raise ReadError(f"{path}: lists no file; one path a line is needed")
    if absent := [name for name in dict.fromkeys(names) if not os.path.isfile(name)]:  # noqa: PTH113 - many
        more = f" and {len(absent) - MAX_NAMED} more" if len(absent) > MAX_NAMED else ""
        raise ReadError(
            f"{path}: lists what is no file: {', '.join(map(repr, absent[:MAX_NAMED]))}{more}; "
            f"relative paths are relative to {folder}"
        )
    return names


def _stands_for_all(names: list[str]) -> str | None:
    """Return the file of a folder that says what all of them are; None where their names have to."""
    companions = [name for name in names if name.lower().endswith(COMPANION)]
    if len(companions) > 1:
        raise OptionError(
            f"{companions[0]} and {companions[1]}: each describes images of its own; give one of them"
        )
    if companions:
        return companions[0]
    if len(names) == 1:
        return names[0]
    if not _is_ome(names[0]):
        return None
    from ngff_convert.readers.ome_tiff_source import set_of

    return names[0] if set(names) <= set_of(names[0]) else None
