from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ngff_convert import machine

GIB = 2**30


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of control groups, this process in /jobs/7, on a machine of 64 GiB and 32 processors."""
    (tmp_path / "jobs" / "7").mkdir(parents=True)
    real = Path.read_text

    def read_text(path: Path) -> str:
        return "0::/jobs/7\n" if path == Path("/proc/self/cgroup") else real(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(machine, "_physical_memory", lambda: 64 * GIB)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(32)), raising=False)
    return tmp_path


def test_a_quarter_of_the_memory_at_most_four_gibibytes(cgroup: Path) -> None:
    found = machine.resources(cgroup)
    assert (found.workers, found.memory) == (32, 4 * GIB)


def test_a_container_limits_memory_and_processors(cgroup: Path) -> None:
    (cgroup / "jobs" / "7" / "memory.max").write_text(f"{8 * GIB}\n")
    (cgroup / "jobs" / "7" / "cpu.max").write_text("250000 100000\n")
    found = machine.resources(cgroup)
    assert (found.workers, found.memory) == (2, 2 * GIB)


def test_a_group_above_limits_too(cgroup: Path) -> None:
    (cgroup / "jobs" / "7" / "memory.max").write_text("max\n")
    (cgroup / "jobs" / "7" / "cpu.max").write_text("max 100000\n")
    (cgroup / "jobs" / "memory.max").write_text(f"{4 * GIB}\n")
    (cgroup / "jobs" / "cpu.max").write_text("50000 100000\n")
    found = machine.resources(cgroup)
    assert (found.workers, found.memory) == (1, GIB)


def test_version_1_of_control_groups_is_understood(cgroup: Path) -> None:
    (cgroup / "memory").mkdir()
    (cgroup / "memory" / "memory.limit_in_bytes").write_text(f"{2 * GIB}\n")
    assert machine.resources(cgroup).memory == GIB // 2


def test_this_machine_has_something() -> None:
    found = machine.resources()
    assert found.workers >= 1
    assert found.memory > 2**20


def test_tuning_the_process_does_no_harm() -> None:
    code = "from ngff_convert.machine import tune_process; tune_process(); print(len(bytearray(10**7)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "10000000\n"
