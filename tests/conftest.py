from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from servers import s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import S3Server

settings.register_profile("no deadline", deadline=None)  # timings belong to the benchmarks
settings.load_profile("no deadline")

DESCRIPTORS = Path("/proc/self/fd")
MEMORY = Path("/dev/shm")
ROOM_BYTES = 8 * 2**30


def pytest_configure() -> None:
    """Have the tests' folders in memory where there is room: a quarter of the time is that of a disk."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(autouse=True)
def _no_file_left_open() -> Iterator[None]:
    """Fail a test after which a file is open that was not before.

    tensorstore closes a file that it wrote in a thread of its own, a moment after the write is done.
    """
    before = _open_files()
    yield
    until = time.monotonic() + 5
    while (left := _open_files() - before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left, f"files left open: {left}"


def _open_files() -> set[str]:
    if not DESCRIPTORS.is_dir():
        return set()
    targets = {target for target in map(_target, DESCRIPTORS.iterdir()) if Path(target).is_file()}
    return {target for target in targets if not target.startswith(("/proc", "/dev", sys.prefix))}


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """In the background of a script SIGINT is ignored, also by the processes that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start a server with a bucket, which the environment leads to."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running
