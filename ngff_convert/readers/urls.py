"""URLs as text."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SCHEMES = ("http", "https", "s3", "gs")
"""Files of these are read."""

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
