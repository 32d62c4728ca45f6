"""URLs as text."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SCHEMES = ("http", "https", "s3", "gs")
"""Files of these are read."""

ARCHIVE = ".ozx"
"""How the name of a store in one file ends."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(text: str) -> str:
    """Return the scheme of a URL, in lower case; empty for what is no URL.

    Examples
    --------
    >>> scheme_of("S3://bucket/a.ims"), scheme_of("/data/a.ims"), scheme_of("c:/a.ims")
    ('s3', '', '')
    """
    found = _URL.match(text)
    return found[1].lower() if found else ""


def shown(url: str) -> str:
    """Return a URL without what may be secret in it: a query, which may be a signature, and a password.

    Examples
    --------
    >>> shown("https://me:word@host:8080/a%20b.ims?X-Signature=abc#x"), shown("s3://bucket/a?b.ims")
    ('https://host:8080/a%20b.ims', 's3://bucket/a?b.ims')
    """
    if scheme_of(url) not in ("http", "https"):
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def is_store(url: str) -> bool:
    """Whether a URL is, by its name, one of an OME-Zarr or of something in it.

    Examples
    --------
    >>> is_store("s3://bucket/a.ome.zarr/B/2/0"), is_store("https://host/a.ozx?key=1"), is_store("gs://zarr/a")
    (True, True, False)
    """
    web = scheme_of(url) in ("http", "https")
    path = urlsplit(url).path if web else url.partition("://")[2].partition("/")[2]
    parts = path.lower().rstrip("/").split("/")
    return parts[-1].endswith(ARCHIVE) or any(part.endswith(".zarr") for part in parts)


def without_slash(url: str) -> str:
    """Return a URL without slashes at the end of its path.

    Examples
    --------
    >>> without_slash("https://host/a.zarr/?key=1"), without_slash("s3://bucket/a.zarr//")
    ('https://host/a.zarr?key=1', 's3://bucket/a.zarr')
    """
    if scheme_of(url) not in ("http", "https"):
        return url.rstrip("/")
    parts = urlsplit(url)
    return parts._replace(path=parts.path.rstrip("/")).geturl()
