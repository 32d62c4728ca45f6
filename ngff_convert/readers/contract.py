"""What a reader promises; all that the author of one needs to know.

A reader recognises a format and opens files of it. It is responsible for

1. `Reader.can_read`: from the first 4 KiB of a file, say whether the format is its own. Cheap; never raises.
2. `Reader.open`: return a `Source` with every image of the file. `ReadError` where the file is missing,
   damaged or truncated, `UnsupportedInput` where it is intact but holds something the reader does not handle;
   either names the file, the place in it, and the reason.
3. Pixels: each level is a `LazyPixels` of shape t, c, z, y, x, cropped to its true size, in native byte
   order, that reads any box in one call, decodes every source chunk it touches once, and takes no lock while
   it decodes. Boxes are read from many threads at once. It pickles as an address and opens the file anew.
   For verification it reads them a second way as well, `LazyPixels.read_by_library`: by the format's own
   library, and equal voxel by voxel. A reader without one says so by leaving `LazyPixels.library` empty; one
   whose two ways have a part in common says which, `LazyPixels.shared`.
4. Calibration: sizes and origin in a unit of `units.SPACE_UNITS`, and None for what the file does not say.

It is not responsible for, and never sees, Zarr, chunking of the output, pyramids, threads or progress.
What the user says about the input goes to `Reader.open` as a `Reading`; a reader names in `Reader.settings`
what of it it follows. Readers are found through the entry points of the group ``ngff_convert.readers``; the
built-in ones are too. A path may be an address on a server (`located`): `open_bytes` reads either, and
`read_head` and `open_file` refuse what is no file.
`ngff_convert.testing.check_reader` tests a reader.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ngff_convert.errors import ConversionError, ReadError, UnsupportedInput
from ngff_convert.model import Box, Shape
from ngff_convert.readers.addresses import Address, address_of
from ngff_convert.readers.urls import is_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from ngff_convert.model import Image, StoredChunks

MAX_NAMED = 10
"""Files, places and the like that a message names before it only counts."""

HEAD_BYTES = 4096
"""What `Reader.can_read` is given of a file; all of it where the file is shorter."""


def read_head(path: str) -> bytes:
    """Read the first `HEAD_BYTES` of a file; raises what `open_bytes` does."""
    file = open_bytes(path)
    try:
        return file.pread(HEAD_BYTES, 0)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}; copy it again") from error
    finally:
        file.close()


class FileBytes(Protocol):
    """The bytes of an open file, wherever they are; any number of threads may read them."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def version(self) -> int:
        """Another number when the file is another one: of a local file when it was changed, in ns."""

    @property
    def kept_bytes(self) -> int:
        """Most memory that having it open takes."""

    def pread(self, count: int, offset: int) -> bytes:
        """Return the bytes at an offset, fewer where the file ends; raises OSError or `ReadError`."""

    def read_into(self, offset: int, buffer: Any) -> None:  # noqa: ANN401 - anything writable and contiguous
        """Fill `buffer` with the bytes at an offset; `ReadError` where there are not so many."""

    def stream(self) -> Any:  # noqa: ANN401 - the libraries are untyped
        """Return what h5py and tifffile open: a path, or a file object for one thread at a time."""

    def check(self) -> None:
        """Raise what failed and was passed over, as libraries do: `ReadError`."""

    def close(self) -> None:
        """Close it."""


class LocalBytes:
    """A file that the system can open."""

    kept_bytes = 0

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = open_file(path)
        status = os.fstat(self._descriptor)
        self.size, self.version = status.st_size, status.st_mtime_ns

    def pread(self, count: int, offset: int) -> bytes:
        """Return the bytes at an offset, fewer where the file ends."""
        return os.pread(self._descriptor, count, offset)

    def read_into(self, offset: int, buffer: Any) -> None:  # noqa: ANN401 - anything writable and contiguous
        """Fill `buffer` with the bytes at `offset`.

        Raises
        ------
        ReadError
            The file ends before, or the system reports an error.
        """
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            try:
                # One call returns at most 2 GiB on Linux, and less on some network file systems.
                got = os.preadv(self._descriptor, [view[done:]], offset + done)
            except OSError as error:
                raise ReadError(
                    f"{self._path}: cannot read at byte {offset + done}: {error.strerror}"
                ) from error
            if got == 0:
                raise ReadError(
                    f"{self._path}: ends at byte {offset + done}, within {len(view)} bytes at {offset}"
                )
            done += got

    def stream(self) -> str:
        """Return the path: libraries open it themselves."""
        return self._path

    def check(self) -> None:
        """Do nothing: what a disk cannot read now, it cannot read later either."""

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


