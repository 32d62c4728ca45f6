"""Many TIFF files that are one image: a folder, a pattern of file names, or a list of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers.contract import NO_WISHES, read_head
from ngff_convert.readers.ome_tiff import COMPANION, OmeTiffReader
from ngff_convert.readers.tiff import TiffReader
from ngff_convert.readers.tiff_head import holds_ome_xml

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reading, Source

SUFFIXES = (*TiffReader.suffixes, COMPANION)


class FileSeriesReader:
    """Reads files that together are one image; what is where is told by their names, or their order."""

    name = "files"
    description = "Many TIFF files: a folder, a pattern such as 't{t}_c{c}_z{z}.tif', a list"
    suffixes: tuple[str, ...] = ()
    settings = frozenset({"axes", "shape", "files_from"})

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether it is a folder with TIFF files, or a pattern of file names."""
        if head:
            return False
        try:
            if Path(path).is_dir():
                return any(_is_tiff_name(entry.name) for entry in os.scandir(path))
            return not os.path.lexists(path) and _is_pattern(path)
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
        from ngff_convert.readers.file_names import arrange, candidates, parse
        from ngff_convert.readers.file_series_source import FileSeriesSource, by_names, by_order, name_of

        if reading.files_from is not None:
            names = _listed(reading.files_from)
        elif Path(path).is_dir():
            names = _in_folder(path)
            if (alone := _stands_for_all(names)) is not None:
                reader = OmeTiffReader() if _is_ome(alone) else TiffReader()
                return reader.open(alone, reading)
        else:
            names = candidates(parse(path))
        pattern = parse(path) if path != reading.files_from and _is_pattern(path) else None
        if pattern is None and reading.axes is not None:
            grid = by_order(names)
        else:
            grid = by_names(arrange(names, pattern))
        name = Path(path).stem if path == reading.files_from else name_of(path)
        return FileSeriesSource(name, grid, reading)


def _is_pattern(path: str) -> bool:
    from ngff_convert.readers.file_names import is_pattern

    return is_pattern(path)


def _is_tiff_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _is_ome(path: str) -> bool:
    return path.lower().endswith(COMPANION) or holds_ome_xml(path, read_head(path))


def _in_folder(path: str) -> list[str]:
    """Return the TIFF and companion files of a folder, in natural order."""
    from ngff_convert.readers.file_names import natural

    try:
        with os.scandir(path) as entries:
            return natural(entry.path for entry in entries if _is_tiff_name(entry.name) and entry.is_file())
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error


def _listed(path: str) -> list[str]:
    """Return the files that a list names, which is a text file with one path a line."""
    read_head(path)  # refuses what is no file
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{path}: cannot be read as a list of files: {error}") from error
    folder = Path(path).parent
    names = [str(folder / line.strip()) for line in lines if line.strip()]
    if not names:
        raise ReadError(f"{path}: lists no file; one path a line is needed")
    return names


def _stands_for_all(names: list[str]) -> str | None:
    """Return the file of a folder that says what all of them are; None where their names have to."""
    if not names:
        raise UnsupportedInput("the folder has no TIFF files in it")
    companions = [name for name in names if name.lower().endswith(COMPANION)]
    if len(companions) == 1:
        return companions[0]
    if len(names) == 1:
        return names[0]
    if companions or not _is_ome(names[0]):
        return None
    from ngff_convert.readers.ome_tiff_source import set_of

    return names[0] if set(names) <= set_of(names[0]) else None
