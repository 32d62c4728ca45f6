"""TIFF files of one source: opened on demand, once per process; tifffile reads their structure.

What tifffile logs about a file that is odd (it repairs much) is collected by `logged`, because nobody reads a
logger of a library.
"""

from __future__ import annotations

import logging
import re
import struct
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from ngff_convert.errors import ConversionError, ReadError, UnsupportedInput
from ngff_convert.readers.contract import HEAD_BYTES, open_bytes
from ngff_convert.readers.open_files import FilePool, OpenFile
from ngff_convert.readers.tiff_head import huge_tag, is_tiff, several_values

if TYPE_CHECKING:
    from collections.abc import Iterator

TIFF_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    SyntaxError,  # of XML, by ElementTree
    struct.error,
)
"""What tifffile and imagecodecs raise for damaged files, depending on the place of the damage."""


@contextmanager
def damage_named(where: str) -> Iterator[None]:
    """Turn what tifffile raises in the block into a `ReadError` that says where."""
    try:
        with np.errstate(all="ignore"):  # absurd tags overflow, and numpy would say so on the terminal
            yield
    except ConversionError:
        raise
    except TIFF_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ReadError(f"{where} cannot be read: {reason}; copy it again") from error


_FOR_PROGRAMMERS = re.compile(
    r"<?\btifffile\.(?:Tiff(Tag \d+)|\w+)[^>]*>|<TiffTag\.fromfile>|\braised \w+\([\"']?|[\"']?\)$"
)
"""What tifffile's messages say for programmers only; of a tag, its number is kept."""


MOST_LINES = 200
"""Of a file that is nothing but damage, tifffile says something on every tag."""


class _Collector(logging.Handler):
    """Keeps what one thread logs, each line once, and not without end."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines
        self._known = set(lines)
        self._room = MOST_LINES
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread or not self._room:
            return
        line = " ".join(_FOR_PROGRAMMERS.sub(r"\1", record.getMessage()).split())
        if line not in self._known:
            self._known.add(line)
            self._room -= 1
            self._lines.append(line if self._room else "more of the file is odd, which is not listed")


@contextmanager
def logged(lines: list[str]) -> Iterator[None]:
    """Add to `lines` what tifffile logs in the block, instead of letting it reach the terminal."""
    logger = logging.getLogger("tifffile")
    collector = _Collector(lines)
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)


@contextmanager
def own_tiff(path: str) -> Iterator[tifffile.TiffFile]:
    """Open a file with tifffile alone, which keeps every page of a series for as long as that is open."""
    with closing(open_bytes(path)) as file, tifffile.TiffFile(file.stream(), is_ome=False) as tif:
        yield tif


class TiffHandle(OpenFile):
    """One open file: a `tifffile.TiffFile` for its structure, beside its bytes.

    Parameters
    ----------
    path
        The file.
    harmless
        Files whose tags are known not to take too much memory, by path, size and time of change in ns; this
        one is looked through, and added, where it is not among them.
    """

    def __init__(self, path: str, harmless: set[tuple[str, int, int]]) -> None:
        self._harmless = harmless
        super().__init__(path)

    def understand(self) -> None:
        """Read the header and the first page."""
        # A TiffFile has one position and is for one thread at a time; tifffile takes the lock within itself.
        self.lock = threading.RLock()
        key = (self.path, self.size, self.bytes.version)
        if key not in self._harmless:
            self._refuse_huge_tags()
            self._harmless.add(key)
        with logged([]):
            try:
                self.tiff = tifffile.TiffFile(self.bytes.stream())
            except TIFF_ERRORS as error:
                if not is_tiff(self.bytes.pread(HEAD_BYTES, 0)):
                    raise UnsupportedInput(f"{self.path}: not a TIFF file: {error}") from error
                raise ReadError(f"{self.path}: a damaged TIFF file: {error}; copy it again") from error

    def _refuse_huge_tags(self) -> None:
        """Refuse what tifffile would make hundreds of megabytes of Python's objects of, before it does."""
        if not is_tiff(self.bytes.pread(HEAD_BYTES, 0)):
            return
        if huge := huge_tag(self.bytes):
            raise UnsupportedInput(
                f"{self.path}: tag {huge.code} of the page at byte {huge.ifd} has {huge.n_values} values, "
                "too many to be read; save it with larger strips or tiles"
            )
        if wrong := several_values(self.bytes):
            raise ReadError(
                f"{self.path}: tag {wrong.code} of the page at byte {wrong.ifd} has {wrong.n_values} values "
                "instead of one; copy the file again"
            )

    def close(self) -> None:
        """Close both."""
        self.tiff.close()
        super().close()

    def page(self, index: int, sub: int | None = None) -> tifffile.TiffPage:
        """Return a page.

        Parameters
        ----------
        index
            Its number in the chain of pages, from 0.
        sub
            Its number among the sub-pages of that page, where it is one of them.

        Raises
        ------
        ReadError
            There is none, or it is damaged.
        """
        with self.lock, logged([]), damage_named(f"{self.path}: {page_words(index, sub)}"):
            page = self.tiff.pages.get(index, aspage=True)
            if sub is not None:
                if page.pages is None:
                    raise IndexError("no sub-page of that number")
                page = page.pages.get(sub, aspage=True)
            if not isinstance(page, tifffile.TiffPage):
                raise TypeError("no page of its own")
            return page

    def n_pages(self) -> int:
        """Return the length of the chain of pages."""
        with self.lock, logged([]), damage_named(self.path):
            return len(self.tiff.pages)

    def ends_early(self) -> bool:
        """Whether the chain of pages leads on to where none can be read, as that of a truncated file does."""
        with self.lock, logged([]), damage_named(self.path):
            form, pages = self.tiff.tiff, self.tiff.pages
            last = pages.get(len(pages) - 1, aspage=True).offset
            (n_tags,) = struct.unpack(form.tagnoformat, self._bytes_at(last, form.tagnosize))
            end = last + form.tagnosize + n_tags * form.tagsize
            (following,) = struct.unpack(form.offsetformat, self._bytes_at(end, form.offsetsize))
            return bool(following)

    def _bytes_at(self, offset: int, count: int) -> bytes:
        buffer = bytearray(count)
        self.read_into(offset, buffer)
        return bytes(buffer)


def page_words(index: int, sub: int | None = None) -> str:
    """Name a page for errors: ``"page 3"``, ``"page 3, sub-page 1"``."""
    return f"page {index}" + ("" if sub is None else f", sub-page {sub}")


class TiffFiles(FilePool[TiffHandle]):
    """The TIFF files that one source reads."""

    def __init__(self, token: bytes | None = None) -> None:
        super().__init__(token)
        self._harmless: set[tuple[str, int, int]] = set()

    def open_file(self, path: str) -> TiffHandle:
        """Open a file; `UnsupportedInput` where it is not TIFF."""
        return TiffHandle(path, self._harmless)
