#!/usr/bin/env python3
"""Fuzz the readers of TIFF and OME-TIFF: ``python fuzz/fuzz_tiff.py CORPUS [libFuzzer's options]``."""

from __future__ import annotations

from harness import file_input, fuzz
from mutators import mutate_tiff

if __name__ == "__main__":
    fuzz(file_input("fuzz.tif"), mutate_tiff)
