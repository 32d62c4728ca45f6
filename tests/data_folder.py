"""Real files with known content, in a folder outside the repository; without it, tests that use it skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("NGFF_CONVERT_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


def data_file(name: str) -> Path:
    """Return a file or folder below the data folder; the test that asks is skipped where it is not there."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {path}: set NGFF_CONVERT_TEST_DATA to the folder of test data")
    return path


def data_names(pattern: str) -> list[str]:
    """Return the names below the data folder that match, to parametrize with; none without the folder."""
    return sorted(str(path.relative_to(DATA)) for path in DATA.glob(pattern))
