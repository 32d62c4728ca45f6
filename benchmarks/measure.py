"""Run one command and measure its whole process tree: wall time, CPU time, peak memory. Linux only.

CPU time is what the kernel accounts to the command and to every descendant, those included that outlive
their parent: this process adopts orphans and waits for them. Peak memory of one process is its own high-water
mark; of several it is the sum of their proportional set sizes, in which a shared page counts once. What the
rest of the machine did meanwhile is noted too: on a busy one wall times mean little.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INTERVAL_S = 0.05
"""Seconds between two looks at the process tree."""
GRACE_S = 10.0
"""Seconds that processes which outlive the command are given before they are killed."""
NEW_HIGH = 1.02
"""Proportional set sizes, slow to read, are summed when resident memory is this many times its last high."""

_PR_SET_CHILD_SUBREAPER = 36
_BOXES = re.compile(r"[\u2500-\u259f]+")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Run:
    """What one run of a command took."""

    command: tuple[str, ...]
    exit_code: int
    wall_s: float
    cpu_s: float
    """User and system time of the whole tree."""
    peak_bytes: int
    n_processes: int
    """Most processes seen at once."""
    others_s: float
    """CPU time that all else on this machine took meanwhile, and what a hypervisor withheld."""
    last_line: str
    """The last line the command printed."""

    @property
    def ok(self) -> bool:
        """Whether the command ended with exit code 0."""
        return self.exit_code == 0


def run(
    command: Sequence[str], log: Path, *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a command to its end and measure it.

    Parameters
    ----------
    command
        Program and arguments.
    log
        File that receives everything the command prints.
    timeout_s
        Seconds after which the command is killed; it then has failed.
    environment
        Variables set on top of this process's own.
    """
    _adopt_orphans()
    sampler = _Sampler()
    busy_before_s = _busy_s()
    with log.open("wb") as sink:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        killer = threading.Timer(timeout_s, kill_descendants)
        killer.start()
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    killer.cancel()
    orphans_s = _reap_orphans()
    sampler.stop()
    cpu_s = usage.ru_utime + usage.ru_stime + orphans_s
    return Run(
        command=tuple(command),
        exit_code=process.returncode,
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_bytes=max(sampler.peak_bytes, _own_peak(usage.ru_maxrss * 1024)),
        n_processes=sampler.n_processes,
        others_s=max(0.0, _busy_s() - busy_before_s - cpu_s),
        last_line="timed out" if wall_s >= timeout_s else last_line(log),
    )


def last_line(log: Path) -> str:
    """Return the last line of a log that holds more than blanks and drawn boxes."""
    lines = [_BOXES.sub(" ", line).strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def descendants(pid: int) -> list[int]:
    """Return the processes below one, in no order."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def kill_descendants() -> None:
    """Kill every process below this one."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class _Sampler:
    """Looks at the processes below this one, from a thread, until it is stopped."""

    peak_bytes: int = 0
    n_processes: int = 0
    highest_resident: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.stopped.wait(INTERVAL_S):
            self._look(descendants(os.getpid()))

    def _look(self, pids: list[int]) -> None:
        self.n_processes = max(self.n_processes, len(pids))
        if len(pids) == 1:
            self.peak_bytes = max(self.peak_bytes, _field_bytes(pids[0], "status", "VmHWM:"))
            return
        resident = sum(map(_resident_bytes, pids))
        if resident > self.highest_resident * NEW_HIGH:
            self.highest_resident = resident
            proportional = sum(_field_bytes(pid, "smaps_rollup", "Pss:") for pid in pids)
            self.peak_bytes = max(self.peak_bytes, proportional)


def _busy_s() -> float:
    """Return the seconds all cores have not been idle since the machine started."""
    user, nice, system, _idle, _wait, irq, soft, steal = _stat_ticks()
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _stat_ticks() -> list[int]:
    """Return the first eight counters of all cores together."""
    return [int(word) for word in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]


def _children(pid: int) -> list[int]:
    """Return a process's children; none where it is gone."""
    try:
        lists = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for text in lists for child in text.split()]


def _resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _field_bytes(pid: int, file: str, name: str) -> int:
    """Return a field, stated in kB, of a process's file in /proc; 0 where either is gone."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def _own_peak(high_water_bytes: int) -> int:
    """Return the kernel's high-water mark where it is the command's own, else 0.

    A process inherits the mark of the one that started it, so a small one seems as large as this one.
    """
    return high_water_bytes if high_water_bytes > _field_bytes(os.getpid(), "status", "VmHWM:") else 0


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_orphans() -> float:
    """Wait for processes the command left behind, kill those that stay; returns their CPU seconds."""
    cpu_s = 0.0
    deadline = time.monotonic() + GRACE_S
    while True:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return cpu_s
        cpu_s += usage.ru_utime + usage.ru_stime
        if pid == 0:
            if time.monotonic() > deadline:
                kill_descendants()
            time.sleep(0.01)
