"""A finished store as other libraries see it."""

from __future__ import annotations

import hashlib
import json
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorstore as ts
import yaozarrs
import zarr
from ome_zarr_models import open_ome_zarr
from reference import mean_of_cells

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def attributes(group: Path, version: str) -> dict[str, Any]:
    """Return what a group says of itself, the envelope of 0.5 taken off."""
    if version == "0.4":
        found: dict[str, Any] = json.loads((group / ".zattrs").read_text())
        return found
    document: dict[str, Any] = json.loads((group / "zarr.json").read_text())
    inner: dict[str, Any] = document["attributes"].get("ome", {})
    return inner


def levels(group: Path, version: str) -> list[NDArray[Any]]:
    """Return every level as zarr reads it, after tensorstore has read the same."""
    found = []
    for dataset in attributes(group, version)["multiscales"][0]["datasets"]:
        path = group / dataset["path"]
        array = np.asarray(zarr.open_array(path, mode="r")[...])
        driver = "zarr" if version == "0.4" else "zarr3"
        other = ts.open({"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}).result()
        np.testing.assert_array_equal(other.read().result(), array)
        found.append(array)
    return found


def assert_valid(store: Path, group: Path) -> None:
    """Hold a store against two validators, each of which sees what the other does not."""
    yaozarrs.validate_zarr_store(str(store))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_ome_zarr(zarr.open_group(group, mode="r"))


def assert_means(found: list[NDArray[Any]]) -> None:
    """Every level is the mean of the one above, sizes rounded up, integers rounded half up."""
    for above, level in pairwise(found):
        factors = tuple(round(a / b) for a, b in zip(above.shape, level.shape, strict=True))
        expected = mean_of_cells(above, factors)
        assert level.shape == expected.shape
        if level.dtype.kind == "f":
            np.testing.assert_allclose(level, expected, rtol=1e-5, atol=1e-4)
        else:
            np.testing.assert_array_equal(level, expected)


def tree(folder: Path) -> dict[str, str]:
    """Return every file below a folder with a hash of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
