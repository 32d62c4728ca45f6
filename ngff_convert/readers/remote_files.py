"""Files on a server: read by ranges of bytes, over http(s), from S3 and from Google Cloud Storage.

All that read a file by its `Address` share one `RemoteFile`: its connections, which version of it there is,
and the small blocks that structure is read in. Pixels do not go through blocks: see `read_ahead`.

The library is obstore, because it fetches without the interpreter's lock, and knows the three kinds of
servers alike.
"""

from __future__ import annotations

import io
import random
import re
import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from ngff_convert.errors import ConversionError, ReadError, UnsupportedInput
from ngff_convert.readers import read_ahead
from ngff_convert.readers.cloud_access import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

    from ngff_convert.readers.addresses import Address
    from ngff_convert.readers.contract import FileBytes

BLOCK_BYTES = 4 * 2**10
"""Structure is kept in blocks: a page of a TIFF file is described in less."""

FIRST_BYTES = 64 * 2**10
"""Fetched on opening: most of what recognising a format takes."""

ALONE = 4
"""So many blocks are fetched for one that is missing: a request takes as long as many of these."""

SCATTERED = 1000
"""After so many requests only what is missing is fetched: such a file has as many pages, far from another."""

MOST_READ_ON = 512 * 2**10
"""What is read block after block is fetched in ever larger pieces, up to this."""

KEPT_BYTES = 48 * 2**20
"""Blocks of one file that are kept; the pages of a file are looked through several times."""

FIRST_WAITS = (0.1, 0.3, 1.0)
"""Seconds before a server that does not answer is asked again: at first it may just not be there."""

WAITS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0)
"""The same once it has answered: half a minute is enough for it to be started anew."""

MOST_SECONDS = 60.0
"""After so long nothing is asked again: a server that hangs takes half of that for each time."""

_NEVER_CHANGED = datetime(1970, 1, 1, tzinfo=UTC)
"""What obstore takes for the time of change where a server does not tell it."""


class Version(NamedTuple):
    """What tells that a file is still the same one.

    Attributes
    ----------
    size
        Bytes.
    tag
        What the server calls it: its ETag, and when it was changed; empty where it says nothing.
    """

    size: int
    tag: str

    @property
    def number(self) -> int:
        """A number in place of the time of change that local files have; another one for another tag."""
        return int.from_bytes(sha256(self.tag.encode()).digest()[:7], "big") if self.tag else 0


class NotThereError(ReadError):
    """The server has no such file."""


