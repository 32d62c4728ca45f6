"""The most memory that a command takes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20
INTERPRETER_BYTES = 150 * 10**6
"""Python, numpy, h5py, tensorstore and the rest, before the first pixel."""

# The peak of this very program: that of a child as wait4 tells it begins with the parent's.
PROGRAM = """
import sys
from ngff_convert.cli import main
assert main(sys.argv[1:]) == 0
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def peak_bytes(*arguments: str) -> int:
    """Run a command, which has to succeed, and return the most memory that was resident."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1]) * 1024


def assert_within(budget: int, source: Path, target: Path, *words: str) -> None:
    """Convert, and hold the peak against the budget, MiB, beside what any program of Python takes."""
    given = ("--memory", f"{budget}MiB", "--workers", "2", "--quiet")
    peak = peak_bytes(str(source), str(target), *words, *given)
    assert peak <= budget * MIB + INTERPRETER_BYTES, f"{peak / MIB:.0f} MiB"