def located(path: str, storage_options: Sequence[tuple[str, str]] = ()) -> str:
    """Return a path that holds wherever the process goes: absolute, or an address on a server.

    Parameters
    ----------
    path
        A path of this machine, or a URL: http, https, s3 or gs.
    storage_options
        How a server is reached, as ``--storage-options`` has it; kept by the address.

    Raises
    ------
    UnsupportedInput
        It is the URL of a folder or a pattern, or one of another kind.
    """
    return address_of(path, storage_options) or str(Path(path).absolute())


def addressed(path: str, storage_options: Sequence[tuple[str, str]] = ()) -> str:
    """Return the address that a URL is, and any other path as it is; parameters and errors as `located`."""
    return address_of(path, storage_options) or path


def name_in(path: str) -> str:
    """Return the name of the file that an address leads to, and any other path as it is."""
    address = address_of(path)
    return path if address is None else address.name


def is_remote(path: str) -> bool:
    """Whether a path, as `located` returns it, is one on a server."""
    return isinstance(path, Address)


def is_stored(path: str) -> bool:
    """Whether a path is an address of a store of many files, by its name; nothing is asked for."""
    return is_remote(path) and is_store(path)


def remote_facts(path: str, count: int, *, anew: bool = False) -> tuple[int, int, bytes] | None:
    """Return what tells that a file on a server is still the same one; None for a local file.

    Parameters
    ----------
    path
        The file.
    count
        So many bytes of its beginning, and of its end, are returned.
    anew
        Whether the server is asked again, instead of what is known of the open file.

    Returns
    -------
    tuple
        Its size in bytes, a number that takes the place of the time of change, and the bytes.

    Raises
    ------
    ReadError
        It is not there any more, or cannot be read.
    """
    if (facts := getattr(path, "facts", None)) is not None:  # a file of a store, which need not be one
        size, version, ends = facts(count)
        return size, version, ends
    address = address_of(path)
    if address is None:
        return None
    file = address.again() if anew else address.opened()
    ends = file.pread(count, 0) + file.pread(count, max(0, file.size - count)) if count else b""
    return file.size, file.version, ends


def open_bytes(path: str) -> FileBytes:
    """Open a file, wherever it is.

    Raises
    ------
    ReadError
        It is missing, empty, not to be read by this user, or a pipe, a socket or a device.
    UnsupportedInput
        It is a folder, or on a server that does not send parts of it.
    """
    address = address_of(path)
    return LocalBytes(path) if address is None else address.opened()


def open_file(path: str) -> int:
    """Open a file of this machine for reading, never waiting for anybody, and return its descriptor.

    Raises
    ------
    ReadError
        It is missing, empty, not to be read by this user, or a pipe, a socket or a device.
    UnsupportedInput
        It is a folder.
    """
    try:
        status = Path(path).stat()  # first, because opening a device may do something
        if stat.S_ISDIR(status.st_mode):
            raise UnsupportedInput(f"{path}: is a folder; give a file")
        if not stat.S_ISREG(status.st_mode):
            raise ReadError(f"{path}: is a pipe, a socket or a device; give a regular file")
        if not status.st_size:
            raise ReadError(f"{path}: is empty (0 bytes); copy it again")
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ConversionError:
        raise
    except FileNotFoundError as error:
        raise ReadError(f"{path}: No such file; check its name") from error
    except PermissionError as error:
        raise ReadError(f"{path}: no permission to read it; ask its owner for it") from error
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


@dataclass(frozen=True, slots=True)
class Reading:
    """What the user says about the input where it does not tell itself; what is None is left to the reader.

    Attributes
    ----------
    axes
        What pages, or files, are along, slowest first: of t, c and z each at most once, ``"tc"``; y and x
        follow. Where y or x are among them, ``"zyxc"``, those of a whole array.
    shape
        How many there are along each of `axes`; one may be -1: what is left.
    files_from
        A list of the files that the input is made of: a text file, one path a line.
    dataset
        Paths, within the file, of the datasets that are its images.
    """

    axes: str | None = None
    shape: tuple[int, ...] | None = None
    files_from: str | None = None
    dataset: tuple[str, ...] = ()


