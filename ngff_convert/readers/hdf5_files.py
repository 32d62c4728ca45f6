"""HDF5 files of one source: opened on demand, once per process; links followed by us, not by HDF5.

HDF5 follows external links by itself, but looks for a missing file in the working directory too, says only
"unable to open file" where it finds none, and waits for ever on a named pipe. So `locate` walks a path link
by link and names the one that leads nowhere. Nothing outside the folder of the input is read: whoever hands a
file over could else have any other file of this user's copied into the output.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from errno import EAGAIN
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py

from ngff_convert.errors import ConversionError, ReadError, UnsupportedInput
from ngff_convert.readers.contract import is_remote, open_file
from ngff_convert.readers.hdf5_heaps import CheckedStream
from ngff_convert.readers.open_files import FilePool, OpenFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.readers.contract import FileBytes

MAX_LINKS = 32
"""More links than this on one path go in a circle."""

HDF5_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)
"""What h5py raises for damaged files, depending on the place of the damage."""


@contextmanager
def damage_named(where: str) -> Iterator[None]:
    """Turn what HDF5 raises in the block into a `ReadError` that says where."""
    try:
        yield
    except ConversionError:
        raise
    except HDF5_ERRORS as error:
        raise ReadError(f"{where}: HDF5 cannot read it: {error}") from error


class Place(NamedTuple):
    """An object and the file that really holds it, no link left on the way."""

    path: str
    name: str

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


class Hdf5File(OpenFile):
    """One open file: an h5py file for its structure, beside its bytes."""

    _checked: h5py.File | None = None

    def understand(self) -> None:
        """Open it with h5py."""
        self.h5 = _open_h5(self.path, self.bytes)
        if self.h5.driver == "fileobj":
            self._checked = self.h5

    def checked(self) -> h5py.File:
        """Return it as h5py reads it through `hdf5_heaps`, for texts of variable length."""
        if self._checked is None:
            self._checked = _open_checked(self.path, self.bytes)
        return self._checked

    def close(self) -> None:
        """Close everything."""
        self.h5.close()
        if self._checked is not None:
            self._checked.close()
        super().close()


class Hdf5Files(FilePool[Hdf5File]):
    """The HDF5 files that one source reads: the input, which is opened first, and others in its folder."""

    def __init__(self, token: bytes | None = None) -> None:
        super().__init__(token)
        self._folders: tuple[Path, ...] = ()

    def open_file(self, path: str) -> Hdf5File:
        """Open a file; `UnsupportedInput` where it is not HDF5."""
        file = Hdf5File(path)
        if not self._folders:
            self._folders = Path(os.path.normpath(path)).parent, Path(path).resolve().parent
        return file

    def may_read(self, path: str) -> bool:
        """Whether a path leads into the folder of the input or below; a symbolic link there may go on.

        It may lead there as it is spelt, or by other symbolic links, if it ends there.
        """
        spelt = (Path(os.path.normpath(path)), Path(os.path.realpath(path)))
        return any(way.is_relative_to(folder) for way in spelt for folder in self._folders)

    @contextmanager
    def object(self, place: Place) -> Iterator[Any]:
        """Open a group or dataset; what HDF5 raises in the block is a `ReadError` that names the place."""
        with self.using(place.path) as file, damage_named(str(place)):
            yield file.h5[name_bytes(place.name)]

    @contextmanager
    def checked(self, owner: Any) -> Iterator[Any]:  # noqa: ANN401 - an h5py group or dataset
        """Yield the same object, to read texts of variable length, at which HDF5 may hang otherwise."""
        if owner.file.driver == "fileobj":
            yield owner
        else:
            with self.using(owner.file.filename) as file:
                yield file.checked()[owner.name]


def _open_checked(path: str, file: FileBytes) -> h5py.File:
    stream = CheckedStream(file, path)
    h5 = h5py.File(stream, "r")
    stream.length_bytes = h5.id.get_create_plist().get_sizes()[1]
    return h5


def _open_h5(path: str, file: FileBytes) -> h5py.File:
    try:
        try:
            return _open_checked(path, file) if is_remote(path) else h5py.File(path, "r")
        except OSError as error:
            # Network file systems often have no locks to give, and reading needs none.
            if "unable to lock file" not in str(error) or f"errno = {EAGAIN}," in str(error):
                raise
            return h5py.File(path, "r", locking=False)
    except ConversionError:  # a server that does not answer
        raise
    except HDF5_ERRORS as error:
        text = str(error)
        if truncated := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text):
            raise ReadError(
                f"{path}: truncated: {file.size} bytes of {truncated[2]}; copy it again"
            ) from error
        if "signature not found" in text:
            raise UnsupportedInput(f"{path}: not an HDF5 file") from error
        if "unable to lock file" in text or "already open for write" in text:
            raise ReadError(
                f"{path}: another program is writing it; try again when it has finished"
            ) from error
        raise ReadError(f"{path}: HDF5 cannot open it: {text}") from error


def locate(files: Hdf5Files, path: str, name: str) -> Place | None:
    """Find an object, following soft and external links.

    Parameters
    ----------
    files
        Where files are opened.
    path, name
        File, and path of the object in it: ``"DataSet/ResolutionLevel 0"``.

    Returns
    -------
    Place or None
        None where the path names nothing and no link is to blame.

    Raises
    ------
    ReadError
        A link leads nowhere or in a circle; it and what it leads to are named.
    """
    asked = Place(path, name)
    parts = [part for part in name.split("/") if part]
    link = ""
    for _ in range(MAX_LINKS):
        with files.using(path) as file:
            n_hard, step = _first_link(file.h5.id, parts)
            if n_hard == len(parts):
                return Place(path, "/" + "/".join(parts))
            if step is None:
                if not link:
                    return None
                raise ReadError(f"{link}, which has no {'/'.join(parts[: n_hard + 1])}")
        here, rest = parts[:n_hard], parts[n_hard + 1 :]
        link = f"{path}: {'/'.join(parts[: n_hard + 1])} is a link to {step.described}"
        path = external_target(files, path, "/".join(parts[: n_hard + 1]), step.file) if step.file else path
        parts = [*([] if step.absolute else here), *step.parts, *rest]
    raise ReadError(f"{asked.path}: {asked.name} is a circle of links")


@contextmanager
def opened(files: Hdf5Files, path: str, name: str) -> Iterator[Any]:
    """Find an object and open it as `Hdf5Files.object` does; None where there is none."""
    place = locate(files, path, name)
    if place is None:
        yield None
    else:
        with files.object(place) as thing:
            yield thing


class _Step(NamedTuple):
    """Where one link leads; `file` is empty for a soft link."""

    file: str
    name: str

    @property
    def absolute(self) -> bool:
        return bool(self.file) or self.name.startswith("/")

    @property
    def parts(self) -> list[str]:
        return [part for part in self.name.split("/") if part not in ("", ".")]

    @property
    def described(self) -> str:
        return f"{self.name} of {self.file}" if self.file else self.name


def _first_link(group: Any, parts: list[str]) -> tuple[int, _Step | None]:  # noqa: ANN401 - h5py is untyped
    """Return how many parts are no links, and the link that follows; None: nothing of that name follows."""
    for at, part in enumerate(map(name_bytes, parts)):
        try:
            if group.links.get_info(part).type == h5py.h5l.TYPE_HARD:
                if at + 1 < len(parts):
                    group = h5py.h5g.open(group, part)
                continue
            value = group.links.get_val(part)
        except HDF5_ERRORS:
            return at, None
        texts = [os.fsdecode(text) for text in (value if isinstance(value, tuple) else ("", value))]
        return at, _Step(*texts)
    return len(parts), None


def name_bytes(name: str) -> bytes:
    """Return a name as HDF5 holds it; h5py makes surrogates of bytes that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def external_target(files: Hdf5Files, path: str, link: str, target: str) -> str:
    """Return the file that an external link means.

    Parameters
    ----------
    files
        Knows the folder that links must not lead out of.
    path
        The file that holds the link.
    link
        Path of the link, for the error.
    target
        The file as the link spells it: absolute, or relative to the folder of `path`; written on Windows, it
        may have backslashes. A file of that name in that folder will do too, because folders are moved.

    Raises
    ------
    ReadError
        There is none in the folder of the input or below.
    UnsupportedInput
        The file is on a server.
    """
    if is_remote(path):
        raise UnsupportedInput(
            f"{path}: {link} is a link to the file {target}; a file on a server is read without "
            "what it links to: download them together"
        )
    spelt = Path(target.replace("\\", "/"))
    folder = Path(path).parent
    candidates = [folder / spelt, Path(path).resolve().parent / spelt, folder / spelt.name]
    places = [os.path.normpath(candidate) for candidate in candidates]
    for place in filter(files.may_read, places):
        with suppress(OSError):  # a name too long, or a folder that may not be entered
            if Path(place).exists():
                return place
    if not files.may_read(places[0]):
        raise ReadError(
            f"{path}: {link} is a link to the file {target}, which is outside the input's folder and "
            f"not read; copy that file into {folder}, or make a symbolic link to it there"
        )
    raise ReadError(
        f"{path}: {link} is a link to the file {target}, but there is no {places[0]}; "
        "copy the files it consists of together"
    )


