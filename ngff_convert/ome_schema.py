"""The schema of OME-XML 2016-06: whether a document keeps to it, and mending one that does not.

Both are ome-types': its copy of the schema, which lxml reads in 0.04 s, and its classes, which take 0.4 s to
import, so that only a document with a fault pays for them. lxml itself is not needed for names and text.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"

LONGEST_FAULT = 200
"""Characters of a validator's message that are kept; it goes on about every element."""

MAX_PLANES = 10_000
"""Plane elements that a document gets; ome-types takes a second for so many."""

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str) -> str:
    """Return text with U+FFFD in place of each character that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def local(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def parsed(xml: str) -> Any:  # noqa: ANN401 - lxml is untyped
    """Return the root of a document, without comments; nothing outside of it is read.

    Raises
    ------
    ValueError
        It is no XML.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
    )
    try:
        return etree.fromstring(xml.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"no XML: {error}") from error


def fault(root: Any) -> str:  # noqa: ANN401
    """Return the first thing by which a document, from its root, breaks the schema; empty if nothing does."""
    schema = _schema()
    if schema.validate(root):
        return ""
    message = str(schema.error_log[0].message).replace(f"{{{NAMESPACE}}}", "")
    return " ".join(message.split())[:LONGEST_FAULT]


def mended(xml: str) -> str:
    """Return a document of any schema in that of 2016-06, with identifiers and order of elements mended.

    Raises
    ------
    ValueError
        ome-types refuses it; the message says why.
    """
    from ome_types import from_xml, to_xml

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ome-types says what it mends
        try:
            return str(to_xml(from_xml(xml.encode(), transformations=[_say_metadata_only])))
        except Exception as error:  # XSLT, lxml, xsdata and pydantic have each their own
            reason = " ".join(str(error).partition("[type=")[0].split())
            raise ValueError(reason[:LONGEST_FAULT] or type(error).__name__) from error


def _say_metadata_only(document: Any) -> Any:  # noqa: ANN401
    say_metadata_only(document.getroot())
    return document


def say_metadata_only(root: Any) -> None:  # noqa: ANN401 - of lxml, or of ElementTree
    """Put a MetadataOnly into each Pixels of 2016-06, which must have it in place of its pixels."""
    for pixels in root.iter(f"{{{NAMESPACE}}}Pixels"):
        names = [local(e) if isinstance(e.tag, str) else "" for e in pixels]
        if "MetadataOnly" not in names:
            at = len(names) - names[::-1].index("Channel") if "Channel" in names else 0
            pixels.insert(at, pixels.makeelement(f"{{{NAMESPACE}}}MetadataOnly", {}))


@cache
def _schema() -> Any:  # noqa: ANN401
    from lxml import etree

    package = find_spec("ome_types")  # found, not imported
    if package is None or package.origin is None:
        raise ModuleNotFoundError("ome-types")
    return etree.XMLSchema(file=str(Path(package.origin).parent / "ome-2016-06.xsd"))