NO_WISHES = Reading()


class Source(Protocol):
    """An open input: a context manager; its images can be read until it is closed."""

    @property
    def images(self) -> Sequence[Image]:
        """Every image of the file, in its order; there is no "current" one."""

    @property
    def warnings(self) -> Sequence[str]:
        """What was odd about the file, one line each: assumed, missing or contradicting values."""

    @property
    def paths(self) -> Sequence[str]:
        """Every file that it consists of, as far as opening it tells."""

    @property
    def missing(self) -> Sequence[str]:
        """What should be there and is not, such as files of a set, one line each; it reads as 0."""

    def __enter__(self) -> Source:
        """Return the source itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the file."""


class Reader(Protocol):
    """One file format.

    A reader that takes whatever is left of a family of formats has `is_last`, and it is true: any other that
    recognises a file comes before it.
    """

    @property
    def name(self) -> str:
        """Short lower-case name, as ``--reader`` takes it: ``"imaris"``."""

    @property
    def description(self) -> str:
        """The format in a few words, for a list of formats."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Lower-case endings of file names, with the dot: ``(".ims",)``."""

    @property
    def settings(self) -> frozenset[str]:
        """Names of the fields of a `Reading` that it follows."""

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether this is a file of the format, from its first 4 KiB; cheap, and never raises.

        A folder, and a path with a brace or star that is no file, have an empty head.
        """

    def open(self, path: str, reading: Reading = NO_WISHES) -> Source:
        """Open a file.

        Raises
        ------
        ReadError
            The file is missing, damaged or truncated.
        UnsupportedInput
            The file is intact but not of this format, or uses a feature of it that is not handled.
        """


class LazyPixels(ABC):
    """A level that is read box by box; readers subclass it and implement `read`."""

    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape
    compression: str
    offset: Shape = (0, 0, 0, 0, 0)
    library: str = ""
    """What `read_by_library` reads through; empty where that is what `read` does, for all of the level."""
    shared: str = ""
    """What both ways have in common all the same, as a sentence for people; empty is nothing."""
    index_bytes: int = 0
    """Most memory that knowing where chunks lie takes, and finding out; none of it is for one box alone."""
    ndim = 5

    @abstractmethod
    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of at least one voxel that lies within `shape`, as a new C-contiguous array."""

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read the same voxels as `read` through the format's own library, for verification.

        It may be slow, but takes no more memory than `read` does, a few megabytes aside. What of finding,
        fetching, decoding and placing it shares with `read`, `shared` says. Readers that have no such way
        leave this as it is, and `library` empty.
        """
        return self.read(box)

    def stored_chunks(self, within: Box | None = None) -> Iterator[StoredChunks]:
        """Say where the chunks lie, t by t, c by c and file by file, so that others can read them.

        Parameters
        ----------
        within
            Only those that a box touches are asked for; there may be others of its time points and channels.

        Raises
        ------
        UnsupportedInput
            They are stored in a way that others do not read; it is named.
        NotImplementedError
            Readers that cannot tell leave this as it is.
        """
        raise NotImplementedError("its reader does not say where the chunks lie")

    def __getitem__(self, index: Any, /) -> NDArray[Any]:  # noqa: ANN401 - any basic numpy index
        """Read any basic numpy index: integers, slices with steps, ``...``."""
        import numpy as np

        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            at = index.index(Ellipsis)
            index = (*index[:at], *[slice(None)] * (self.ndim + 1 - len(index)), *index[at + 1 :])
        index = (*index, *[slice(None)] * (self.ndim - len(index)))
        if len(index) != self.ndim:
            raise IndexError(f"{len(index)} indices for {self.ndim} axes")
        spans = [range(n)[i] for n, i in zip(self.shape, index, strict=True)]
        ranges = [s if isinstance(s, range) else range(s, s + 1) for s in spans]
        inner = tuple(
            slice(None, None, r.step) if isinstance(s, range) else 0
            for s, r in zip(spans, ranges, strict=True)
        )
        if any(len(r) == 0 for r in ranges):
            return np.empty([len(r) for r in ranges], self.dtype)[inner]
        start: Shape = tuple(min(r[0], r[-1]) for r in ranges)
        stop: Shape = tuple(max(r[0], r[-1]) + 1 for r in ranges)
        return self.read(Box(start, stop))[inner]
