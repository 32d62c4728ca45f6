from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ngff_convert.signals import Stopped, stopped_by_signals

PROGRAM = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from ngff_convert import signals
from ngff_convert.signals import Stopped, stopped_by_signals

def tell(message, exit_code):
    print(message, exit_code, file=sys.stderr)

signals.GRACE_SECONDS = 0.5
try:
    with stopped_by_signals(tell), ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(time.sleep, float(sys.argv[1])) for _ in range(2)]
        print("begun", flush=True)
        [job.result() for job in jobs]
except Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("seconds", "said"),
    [("0.2", "ted\n"), ("600", "ted while reading or writing; what is finished is kept {}\n")],
)
def test_a_job_that_does_not_end_is_not_waited_for(
    sent: signal.Signals, code: int, seconds: str, said: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(sent)
        try:
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == code
        assert error.endswith(said.format(code))


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="terminated"), stopped_by_signals(print):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopped_by_signals(print):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


LOADING = """
import sys, time
from ngff_convert import __main__

class Slow:
    def find_spec(self, name, path, target=None):
        if name == "ngff_convert.cli":
            print("loading", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slow())
sys.exit(__main__.main())
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_process_of_a_container_ends_while_it_is_loading(sent: signal.Signals) -> None:
    """The kernel passes over a signal to process 1 that nobody handles."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL).returncode
    ):
        pytest.skip("no process numbers of its own can be had here")
    command = [*unshare, sys.executable, "-c", LOADING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        inner = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        os.kill(int(inner), sent)
        try:
            assert process.wait(timeout=20) == 128 + sent
        finally:
            process.kill()
