"""What is found in a store: the table of rules, one finding, and the list that findings go to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

MAX_OF_A_RULE = 100
"""Findings of one rule that are listed; more are counted."""

LONGEST_MESSAGE = 400
"""Characters of a message that are kept."""


class Rule(NamedTuple):
    """What a rule asks for, and the section of the specification that it follows, or ``"viewers"``."""

    text: str
    section: str


RULES: dict[str, Rule] = {
    # -- files and groups
    "json": Rule("A metadata file is JSON, one object, without NaN, of a size that can be held.", "Zarr"),
    "group-file": Rule("Each group has its .zgroup (Zarr v2) or zarr.json (Zarr v3).", "Zarr"),
    "node-missing": Rule("Each group and array that metadata names is there.", "storage format"),
    "node-kind": Rule("What metadata names holds what it is named for.", "storage format"),
    "path": Rule("A path in metadata is relative and leads down from its group.", "storage format"),
    "link": Rule("A symbolic link ends at a file, or a node, within the store.", "viewers"),
    "two-formats": Rule("A node has metadata of one Zarr format.", "storage format"),
    "consolidated": Rule("Consolidated metadata say what the files say.", "Zarr"),
    "version-missing": Rule("Metadata state their version.", "metadata"),
    "version": Rule("The version is one of OME-Zarr.", "metadata"),
    "version-mixed": Rule("A hierarchy has one version.", "metadata"),
    "version-format": Rule(
        "0.4 is Zarr v2; 0.5 and 0.6 are Zarr v3 with keys under `ome`.", "storage format"
    ),
    "version-unchecked": Rule(
        "The version is 0.4, 0.5 or 0.6; of others only the structure is checked.", "metadata"
    ),
    # -- metadata, each section as the model of its version has it
    "multiscales": Rule("`multiscales` has the form that its version asks for.", "multiscales"),
    "axes": Rule("`axes` has the form, number, names and order that its version asks for.", "axes"),
    "coordinate-systems": Rule(
        "In 0.6 an image has coordinate systems, each with a name of its own.", "coordinateSystems"
    ),
    "datasets": Rule("`datasets` has the form that its version asks for.", "multiscales"),
    "transformations": Rule(
        "A level has one scale, then at most one translation, as long as the axes; in 0.6 as one that leads "
        "from its path to a system that all levels share.",
        "coordinateTransformations",
    ),
    "omero": Rule("`omero` has channels, each with a color and a whole window.", "omero"),
    "labels": Rule("`labels` is a list of paths, not empty.", "labels"),
    "image-label": Rule("`image-label` has the form that its version asks for.", "labels"),
    "plate": Rule("`plate` has rows, columns and wells in the form that its version asks for.", "plate"),
    "well": Rule("`well` has images in the form that its version asks for.", "well"),
    "collection": Rule("A bioformats2raw.layout is 3 and has images.", "bioformats2raw.layout"),
    "series": Rule("`series` names each image once, and nothing else.", "bioformats2raw.layout"),
    "scene": Rule("`scene` has transformations between coordinate systems that are there.", "scene"),
    "image-unlisted": Rule(
        "Each numbered image is in `series`, or without it in one row 0, 1, ...", "bioformats2raw.layout"
    ),
    # -- metadata, what the models leave out
    "null": Rule("What is not known is left out, not null.", "schemas"),
    "axis-type": Rule("An axis has a type.", "axes"),
    "axis-unit": Rule("A unit is a word of the specification, or left out.", "axes"),
    "axis-order": Rule("The space axes are in the order z, y, x.", "axes"),
    "scale-value": Rule("Scales are finite and above 0, translations finite.", "coordinateTransformations"),
    "scale-shape": Rule(
        "A level is smaller than the first by as much as its scale is larger.", "multiscales"
    ),
    "level-order": Rule("Levels go from the largest to the smallest, by size and by scale.", "multiscales"),
    "level-dtype": Rule("All levels have the same data type.", "multiscales"),
    "level-ndim": Rule("Each level has as many dimensions as there are axes.", "multiscales"),
    "omero-channels": Rule("`omero` has as many channels as the image.", "omero"),
    "omero-color": Rule("A color is six hex digits.", "omero"),
    "omero-window": Rule("A window has min <= start <= end <= max.", "omero"),
    "label-dtype": Rule("A label image has an integer data type.", "labels"),
    "label-levels": Rule("A label image has as many levels as its image.", "labels"),
    "label-shape": Rule("Each axis of a label image is as long as the image's, or 1.", "labels"),
    "label-colors": Rule("The label-values of colors are integers, each once.", "labels"),
    "label-value": Rule(
        "The label-values of colors and properties are ones that the array can hold.", "labels"
    ),
    "label-unlisted": Rule("`labels` lists each label image that is there.", "labels"),
    "image-label-missing": Rule("A label image says so, by `image-label`.", "labels"),
    "plate-well": Rule("The path of a well is its row's name / its column's name.", "plate"),
    "plate-acquisitions": Rule("Each acquisition has an id of its own.", "plate"),
    "plate-fields": Rule("No well has more fields than the plate, or an acquisition, states.", "plate"),
    "plate-unlisted": Rule("`plate` lists each well that is there.", "plate"),
    "well-acquisition": Rule("With several acquisitions, each field names one of them.", "well"),
    "well-path": Rule("The path of a field is letters and digits; in 0.6 also `-`, `_` and `.`.", "well"),
    "ome-xml": Rule("OME/METADATA.ome.xml is there and valid OME-XML 2016-06.", "bioformats2raw.layout"),
    "ome-xml-images": Rule("OME/METADATA.ome.xml has as many images as the store.", "bioformats2raw.layout"),
    # -- arrays
    "array-metadata": Rule("The metadata of an array can be read and make sense.", "Zarr"),
    "array-unchecked": Rule("Data type and codecs are known; else the chunks cannot be decoded.", "viewers"),
    "dimension-names": Rule("Each array names its dimensions as the axes are named.", "multiscales"),
    "separator": Rule("The chunks of 0.4 are in folders: dimension_separator is /.", "storage format"),
    "chunk-size": Rule("A chunk can be held in memory, and by Blosc where that compresses it.", "viewers"),
    # -- archives
    "archive-name": Rule("The name of an archive ends with .ozx.", "RFC-9"),
    "archive-root": Rule("The zarr.json of the root of the store is in the root of an archive.", "RFC-9"),
    "archive-order": Rule(
        "In an archive the root's zarr.json is first, then all others, breadth first.", "RFC-9"
    ),
    "archive-compression": Rule("The entries of an archive are not compressed: the chunks are.", "RFC-9"),
    "archive-comment": Rule("The comment of an archive has the version of its store.", "RFC-9"),
    "archive-zip64": Rule("An archive has the records of ZIP64.", "RFC-9"),
    "archive-nested": Rule("There is no archive in an archive.", "RFC-9"),
    "archive-twice": Rule("An archive has one entry of each name.", "RFC-9"),
    "archive-unchecked": Rule("The form of an archive is checked where it is on a disk.", "RFC-9"),
    # -- chunks
    "stray-file": Rule("In an array's folder are its metadata and the chunks of its grid.", "Zarr"),
    "missing-chunks": Rule("All chunks are stored; those that are not read as the fill value.", "Zarr"),
    "chunks-unlisted": Rule(
        "Chunks are listed with their sizes; else it is not known which are stored, or empty.", "viewers"
    ),
    "empty-chunk": Rule("A chunk file holds something.", "Zarr"),
    "chunk-decode": Rule("Each stored chunk can be decoded.", "Zarr"),
    "hole": Rule("Where a chunk is not stored, the levels next to it have no pixels either.", "multiscales"),
    "hole-unchecked": Rule("The levels next to missing chunks can be compared.", "multiscales"),
}
"""Every rule: its name, what it asks for, where that is from."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    grade
        ``"error"``: the specification, or Zarr, is broken, or pixels are lost. ``"warning"``: allowed, but
        not advised, or not checked.
    path
        Where in the store, from its root; ``""`` is the root.
    rule
        A key of `RULES`.
    message
        One line.
    """

    grade: Literal["error", "warning"]
    path: str
    rule: str
    message: str


class Findings:
    """A list of findings that a hostile store cannot make endless."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._counts: Counter[tuple[Literal["error", "warning"], str]] = Counter()

    def error(self, path: str, rule: str, message: str) -> None:
        """Add an error."""
        self._add("error", path, rule, message)

    def warning(self, path: str, rule: str, message: str) -> None:
        """Add a warning."""
        self._add("warning", path, rule, message)

    def listed(self) -> tuple[Finding, ...]:
        """Return all findings, and for each rule how many more there are."""
        more = (
            Finding(grade, "", rule, f"{count - MAX_OF_A_RULE} more of this kind are not listed")
            for (grade, rule), count in self._counts.items()
            if count > MAX_OF_A_RULE
        )
        return (*self._found, *more)

    def _add(self, grade: Literal["error", "warning"], path: str, rule: str, message: str) -> None:
        if rule not in RULES:
            raise KeyError(rule)
        self._counts[grade, rule] += 1
        if self._counts[grade, rule] <= MAX_OF_A_RULE:
            self._found.append(Finding(grade, _printable(path), rule, _printable(" ".join(message.split()))))


def _printable(text: str) -> str:
    """Return text with U+FFFD for what a terminal could take as a command, and cut where it is too long."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:LONGEST_MESSAGE])


def shown(value: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    """Return a value of foreign metadata for a message: short.

    Examples
    --------
    >>> shown("um"), len(shown("x" * 1000)), shown([1, 2])
    ("'um'", 60, '[1, 2]')
    """
    if isinstance(value, str):
        value = value[:60]
    elif isinstance(value, list | tuple):
        value = list(value[:8])
        value = [
            v if isinstance(v, int | float | None) else "..." if isinstance(v, list | dict) else v
            for v in value
        ]
    elif isinstance(value, dict):
        return "an object"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
