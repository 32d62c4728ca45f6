"""An open plate of TIFF files: an image a field of each well, opened when it is asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert.readers.contract import MAX_NAMED
from ngff_convert.readers.file_plates import title
from ngff_convert.readers.file_series_source import by_names, channels_in, opened_series
from ngff_convert.readers.images_on_demand import ImagesOnDemand
from ngff_convert.readers.open_files import PooledSource
from ngff_convert.readers.operetta import described
from ngff_convert.readers.tiff_files import TiffFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Channel, Image
    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.file_plates import PlateFiles
    from ngff_convert.readers.operetta import Index


class FilePlateSource(PooledSource[TiffFiles]):
    """An open plate.

    Parameters
    ----------
    plate
        Which files there are, and where each belongs.
    reading
        What the user says.
    index
        What an instrument says beside its files.

    Attributes
    ----------
    images
        One a field. Each is opened by its first file when it is asked for; the channels are described by the
        first image's, because what is known of them is the same all over the plate.
    """

    def __init__(self, plate: PlateFiles, reading: Reading, index: Index | None = None) -> None:
        self._folder = str(Path.cwd())
        super().__init__(TiffFiles(), (self._place(name) for one in plate.fields for name in one.files.files))
        self._plate, self._reading, self._index = plate, reading, index
        self.paths += [index.path] if index else []
        self._noted: dict[str, int] = {}
        self.warnings += plate.notes
        self.missing += plate.missing
        self.images = ImagesOnDemand(len(plate.fields), self._open_image)
        with self.opening():
            self._channels = self._channels_of_all()
            _ = self.images[0]  # refuses what is no TIFF before anything is made

    def _place(self, name: str) -> str:
        return os.path.join(self._folder, name)  # noqa: PTH118 - there are many

    def _channels_of_all(self) -> list[Sequence[Channel]]:
        paths = [self._place(name) for name in self._plate.of_channel]
        grid = by_names(self._plate.fields[0].files)
        return channels_in(paths, self._files, grid, self._reading)

    def _open_image(self, number: int) -> Image:
        one = self._plate.fields[number]
        name = title(one.place)
        warnings: list[str] = []
        paths = [self._place(path) for path in one.files.files]
        grid = by_names(one.files)
        images = opened_series(name, paths, grid, self._reading, self._files, warnings, self._channels)
        if len(images) > 1:
            warnings.append(f"only the first of the {len(images)} images of each file is taken")
        self._note(name, warnings)
        image = images[0] if self._index is None else described(images[0], one.files, self._index)
        return replace(image, name=name, plate_field=one.place)

    def _note(self, name: str, lines: Sequence[str]) -> None:
        """Keep what is odd about an image; what is odd about many in the same way is not said each time."""
        for line in dict.fromkeys(lines):
            line = line.replace(self._folder, "").strip()
            self._noted[line] = self._noted.get(line, 0) + 1
            if self._noted[line] <= MAX_NAMED:
                self.warnings.append(f"{name}: {line}")
            elif self._noted[line] == MAX_NAMED + 1:
                self.warnings.append(f"more than {MAX_NAMED} images: {line}")
