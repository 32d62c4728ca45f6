"""Stores in a bucket or on a web server, also as an archive there, through tensorstore alone.

So there is one way to credentials and one kind of retries. What tensorstore does not tell is how large
a file is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from ngff_convert.errors import OptionError, ReadError
from ngff_convert.storage_contract import (
    DENIED,
    NO_FILE,
    SUFFIX,
    Entry,
    Unreachable,
    in_zip,
    joined,
    reason,
    said,
    too_large,
    tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ngff_convert.storage_contract import Names, Spec

OPTIONS = ("endpoint", "region", "profile", "anonymous")
"""Keys of ``--storage-options``. No secret is among them: those are in the environment, or in a profile."""

ROOT_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
"""What the root of a store has one of."""

RETRIES = {"max_retries": 8, "initial_delay": "200ms", "max_delay": "8s"}
"""Of a request that fails: half a minute in all."""

FIRST_RETRIES = {"max_retries": 4, "initial_delay": "200ms", "max_delay": "2s"}
"""Of the first requests: a wrong address is told soon."""

REQUESTS = 32
"""In flight at once."""

STALLED_SECONDS = 30
"""A connection over which nothing comes for so long is given up, and tried again."""

FIRST_SECONDS = 20.0
"""The longest that the first request may take with all its retries."""

_ADVICE = {
    "s3": "check the address, the credentials (AWS_ACCESS_KEY_ID, ..., a profile) and --storage-options",
    "gcs": "check the address and the credentials",
    "http": "check the address",
}


@dataclass(frozen=True)
class Remote:
    """A store in a bucket, on a web server, or in an archive there.

    Attributes
    ----------
    name
        Its address, without a query.
    driver
        ``"s3"``, ``"gcs"`` or ``"http"``.
    place
        The bucket, or the server with its query.
    key
        The prefix of the store in it, or the key of the archive; without ``/`` at the end.
    is_zip
        Whether it is an archive.
    options
        Pairs of `OPTIONS`.
    """

    name: str
    driver: Literal["s3", "gcs", "http"]
    place: str
    key: str
    is_zip: bool = False
    options: tuple[tuple[str, str], ...] = ()
    is_local: ClassVar[bool] = False

    def reach(self) -> None:
        """Look whether one of the files is there that the root of a store has; else raise a `ReadError`."""
        denied = ""
        try:
            for name in ROOT_FILES:
                try:
                    if self._get(name, first=True) is not None:
                        return
                except PermissionError as error:
                    denied = str(error)
            if denied:
                raise ReadError(f"{self.name}: may not be read: {denied}; {_ADVICE[self.driver]}")
            self._keys(ROOT_FILES[0], first=True)
        except Unreachable as error:
            raise ReadError(str(error)) from error
        except PermissionError:  # it cannot be listed, but could have been read
            pass
        raise ReadError(f"{self.name}: there is no OME-Zarr: neither zarr.json nor .zgroup is there")

    def kvstore(self, path: str = "", *, first: bool = False) -> Spec:
        """Return how tensorstore gets at what is below a path.

        Parameters
        ----------
        path
            From the root of the store.
        first
            Whether it is soon given up.
        """
        os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(STALLED_SECONDS))
        retries = FIRST_RETRIES if first else RETRIES
        below = self.key if self.is_zip else "".join(f"{part}/" for part in (self.key, path) if part)
        base: Spec = {
            "driver": self.driver,
            "context": {
                f"{self.driver}_request_retries": retries,
                f"{self.driver}_request_concurrency": {"limit": REQUESTS},
            },
        }
        if self.driver == "http":
            base |= {"base_url": self.place, "path": f"/{below}"}
        else:
            base |= {"bucket": self.place, "path": below}
        if self.driver == "s3":
            base |= s3_members(dict(self.options))
        return in_zip(base, path) if self.is_zip else base

    def has(self, path: str) -> bool:
        """Return whether a file is there that may be read.

        Who may not list a bucket is told of what is not there that it may not be read.
        """
        try:
            return self._get(path) is not None
        except PermissionError:
            return False

    def present(self, path: str, names: Iterable[str]) -> list[str]:
        """Return which of some names are in a folder; they are asked for at once."""
        asked = [(name, _handle(self, False).read(joined(path, name))) for name in names]
        found = []
        for name, future in asked:
            try:
                if future.result().state == "value":
                    found.append(name)
            except (ValueError, OSError) as error:
                raised = self._raised(error)
                if not isinstance(raised, PermissionError):  # that is said of what is not there, see `has`
                    raise raised from error
        return found

    def has_folder(self, path: str) -> bool:
        """Return whether there is something below a name; no, where nothing can be listed."""
        try:
            return bool(self._keys(f"{path}/" if path else ""))
        except PermissionError:
            return False

    def leads_out(self, path: str) -> bool:
        """Return False: there are no links."""
        return False

    def blocks(self, path: str) -> bool:
        """Return False: there are only files."""
        return False

    def read(self, path: str, limit: int) -> bytes:
        """Read a file; `OSError` if there is none, it may not be read, or is larger than the limit."""
        content = self._get(path)
        if content is None:
            raise OSError(NO_FILE)
        if len(content) > limit:
            raise OSError(too_large(len(content), limit))
        return content

    def write(self, path: str, content: bytes) -> None:
        """Write a file; raises `OSError`."""
        self._change(_handle(self, False).write(path, content))

    def claim(self, path: str, content: bytes) -> bool:
        """Write a file that is not there yet; return whether it is this one that is there now.

        The content has to be one of its kind: an answer may be lost, and then the write itself is in the way
        of its repetition. Raises `OSError`.
        """
        store = _handle(self, False)
        try:
            found = store.read(path).result()
            if found.state == "missing":
                store.write(path, content, if_equal=found.stamp.generation).result()
                found = store.read(path).result()
        except (ValueError, OSError, NotImplementedError) as error:
            raise OSError(None, said(error), self.name) from error
        return bytes(found.value) == content

    def clear(self, but: str) -> None:
        """Remove everything but a file; raises `OSError`."""
        import tensorstore as ts

        store = _handle(self, False)
        self._change(store.delete_range(ts.KvStore.KeyRange("", but)))
        self._change(store.delete_range(ts.KvStore.KeyRange(f"{but}\0", "")))

    def remove(self, path: str) -> None:
        """Remove a file, and all that is below a name, if there is anything; raises `OSError`."""
        import tensorstore as ts

        store = _handle(self, False)
        if path:
            self._change(store.write(path, None))
        below = f"{path}/" if path else ""
        until = below[:-1] + chr(ord("/") + 1) if below else ""
        self._change(store.delete_range(ts.KvStore.KeyRange(below, until)))

    def _change(self, future: Any) -> None:  # noqa: ANN401 - tensorstore has no types
        try:
            future.result()
        except (ValueError, OSError, NotImplementedError) as error:
            raise OSError(None, said(error), self.name) from error

    def walk(self, path: str, into: Callable[[Names], bool] = lambda _: False) -> Iterator[Entry]:
        """Yield what is in a folder, and in those below it that are to be gone into; no sizes are known."""
        start = f"{path}/" if path else ""
        try:
            keys = self._keys(start)
        except PermissionError as error:
            yield Entry((), "closed", reason=str(error))
            return
        yield from tree((key.removeprefix(start) for key in keys), into, lambda _: None)

    def _get(self, path: str, *, first: bool = False) -> bytes | None:
        """Return what a file holds; None if there is none."""
        try:
            found = _handle(self, first).read(path).result(timeout=FIRST_SECONDS if first else None)
        except (ValueError, OSError, NotImplementedError) as error:
            raise self._raised(error) from error
        return bytes(found.value) if found.state == "value" else None

    def _keys(self, start: str, *, first: bool = False) -> list[str]:
        """Return every key that begins so; a `PermissionError` if nothing can be listed."""
        import tensorstore as ts

        until = start[:-1] + chr(ord(start[-1]) + 1) if start else ""
        try:
            keys = _handle(self, first).list(ts.KvStore.KeyRange(start, until)).result()
        except (ValueError, OSError, NotImplementedError) as error:
            raise self._raised(error) from error
        return [key.decode("utf-8", "surrogateescape") for key in keys]

    def _raised(self, error: Exception) -> Exception:
        text = said(error)
        if isinstance(error, NotImplementedError):
            return PermissionError("a web server lists nothing")
        if text.startswith((*DENIED, "Malformed List")):  # as releases before 0.1.86 say of a refusal
            return PermissionError(reason(text))
        if isinstance(error, TimeoutError):
            text = f"no answer within {FIRST_SECONDS:.0f} s"
        return Unreachable(f"{self.name}: cannot be read: {reason(text)}; {_ADVICE[self.driver]}")


@lru_cache(maxsize=8)
def _handle(storage: Remote, first: bool) -> Any:  # noqa: ANN401 - tensorstore has no types
    import tensorstore as ts

    return ts.KvStore.open(storage.kvstore("", first=first)).result()


def remote(scheme: str, text: str, options: dict[str, str]) -> Remote:
    """Return what is at an address with one of the schemes s3, gs, http, https."""
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        known = ", ".join(OPTIONS)
        raise OptionError(f"--storage-options {unknown[0]}: there is no such key; there are {known}")
    is_zip = text.partition("?")[0].rstrip("/").lower().endswith(SUFFIX)
    if scheme in ("http", "https"):
        parts = urlsplit(text)
        if parts.username or parts.password or not parts.hostname:
            raise OptionError("an address of a web server is http(s)://HOST/PATH, without user and password")
        place = f"{scheme}://{parts.netloc}" + (f"?{parts.query}" if parts.query else "")
        name = f"{scheme}://{parts.netloc}{parts.path}"
        return Remote(name, "http", place, parts.path.strip("/"), is_zip)
    bucket, _, key = text.partition("://")[2].partition("/")
    if key.startswith("/") or "//" in key.rstrip("/"):
        raise OptionError(f"{text}: has an empty name between two slashes; leave one of them out")
    if not bucket:
        raise OptionError(f"{text}: names no bucket; an address is {scheme}://BUCKET/PREFIX")
    driver: Literal["s3", "gcs"] = "s3" if scheme == "s3" else "gcs"
    own = s3_options(options) if driver == "s3" else {}
    return Remote(text, driver, bucket, key.strip("/"), is_zip, tuple(sorted(own.items())))


def s3_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return `OPTIONS`, with what the environment says of those that are not given.

    So an address means the same to a process with another environment, but for the credentials.
    """
    endpoint = options.get("endpoint") or _set("AWS_ENDPOINT_URL_S3") or _set("AWS_ENDPOINT_URL")
    region = options.get("region") or _set("AWS_REGION") or _set("AWS_DEFAULT_REGION")
    if endpoint and not region:  # without an endpoint, tensorstore asks Amazon where the bucket is
        region = "us-east-1"
    found = {"endpoint": endpoint.rstrip("/"), "region": region}
    return {**options, **{key: value for key, value in found.items() if value}}


def s3_members(options: Mapping[str, str]) -> Spec:
    """Return what tensorstore is told for `s3_options`; of credentials, only where to find them."""
    names = {"endpoint": "endpoint", "region": "aws_region"}
    members: Spec = {names[key]: options[key] for key in names if key in options}
    if options.get("anonymous", "").lower() in ("true", "1", "yes"):
        members["aws_credentials"] = {"type": "anonymous"}
    elif "profile" in options:
        members["aws_credentials"] = {"type": "default", "profile": options["profile"]}
    elif _set("AWS_ACCESS_KEY_ID") and _set("AWS_SECRET_ACCESS_KEY"):
        members["aws_credentials"] = {"type": "environment"}
    return members


def _set(variable: str) -> str:
    return os.environ.get(variable, "")
