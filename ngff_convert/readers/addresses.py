"""Where a file on a server is, and how it is reached: a path like any other for all that need not know.

Nothing is loaded, or asked for, before such a file is opened.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from ngff_convert.errors import UnsupportedInput
from ngff_convert.readers.urls import SCHEMES, is_store, scheme_of, shown, without_slash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.readers.remote_files import RemoteFile, Version


class Address(str):
    """Where a remote file is; as text it is its URL without what may be secret in it.

    Pickles as the URL and its options, and as the version of the file, where that is known: another process
    must not go on with a changed file.

    Parameters
    ----------
    url
        The URL as it was given.
    storage_options
        As `ngff_convert.readers.cloud_access.KEYS` has them.
    version
        What the file has to be; None takes whatever is there.

    Raises
    ------
    UnsupportedInput
        It is the URL of a folder, a pattern of names, or of a kind that is not read.
    """

    def __new__(
        cls, url: str, storage_options: Sequence[tuple[str, str]] = (), version: Version | None = None
    ) -> Address:
        """Make the text of the address."""
        made = super().__new__(cls, shown(url))
        _check(made)
        made.url = url
        made.storage_options = tuple(storage_options)
        made._version = version
        made._file = None
        made._lock = threading.Lock()
        return made

    url: str
    storage_options: tuple[tuple[str, str], ...]
    _version: Version | None
    _file: RemoteFile | None
    _lock: threading.Lock

    def __reduce__(self) -> tuple[Any, ...]:
        version = self._file.known if self._file else self._version
        return Address, (self.url, self.storage_options, version)

    @property
    def name(self) -> str:
        """The name of the file, as people write it."""
        last = self.rpartition("/")[2]
        return unquote(last) if scheme_of(self) in ("http", "https") else last

    def opened(self) -> RemoteFile:
        """Return the file, which is asked for once.

        Raises
        ------
        ReadError
            It is not there, not to be read by this user, empty, or not the version that it was; or the server
            does not answer.
        UnsupportedInput
            The server does not send ranges of bytes.
        """
        from ngff_convert.readers.remote_files import RemoteFile

        with self._lock:
            if self._file is None:
                self._file = RemoteFile(self, self._version)
            return self._file

    def again(self) -> RemoteFile:
        """Ask for the file anew, whatever is known of it; raises what `opened` does."""
        from ngff_convert.readers.remote_files import RemoteFile

        return RemoteFile(Address(self.url, self.storage_options), None)

    def beside(self, name: str) -> Address | None:
        """Return the file of a name, relative to the folder of this one; None where there is none.

        Raises
        ------
        ReadError
            The server does not say whether it is there.
        """
        from ngff_convert.readers.remote_files import NotThereError

        if scheme_of(self) in ("http", "https"):
            parts = urlsplit(self.url)
            path = f"{parts.path.rpartition('/')[0]}/{quote(name)}"
            url = parts._replace(path=path).geturl()
        else:
            url = f"{self.url.rpartition('/')[0]}/{name}"
        if url == self.url:
            return self
        other = Address(url, self.storage_options)
        try:
            other.opened()
        except NotThereError:
            return None
        return other


def address_of(path: str, storage_options: Sequence[tuple[str, str]] = ()) -> Address | None:
    """Return the address that a path is, or means; None for a path of this machine.

    Raises
    ------
    UnsupportedInput
        It is a URL, but not of a file that can be read.
    """
    if isinstance(path, Address):
        return path
    path = os.fspath(path)
    if not scheme_of(path):
        return None
    return Address(without_slash(path) if is_store(path) else path, storage_options)


def _check(path: str) -> None:
    scheme = scheme_of(path)
    if scheme not in SCHEMES:
        raise UnsupportedInput(
            f"{path}: files of {scheme}:// are not read, only {', '.join(SCHEMES)}; download it first"
        )
    if path.endswith("/"):
        raise UnsupportedInput(
            f"{path}: is a folder on a server, which is not listed; give the URL of a file, or download or "
            "mount the folder"
        )
    if not {"{", "*"}.isdisjoint(path):
        raise UnsupportedInput(
            f"{path}: is a pattern of names on a server, which is not listed; give the URL of a file, or "
            "download or mount the folder"
        )
