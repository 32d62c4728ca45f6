"""OME-XML as text -> a tree of elements, repaired where it can be; and a checked document to carry on.

Namespaces are ignored: from 2003 to 2016 they changed with every schema, and the prefix with every writer.
"""

from __future__ import annotations

import codecs
import logging
import re
from math import isfinite
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ngff_convert.errors import ReadError
from ngff_convert.ome_schema import (
    MAX_PLANES,
    NAMESPACE,
    fault,
    legal,
    local,
    mended,
    parsed,
    say_metadata_only,
)
from ngff_convert.units import space_unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

_KNOWN_SCHEMAS = ("http://www.openmicroscopy.org/Schemas/OME/", "http://www.openmicroscopy.org/Schemas/ome/")
_LARGEST = 2**31
_END = re.compile(r"</(?:[\w.-]+:)?OME\s*>")
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)""")
_CHARACTER_SETS = re.compile(r"iso8859|cp\d|gb|big5|euc_|shift_jis")
# A micro sign that a writer could not encode.
_LOST_MICRO = re.compile("""(Unit\\s*=\\s*["'])[?\ufffd]([ms]["'])""")


# Without any handler, logging would print what xsdata finds odd in a document, without saying in which.
logging.getLogger("xsdata").addHandler(logging.NullHandler())


def decode(xml: str | bytes, noted: list[str]) -> str:
    r"""Return the text of a document, without what writers leave around it.

    Cut off are byte order marks, NULs, and whatever follows the end of the document. Micro signs that were
    encoded twice or lost are put back, and characters that XML cannot hold become U+FFFD.

    Parameters
    ----------
    xml
        The document. Bytes are UTF-8 or UTF-16, else of the encoding they declare, else Latin-1.
    noted
        Gets a line if the bytes are not of the encoding they should be of.

    Examples
    --------
    >>> decode(b'\xef\xbb\xbf<OME Unit="\xc2\xb5m"></OME>\0\0', [])
    '<OME Unit="µm"></OME>'
    """
    text = xml if isinstance(xml, str) else _decode_bytes(xml, noted)
    text = text.lstrip("\ufeff \t\r\n").split("\0", 1)[0].rstrip()
    ends = [match.end() for match in _END.finditer(text)]
    if ends:
        text = text[: ends[-1]]
    text = legal(text).replace("\u00c2\u00b5", "\u00b5").replace("\u00ce\u00bc", "\u00b5")
    return _LOST_MICRO.sub("\\1\u00b5\\2", text)


def _decode_bytes(raw: bytes, noted: list[str]) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    if raw.startswith((b"<\0", b"\0<")):
        return raw.decode("utf-16-le" if raw[1] == 0 else "utf-16-be", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        match = _DECLARED.match(raw.lstrip())
        declared = match[1].decode() if match else "UTF-8"
    try:
        if _CHARACTER_SETS.match(codecs.lookup(declared).name):
            return raw.decode(declared)
    except (LookupError, UnicodeDecodeError):
        pass
    noted.append(f"the OME-XML is not {declared} as it should be: read as Latin-1")
    return raw.decode("latin-1")


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds a tree and stops before the first entity could be declared: no entity bombs, no other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse a document type declaration."""
        raise ValueError("it has a DOCTYPE, which OME-XML does not need and may do harm")


def tree(text: str, where: str) -> Element:
    """Return the root of an OME-XML document.

    Raises
    ------
    ReadError
        It is not XML, declares a document type, or its root is not OME.
    """
    root = tree_of(text, where, "OME-XML")
    if local(root) != "OME":
        raise ReadError(f"{where}: not OME-XML: the root is {local(root)[:100]!r}")
    return root


def tree_of(text: str, where: str, what: str = "XML") -> Element:
    """Return the root of any document; `what` is what errors call it.

    Raises
    ------
    ReadError
        It is not XML, or declares a document type.
    """
    parser = ElementTree.XMLParser(target=_NoDoctype())
    try:
        parser.feed(text)
        root: Element = parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise ReadError(f"{where}: the {what} cannot be read: {error}") from error
    return root


def children(element: Element, *names: str) -> Iterator[Element]:
    """Yield the children of these names, in their order."""
    return (child for child in element if local(child) in names)


def child(element: Element, *names: str) -> Element | None:
    """Return the first child of one of these names."""
    return next(children(element, *names), None)


def whole(text: str | None) -> int | None:
    """Return a whole number from 0; None for anything else. What no file can mean is cut to 2**31.

    Examples
    --------
    >>> whole(" 12 "), whole("1.5"), whole("-1"), whole(None)
    (12, None, None, None)
    """
    text = (text or "").strip()
    return min(int(text[:20]), _LARGEST) if text.isascii() and text.isdigit() else None


def number(text: str | None) -> float | None:
    """Return a finite number; None for ``INF``, ``NaN``, words and nothing.

    Examples
    --------
    >>> number("0.25"), number("INF"), number("x"), number(None)
    (0.25, None, None, None)
    """
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) else None


def carried_on(root: Element, noted: list[str]) -> str:
    """Return the document in the schema of 2016-06, without pixels and places of planes.

    Parameters
    ----------
    root
        The document, in any schema; it is taken apart.
    noted
        Gets a line if the document is invalid, or if planes are left out.

    Returns
    -------
    str
        Without an XML declaration; empty if ome-types refuses the document.
    """
    n_images = _strip(root, noted)
    if not root.tag.startswith(tuple(f"{{{start}" for start in _KNOWN_SCHEMAS)):
        for element in root.iter():
            element.tag = f"{{{NAMESPACE}}}{local(element)}"
    say_metadata_only(root)
    try:
        xml = ElementTree.tostring(root, "unicode")
        if not root.tag.startswith(f"{{{NAMESPACE}}}") or fault(parsed(xml)):
            xml = mended(xml)
            if len(list(children(ElementTree.fromstring(xml), "Image"))) != n_images:
                raise ValueError(f"{n_images} images are not all in it in the schema of 2016-06")
    except (ValueError, RecursionError) as error:  # elements within elements, a thousand deep
        noted.append(f"OME-XML is invalid: {error}; not carried on")
        return ""
    return xml


def _strip(root: Element, noted: list[str]) -> int:
    """Remove what has no meaning in another file, or makes a document invalid; return how many images."""
    root[:] = [e for e in root if local(e) != "BinaryOnly"]
    root.attrib.pop("UUID", None)  # of the file it came in
    room, n_planes, n_images = MAX_PLANES, 0, 0
    for image in children(root, "Image"):
        n_images += 1
        for pixels in children(image, "Pixels"):
            # One assignment, because removing elements one by one is quadratic.
            planes = list(children(pixels, "Plane"))
            n_planes += len(planes)
            others = [e for e in pixels if local(e) not in ("TiffData", "BinData", "Plane")]
            before = [e for e in others if local(e) in ("Channel", "MetadataOnly")]
            after = [e for e in others if local(e) not in ("Channel", "MetadataOnly")]
            pixels[:] = before + planes[:room] + after
            room = max(0, room - len(planes))
            _tidy(pixels, "PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ")
            for channel in children(pixels, "Channel"):
                _tidy(channel, "EmissionWavelength", "ExcitationWavelength")
    if n_planes > MAX_PLANES:
        noted.append(f"of {n_planes} Plane elements, the first {MAX_PLANES} are carried on in OME-XML")
    return n_images


def _tidy(element: Element, *names: str) -> None:
    """Remove quantities that the schema wants above 0, as 0 for unknown; spell micrometres as it wants."""
    for name in names:
        if name in element.attrib and (number(element.get(name)) or 0) <= 0:
            del element.attrib[name]
            element.attrib.pop(f"{name}Unit", None)
        elif space_unit(element.get(f"{name}Unit", "")) == "micrometer":
            element.set(f"{name}Unit", "\u00b5m")
