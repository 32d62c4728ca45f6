"""What a conversion shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

from ngff_convert import describe
from ngff_convert.describe import counted
from ngff_convert.events import Event, ImageStarted, Note, RegionDone
from ngff_convert.verification import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import TextIO

    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0


class Lines(AbstractContextManager["Lines"]):
    """Plain lines: what is converted, how far it is every ten seconds, notes."""

    def __init__(self, stream: TextIO, *, verbose: bool) -> None:
        self._stream = stream
        self._verbose = verbose
        self._called: dict[int, str] = {}
        self._read = self._finished = self._total = 0
        self._started = self._last = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Need nothing."""

    def __call__(self, event: Event) -> None:
        """Observe an event."""
        match event:
            case Note():
                self._say(f"note: {event.message}")
            case ImageStarted():
                if not self._called:
                    self._started = self._last = time.monotonic()
                    self._say(_title(event))
                self._called[event.index] = _called(event)
                self._read += event.finished_bytes
                self._finished += event.finished_bytes
                self._total += event.total_bytes
                if self._verbose and event.count > 1:
                    self._say(f"{_called(event) or 'image'}: {event.name}")
                for line in describe.plan_lines(event.plan) if self._verbose else ():
                    self._say(f"  {line}")
            case RegionDone():
                self._read += event.read_bytes
                if time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
                    self._last = time.monotonic()
                    self._say(self._how_far(event))
            case Progress():
                if time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
                    self._last = time.monotonic()
                    self._say(f"{event.done / event.total:4.0%}  {_verifying(event)}")

    def _how_far(self, event: RegionDone) -> str:
        seconds = time.monotonic() - self._started
        rate = (self._read - self._finished) / seconds
        left = (self._total - self._read) / rate
        return (
            f"{self._read / self._total:4.0%}  {describe.size(self._read)} of {describe.size(self._total)}, "
            f"{describe.size(rate)}/s, {_where(event, self._called)}, {left:.0f} s left"
        )

    def _say(self, line: str) -> None:
        with suppress(OSError):  # nobody reads any more, and the work goes on
            print(describe.one_line(line), file=self._stream, flush=True)


class Bar(AbstractContextManager["Bar"]):
    """A bar on a terminal with bytes, rate, level and time left; notes scroll by above it."""

    def __init__(self, *, verbose: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._verbose = verbose
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[where]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task: TaskID | None = None
        self._called: dict[int, str] = {}
        self._total = 0
        self._verifying: TaskID | None = None

    def __enter__(self) -> Bar:
        """Take the terminal's last line."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Give the terminal back."""
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Observe an event."""
        match event:
            case Note():
                self._print(f"note: {event.message}")
            case ImageStarted():
                for line in describe.plan_lines(event.plan) if self._verbose else ():
                    self._print(line)
                if self._task is None:
                    self._task = self._bar.add_task(_title(event), where="")
                self._called[event.index] = _called(event)
                self._total += event.total_bytes
                self._bar.update(self._task, total=self._total, advance=event.finished_bytes)
            case RegionDone() if self._task is not None:
                self._bar.update(self._task, advance=event.read_bytes, where=_where(event, self._called))
            case Progress():
                if self._task is not None:
                    self._bar.remove_task(self._task)
                    self._task = None
                if self._verifying is None:
                    self._verifying = self._bar.add_task("", where="")
                self._bar.update(
                    self._verifying,
                    description=_verifying(event),
                    completed=event.done,
                    total=event.total,
                )

    def _print(self, line: str) -> None:
        self._bar.console.print(describe.one_line(line), markup=False, soft_wrap=True)


def _verifying(event: Progress) -> str:
    number = f" {event.image + 1} of {event.of_images}" if event.of_images > 1 else ""
    return f"verification{number}{f', {event.folder}' if event.folder else ''}"


def _title(event: ImageStarted) -> str:
    """Return what is converted, from what was said of its first image: that of a part may be any."""
    n_images = event.count - event.n_labels
    if event.count == 1 or (n_images == 1 and event.label_of is None):
        images = event.name or "image"
    else:
        images = counted(n_images, "image")
    return f"{images} and {counted(event.n_labels, 'label image')}" if event.n_labels and n_images else images


def _called(event: ImageStarted) -> str:
    """Return which of the images one is; empty where there is no other."""
    if event.label_of is not None:
        return event.folder
    return f"image {event.index}" if event.count - event.n_labels > 1 else ""


def _where(event: RegionDone, called: Mapping[int, str]) -> str:
    first, last = event.levels
    levels = f"level {first}" if first == last else f"levels {first}-{last}"
    return f"{levels} of {called[event.image]}" if called[event.image] else levels
