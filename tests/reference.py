"""Plain reference implementations, written for being obviously right and not for speed."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def shrunk(block: NDArray[Any], factors: tuple[int, ...], method: str) -> NDArray[Any]:
    """Shrink voxel by voxel in Python's own numbers, which do not overflow."""
    out = np.empty([-(-n // f) for n, f in zip(block.shape, factors, strict=True)], block.dtype)
    for at in product(*map(range, out.shape)):
        cell = block[tuple(slice(i * f, (i + 1) * f) for i, f in zip(at, factors, strict=True))]
        out[at] = _one(cell.ravel(), method)
    return out


def _one(values: NDArray[Any], method: str) -> Any:
    if method == "nearest":
        return values[0]
    if values.dtype.kind == "f":
        return _one_float(values, method)
    numbers = sorted(int(v) for v in values)
    count = len(numbers)
    match method:
        case "mean":
            return (2 * sum(numbers) + count) // (2 * count)
        case "min":
            return numbers[0]
        case "max":
            return numbers[-1]
        case "median":
            return (numbers[(count - 1) // 2] + numbers[count // 2] + 1) // 2
        case "mode":
            return max(sorted(set(numbers)), key=numbers.count)
    raise ValueError(method)


def _one_float(values: NDArray[Any], method: str) -> Any:
    if method == "mode":
        found, counts = np.unique(values, return_counts=True)
        return found[np.argmax(counts)]
    return getattr(np, method)(values.astype(np.float64))


def mean_of_cells(block: NDArray[Any], factors: tuple[int, ...]) -> NDArray[Any]:
    """Mean by sums over each axis in 64 bits, for large arrays; integers are rounded half up."""
    kind = np.float64 if block.dtype.kind == "f" else np.int64
    total: NDArray[Any] = block.astype(kind)
    count: NDArray[Any] = np.ones(1, np.int64)
    for axis, factor in enumerate(factors):
        edges = np.arange(0, block.shape[axis], factor)
        total = np.add.reduceat(total, edges, axis)
        along = np.diff(np.append(edges, block.shape[axis]))
        count = count * along.reshape([-1 if a == axis else 1 for a in range(block.ndim)])
    mean: NDArray[Any] = total / count if kind is np.float64 else (2 * total + count) // (2 * count)
    return mean.astype(block.dtype)
