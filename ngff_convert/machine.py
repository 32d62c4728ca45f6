"""How many processors and how much memory this process may use, limits of its container included."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from ngff_convert.plan import Resources

LARGEST_DEFAULT = 4 * 2**30
"""More memory than this is not taken unless it is given."""

_M_ARENA_MAX = -8
"""mallopt(3), from glibc's malloc.h."""


def resources(cgroup: Path = Path("/sys/fs/cgroup")) -> Resources:
    """Return the processors this process may use, and a quarter of its memory, at most `LARGEST_DEFAULT`.

    Parameters
    ----------
    cgroup
        Where the kernel mounts control groups (Linux; versions 1 and 2 are understood).
    """
    memory = min([_physical_memory(), *_cgroup_memory(cgroup)])
    return Resources(workers=_processors(cgroup), memory=min(memory // 4, LARGEST_DEFAULT))


def tune_process() -> None:
    """Set what suits a conversion in libraries below; settings of the whole process, so for a command only.

    The C library, where it is glibc, keeps one heap for all threads. By default each thread gets its own;
    blocks that one thread makes and another frees then leave holes in many heaps, and a long conversion
    slowly grows: 300 MB instead of 205 MB after 4 GB of pixels, measured, at the same speed.

    numpy's library for linear algebra, which nothing here needs, starts no threads, which spin for 0.04 s.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with suppress(OSError, AttributeError):  # there is no mallopt outside glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _processors(cgroup: Path) -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = []
    for group in _groups(cgroup):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            quotas.append(max(1, int(quota) // int(period)))
    return min([allowed, *quotas])


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup_memory(cgroup: Path) -> list[int]:
    files = [group / "memory.max" for group in _groups(cgroup)]
    files.append(cgroup / "memory" / "memory.limit_in_bytes")
    return [int(text) for text in map(_text, files) if text.isdigit()]


def _groups(cgroup: Path) -> list[Path]:
    """Return this process's control group (version 2) and those above it; each of them limits it."""
    own = [line[3:] for line in _text(Path("/proc/self/cgroup")).splitlines() if line.startswith("0::")]
    group = cgroup / own[0].lstrip("/") if own else cgroup
    return [g for g in (group, *group.parents) if g == cgroup or cgroup in g.parents]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
