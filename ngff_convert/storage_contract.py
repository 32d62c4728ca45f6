"""What every storage of a store can do: read, look, list, and tell tensorstore the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from ngff_convert.errors import ConversionError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Spec: TypeAlias = dict[str, Any]
Names: TypeAlias = tuple[str, ...]

SUFFIX = ".ozx"

NO_FILE = "no regular file within the store"
"""What is said of a file that is to be read, and is not there or leads out."""

DIRECTORY_BYTES = 256 * 2**20
"""Of the directory of an archive that is kept in memory: some two million entries."""


def too_large(size: int, limit: int) -> str:
    """Return what is said of a file that is not read."""
    return f"{size} bytes, more than the {limit} that are read"


class Unreachable(ConversionError):  # noqa: N818 - said of the store
    """A store cannot be reached, or not any more; it is not the store that is at fault.

    It is no `OSError`, so nobody takes it for a file that is missing or damaged. `verify` and `validate`
    raise a `ReadError` for it.
    """

    exit_code: ClassVar[int] = 3


class Entry(NamedTuple):
    """What is at some place below a folder of a store.

    Attributes
    ----------
    names
        The way to it, from that folder.
    kind
        ``"file"``; ``"folder"`` that was not gone into; ``"link"`` that leads to a folder, out of the store
        or nowhere; ``"other"``, such as a pipe; ``"closed"``: a folder that cannot be listed.
    n_bytes
        Of a file; None where that is not known.
    reason
        Why a folder cannot be listed.
    """

    names: Names
    kind: Literal["file", "folder", "link", "other", "closed"]
    n_bytes: int | None = None
    reason: str = ""


class Storage(Protocol):
    """The root of a store.

    Attributes
    ----------
    name
        As the user gave it.
    is_local
        Whether it costs next to nothing to look at a file, and sizes of files are known.
    """

    is_local: ClassVar[bool]

    @property
    def name(self) -> str:
        """As the user gave it."""

    def reach(self) -> None:
        """Look whether there is something.

        Raises
        ------
        ReadError
            There is nothing, or it cannot be read.
        """

    def kvstore(self, path: str = "") -> Spec:
        """Return how tensorstore gets at what is below a path."""

    def has(self, path: str) -> bool:
        """Return whether a name is there, even one that leads nowhere."""

    def present(self, path: str, names: Iterable[str]) -> list[str]:
        """Return which of some names are in a folder; looks at all at once."""

    def has_folder(self, path: str) -> bool:
        """Return whether there is something of a name, or below it; no, where nothing can be listed."""

    def leads_out(self, path: str) -> bool:
        """Return whether a name is there, but leads out of the store, or nowhere."""

    def blocks(self, path: str) -> bool:
        """Return whether there is something else than a file, such as a pipe, that can block a reader."""

    def read(self, path: str, limit: int) -> bytes:
        """Read a file.

        Raises
        ------
        OSError
            It cannot be read, leads out of the store, or is larger than the limit.
        """

    def walk(self, path: str, into: Callable[[Names], bool] = lambda _: False) -> Iterator[Entry]:
        """Yield what is in a folder, in any order, and in those below it that are to be gone into."""


class Writable(Storage, Protocol):
    """The root of a store that can be written."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file, and the folders it is in; raises `OSError`."""

    def remove(self, path: str) -> None:
        """Remove a file, or all that is below a name, if there is anything; raises `OSError`."""


class Bucket(Writable, Protocol):
    """The root of a store in a bucket."""

    def claim(self, path: str, content: bytes) -> bool:
        """Write a file that is not there yet; return whether it is this one that is there now."""

    def clear(self, but: str) -> None:
        """Remove everything but a file; raises `OSError`."""


def at(storage: Storage, path: str) -> str:
    """Return what a place in a store is called in a message."""
    return f"{storage.name.rstrip('/')}/{path}" if path else storage.name


def joined(base: str, path: str) -> str:
    """Return the path of something below a folder."""
    return f"{base}/{path}" if base else path


def in_zip(base: Spec, path: str) -> Spec:
    """Return the way into an archive, whose directory is read once for all that are open in the process."""
    pool = {"total_bytes_limit": DIRECTORY_BYTES}
    return {"driver": "zip", "base": base, "path": f"{path}/" if path else "", "cache_pool": pool}


def tree(
    keys: Iterable[str], into: Callable[[Names], bool], size: Callable[[str], int | None]
) -> Iterator[Entry]:
    """Yield keys, but folders that are not to be gone into once each."""
    folders: dict[Names, bool] = {}
    for key in keys:
        *above, name = key.split("/")
        for depth in range(1, len(above) + 1):
            folder = tuple(above[:depth])
            is_new = folder not in folders
            if is_new:
                folders[folder] = into(folder)
            if not folders[folder]:
                if is_new:
                    yield Entry(folder, "folder")
                break
        else:
            if name:  # else it marks a folder
                yield Entry((*above, name), "file", size(key))


DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED")
_DOWN = (*DENIED, "ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL: Failed to")


def said(error: BaseException) -> str:
    """Return what tensorstore says of a request that failed, without the answer of the server.

    Examples
    --------
    >>> said(ValueError("ABORTED: All 4 retry attempts failed: SlowDown [http_response_code='503']"))
    'ABORTED: All 4 retry attempts failed: SlowDown'
    """
    return first_line(error).partition(" [http_")[0].partition(" [curl_")[0].partition(" [HTTP")[0]


def reason(text: str) -> str:
    """Return what `said` says without its code.

    Examples
    --------
    >>> reason("NOT_FOUND: NoSuchBucket: there is none"), reason("no answer")
    ('NoSuchBucket: there is none', 'no answer')
    """
    code, _, rest = text.partition(": ")
    return rest if rest and code.isupper() else text


def check_reached(storage: Storage, where: str, error: Exception) -> None:
    """Raise `Unreachable` if it was not the fault of the store that an array could not be read."""
    text = said(error)
    if not storage.is_local and text.startswith(_DOWN):
        raise Unreachable(f"{at(storage, where)}: cannot be read: {reason(text)}") from error
