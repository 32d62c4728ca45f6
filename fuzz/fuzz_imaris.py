#!/usr/bin/env python3
"""Fuzz the reader of Imaris files: ``python fuzz/fuzz_imaris.py CORPUS [libFuzzer's options]``."""

from __future__ import annotations

from harness import file_input, fuzz
from mutators import mutate_hdf5

if __name__ == "__main__":
    fuzz(file_input("fuzz.ims"), mutate_hdf5)