def lies_elsewhere(dataset: Any) -> bool:  # noqa: ANN401 - h5py is untyped
    """Whether HDF5 fetches what a dataset holds from other datasets, or from files that are not even HDF5."""
    properties = dataset.id.get_create_plist()
    return bool(properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count())


def check_elsewhere(files: Hdf5Files, place: Place, dataset: Any) -> None:  # noqa: ANN401
    """Make sure that HDF5, which follows these by itself, fetches a dataset from regular files of the folder.

    Raises
    ------
    ReadError
        It would fetch from outside the input's folder, or from a file that is missing.
    UnsupportedInput
        It is made of datasets that are made of others, perhaps itself, or are not named one by one.
    """
    properties = dataset.id.get_create_plist()
    if is_remote(place.path) and lies_elsewhere(dataset):
        raise UnsupportedInput(f"{place}: is kept in other datasets or files; download them together")
    for number in range(properties.get_external_count()):
        name = os.fsdecode(properties.get_external(number)[0])
        path = _fetched(files, place, name, [os.path.abspath(name)])  # noqa: PTH100 - it may be a link
        os.close(open_file(path))
    if properties.get_layout() != h5py.h5d.VIRTUAL:
        return
    for name, inner in {(source.file_name, source.dset_name) for source in dataset.virtual_sources()}:
        if "%b" in name + inner:
            raise UnsupportedInput(f"{place}: is made of the datasets {inner} of {name}, numbers left open")
        path = place.path if name == "." else _virtual_file(files, place, name.replace("%%", "%"))
        source = locate(files, path, inner.replace("%%", "%"))
        if source is None or source.path != path:
            raise ReadError(f"{place}: is made of {inner} of {path}, which that file does not hold itself")
        with files.object(source) as below:
            if below.id.get_create_plist().get_layout() == h5py.h5d.VIRTUAL:
                raise UnsupportedInput(f"{place}: is made of {source}, which is made of others again")
            check_elsewhere(files, source, below)


def _virtual_file(files: Hdf5Files, place: Place, name: str) -> str:
    folder, last = os.path.split(place.path)[0], os.path.basename(name)  # noqa: PTH119
    spelt = [name] if os.path.isabs(name) else [os.path.join(folder, name), os.path.abspath(name)]  # noqa: PTH100, PTH117, PTH118
    return _fetched(files, place, name, [*spelt, os.path.join(folder, last)])  # noqa: PTH118


def _fetched(files: Hdf5Files, place: Place, name: str, candidates: list[str]) -> str:
    """Return the first of the files there are, which is the one that HDF5 takes."""
    path = next(filter(os.path.exists, candidates), None)
    if path is None:
        raise ReadError(
            f"{place}: is kept in the file {name}, which is missing; copy it into the same folder"
        )
    if not files.may_read(path):
        raise ReadError(
            f"{place}: is kept in the file {name}, which is outside the input's folder and not "
            "read; save the file with its pixels in it"
        )
    return os.path.normpath(path)