class RemoteFile:
    """One file on a server; any number of threads may read it.

    Attributes
    ----------
    path
        Its address.
    known
        Its version on opening; what is read of another one is an error.
    size
        Bytes.
    kept_bytes
        Most memory that is kept about it, and is in flight.
    """

    kept_bytes = KEPT_BYTES + read_ahead.FLIGHT_BYTES
    _CHANGED = (
        "{}: was changed while it was read, and the output would be of both; "
        "wait until it is written, and use --restart"
    )

    def __init__(self, path: Address, version: Version | None) -> None:
        self.path = path
        self._store, self._key = store_of(path.url, dict(path.storage_options))
        self._blocks: OrderedDict[int, memoryview] = OrderedDict()
        self._lock = threading.Lock()
        self._failed: ReadError | None = None
        self._next, self._read_on, self._n_alone = FIRST_BYTES // BLOCK_BYTES, ALONE, 0
        head, self.known = self._ask(0, FIRST_BYTES, FIRST_WAITS)
        self.size = self.known.size
        if version is not None:
            self._check_version(version)
        self._keep(0, head)

    @property
    def version(self) -> int:
        """A number that is another one when the file is."""
        return self.known.number

    def check(self) -> None:
        """Raise the last failure that there was: not all who met it tell."""
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Do nothing: what is kept goes when nobody knows the address any more."""

    def pread(self, count: int, offset: int) -> bytes:
        """Return the bytes at an offset, fewer where the file ends, as `os.pread` does; by blocks.

        Raises
        ------
        ReadError
            They cannot be had.
        """
        stop = min(offset + count, self.size)
        if stop <= offset:
            return b""
        if stop - offset > FIRST_BYTES:
            return bytes(self.fetch(offset, stop - offset))
        first, last = offset // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        blocks = [self._block(number, last) for number in range(first, last + 1)]
        start = offset - first * BLOCK_BYTES
        return b"".join(blocks)[start : start + stop - offset]

    def read_into(self, offset: int, buffer: Any) -> None:  # noqa: ANN401 - anything writable and contiguous
        """Fill `buffer` with the bytes at `offset`, which may have been asked for ahead.

        Raises
        ------
        ReadError
            The file ends before, or they cannot be had.
        """
        view = memoryview(buffer).cast("B")
        if offset + len(view) > self.size:
            raise ReadError(f"{self.path}: ends at byte {self.size}, within {len(view)} bytes at {offset}")
        found = read_ahead.taken(self, offset, len(view))
        if found is None:
            small = len(view) <= BLOCK_BYTES
            found = memoryview(self.pread(len(view), offset) if small else self.fetch(offset, len(view)))
        view[:] = found

    def fetch(self, offset: int, size: int, given_up: threading.Event | None = None) -> memoryview:
        """Return bytes by one request; raises what `read_into` does.

        Parameters
        ----------
        offset, size
            Which; they lie within the file.
        given_up
            Set when nobody wants them any more: then the server is not asked again.
        """
        found, version = self._ask(offset, size, WAITS, given_up)
        self._check_version(version)
        if len(found) != size:
            raise ReadError(
                f"{self.path}: the server sent {len(found)} of {size} bytes at {offset}; download it first"
            )
        return found

    def stream(self) -> Stream:
        """Return it as libraries read files."""
        return Stream(self, str(self.path))

    def _check_version(self, version: Version) -> None:
        if version != self.known:
            raise ReadError(self._CHANGED.format(self.path))

    def _block(self, number: int, last: int) -> memoryview:
        """Return a block; of a read that goes on to the block `last`, what is missing is fetched with it."""
        with self._lock:
            block = self._blocks.get(number)
            if block is not None:
                self._blocks.move_to_end(number)
                return block
            if number == self._next:
                self._read_on = min(2 * self._read_on, MOST_READ_ON // BLOCK_BYTES)
            else:
                self._read_on = ALONE if self._n_alone < SCATTERED else 1
                self._n_alone += 1
            count = max(last + 1 - number, self._read_on)
            self._next = number + count
        start = number * BLOCK_BYTES
        data = self.fetch(start, min(count * BLOCK_BYTES, self.size - start))
        self._keep(number, data)
        return data[:BLOCK_BYTES]

    def _keep(self, first: int, data: memoryview) -> None:
        with self._lock:
            for at in range(0, len(data), BLOCK_BYTES):  # copies: a view would keep all of its piece
                self._blocks[first + at // BLOCK_BYTES] = memoryview(bytes(data[at : at + BLOCK_BYTES]))
            while len(self._blocks) > KEPT_BYTES // BLOCK_BYTES:
                self._blocks.popitem(last=False)

    def _ask(
        self, offset: int, size: int, waits: Sequence[float], given_up: threading.Event | None = None
    ) -> tuple[memoryview, Version]:
        """Ask the server, again where it may help."""
        given_up = given_up or threading.Event()
        until = time.monotonic() + MOST_SECONDS
        for wait in (*waits, None):
            try:
                return self._ask_once(offset, size)
            except ConversionError:
                raise
            except Exception as error:  # of obstore, which has a class of its own for all that may pass
                failure = reason(error)
                # At random, because many that were refused at once would come back at once.
                hopeless = failure.lasting or time.monotonic() > until
                if wait is None or hopeless or given_up.wait(wait * random.uniform(0.7, 1.3)):
                    self._failed = ReadError(
                        f"{self.path}: cannot be read at byte {offset}: {failure.words}; is the server "
                        "there, and the address right?"
                    )
                    raise self._failed from error
        raise AssertionError("the last wait is None")

    def _ask_once(self, offset: int, size: int) -> tuple[memoryview, Version]:
        import obstore
        from obstore import exceptions

        try:
            answer = obstore.get(self._store, self._key, options={"range": (offset, offset + size)})
            if answer.range[0] != offset:
                raise ReadError(
                    f"{self.path}: the server sends other bytes than are asked for; download it first"
                )
            data = memoryview(answer.bytes())
        except FileNotFoundError as error:
            raise NotThereError(f"{self.path}: No such file on the server (404); check its name") from error
        except (PermissionError, exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise ReadError(
                f"{self.path}: no permission to read it ({reason(error).words}); credentials come from the "
                "environment or a profile; what is public in a bucket takes --storage-options anonymous=true"
            ) from error
        except exceptions.NotSupportedError as error:
            raise UnsupportedInput(
                f"{self.path}: the server sends whole files only, not ranges of bytes; download it first"
            ) from error
        except exceptions.BaseError as error:
            if not reason(error).words.startswith("416"):  # the range lies beyond the end
                raise
            if offset:
                raise ReadError(self._CHANGED.format(self.path)) from error
            raise ReadError(f"{self.path}: is empty (0 bytes); copy it again") from error
        return data, _version(answer.meta)


def _version(meta: Mapping[str, Any]) -> Version:
    changed = meta["last_modified"]
    return Version(
        meta["size"],
        " ".join([meta["e_tag"] or "", "" if changed == _NEVER_CHANGED else str(changed)]).strip(),
    )


class Failure(NamedTuple):
    """Why a request failed, in words, and whether asking again is of no use."""

    words: str
    lasting: bool


_STATUS = re.compile(r"non-2xx status code: (\d{3})( [A-Za-z -]+)?")
_PASSING = (408, 425, 429)
_CAUSES = (
    (re.compile(r"InvalidCertificate\(\s*(\w+)"), "its certificate is not to be trusted ({})", True),
    (
        re.compile(r"InvalidMessage|InvalidContentType|HandshakeFailure"),
        "it does not speak TLS (https)",
        True,
    ),
    (re.compile(r'"(failed to lookup address information[^"]*)"'), "{}", False),
    (re.compile(r'message: "([^"]+)"'), "{}", False),
    (re.compile(r"TimedOut|deadline has elapsed|operation timed out"), "it does not answer in time", False),
    (re.compile(r"UnexpectedEof|IncompleteMessage|IncompleteBody"), "the connection was cut", False),
    (re.compile(r"169\.254\.169\.254|metadata"), "no credentials were found", True),
)


def reason(error: Exception) -> Failure:
    """Put an error of obstore in words; its own have the whole URL in them, which may be secret."""
    text = str(error)
    if "169.254.169.254" not in text and (status := _STATUS.search(text)):
        code = int(status[1])
        return Failure(f"{code}{status[2] or ''}".strip(), code < 500 and code not in _PASSING)
    for pattern, words, lasting in _CAUSES:
        if found := pattern.search(text):
            return Failure(words.format(*found.groups()), lasting)
    first = re.sub(r"\w+://\S+", "", text.partition("\n")[0]).strip()
    return Failure(" ".join(first.split()) or type(error).__name__, False)


class Stream(io.RawIOBase):
    """A file, usually a remote one, as h5py and tifffile read it; for one thread at a time.

    Attributes
    ----------
    name
        The address, which tifffile takes for the name of the file.
    """

    def __init__(self, file: FileBytes, name: str) -> None:
        self._file = file
        self._at = 0
        self.name = name

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether it has a position that can be set: always."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        """Fill a buffer as far as the file goes."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._file.size - self._at))
        if count:
            self._file.read_into(self._at, view[:count])
        self._at += count
        return count
