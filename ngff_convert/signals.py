"""SIGINT, SIGTERM and SIGHUP end the work where it can be gone on with, and within seconds."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

GRACE_SECONDS = 4.0
"""What a region that is in work has to be finished; nothing is lost where it is not."""

TELLING_SECONDS = 0.5


class Stopped(BaseException):
    """The process was told to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.remark = ""

    @property
    def exit_code(self) -> int:
        """What the command ends with, as shells have it."""
        return 128 + self.number

    def __str__(self) -> str:
        return ("interrupted" if self.number == signal.SIGINT else "terminated") + self.remark


@contextmanager
def stopped_by_signals(tell: Callable[[str, int], object]) -> Iterator[None]:
    """Raise `Stopped` in the block where a signal says so, and end the process if the block does not.

    Parameters
    ----------
    tell
        Is told why, and the exit code, before the process is ended.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    timers: list[threading.Timer] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if not timers:
            timers.append(threading.Timer(GRACE_SECONDS, _end, [number, tell]))
            timers[0].daemon = True
            timers[0].start()
        raise Stopped(number)

    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):  # ignored in the background of a script
            signal.signal(number, stop)
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _end(number: int, tell: Callable[[str, int], object]) -> None:
    """End the process as it stands: a slow disk or network holds it up."""
    stopped = Stopped(number)
    message = f"{stopped} while reading or writing; what is finished is kept"
    # Whoever holds the process up may hold standard error up too.
    telling = threading.Thread(target=tell, args=[message, stopped.exit_code], daemon=True)
    telling.start()
    telling.join(TELLING_SECONDS)
    os._exit(stopped.exit_code)
