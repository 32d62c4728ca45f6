"""Label images of a store that is there: added, listed, removed; the store is a valid one at any moment.

A label image is written beside those that are there, as a conversion of its own into its own folder, which
can be interrupted and gone on with. It belongs to the store once its name is in the list of the group
``labels``, and that is written last, in one step; to remove it, first.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ngff_convert import file_system, label_sources, labels, machine, ngff, overrides
from ngff_convert.commit import PLAN_FILE
from ngff_convert.convert import carry_out
from ngff_convert.errors import (
    ConversionError,
    OptionError,
    TargetError,
    UnsupportedInput,
    VerificationError,
    WriteError,
)
from ngff_convert.events import Note
from ngff_convert.label_table import read as read_table
from ngff_convert.layout import chosen
from ngff_convert.model import Legend
from ngff_convert.option_values import label_name
from ngff_convert.options import Options
from ngff_convert.storage import SUFFIX, Folder, Unreachable, Zipped, at, joined, storage_of
from ngff_convert.stored_labels import image_in, images_told
from ngff_convert.targets import is_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ngff_convert.events import Observer
    from ngff_convert.model import Image
    from ngff_convert.readers.contract import Source
    from ngff_convert.storage import Writable
    from ngff_convert.stored import StoredImage
    from ngff_convert.write_plan import Decided, Report

NO_CROP = ((None, None),) * 5

MAX_JSON_BYTES = 32 * 2**20

PATIENCE_S = 30.0
"""So long another run may take that changes the list of label images."""


def add(
    store: str | os.PathLike[str],
    name: str,
    source: str,
    options: Options | None = None,
    observer: Observer = lambda _: None,
    *,
    image: str = "",
    properties: str | None = None,
) -> Report:
    """Add a label image to an image of a store.

    Parameters
    ----------
    store
        OME-NGFF 0.4 to 0.6: its folder, or its address in a bucket.
    name
        What the label image is called.
    source
        What is read, as `Options.labels` has it.
    options
        How it is read (`reader`, `axes`, `shape`, and of it `crop`) and written (`chunks`, `shards`, `codec`,
        `label_method`, `overwrite`), and how that runs.
    observer
        Is called with each event.
    image
        The image in the store: ``"1"`` of a collection, ``"A/1/0"`` of a plate; ``""`` is the root.
    properties
        A table of properties of its values, a file of CSV.

    Returns
    -------
    Report
        What was done.

    Raises
    ------
    OptionError
        The label image does not fit the image.
    TargetError
        There is one of that name, or the store cannot be changed.
    ConversionError
        What `convert` raises.
    """
    options = options or Options()
    label_name("labels add", name)
    root = _root(store, options)
    of = _image_of(root, image)
    path, reader, number = label_sources.place_of(source)
    names = _Names(root, of)
    is_listed = name in names.read()
    options = replace(
        _of_one(options, of.version),
        reader=reader or options.reader,
        images=None if number is None else (number,),
        overwrite=options.overwrite or (not is_listed and _is_left_over(root, names.path(name))),
    )
    target = f"{os.fspath(store).rstrip('/')}/{names.path(name)}"
    on = _described(store, of, options)

    def deciding(opened: Source, now: Options, _name: str) -> tuple[Decided, ...]:
        decided = _decided(opened, now, name, properties, on)
        if is_listed and is_bucket(target):  # there the old one goes before the new one is there
            names.leave_out(name)
        return (decided,)

    report = carry_out(path, target, options, observer, deciding=deciding)
    if names.forget_consolidated():
        observer(
            Note(f"{root.name}: its consolidated metadata did not know the label image, and are removed")
        )
    names.enter(name)
    return report


def _of_one(options: Options, version: str) -> Options:
    """Return the options of a conversion that writes one label image, without what is of others."""
    return replace(
        options,
        ngff_version=version,
        layout="single",
        ome_xml=False,
        labels=(),
        label_properties=(),
        own_labels=False,
    )


def remove(
    store: str | os.PathLike[str], name: str, options: Options | None = None, *, image: str = ""
) -> None:
    """Remove a label image from an image of a store: first from the list, then its files.

    Parameters, where they are not those of `add`, and errors are the same.
    """
    root = _root(store, options or Options())
    of = _image_of(root, image)
    names = _Names(root, of)
    path = names.path(name)
    listed = names.read()
    partial = Path(root.root, f"{path}.partial") if isinstance(root, Folder) else None
    unfinished = partial is not None and (partial / PLAN_FILE).is_file()
    if name not in listed and not unfinished and not root.has_folder(path):
        known = f"there are {', '.join(listed)}" if listed else "it has none"
        raise OptionError(f"{at(root, of.folder)}: has no label image {name}: {known}")
    label_name("labels remove", name)  # of another program's, only what is no way out of the store
    try:
        names.forget_consolidated()
        names.leave_out(name)
        for file in ("zarr.json", ".zattrs", ".zgroup"):  # what is half removed is no image
            root.remove(joined(path, file))
        root.remove(path)
        if partial is not None and unfinished and file_system.is_free(partial / PLAN_FILE):
            file_system.remove(partial)
        if partial is not None and partial.parent.is_dir() and not file_system.names(partial.parent):
            partial.parent.rmdir()
    except OSError as error:
        if isinstance(error, ConversionError):
            raise
        raise WriteError(
            f"{at(root, path)}: cannot be removed: {error.strerror or error}; run the same command again"
        ) from error


def _root(store: str | os.PathLike[str], options: Options) -> Writable:
    """Return where a store is that can be changed.

    Raises
    ------
    TargetError
        It cannot be.
    """
    root = storage_of(store, options.storage_options)
    if isinstance(root, Zipped):
        stem = root.name.removesuffix(SUFFIX)
        raise TargetError(
            f"{root.name}: is an archive, in which nothing is changed: ngff-convert unpack {root.name} "
            f"{stem}.ome.zarr, change that, and ngff-convert pack it again"
        )
    if not (isinstance(root, Folder) or is_bucket(root.name)):
        raise TargetError(f"{root.name}: nothing can be written there; only to folders, s3:// and gs://")
    try:
        root.reach()
    except Unreachable as error:
        raise WriteError(str(error)) from error
    return cast("Writable", root)


def _image_of(root: Writable, group: str) -> StoredImage:
    """Return the image of a store to which label images belong."""
    group = group.strip("/")
    if group and any(part in ("", ".", "..") for part in group.split("/")):
        raise OptionError(f"--image {group}: is no path in the store, such as 1 or A/1/0")
    is_there = not group or root.present(group, ("zarr.json", ".zattrs"))
    found = image_in(root, group) if is_there else None
    if found is None:
        option = f"--image {group}" if group else root.name
        raise OptionError(f"{option}: is no image: {images_told(root, group)}")
    return found


@dataclass(frozen=True, slots=True)
class _On:
    """The image that a label image is to lie on."""

    stored: StoredImage
    image: Image
    where: str


def _described(store: str | os.PathLike[str], of: StoredImage, options: Options) -> _On:
    """Read the sizes of an image of a store."""
    where = joined(os.fspath(store).rstrip("/"), of.folder) if of.folder else os.fspath(store)
    with label_sources.opened_as(where, "ome-zarr", replace(options, reader=None)) as opened:
        image = opened.images[0]
    if len(image.native_levels) + 1 != len(of.paths):
        raise UnsupportedInput(
            f"{where}: its lower levels are not all there, or of another kind; a label image has as many: "
            "make the store anew"
        )
    return _On(of, image, where)


def _decided(source: Source, options: Options, name: str, table: str | None, on: _On) -> Decided:
    """Decide how a label image is written that is added."""
    wanted = chosen(source.images, options)
    if len(wanted) > 1:
        raise OptionError(
            f"labels {name}: the file has {len(wanted)} images: say which by its number, {name}=FILE#0"
        )
    number, original = wanted[0]
    plain = replace(options, crop=NO_CROP)
    label = overrides.apply(original, replace(Options(), crop=options.crop))
    legend = original.legend
    if table is not None:
        legend = Legend(legend.colors, read_table(table, original.pixels.dtype))
    label = replace(label, name=name, legend=legend, ome=None)
    where = f"labels {name}"
    shape = on.image.pixels.shape
    native = [(level.factor, level.pixels.shape[2:]) for level in on.image.native_levels]
    steps = labels.steps_of([((1.0, 1.0, 1.0), shape[2:]), *native], where)
    image = labels.fitted(label, labels.Grid(shape, shape, (on.image.calibration,)), plain, where)
    return labels.planned(image, on.stored.axes, steps, None, number, plain, machine.resources(), where)


def _is_left_over(root: Writable, path: str) -> bool:
    """Return whether a group is a label image of this program that no list has: its run was killed."""
    try:
        found = image_in(root, path)
    except (VerificationError, UnsupportedInput):
        return False
    return found is not None and found.kwargs is not None


# -- the list ----------------------------------------------------------------------------------------------


class _Names:
    """The list of label images of an image."""

    def __init__(self, root: Writable, of: StoredImage) -> None:
        self._root, self._of = root, of
        self._group = joined(of.folder, "labels")
        self._file = ".zattrs" if of.version == "0.4" else "zarr.json"

    def path(self, name: str) -> str:
        """Return where a label image is in the store."""
        return joined(self._group, name)

    def read(self) -> list[str]:
        """Return the names."""
        document = self._document()
        names = self._keys(document).get("labels") if document else None
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def enter(self, name: str) -> None:
        """Put a name at the end of the list, unless it is there."""
        self.change(lambda listed: listed if name in listed else [*listed, name])

    def leave_out(self, name: str) -> None:
        """Take a name from the list."""
        self.change(lambda listed: [other for other in listed if other != name])

    def change(self, how: Callable[[list[str]], list[str]]) -> None:
        """Write another list, in one step; without names, there is no group."""
        try:
            with self._alone():
                self._change(how)
        except OSError as error:
            if isinstance(error, ConversionError):
                raise
            raise WriteError(
                f"{at(self._root, self._group)}: cannot be written: {error.strerror or error}; "
                "run the same command again"
            ) from error

    def _change(self, how: Callable[[list[str]], list[str]]) -> None:
        listed = self.read()
        names = how(listed)
        if names == listed:
            return
        if not names:
            for file in (self._file, ".zgroup"):
                self._root.remove(joined(self._group, file))
            return
        files = ngff.group_documents(self._of.version, ngff.labels_attributes(self._of.version, names))
        document = self._document()
        if document is not None:  # of another program, perhaps: what else it says stays
            self._keys(document)["labels"] = names
            files = {self._file: document}
        for file, content in files.items():
            self._write(joined(self._group, file), content)

    def _document(self) -> dict[str, Any] | None:
        path = joined(self._group, self._file)
        return self._json(path) if self._root.has(path) else None

    def _json(self, path: str) -> dict[str, Any]:
        try:
            document = json.loads(self._root.read(path, MAX_JSON_BYTES))
        except (OSError, ValueError) as error:
            raise TargetError(
                f"{at(self._root, path)}: cannot be read: {error}; mend the store first"
            ) from error
        if not isinstance(document, dict):
            raise TargetError(f"{at(self._root, path)}: holds no object; mend the store first")
        return document

    def _keys(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the part of a group's metadata that is of OME-NGFF."""
        if self._of.version == "0.4":
            return document
        inner: dict[str, Any] = document
        for key in ("attributes", "ome"):
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise TargetError(
                    f"{at(self._root, self._group)}: its {key} are no object; mend the store first"
                )
        inner.setdefault("version", self._of.version)  # ome-zarr-py leaves it out, and ngio then finds none
        return inner

    def _write(self, path: str, document: dict[str, Any]) -> None:
        """Write a file of metadata in one step."""
        content = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
        if not isinstance(self._root, Folder):
            self._root.write(path, content)
            return
        folder, _, name = path.rpartition("/")
        half = joined(folder, f".{name}.{os.getpid()}")
        self._root.write(half, content)
        Path(self._root.root, half).replace(Path(self._root.root, path))

    def forget_consolidated(self) -> bool:
        """Remove what repeats metadata of groups, and would not know of a change; return if any was."""
        found = False
        for group in {"", self._of.folder, self._group}:
            if self._root.has(joined(group, ".zmetadata")):
                self._root.remove(joined(group, ".zmetadata"))
                found = True
            path = joined(group, "zarr.json")
            if self._of.version != "0.4" and self._root.has(path):
                document = self._json(path)
                if document.pop("consolidated_metadata", None) is not None:
                    self._write(path, document)
                    found = True
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other runs from changing the list meanwhile; in a bucket there are no locks."""
        if not isinstance(self._root, Folder) or not file_system.HAS_LOCKS:
            yield
            return
        folder = Path(self._root.root, self._of.folder)
        handle = os.open(folder, os.O_RDONLY)
        try:
            until = time.monotonic() + PATIENCE_S
            while not file_system.lock(handle):
                if time.monotonic() > until:
                    raise TargetError(f"{folder}: another run is changing its labels; try again")
                time.sleep(0.05)
            yield
        finally:
            os.close(handle)
