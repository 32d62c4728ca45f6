"""Where label images come from: files that are given with an input, or the input itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

from ngff_convert import label_table
from ngff_convert.errors import OptionError
from ngff_convert.model import Image, Legend
from ngff_convert.readers import registry
from ngff_convert.readers.contract import addressed, located

if TYPE_CHECKING:
    from types import TracebackType

    from ngff_convert.options import Options
    from ngff_convert.readers.contract import Source

MASKS = "masks"
"""After a ``#``: the regions of interest of an OME-TIFF that are masks."""

MASK_READER = "ome-masks"


def place_of(text: str) -> tuple[str, str | None, int | None]:
    """Return the path, the reader and the number of the image that a source of labels means.

    Examples
    --------
    >>> place_of("cells.ome.tif#masks"), place_of("cells.ome.tif#1"), place_of("cells.tif")
    (('cells.ome.tif', 'ome-masks', None), ('cells.ome.tif', None, 1), ('cells.tif', None, None))
    """
    path, sign, part = text.rpartition("#")
    if not sign or os.path.lexists(text):
        return text, None, None
    if part == MASKS:
        return path, MASK_READER, None
    return (path, None, int(part)) if part.isdecimal() and part.isascii() else (text, None, None)


def elsewhere(options: Options) -> Options:
    """Return the options with names of label images and tables as other processes can use them."""

    def absolute(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((name, located(path, options.storage_options)) for name, path in pairs)

    if not options.labels:
        return options
    return replace(
        options, labels=absolute(options.labels), label_properties=absolute(options.label_properties)
    )


def attached(source: Source, options: Options) -> Source:
    """Return an open input with the label images that the options give to its images.

    Raises
    ------
    ReadError, UnsupportedInput
        One of them cannot be read.
    OptionError
        It is not known which image one is of.
    """
    if not options.labels and options.own_labels:
        return source
    return _Labelled(source, options)


@dataclass(frozen=True, slots=True)
class _Given:
    """A label image that was given by the user: its name, its images, and what a table says of its values."""

    name: str
    path: str
    images: Sequence[Image]
    properties: Legend | None

    def of(self, number: int, chosen: Sequence[int], count: int) -> Image | None:
        """Return that of an image of the input; None where it has none."""
        if len(self.images) == 1:
            found = self.images[0] if number == chosen[0] else None
        else:
            found = self.images[number] if len(self.images) == count else None
        if found is None:
            return None
        legend = found.legend if self.properties is None else self.properties
        return replace(found, name=self.name, legend=replace(legend, colors=found.legend.colors))


class _Labelled:
    """An open input whose images have the label images that belong to them."""

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._own = options.own_labels
        self._given: list[_Given] = []
        self._open = ExitStack()
        self._paths: list[str] = []
        self._warnings: list[str] = []
        self._missing: list[str] = []
        count = len(source.images)
        self._chosen = tuple(range(count)) if options.images is None else options.images
        try:
            tables = dict(options.label_properties)
            for name, text in options.labels:
                self._give(name, text, tables.get(name), options, count)
        except BaseException:
            self._open.close()
            source.__exit__(None, None, None)
            raise
        self.images: Sequence[Image] = _Images(self)

    def _give(self, name: str, text: str, table: str | None, options: Options, count: int) -> None:
        path, reader, number = place_of(text)
        opened = self._open.enter_context(opened_as(path, reader, options))
        images = opened.images
        if number is not None:
            images = [chosen_of(images, number, f"--labels {name}={text}")]
        if len(images) != 1 and len(images) != count:
            raise OptionError(
                f"--labels {name}: {path} has {len(images)} images, the input {count}: "
                f"say which of them it is, such as {path}#0"
            )
        if len(images) == 1 and len(self._chosen) > 1:
            raise OptionError(
                f"--labels {name}: {path} is one image, but {len(self._chosen)} are to be written: choose "
                "one with --images; or convert without it, and then: ngff-convert labels add OUT "
                f"{name}={text} --image 0"
            )
        properties = None
        if table is not None:
            kind = images[0].pixels.dtype if len(images) == 1 else None
            properties = Legend(properties=label_table.read(table, kind))
            self._paths.append(table)
        self._paths += opened.paths
        self._warnings += [f"labels {name}: {line}" for line in opened.warnings]
        self._missing += [f"labels {name}: {line}" for line in opened.missing]
        self._given.append(_Given(name, path, images, properties))

    @property
    def paths(self) -> Sequence[str]:
        """Every file of the input, and of the label images."""
        return list(dict.fromkeys([*self._source.paths, *self._paths]))

    @property
    def warnings(self) -> Sequence[str]:
        """What was odd about any of them, so far as images were opened."""
        return [*self._source.warnings, *self._warnings]

    @property
    def missing(self) -> Sequence[str]:
        """What should be there and is not."""
        return [*self._source.missing, *self._missing]

    def image(self, number: int) -> Image:
        """Return an image with its label images; those that are given go before its own of that name."""
        image = self._source.images[number]
        count = len(self._source.images)
        given = [label for one in self._given if (label := one.of(number, self._chosen, count)) is not None]
        names = {label.name for label in given}
        own = [label for label in image.labels if label.name not in names] if self._own else []
        return replace(image, labels=(*own, *given))

    def __len__(self) -> int:
        return len(self._source.images)

    def __enter__(self) -> _Labelled:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._open.close()
        self._source.__exit__(kind, error, trace)


class _Images(Sequence[Image]):
    """Its images, as those of the input are opened one by one."""

    def __init__(self, source: _Labelled) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Image]: ...

    def __getitem__(self, index: int | slice) -> Image | Sequence[Image]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self[number] for number in numbers]
        return self._source.image(numbers)


def opened_as(path: str, reader: str | None, options: Options) -> Source:
    """Open a source of labels; raises what `registry.pick` and readers do."""
    path = addressed(path, options.storage_options)
    return registry.pick(path, reader).open(path)


def chosen_of(images: Sequence[Image], number: int, where: str) -> Image:
    """Return one of the images of a source of labels."""
    if not number < len(images):
        raise OptionError(f"{where}: it has images 0 to {len(images) - 1}")
    return images[number]
