"""The OME-XML beside the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert import ome_schema

if TYPE_CHECKING:
    from ngff_convert.storage_contract import Storage
    from ngff_convert.validation.findings import Findings

SIDECAR = "OME/METADATA.ome.xml"

MAX_XML_BYTES = 64 * 2**20
"""A larger document is not read: as a tree it takes some ten times as much."""

MAX_DEPTH = 200
"""Elements within elements; OME-XML has about 20, and parsers fall over thousands."""


def check_sidecar(store: Storage, n_images: int, *, counted: bool, findings: Findings) -> None:
    """Check the OME-XML of a store that is known to be there.

    Parameters
    ----------
    store
        The store.
    n_images
        How many images it has.
    counted
        Whether another number of images in the document is an error; else it is a warning.
    findings
        Where findings go.
    """
    try:
        content = store.read(SIDECAR, MAX_XML_BYTES)
        text = content.decode("utf-8-sig")
        _check_harmless(content)
        root = ome_schema.parsed(text)
    except (OSError, ValueError) as error:
        findings.error(SIDECAR, "ome-xml", f"cannot be read: {error}")
        return
    if fault := ome_schema.fault(root):
        findings.error(SIDECAR, "ome-xml", f"is not valid: {fault}")
    n_described = sum(isinstance(e.tag, str) and ome_schema.local(e) == "Image" for e in root)
    if n_described != n_images:
        say = findings.error if counted else findings.warning
        say(SIDECAR, "ome-xml-images", f"describes {n_described} images, but the store has {n_images}")


def _check_harmless(content: bytes) -> None:
    """Refuse what makes a parser expand without end or fall over: entities, and a tower of elements."""
    from xml.parsers import expat

    depth = 0

    def opened(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"elements within elements more than {MAX_DEPTH} deep")

    def closed(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_words: object) -> None:
        raise ValueError("has a document type, which OME-XML has not")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"no XML: {error}") from error
