#!/usr/bin/env python3
"""Fuzz the reading of OME-XML by itself: ``python fuzz/fuzz_omexml.py CORPUS [libFuzzer's options]``.

The parser, the meaning of its elements, and the places of planes in files of few pages, or of none.
"""

from __future__ import annotations

from harness import check_line, fuzz
from mutators import mutate_omexml

from ngff_convert.errors import ReadError
from ngff_convert.readers.ome_planes import place_planes
from ngff_convert.readers.ome_xml import parse

MOST_PLANES = 10**5


def one_input(data: bytes) -> None:
    """Parse a document and place its planes."""
    try:
        document = parse(data, "fuzz.ome.xml")
        lines = list(document.warnings)
        for image in document.images:
            t, c, z = image.shape[:3]
            if t * c * z <= MOST_PLANES:
                lines += place_planes(image, lambda name, uuid: None if name else 7).warnings
    except ReadError as error:
        lines = [str(error)]
    for line in lines:
        check_line(line)


if __name__ == "__main__":
    fuzz(one_input, mutate_omexml)
